"""Items that join a pipeline while it is served, and demand of the last minutes."""
