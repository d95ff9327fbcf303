"""Double of cuda-python; see pretended_gpu.py."""
