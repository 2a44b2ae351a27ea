"""The torch twins of the served neural models: what is trained; exported to arrays or a graph, never served."""
