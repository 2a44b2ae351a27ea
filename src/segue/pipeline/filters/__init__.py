"""Filter expressions over item columns."""
