"""Command lines that are refused as everything else is: by a ConfigError, so that whoever asked for JSON gets a line of it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from edge_vla.errors import ConfigError


class Arguments(argparse.ArgumentParser):
    """Prints the usage and raises ConfigError where argparse would exit. Options are written out: half a word may mean two."""

    def __init__(self, prog: str, description: str, epilog: str) -> None:
        super().__init__(prog=prog, description=description, epilog=epilog, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        raise ConfigError(message)


def require_writable(path: Path, option: str) -> None:
    """Raise ConfigError for a file that could not be written at the end. Makes its folder; an existing file stays as it is."""
    new = not path.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab"):
            pass
        if new:
            path.unlink()
    except OSError as err:
        raise ConfigError(f"{option} {path}: {err.strerror}") from err
