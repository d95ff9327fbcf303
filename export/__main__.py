"""`python -m export TARGET`: default."""

import sys

from export.default import main as default

TARGETS = {"default": default}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: python -m export {{{','.join(TARGETS)}}} [options]")
    TARGETS[sys.argv[1]](sys.argv[2:])
