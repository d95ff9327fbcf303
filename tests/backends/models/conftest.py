"""Tiny models of every backbone, as tests of the learn fence make them; without torch these tests are skipped by name."""

from __future__ import annotations

from tests.learn.backbones.conftest import (  # noqa: F401 - fixtures
    configs,
    engine,
    kosmos,
    llava,
    llava_mpt,
    paligemma,
    write_kosmos,
    write_llava,
    write_llava_mpt,
    write_paligemma,
)
from tests.learn.conftest import _one_thread, pytest_pycollect_makemodule  # noqa: F401 - a fixture, and what skips
