"""Shared libraries with nothing in them, under the names of TensorRT's: the bindings load them, and never get to call what they promise.

The bindings wheels hold Python's side whole; what they lack is the gigabytes behind it. With these in its place their classes, members
and signatures can be read off the real thing. 64-bit ELF, written here because a compiler need not be installed.
"""

from __future__ import annotations

import platform
import struct
from pathlib import Path

LIBRARIES = ("libnvinfer", "libnvonnxparser", "libnvinfer_plugin")
FUNCTIONS = (
    "createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "createInferRuntime_INTERNAL", "createNvOnnxParser_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL", "getBuilderPluginRegistry", "getNvOnnxParserVersion", "getPluginRegistry",
    "initLibNvInferPlugins",
)  # fmt: skip
MACHINES = {"x86_64": 62, "aarch64": 183}
DT_NULL, DT_HASH, DT_STRTAB, DT_SYMTAB, DT_STRSZ, DT_SYMENT, DT_SONAME = 0, 4, 5, 6, 10, 11, 14
HEADER = 64 + 2 * 56  # the file's own and two segments'


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def library(soname: str, functions: tuple[str, ...], machine: int) -> bytes:
    """One page that is loaded as it lies, one table of symbols that all point to its start."""
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in (soname, *functions))
    at = {name: strings.index(b"\0" + name.encode() + b"\0") + 1 for name in (soname, *functions)}
    symbols = bytes(24) + b"".join(struct.pack("<IBBHQQ", at[name], 0x12, 0, 1, HEADER, 0) for name in functions)  # global functions
    count = len(functions) + 1
    chain = [0, *range(2, count), 0]  # all in one bucket
    table = padded(struct.pack(f"<{3 + count}I", 1, count, 1, *chain))
    parts = [padded(strings), symbols, table]
    strings_at, symbols_at, table_at, dynamic_at = (HEADER + sum(len(part) for part in parts[:n]) for n in range(4))
    entries = (
        (DT_SONAME, at[soname]), (DT_STRTAB, strings_at), (DT_SYMTAB, symbols_at), (DT_HASH, table_at), (DT_STRSZ, len(strings)),
        (DT_SYMENT, 24), (DT_NULL, 0),
    )  # fmt: skip
    dynamic = b"".join(struct.pack("<QQ", *entry) for entry in entries)
    size = dynamic_at + len(dynamic)
    loaded = struct.pack("<IIQQQQQQ", 1, 6, 0, 0, 0, size, size, 4096)
    linked = struct.pack("<IIQQQQQQ", 2, 6, dynamic_at, dynamic_at, dynamic_at, len(dynamic), len(dynamic), 8)
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, 2, 64, 0, 0)
    return head + loaded + linked + b"".join(parts) + dynamic


def write_libraries(folder: Path, major: int) -> None:
    """TensorRT's, of that version, for this machine. Raises KeyError on one that has no wheels."""
    for name in LIBRARIES:
        soname = f"{name}.so.{major}"
        (folder / soname).write_bytes(library(soname, FUNCTIONS, MACHINES[platform.machine()]))
