"""Request and response schemas and error documents."""
