"""Inference of the neural models without torch: numpy layers and ONNX graphs."""
