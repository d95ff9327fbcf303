"""Tiny checkpoints of every backbone, written as the public ones are, and the models they load as."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.learn.backbones.conftest import (  # noqa: F401 - fixtures
    kosmos,
    llava,
    llava_mpt,
    paligemma,
    write_kosmos,
    write_llava,
    write_llava_mpt,
    write_paligemma,
)  # fmt: skip

if TYPE_CHECKING:
    from edge_vla.learn.backbones.base import BaseRoboVLM


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Sums in one order."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def speaking(
    write_paligemma: Callable[..., Path], write_kosmos: Callable[..., Path], write_llava: Callable[..., Path],  # noqa: F811
    write_llava_mpt: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory,  # noqa: F811
) -> Callable[[str], tuple[dict[str, Any], BaseRoboVLM]]:  # fmt: skip
    """speaking(name): the configuration and the model, without a head, of one of `engines.NAMES`; made once."""
    from tests.learn.backbones import engines

    writers = {"paligemma": write_paligemma, "kosmos": write_kosmos, "llava": write_llava, "llava_mpt": write_llava_mpt}
    made: dict[str, tuple[dict[str, Any], BaseRoboVLM]] = {}

    def get(name: str) -> tuple[dict[str, Any], BaseRoboVLM]:
        if name not in made:
            config = engines.write(name, tmp_path_factory.mktemp(name), writers)
            made[name] = config, engines.load(config)
        return made[name]

    return get
