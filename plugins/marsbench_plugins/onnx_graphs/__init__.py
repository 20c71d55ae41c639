"""The computations of the built-in extractors as ONNX graphs, in modules named like the Python code."""
