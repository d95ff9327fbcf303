"""`python -m export TARGET`. Each target is imported when it is asked for: only `default` and `onnx` need torch."""

import sys
from importlib import import_module

TARGETS = {
    "default": "export.default",
    "onnx": "export.onnx",
    "verify": "export.verify",
    "plan": "export.plan",
    "tensorrt": "export.tensorrt",
    "torch2trt": "export.torch2trt",
    "jetson-check": "export.jetson_check",
    "gate": "export.gate",
}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: python -m export {{{','.join(TARGETS)}}} [options]")
    sys.exit(import_module(TARGETS[sys.argv[1]]).main(sys.argv[2:]))
