"""`python -m tests.mutants`: every small change to the guard's limits, its state machine and each base's encoder, before their tests.

A mutant that no test notices is a survivor. `survivors.toml` names those that nobody can notice, with the reason; exit code 1 for any
other, and for a name on the list that no longer survives.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from tests.mutants.mutant import Mutant, mutants
from tests.mutants.scope import ENCODER
from tests.mutants.trial import is_killed

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
# Not from the package's own list: nothing of it may be imported before a mutant is.
BASES = sorted(path.stem for path in (CHECKOUT / "edge_vla" / "bases").glob("*.py") if "def decode_command(" in path.read_text())


@dataclass(frozen=True, slots=True)
class Subject:
    """A module, the functions its mutants start from (none: all of it), and the tests that must notice."""

    module: str
    tests: tuple[str, ...]
    roots: tuple[str, ...] = ()


def _base(name: str) -> Subject:
    own = sorted(str(path.relative_to(CHECKOUT)) for path in (CHECKOUT / "tests" / "bases").glob(f"test_{name}*.py"))
    return Subject(f"edge_vla.bases.{name}", (*own, "tests/bases/test_edges.py", "tests/bases/test_contract.py"), ENCODER)


SUBJECTS = {
    "limits": Subject("edge_vla.guard.limits", ("tests/guard/test_limits.py",)),
    "state": Subject("edge_vla.guard.state", ("tests/guard/test_state.py", "tests/guard/test_state_edges.py")),
    "wheels": Subject("edge_vla.guard.wheels", ("tests/guard/test_wheels.py",)),
    **{name: _base(name) for name in BASES},
}


def survivors() -> dict[tuple[str, str, str, str], str]:
    """The named list: (module, function, was, became), and why nobody can notice."""
    rows = tomllib.loads((HERE / "survivors.toml").read_text()).get("survivor", [])
    return {(row["module"], row["function"], row["was"], row["became"]): row["why"] for row in rows}


def _try(case: tuple[Mutant, tuple[str, ...]]) -> tuple[Mutant, bool]:
    return case[0], is_killed(*case)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("subjects", nargs="*", choices=[[], *SUBJECTS], help="some of them; none: all")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, help="where the counts go, as JSON")
    args = parser.parse_args()
    os.chdir(CHECKOUT)
    cases = []
    for name in args.subjects or SUBJECTS:
        subject = SUBJECTS[name]
        source = (CHECKOUT / (subject.module.replace(".", "/") + ".py")).read_text()
        whole = Mutant(subject.module, "", "", "", source)
        cases += [(mutant, subject.tests) for mutant in (whole, *mutants(subject.module, source, subject.roots))]
    counts, alive = _run(cases, args.jobs)
    return _judge({case[0].module for case in cases}, counts, alive, args.out)


def _run(cases: list[tuple[Mutant, tuple[str, ...]]], jobs: int) -> tuple[Counter[str], list[Mutant]]:
    """How many were tried of each module, and what nobody noticed."""
    counts: Counter[str] = Counter()
    alive: list[Mutant] = []
    with multiprocessing.get_context("fork").Pool(jobs, maxtasksperchild=1) as pool, Progress() as progress:
        task = progress.add_task("mutants", total=len(cases))
        for mutant, killed in pool.imap_unordered(_try, cases, chunksize=1):
            progress.advance(task)
            if not mutant.was:
                if killed:
                    sys.exit(f"the tests of {mutant.module} fail before anything is changed")
                continue
            counts[mutant.module] += 1
            if not killed:
                alive.append(mutant)
    return counts, alive


def _judge(modules: set[str], counts: Counter[str], alive: list[Mutant], out: Path | None) -> int:
    named = {name: why for name, why in survivors().items() if name[0] in modules}
    found = {mutant.name for mutant in alive}
    unnamed, gone = sorted(found - set(named)), sorted(set(named) - found)
    rows = {}
    for module in sorted(counts):
        here = [mutant for mutant in alive if mutant.module == module]
        living, beyond = len(here), sum(mutant.name not in named for mutant in here)
        row = {"mutants": counts[module], "killed": counts[module] - living, "named": living - beyond, "survivors": beyond}
        print(f"{module:32}", ", ".join(f"{count:5} {what}" for what, count in row.items()))
        rows[module] = row
    for module, function, was, became in unnamed:
        print(f"\nSURVIVES {module} {function}\n  - {was}\n  + {became}")
    for name in gone:
        print(f"\nno longer survives, take it off the list: {name}")
    if out is not None:
        out.write_text(json.dumps(rows, indent=1) + "\n")
    return 1 if unnamed or gone else 0


if __name__ == "__main__":
    sys.exit(main())
