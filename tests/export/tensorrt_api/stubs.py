"""Stub files for mypy, made of what the bindings say of themselves: pybind11's signatures, Cython's first lines.

A C++ name becomes the class of that name, a type that nobody knows `object`, which has no attribute and is no argument.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator, Mapping
from typing import Any

Described = Mapping[str, Any]

HEAD = """import builtins, collections.abc, typing, typing_extensions
_Bytes: typing.TypeAlias = typing_extensions.Buffer
_Sizes: typing.TypeAlias = Dims | collections.abc.Sequence[builtins.int]
"""
CUDA_HEAD = "import builtins, typing\n"
# pybind11's words, of old and of new versions. Parameters take more than results give: `Dims` any sequence of numbers.
WORDS = {
    "None": "None", "bool": "builtins.bool", "int": "builtins.int", "float": "builtins.float", "str": "builtins.str",
    "bytes": "builtins.bytes", "slice": "builtins.slice", "list": "builtins.list[typing.Any]", "tuple": "builtins.tuple[typing.Any, ...]",
    "typing.SupportsInt": "builtins.int", "typing.SupportsFloat": "builtins.float",
}  # fmt: skip
TAKEN = WORDS | {
    "typing.SupportsInt": "typing.SupportsInt", "typing.SupportsFloat": "typing.SupportsFloat",
    "buffer": "_Bytes", "typing_extensions.Buffer": "_Bytes", "Dims": "_Sizes", "object": "builtins.object",
}  # fmt: skip
GENERIC = {"List": "builtins.list", "list": "builtins.list", "Tuple": "builtins.tuple", "tuple": "builtins.tuple"}
SEQUENCES = {"List", "list", "collections.abc.Sequence"}  # as parameters
RENAMED = {"IParserError": "ParserError"}
# NvInferRuntime.h and NvInfer.h: what is None after a failure. The signatures do not say so.
NONE_ON_FAILURE = {
    ("Runtime", "deserialize_cuda_engine"), ("Builder", "build_serialized_network"), ("Builder", "build_engine_with_config"),
    ("ICudaEngine", "create_execution_context"),
}  # fmt: skip
CALLED_BACK = {"ILogger", "IProfiler", "IProgressMonitor", "IErrorRecorder", "IDebugListener", "IOutputAllocator", "IGpuAllocator"}


def parts(text: str) -> list[str]:
    """Split at the commas that no bracket holds."""
    found, depth = [""], 0
    for letter in text:
        depth += (letter in "([{<") - (letter in ")]}>")
        if letter == "," and not depth:
            found.append("")
        else:
            found[-1] += letter
    return [part.strip() for part in found if part.strip()]


def spelt(name: str) -> str:
    """A parameter's name; one that Python keeps for itself can only be given by its place."""
    return f"{name}_" if keyword.iskeyword(name) else name


class Translator:
    """Types of a module that has these classes."""

    def __init__(self, classes: Mapping[str, Any]) -> None:
        self._classes = classes

    def type(self, text: str, *, taken: bool = False) -> str:
        """`taken` for a parameter."""
        text = text.strip().removeprefix("tensorrt_bindings.tensorrt.")
        words = TAKEN if taken else WORDS
        if text in words:
            return words[text]
        if bracket := re.fullmatch(r"([\w.]+)\[(.*)\]", text):
            outer, inner = bracket[1], ", ".join(self.type(part, taken=taken) for part in parts(bracket[2]))
            if taken and outer in SEQUENCES:
                return f"collections.abc.Sequence[{inner}]"
            return f"{GENERIC[outer]}[{inner}]" if outer in GENERIC else "builtins.object"
        name = text.split("::")[-1]
        name = RENAMED.get(name, name)
        return name if name in self._classes else "builtins.object"

    def method(self, owner: str, name: str, signature: str) -> str:
        """One `def`, for a class whose methods get `self`."""
        match = re.search(r"\((.*)\) -> (.*)$", signature)
        if match is None:
            raise ValueError(f"{owner}.{name}: no signature in {signature!r}")
        taken = parts(match[1])
        calls = owner in CALLED_BACK  # what it is given is what TensorRT makes
        if taken and re.match(r"(self|arg0): ", taken[0]):
            taken = ["self", *(self._parameter(each, taken=not calls) for each in taken[1:])]
        else:
            taken = [self._parameter(each, taken=not calls) for each in taken]
        last = max((at for at, each in enumerate(taken) if not each.endswith("...")), default=0)
        taken = [each.removesuffix(" = ...") if at < last else each for at, each in enumerate(taken)]  # C++ lets what is needed come last
        gives = self.type(match[2]) + (" | None" if (owner, name) in NONE_ON_FAILURE else "")
        return f"def {name}({', '.join(taken)}) -> {gives}: ..."

    def _parameter(self, text: str, *, taken: bool) -> str:
        if text in ("*", "/", "*args", "**kwargs"):
            return text
        name, _, kind = text.partition(":")
        kind, default, value = kind.partition("=")
        gives = self.type(kind, taken=taken) + (" | None" if value.strip() == "None" else "")
        return f"{spelt(name.strip())}: {gives}" + (" = ..." if default else "")


