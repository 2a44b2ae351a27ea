"""The data floor: events -> catalog -> sequences -> splits."""
