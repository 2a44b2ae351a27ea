"""The data floor: events -> catalogue -> sequences -> splits."""
