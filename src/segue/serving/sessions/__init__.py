"""Live histories of users and sessions."""
