"""From a run to what leaves the lab: a bundle, fitted on every clip, or one ONNX file."""
