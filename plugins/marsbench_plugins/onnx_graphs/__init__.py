"""The built-in extractors' arithmetic as ONNX graphs, each module beside the Python code that it equals."""
