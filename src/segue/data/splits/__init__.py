"""Split protocols: time, leave-last-out, leave-last-n-out, sessions, fixed test set."""
