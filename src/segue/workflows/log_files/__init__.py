"""Files of event logs that workflows write."""
