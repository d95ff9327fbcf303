"""One change to a module that its tests must notice; Cosmic Ray knows which changes there are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

from tests.mutants.scope import Scope

# These need arguments of their own, or make what nobody can tell apart: `is` and `==` of None, of enum members and of small numbers.
LEFT_OUT = re.compile(r"Variable|_(Is_Eq|Eq_Is|IsNot_NotEq|NotEq_IsNot)$")


@dataclass(frozen=True, slots=True)
class Mutant:
    """What was changed, and where: text and function, for lines move."""

    module: str  # edge_vla.guard.state
    function: str
    was: str  # the line, stripped; "" for a module that is as it was
    became: str
    source: str

    @property
    def name(self) -> tuple[str, str, str, str]:
        return self.module, self.function, self.was, self.became


def mutants(module: str, source: str, roots: tuple[str, ...]) -> Iterator[Mutant]:
    """Each different one in the scope, in the order of Cosmic Ray's operators."""
    scope, seen = Scope(source, roots), {source}
    tree = list(ast_nodes(get_ast(source)))
    for name in sorted(name for name in operator_names() if not LEFT_OUT.search(name)):
        operator = get_operator(name)()
        places = [start for node in tree for start, _ in operator.mutation_positions(node)]
        for occurrence, start in enumerate(places):
            mutated = mutate_code(source, operator, occurrence) if start in scope else None
            if mutated is not None and mutated not in seen:
                seen.add(mutated)
                yield _told(module, scope, source, mutated)


def _told(module: str, scope: Scope, source: str, mutated: str) -> Mutant:
    old, new = source.splitlines(), mutated.splitlines()
    changes = SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    kind, first, last, begin, end = next(change for change in changes if change[0] != "equal")
    was, became = ("\n".join(line.strip() for line in lines) for lines in (old[first:last], new[begin:end]))
    return Mutant(module, scope.function(first + 1), was or kind, became, mutated)
