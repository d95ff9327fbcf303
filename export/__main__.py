"""`python -m export TARGET`: default, plan. Each target is imported when it is asked for: `plan` needs no torch."""

import sys
from importlib import import_module

TARGETS = {
    "default": "export.default",
    "plan": "export.plan",
}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: python -m export {{{','.join(TARGETS)}}} [options]")
    sys.exit(import_module(TARGETS[sys.argv[1]]).main(sys.argv[2:]))
