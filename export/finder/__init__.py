"""The default engine's own export: fused modules, int8 for ONNX Runtime on a CPU, calibration, reference answers."""
