"""ONNX and safetensors files: read in parts, written in a stream, counted. No torch, no model."""
