"""What TensorRT's builder has timed, kept in a file: the next build of the same layers takes a fraction of the time."""

from __future__ import annotations

import os
from pathlib import Path

import tensorrt as trt

from edge_vla.errors import ConfigError


def usual_file(folder: Path, sm: str) -> Path:
    """Timings hold for one TensorRT and one GPU, so the file is named after them."""
    return folder / f"timing-{trt.__version__}-sm{sm.replace('.', '')}.cache"


class TimingCache:
    """One file. It is replaced as a whole, and only by a builder that has finished or stopped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._kept = path.read_bytes()
        except FileNotFoundError:
            self._kept = b""
        except OSError as err:
            raise ConfigError(f"timing cache {path}: {err.strerror}") from err

    def lend(self, config: trt.IBuilderConfig) -> None:
        """Let a builder use it. Raises ConfigError for a file that is none, or another machine's."""
        cache: trt.ITimingCache | None = config.create_timing_cache(self._kept)
        if cache is None or not config.set_timing_cache(cache, False):  # noqa: FBT003 - positional in TensorRT's own examples
            raise ConfigError(f"timing cache {self.path} is none of TensorRT {trt.__version__} on this GPU; delete it, or name another")

    def keep(self, config: trt.IBuilderConfig) -> None:
        """Write down what a builder has timed. Raises ConfigError."""
        cache: trt.ITimingCache | None = config.get_timing_cache()
        if cache is None:
            return
        self._kept = bytes(cache.serialize())
        part = self.path.with_name(f"{self.path.name}.{os.getpid()}.part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(self._kept)
            part.replace(self.path)
        except OSError as err:
            part.unlink(missing_ok=True)
            raise ConfigError(f"timing cache {self.path}: {err.strerror}") from err
