"""Torch networks, for training alone: they are exported to arrays or an ONNX graph, which the server runs."""
