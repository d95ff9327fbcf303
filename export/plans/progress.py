"""How far TensorRT's builder is, on stderr, and the only way to stop it: the answer it gets after each of its steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

import tensorrt as trt
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

Made = TypeVar("Made")


class Progress(trt.IProgressMonitor):
    """A bar for every phase while it runs. TensorRT calls from threads of its own; an exception here would stop the build."""

    def __init__(self, console: Console) -> None:
        trt.IProgressMonitor.__init__(self)
        self.console = console
        self._columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bars = Bars(*self._columns, console=console, transient=True)
        self._tasks: dict[str, TaskID] = {}
        self._stop = threading.Event()

    def __enter__(self) -> Progress:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bars.stop()

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        indent = "  " if parent_phase else ""
        self._tasks[phase_name] = self._bars.add_task(indent + phase_name, total=num_steps)

    def step_complete(self, phase_name: str, step: int) -> bool:
        """False ends the build."""
        if phase_name in self._tasks:
            self._bars.update(self._tasks[phase_name], completed=step + 1)
        return not self._stop.is_set()

    def phase_finish(self, phase_name: str) -> None:
        task = self._tasks.pop(phase_name, None)
        if task is not None:
            self._bars.remove_task(task)

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def stop(self) -> None:
        self._stop.set()


def interruptible(work: Callable[[], Made], progress: Progress, console: Console) -> Made:
    """What `work` makes, in another thread: the main one hears Ctrl-C, which asks the builder to stop, and waits until it has.

    Ctrl-C raises nothing meanwhile: an exception out of nowhere would leave a builder running. Raises KeyboardInterrupt in the end.
    """

    def stop(_signal: int, _frame: object) -> None:
        progress.stop()
        console.print("stopping; TensorRT ends its step first")

    before = signal.signal(signal.SIGINT, stop)
    try:
        with ThreadPoolExecutor(1, "builder") as pool:
            made = pool.submit(work).result()
    finally:
        signal.signal(signal.SIGINT, before)
    if progress.stopped:
        raise KeyboardInterrupt
    return made
