"""Run in an interpreter of its own: import an extension module and print as JSON what is in it, by pybind11's and Cython's own words."""

from __future__ import annotations

import ctypes
import importlib
import inspect
import json
import os
import re
import sys
from types import ModuleType
from typing import Any

SIGNATURE = re.compile(r"(\d+\. )?\w*\((self|\w+: |\)).* -> \S")
AS_BUFFER = 20 * 8  # tp_as_buffer in a type of CPython, with pointers of 8 bytes
SPECIAL = {"__init__", "__len__", "__getitem__"}


def signatures(value: Any) -> list[str]:
    """Lines of a docstring that pybind11 writes; more than one for overloads."""
    return [line.strip() for line in (getattr(value, "__doc__", None) or "").splitlines() if SIGNATURE.match(line.strip())]


def described(value: Any) -> dict[str, Any]:
    """One member of a class."""
    if isinstance(value, property):
        return {"kind": "property", "signatures": signatures(value.fget), "settable": value.fset is not None}
    if isinstance(value, int | str | float):
        return {"kind": "value", "type": type(value).__name__}
    if callable(value) or isinstance(value, staticmethod | classmethod):
        return {"kind": "method", "signatures": signatures(value)}
    return {"kind": "object", "type": type(value).__qualname__}


def classes(module: ModuleType, kind: type, name: str) -> dict[str, Any]:
    """A class and those in it, by their dotted names."""
    found: dict[str, Any] = {}
    members: dict[str, Any] = {}
    enumerated = set(getattr(kind, "__members__", ()))
    for key, value in vars(kind).items():
        if key.startswith("_") and key not in SPECIAL:
            continue
        if key in enumerated:
            members[key] = {"kind": "member", "value": int(value)}
        elif isinstance(value, type):
            found |= classes(module, value, f"{name}.{key}")
        else:
            members[key] = described(value)
    known = {value for value in vars(module).values() if isinstance(value, type)}
    bases = [base.__name__ for base in kind.__mro__[1:] if base in known]
    return {name: {"bases": bases[:1], "members": members, "enum": bool(enumerated), "buffer": has_buffer(kind)}, **found}


def has_buffer(kind: type) -> bool:
    """Whether its instances lend their memory (bf_getbuffer): before Python 3.12 nothing but the type's own table says so."""
    table = ctypes.c_void_p.from_address(id(kind) + AS_BUFFER).value
    return table is not None and ctypes.c_void_p.from_address(table).value is not None


def function(value: Any) -> dict[str, Any]:
    """pybind11's say their signature, Cython's begin with it, Python's are asked."""
    if inspect.isfunction(value) and value.__module__ != "cuda.bindings.runtime":
        return {"parameters": list(inspect.signature(value).parameters)}
    first = (value.__doc__ or "").strip().splitlines()[:1]
    return {"signatures": signatures(value) or first}


def main(name: str) -> None:
    sys.setdlopenflags(os.RTLD_LAZY)  # functions are looked up when they are called
    module = importlib.import_module(name)
    found: dict[str, Any] = {"version": getattr(module, "__version__", ""), "classes": {}, "functions": {}, "values": {}}
    for key, value in vars(module).items():
        if key.startswith("_") or isinstance(value, ModuleType):
            continue
        if isinstance(value, type):
            found["classes"] |= classes(module, value, key)
        elif callable(value):
            found["functions"][key] = function(value)
        else:
            found["values"][key] = type(value).__qualname__
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
