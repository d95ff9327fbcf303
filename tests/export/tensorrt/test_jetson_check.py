"""`python -m export jetson-check` as a process of its own, on the doubles: every check can hold and can fail.

That it holds on a Jetson is what the command is for. Nothing that is timed here means anything.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.export.tensorrt.test_interrupted import left_in, run

pytestmark = pytest.mark.slow
CHECKS = (
    "builds", "builds again", "graphs as ONNX Runtime", "answers as ONNX Runtime", "captured graphs", "latency", "memory",
    "refittable plans", "plans without weights", "version-compatible plans", "foreign plans", "Ctrl-C",
)  # fmt: skip


def verdicts(report: Path) -> dict[str, str]:
    """Check to what was said of it, of the small bundle."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in report.read_text().splitlines() if line.startswith("| tiny |")]
    return {row[1]: row[2].strip("*") for row in rows}


def test_everything_holds(tmp_path: Path) -> None:
    report = tmp_path / "report.md"
    done = run("jetson-check", "--looks", "10", "--report", report)
    assert done.returncode == 0, done.stderr
    assert verdicts(report) == dict.fromkeys(CHECKS, "holds")
    text = report.read_text()
    assert done.stdout.startswith(text)
    assert text.startswith(f"# jetson-check\n\n{len(CHECKS)} hold, 0 fail.\n")
    for fact in ("| TensorRT | 10.3.0, from ", "doubles/tensorrt/__init__.py |", "| GPU | SM 8.7, memory shared with the CPU, CUDA 12.6 |"):
        assert fact in text
    rows = [line for line in text.splitlines() if line.startswith(("| TensorRT, ", "| ONNX Runtime, CPU |"))]
    assert len(rows) == 5  # both forms of cache, captured and not, and ONNX Runtime
    assert all(len(row.split("|")) == 9 and " 10 |" in row for row in rows)
    assert "static: vision 0, lm_step 0, lm_step 1" in text
    assert "half a plan is an error" in text
    assert left_in(tmp_path) == ["report.md"]


def test_numbers_that_are_off_are_found(tmp_path: Path) -> None:
    report = tmp_path / "report.md"
    done = run("jetson-check", "--looks", "10", "--report", report, off=0.01)
    assert done.returncode == 1
    found = verdicts(report)
    assert found["builds"] == "holds"  # the small bundle brings no answers
    assert found["graphs as ONNX Runtime"] == "fails"
    assert "of its largest; allowed 0.001" in report.read_text()
    assert "1 fail" in report.read_text()


def test_what_fails_does_not_stop_the_rest(tmp_path: Path) -> None:
    report = tmp_path / "report.md"
    done = run("jetson-check", "--looks", "10", "--report", report, build_fails="Error Code 2: OutOfMemory | no", fails_for="lm_step")
    assert done.returncode == 1
    found = verdicts(report)
    assert list(found) == list(CHECKS)
    assert {verdict for check, verdict in found.items() if check != "Ctrl-C"} == {"fails"}
    assert "Error Code 2: OutOfMemory \\| no" in report.read_text()
    assert "no plans: the check that builds dynamic failed" in report.read_text()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--looks", "1"), "looks 1: want 10 to 100000"),
        (("nowhere",), "engine nowhere: no manifest.json"),
        (("--lokks", "1"), "--lokks"),
    ],
)
def test_what_cannot_be_checked_is_refused(tmp_path: Path, words: tuple[str, ...], why: str) -> None:
    done = run("jetson-check", "--report", tmp_path / "report.md", *words)
    assert done.returncode == 2
    assert why in done.stderr
    assert "Traceback" not in done.stderr
    assert left_in(tmp_path) == []


def test_a_machine_without_a_gpu_is_told(tmp_path: Path) -> None:
    done = run("jetson-check", "--report", tmp_path / "report.md", sm=[0, 0])
    assert done.returncode == 2
    assert "jetson-check: no NVIDIA GPU answers" in done.stderr
