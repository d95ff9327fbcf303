"""The example workflow says nothing our command line and Makefile do not know."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from edge_vla.bench.__main__ import parse_args


@pytest.fixture
def steps(checkout: Path) -> list[str]:
    yaml = pytest.importorskip("yaml")
    told = yaml.safe_load((checkout / "docs/ci/latency.yml").read_text("utf-8"))
    job = told["jobs"]["latency"]
    env = job["env"]
    runs = [step["run"] for step in job["steps"] if "run" in step]
    return [run.replace("$BENCH", env["BENCH"]).replace("$OUT", "/out") for run in runs]


def test_every_call_of_the_benchmark_is_a_command_line(steps: list[str]) -> None:
    found = [re.search(r'bench EXTRAS=cpu ARGS="([^"]*)"', step) for step in steps]
    calls = [parse_args(shlex.split(match[1])) for match in found if match]
    measured = [f"/out/{name}.json" for name in ("before", "change", "after")]
    assert [(str(args.out), args.stages, args.rounds) for args in calls[:3]] == [(name, "engine,guard", 40) for name in measured]
    assert (len(calls), str(calls[3].out), calls[3].github) == (4, "/out/verdict.json", True)
    assert [str(path) for path in calls[-1].compare] == ["/out/before.json", "/out/after.json"]
    assert str(calls[-1].measured) == "/out/change.json"


def test_every_target_is_in_the_makefile(steps: list[str], checkout: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (checkout / "Makefile").read_text(), re.MULTILINE))
    called = {word for step in steps for word in re.findall(r"make -C \w+ ([a-z-]+)", step)}
    assert called == {"setup", "bench"}
    assert called <= targets
