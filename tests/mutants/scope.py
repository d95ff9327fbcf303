"""Which lines of a module are mutated: all of it, or what its encoder is made of."""

from __future__ import annotations

import ast
from collections.abc import Iterator

ENCODER = ("__init__", "init_frames", "poll_frames", "restart_frames", "encode", "decode_command")

Position = tuple[int, int]


class Scope:
    """The parts of `source` that are reached from the functions called `roots`; without roots, everything. Annotations never are."""

    def __init__(self, source: str, roots: tuple[str, ...] = ()) -> None:
        tree = ast.parse(source)
        nodes = list(_reached(tree, roots)) if roots else [tree]
        self._spans = [(node.lineno, node.end_lineno or node.lineno) for node in nodes if not isinstance(node, ast.Module)]
        self._annotations = list(_annotations(tree))
        self._functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]

    def __contains__(self, start: Position) -> bool:
        if any(begin <= start < end for begin, end in self._annotations):
            return False
        return not self._spans or any(first <= start[0] <= last for first, last in self._spans)

    def function(self, line: int) -> str:
        """The function that a line belongs to, or "" outside of all."""
        inside = [node for node in self._functions if node.lineno <= line <= (node.end_lineno or node.lineno)]
        return max(inside, key=lambda node: node.lineno).name if inside else ""


def _reached(tree: ast.Module, roots: tuple[str, ...]) -> Iterator[ast.stmt]:
    """Functions, assignments and methods of the class with these roots, whose name a reached one speaks of."""
    named: dict[str, list[ast.stmt]] = {}
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    homes = [tree, *(node for node in classes if {*roots} <= {method.name for method in node.body if isinstance(method, ast.FunctionDef)})]
    for node in (node for home in homes for node in home.body):
        if isinstance(node, ast.FunctionDef):
            named.setdefault(node.name, []).append(node)
    for statement in tree.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        for name in (leaf.id for target in targets for leaf in ast.walk(target) if isinstance(leaf, ast.Name)):
            named.setdefault(name, []).append(statement)
    waiting, seen = list(roots), set(roots)
    while waiting:
        for node in named.get(waiting.pop(), []):
            yield node
            leaves = [leaf for leaf in ast.walk(node) if isinstance(leaf, (ast.Name, ast.Attribute))]
            spoken = {leaf.attr if isinstance(leaf, ast.Attribute) else leaf.id for leaf in leaves}
            waiting += sorted((spoken & set(named)) - seen)
            seen |= spoken


def _annotations(tree: ast.Module) -> Iterator[tuple[Position, Position]]:
    """They are never evaluated: `from __future__ import annotations`."""
    for node in ast.walk(tree):
        for note in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if isinstance(note, ast.expr):
                yield (note.lineno, note.col_offset), (note.end_lineno or note.lineno, note.end_col_offset or note.col_offset)
