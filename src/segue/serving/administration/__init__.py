"""Administrative operations: status, promotion, erasure."""
