"""`python -m calib NOUN`: measure one thing about a robot or an engine. A new calibration is one file and one line here.

Exit codes: 0 done, 2 refused or not measurable, 3 a fault of the robot, 130 interrupted.
"""

from __future__ import annotations

import sys
from importlib import import_module

from edge_vla.errors import ConfigError, EdgeVLAError, did_you_mean

EXIT_REFUSED, EXIT_FAULT, EXIT_INTERRUPTED = 2, 3, 130
# Each module's `main(words)` does the whole of it; imported when it is asked for.
NOUNS = {
    "int8": ("calib.int8", "pictures and prompts to calibrate with, and the ranges of an engine's activations over them"),
    "camera": ("calib.camera", "a camera's intrinsics, from a chessboard"),
    "wheels": ("calib.wheels", "scale and track of the wheels, from a measured drive"),
    "delay": ("calib.delay", "how long the wheels take to obey"),
}


def usage() -> str:
    return "usage: python -m calib NOUN ...\n" + "\n".join(f"  {noun:8}{what}" for noun, (_, what) in NOUNS.items())


def main(words: list[str]) -> int:
    """Run one calibration; returns the exit code."""
    if not words or words[0] in {"-h", "--help"}:
        print(usage(), file=sys.stdout if words else sys.stderr)
        return 0 if words else EXIT_REFUSED
    noun, *rest = words
    if noun not in NOUNS:
        return _ended(EXIT_REFUSED, f"nothing called {noun!r} to calibrate{did_you_mean(noun, NOUNS)} There are: {', '.join(NOUNS)}")
    try:
        import_module(NOUNS[noun][0]).main(rest)
    except ConfigError as err:
        return _ended(EXIT_REFUSED, str(err))
    except ImportError as err:
        return _ended(EXIT_REFUSED, f"{noun} needs {err.name}: make setup-learn, or pip install -e '.[cpu,export]'")
    except EdgeVLAError as err:
        return _ended(EXIT_FAULT, str(err))
    except KeyboardInterrupt:
        return _ended(EXIT_INTERRUPTED, "interrupted")
    return 0


def _ended(code: int, why: str) -> int:
    print(f"calib: {why}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
