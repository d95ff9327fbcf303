"""One mutant before its tests, in a process that has seen nothing of the project before."""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.util
import os
import signal
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import FrameType, ModuleType

import hypothesis
import pytest

from tests.mutants.mutant import Mutant

PATIENCE_S = 60  # the longest tests of a module need 5 s
PROFILE = "mutants"


class Changed(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Loads one module from the mutant's text; the file stays as it is."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        return importlib.util.spec_from_loader(name, self) if name == self._mutant.module else None

    def get_source(self, fullname: str) -> str:
        return self._mutant.source


def is_killed(mutant: Mutant, tests: Sequence[str]) -> bool:
    """Whether one of `tests` fails, the module does not load, or nothing ends in time. For a process of its own."""
    if any(name == "edge_vla" or name.startswith("edge_vla.") for name in sys.modules):
        raise RuntimeError("edge_vla was imported before the mutant: nothing would be changed")
    sys.meta_path.insert(0, Changed(mutant))
    sys.dont_write_bytecode = True
    # No shrinking: that a test fails is enough. The same examples each time, none kept on disk.
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile(PROFILE, deadline=None, derandomize=True, database=None, phases=phases)
    signal.signal(signal.SIGALRM, _give_up)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE_S, 1.0)
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        options = ["-x", "-p", "no:cacheprovider", "-m", "not deadline and not slow and not jetson", f"--hypothesis-profile={PROFILE}"]
        options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # hypothesis is here already
        return pytest.main([*options, *tests]) != pytest.ExitCode.OK


def _give_up(number: int, frame: FrameType | None) -> None:
    raise TimeoutError(number, frame)
