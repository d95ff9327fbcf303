"""Our sources under mypy, against stubs of foreign modules: what it objects to, and where it could not follow."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOREIGN = ("tensorrt", "cuda")
ASKING = {"getattr", "hasattr"}  # how a name is asked for that not every version has
LINE = re.compile(r"(?P<file>[^:]+):(?P<at>\d+:\d+:\d+:\d+): error: (?P<what>.*)")
COMMAND_LINE = "args"  # what argparse gives, which has no types
ANY, HAS_ANY = 'Expression has type "Any"', 'Expression type contains "Any"'
ANY_EXPLICIT = re.compile(r'Expression type contains "Any" \(has type "(type\[Any\]|Any \| None)"\)')


@dataclass(frozen=True, slots=True)
class Checked:
    """One reading of the sources."""

    errors: frozenset[str]  # "file:line: what"
    lost: tuple[str, ...]  # "file:line: owner.name": an attribute of something whose type is not known, so nothing was proved of it


def imports_foreign(tree: ast.Module) -> bool:
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        if any(name.split(".")[0] in FOREIGN for name in names):
            return True
    return False


UNTYPED = {"torch2trt.py"}  # what torch2trt gives has no types; its signatures have a test of their own


def foreign_sources(checkout: Path) -> list[Path]:
    """Files of the product and the workshops that name TensorRT or CUDA."""
    files = sorted(path for folder in ("edge_vla", "export") for path in (checkout / folder).rglob("*.py"))
    files = [path for path in files if path.name not in UNTYPED]
    return [path for path in files if imports_foreign(ast.parse(path.read_text("utf-8")))]


def check_sources(sources: list[Path], stubs: Path | None, checkout: Path, cache: Path) -> Checked:
    """`stubs` stand in for the foreign modules; everything else is as it is installed. `cache` is mypy's, for any stubs."""
    command = [
        sys.executable, "-m", "mypy", "--config-file=", "--follow-imports=silent", "--ignore-missing-imports", "--check-untyped-defs",
        "--explicit-package-bases", "--disallow-any-expr", "--show-error-end", "--hide-error-codes", "--no-error-summary", "--no-pretty",
        f"--cache-dir={cache}", *(str(path) for path in sources),
    ]  # fmt: skip
    env = {**os.environ, "MYPYPATH": f"{stubs or ''}:{checkout}"}
    result = subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True, check=False)
    if result.returncode not in (0, 1):
        raise RuntimeError(f"mypy did not run: {result.stdout}{result.stderr}")
    ours = {str(path.relative_to(checkout)) if path.is_relative_to(checkout) else str(path) for path in sources}
    errors: list[str] = []
    unknown: dict[str, set[str]] = {}
    for line in result.stdout.splitlines():
        match = LINE.fullmatch(line)
        if match is None:
            continue  # a note
        if match["what"] == ANY or ANY_EXPLICIT.fullmatch(match["what"]):
            unknown.setdefault(match["file"], set()).add(match["at"])
        elif match["file"] in ours and not match["what"].startswith(HAS_ANY):
            errors.append(f"{match['file']}:{match['at'].split(':')[0]}: {match['what']}")
    lost = [each for path in sources for each in _lost(path, checkout, unknown)]
    return Checked(frozenset(errors), tuple(lost))


def _lost(path: Path, checkout: Path, unknown: dict[str, set[str]]) -> Iterator[str]:
    name = str(path.relative_to(checkout)) if path.is_relative_to(checkout) else str(path)
    spans = unknown.get(name, set()) | unknown.get(str(path), set())
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Attribute):
            base = node.value
            known = f"{base.lineno}:{base.col_offset + 1}:{base.end_lineno}:{base.end_col_offset}" not in spans
            if not known and ast.unparse(base) != COMMAND_LINE:
                yield f"{name}:{node.lineno}: {ast.unparse(node)}"


def attribute_names(sources: list[Path]) -> set[str]:
    """Every name that follows a dot, and every keyword of a call."""
    found: set[str] = set()
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute):
                found.add(node.attr)
            elif isinstance(node, ast.keyword) and node.arg:
                found.add(node.arg)
    return found


def asked_names(sources: list[Path]) -> set[str]:
    """What is asked for by name as a program runs, mypy sees none of it. Raises ValueError for a name that is not written out."""
    found: set[str] = set()
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ASKING:
                name = node.args[1]
                if not (isinstance(name, ast.Constant) and isinstance(name.value, str)):
                    raise ValueError(f"{path}:{node.lineno}: {node.func.id} of a name that is not written out")
                found.add(name.value)
    return found