def overloads(lines: list[str]) -> Iterator[str]:
    if len(lines) == 1:
        yield lines[0]
        return
    for line in lines:
        yield "@typing.overload"
        yield line


def class_stub(name: str, found: Described, translator: Translator, classes: Described) -> Iterator[str]:
    """A class with those inside it, unindented below its own line."""
    bases = [base for base in found["bases"] if base in classes]
    yield f"class {name.rsplit('.', maxsplit=1)[-1]}{'(' + bases[0] + ')' if bases else ''}:"
    for inner in classes:
        if inner.startswith(f"{name}.") and inner.count(".") == name.count(".") + 1:
            yield from (f"    {line}" for line in class_stub(inner, classes[inner], translator, classes))
    for key, member in sorted(found["members"].items()):
        yield from (f"    {line}" for line in member_stub(name, key, member, translator))
    if found["enum"]:
        yield "    def __int__(self) -> builtins.int: ..."
        yield "    def __index__(self) -> builtins.int: ..."
    if found["buffer"]:
        yield "    def __buffer__(self, flags: builtins.int, /) -> builtins.memoryview: ..."
    if {"__len__", "__getitem__"} <= set(found["members"]) and name == "Dims":
        yield "    def __iter__(self) -> typing.Iterator[builtins.int]: ..."  # Python makes one of the two
    yield "    _: builtins.object"


def member_stub(owner: str, name: str, member: Described, translator: Translator) -> Iterator[str]:
    if member["kind"] == "member":
        yield f"{name}: typing.ClassVar[{owner}]"
    elif member["kind"] == "object":
        kind = translator.type(member["type"])
        yield f"{name}: {'typing.Any' if kind == 'builtins.object' else f'typing.ClassVar[{kind}]'}"
    elif member["kind"] == "value":
        yield f"{name}: builtins.{member['type']}"
    elif member["kind"] == "property":
        said = member["signatures"]
        kind = translator.type(said[0].rpartition("->")[2]) if said else "builtins.object"
        yield "@property"
        yield f"def {name}(self) -> {kind}: ..."
        if member["settable"]:
            yield f"@{name}.setter"
            yield f"def {name}(self, value: {kind}) -> None: ..."
    elif member["signatures"]:
        yield from overloads([translator.method(owner, name, line) for line in member["signatures"]])


def pybind_stub(found: Described) -> str:
    """Of the bindings."""
    classes = found["classes"]
    translator = Translator(classes)
    lines = [HEAD, "__version__: builtins.str"]
    for name, described in classes.items():
        if "." not in name:
            lines += class_stub(name, described, translator, classes)
    for name, described in found["functions"].items():
        if "parameters" in described:
            lines.append(f"def {name}({', '.join(f'{each}: typing.Any' for each in described['parameters'])}) -> typing.Any: ...")
        elif described["signatures"]:
            lines += overloads([translator.method("", name, line) for line in described["signatures"]])
    for name, kind in found["values"].items():
        lines.append(f"{name}: {translator.type(kind)}")
    return "\n".join(lines) + "\n"


def cython_stub(found: Described) -> str:
    """Of CUDA's runtime: parameters by number and name, enumerations by member; every call gives a tuple."""
    classes = found["classes"]
    lines = [CUDA_HEAD]
    for name, described in classes.items():
        lines.append(f"class {name}:")
        for key, member in sorted(described["members"].items()):
            kind = f"typing.ClassVar[{name}]" if member["kind"] == "member" else "typing.Any"
            if not key.startswith("_"):
                lines.append(f"    {key}: {kind}")
        lines += ["    def __init__(self, *args: builtins.object) -> None: ...", "    def __int__(self) -> builtins.int: ..."]
    for name, described in found["functions"].items():
        for line in described.get("signatures", ())[:1]:
            if match := re.fullmatch(rf"{name}\((.*)\)", line):
                taken = ", ".join(_cython_parameter(each, classes) for each in parts(match[1]))
                lines.append(f"def {name}({taken}) -> builtins.tuple[typing.Any, ...]: ...")
    lines += [f"{name}: builtins.int" for name, kind in found["values"].items() if kind == "int"]
    return "\n".join(lines) + "\n"


def _cython_parameter(text: str, classes: Described) -> str:
    """`devPtr`, `size_t size`, `kind: cudaMemcpyKind`, `pos: Optional[cudaPos]`, `from_: Optional[...] = None`, `size_t n=0`."""
    text, default, _ = text.partition("=")
    name, _, kind = text.partition(":")
    name, kind = spelt(name.split()[-1].lstrip("*")), kind.strip()
    if kind not in classes:
        number = re.match(r"(size_t|int|unsigned|long|float)\b", text)
        kind = "builtins.object" if number is None else f"builtins.{'float' if number[1] == 'float' else 'int'}"
    return f"{name}: {kind}" + (" = ..." if default else "")
