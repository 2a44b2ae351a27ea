"""Worker processes behind one port and their messages."""
