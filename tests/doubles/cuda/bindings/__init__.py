"""Double of cuda.bindings; see pretended_gpu.py."""
