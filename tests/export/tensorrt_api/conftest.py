"""The wheels' contents, kept between runs in pytest's cache: 35 MB are fetched once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.export.tensorrt_api.stubs import cython_stub, pybind_stub
from tests.export.tensorrt_api.wheels import Contents, NoRegistry, Wheel, contents


@pytest.fixture(scope="session")
def kept(pytestconfig: pytest.Config) -> Path:
    return pytestconfig.cache.mkdir("tensorrt_api")


@pytest.fixture(scope="session")
def read(kept: Path) -> Callable[[Wheel], Contents]:
    @cache
    def of(wheel: Wheel) -> Contents:
        try:
            return contents(wheel, kept)
        except NoRegistry as err:
            pytest.skip(f"the package registry cannot be reached: {err}")

    return of


@pytest.fixture(scope="session")
def stubs(read: Callable[[Wheel], Contents], tmp_path_factory: pytest.TempPathFactory) -> Callable[[Wheel, Wheel], Path | None]:
    """A folder with both modules' stubs; None where one of them has no wheel for this Python."""

    def of(tensorrt: Wheel, cuda: Wheel) -> Path | None:
        said, runtime = read(tensorrt).said, read(cuda).said
        if said is None or runtime is None:
            return None
        folder = tmp_path_factory.mktemp("stubs")
        (folder / "tensorrt").mkdir()
        (folder / "tensorrt" / "__init__.pyi").write_text(pybind_stub(said))
        (folder / "cuda" / "bindings").mkdir(parents=True)
        (folder / "cuda" / "__init__.pyi").touch()
        (folder / "cuda" / "bindings" / "__init__.pyi").touch()
        (folder / "cuda" / "bindings" / "runtime.pyi").write_text(cython_stub(runtime))
        return folder

    return of
