"""The ONNX graph itself: its ports, weights, and rules by which it is rewritten."""
