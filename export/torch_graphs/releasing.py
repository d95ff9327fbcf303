"""Memory that holds pages of files, given back: a model mapped from its files stays as it is, and is read again when it is asked again."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator
from pathlib import Path

from torch import nn

PAGEOUT = 21  # of linux/mman.h since 5.4: drop pages that are on disk as they are; what was written to stays
MAPS = Path("/proc/self/maps")
MMAP_THRESHOLD, APART = -3, 2**20  # of glibc's malloc.h; bytes


def keep_large_apart() -> None:
    """From here on each large block of memory is mapped by itself, and goes back to the system when it is freed.

    Else glibc takes larger and larger ones from its heap, which a trace leaves full of holes that no later block fits into: answers asked
    behind it took half a checkpoint more than they hold. Where there is no glibc, nothing changes.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(MMAP_THRESHOLD, APART)


def release(module: nn.Module) -> None:
    """Give back what `module`'s parameters hold of their files, and what was freed. Where the system cannot, nothing changes."""
    if not MAPS.exists():
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # glibc's alone
        libc.malloc_trim(0)
    madvise = libc.madvise
    madvise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    wanted = [(p.data_ptr(), p.data_ptr() + p.nbytes) for p in module.parameters()]
    for first, end in _file_pages():
        inside = [(max(first, a), min(end, b)) for a, b in wanted if a < end and b > first]
        for a, b in inside:
            start = -(-a // mmap.PAGESIZE) * mmap.PAGESIZE
            length = b // mmap.PAGESIZE * mmap.PAGESIZE - start
            if length > 0:
                madvise(start, length, PAGEOUT)


def _file_pages() -> Iterator[tuple[int, int]]:
    """Where this process has files in memory."""
    for line in MAPS.read_text().splitlines():
        ends, _, _, _, inode, *_ = line.split(maxsplit=5)
        if inode != "0":
            first, end = ends.split("-")
            yield int(first, 16), int(end, 16)
