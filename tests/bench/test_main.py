"""The whole command: measured, compared, refused, failed; its exit code and its last line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest

from edge_vla import places
from edge_vla.bench.__main__ import main, share_of
from edge_vla.bench.report import read_report
from edge_vla.errors import ConfigError

Call = Callable[..., tuple[int, dict[str, Any], str]]
QUICK = ("--stages", "engine", "--rounds", "8")
NO_LIMIT = ("--max-regression", "1000%")  # a verdict on latency would rest on the machine


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """call(*words): (exit code, the last line of stdout as JSON, stderr). Run in an empty folder without a robot."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(places, "HOME", tmp_path)

    def run(*words: object) -> tuple[int, dict[str, Any], str]:
        code = main([*map(str, words), "--json"])
        captured = capsys.readouterr()
        return code, json.loads(captured.out.splitlines()[-1]), captured.err

    return run


@pytest.fixture
def base(call: Call, bundle: Path, tmp_path: Path) -> Path:
    path = tmp_path / "base.json"
    assert call("--engine", bundle, *QUICK, "--out", path)[0] == 0
    return path


def test_the_default_engine_is_measured(call: Call, checkout: Path, tmp_path: Path) -> None:
    folder = checkout / "engines/default"
    code, told, err = call("--engine", folder, *QUICK, "--prompt", "detect cup", "--prompt", "drive", "--out", "out/bench.json")
    assert (code, told["result"]) == (0, "measured")
    assert (told["engine"]["precision"], told["engine"]["providers"], told["engine"]["threads"]) == ("int8", ["CPUExecutionProvider"], 1)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["sha256"].items() < told["engine"]["sha256"].items()
    assert len(told["engine"]["sha256"]["manifest.json"]) == 64
    assert set(told["stages"]) == {
        "load", "preprocess", "vision", "prefill", "decode", "reply", "answer", "answer: detect", "answer: drive", "parse",
    }  # fmt: skip
    answer = told["stages"]["answer"]
    assert (answer["n"], answer["warm_up"], "samples_ms" in answer) == (4 * 8, 11, False)
    assert 0 < answer["p50_ms"] <= answer["p95_ms"] <= answer["p99_ms"] <= answer["max_ms"]
    assert told["stages"]["load"]["n"] == 0
    assert told["reference"] == {
        "against": "the bundle's reference", "tolerance": "8 bins, 0.1 of confidence and 0.05 m", "answers": 4, "changed": [],
    }  # fmt: skip
    assert "engine " in err  # progress
    assert len(read_report(tmp_path / "out/bench.json").stages["answer"].samples_ms) == 32
    assert cv2.imread(str(tmp_path / "out/bench.png")) is not None


def test_the_same_engine_answers_the_same(call: Call, base: Path, bundle: Path) -> None:
    code, told, _ = call("--engine", bundle, *QUICK, "--compare", base, *NO_LIMIT)
    assert (code, told["result"], told["comparison"]["answers"]["changed"]) == (0, "same", [])
    assert told["comparison"]["answers"]["tolerance"].startswith("0 bins")


def test_an_engine_that_answers_otherwise_fails_however_fast_it_is(call: Call, base: Path, bundle: Path, other_bundle: Path) -> None:
    code, told, err = call("--engine", other_bundle, *QUICK, "--frames", bundle, "--compare", base, *NO_LIMIT)
    assert (code, told["result"]) == (1, "changed")
    changed = told["comparison"]["answers"]["changed"]
    assert len(changed) == 3  # the cup is gone, a ball is there, and there is no cup; drive is drive
    assert "'detect cup'" in changed[0]
    assert "is ''" in changed[0]
    assert f"changed  {base}: 'detect cup'" in err


def test_an_engine_that_contradicts_its_own_reference_fails_without_a_base(call: Call, other_bundle: Path) -> None:
    code, told, _ = call("--engine", other_bundle, *QUICK)
    assert (code, told["result"], len(told["reference"]["changed"])) == (1, "changed", 3)


def shrunk(path: Path, by: float) -> Path:
    """The report, had everything taken a part of its time."""
    data = json.loads(path.read_text())
    for stage in data["stages"].values():
        for name, value in stage.items():
            if name.endswith("_ms") and value is not None:
                stage[name] = [ms / by for ms in value] if isinstance(value, list) else value / by
    faster = path.with_name(f"{path.stem}-{by:g}.json")
    faster.write_text(json.dumps(data))
    return faster


def test_a_saved_report_is_judged_without_measuring(call: Call, base: Path, tmp_path: Path) -> None:
    code, told, err = call("--measured", base, "--compare", shrunk(base, 100), "--out", "verdict.json")
    assert (code, told["result"]) == (1, "slower")
    slower = {(change["stage"], change["statistic"]) for change in told["comparison"]["changes"] if change["word"] == "slower"}
    assert ("answer", "p50") in slower
    assert "slower by more than 10%" in " ".join(err.split())
    assert read_report(tmp_path / "verdict.json").result == "slower"
    assert call("--measured", base, "--compare", base, "--out", "verdict.json")[:1] == (0,)
    assert call("--measured", base, "--compare", shrunk(base, 0.01), "--out", "verdict.json")[1]["result"] == "same"


def test_github_is_told_on_stdout_and_in_the_summary(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    capsys.readouterr()
    (tmp_path / "summary.md").write_text("before\n")
    code = main(["--measured", str(base), "--compare", str(shrunk(base, 100)), "--out", "v.json", "--github"])
    out = capsys.readouterr().out
    assert code == 1
    assert "\n::error title=slower::answer p50 " in out
    assert (tmp_path / "summary.md").read_text().startswith("before\n### ❌ Latency: slower\n")


REFUSED = [
    (("--stages", "engine,wheels"), "--stages 'wheels': want one or more of engine, guard, camera"),
    (("--stages", "guard"), "--stages guard: want 'engine' among them"),
    (("--rounds", "7"), "--rounds 7: want 8 to 10000"),
    (("--rounds", "10001"), "--rounds 10001: want 8 to 10000"),
    (("--rounds", "many"), "invalid int value: 'many'"),
    (("--engine", "engines/none"), "no engine 'engines/none'"),
    (("--engine", "oracle"), "--engine oracle: it runs no model"),
    (("--frames", "none"), "--frames none: want a bundle"),
    (("--prompt", "sing"), "--prompt 'sing': "),
    (("--max-regression", "0.1"), "--max-regression '0.1': want a percentage such as 10%"),
    (("--compare", "none.json"), "report none.json: No such file"),
    (("--measured", "none.json"), "want --compare BASE.json with it"),
    (("--out", "bench.txt"), "--out bench.txt: want a name that ends in .json"),
    (("--out", "/proc/none/bench.json"), "--out /proc/none/bench.json: "),
    (("--github",), "--github: $GITHUB_STEP_SUMMARY is not set"),
    (("--round", "9"), "unrecognized arguments: --round 9"),
    (("--robot", "none.toml"), "robot profile none.toml: No such file"),
]


@pytest.mark.parametrize(("words", "why"), REFUSED, ids=[" ".join(words) for words, _ in REFUSED])
def test_what_cannot_be_measured_is_refused(
    call: Call, bundle: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], why: str
) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    code, told, err = call("--engine", bundle, *QUICK, *words)
    assert (code, told["result"]) == (2, "refused")
    assert why in told["why"]
    assert told["why"] in err


def test_a_base_is_not_overwritten(call: Call, base: Path, bundle: Path) -> None:
    before = base.read_bytes()
    code, told, _ = call("--engine", bundle, *QUICK, "--compare", base, "--out", base.parent / "x" / ".." / "base.json")
    assert (code, told["result"]) == (2, "refused")
    assert "would be lost" in told["why"]
    assert base.read_bytes() == before


def test_a_base_of_other_questions_is_refused_before_anything_is_measured(call: Call, base: Path, bundle: Path) -> None:
    code, told, err = call("--engine", bundle, *QUICK, "--prompt", "drive", "--compare", base)
    assert (code, "it asked 4 other questions" in told["why"], "engine  " in err) == (2, True, False)


def test_an_engine_that_fails_is_a_fault_and_leaves_no_report(call: Call, make_nan_bundle: Callable[[], Path], tmp_path: Path) -> None:
    code, told, err = call("--engine", make_nan_bundle(), *QUICK, "--out", "bench.json")
    assert (code, told["result"]) == (3, "fault")
    assert "is not finite" in told["why"]
    assert "Traceback" not in err
    assert not (tmp_path / "bench.json").exists()


@pytest.mark.parametrize(("text", "share"), [("10%", 0.1), ("0%", 0.0), (" 2.5 %", 0.025), ("1000%", 10.0)])
def test_a_percentage(text: str, share: float) -> None:
    assert share_of(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["10", "0.1", "-1%", "1001%", "ten%", "%", "10%%", "nan%", "1e1%"])
def test_no_percentage(text: str) -> None:
    with pytest.raises(ConfigError, match="want a percentage such as 10%"):
        share_of(text)


def heed_interrupts() -> None:
    """A shell's background job is told to ignore them, and so are its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_an_interrupt_ends_it_without_a_report(checkout: Path, tmp_path: Path) -> None:
    """Ctrl-C as soon as the progress bar is there, which a terminal alone gets while it grows."""
    ours, theirs = os.openpty()
    words = [
        "--engine",
        checkout / "engines/default",
        "--stages",
        "engine",
        "--rounds",
        "10000",
        "--out",
        tmp_path / "bench.json",
        "--json",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "edge_vla.bench", *map(str, words)], cwd=checkout, stdout=subprocess.PIPE, stderr=theirs, text=True,
        preexec_fn=heed_interrupts,  # noqa: PLW1509 - no other thread runs here
    )  # fmt: skip
    seen = b""
    while b"engine" not in seen:
        seen += os.read(ours, 4096)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate()
    os.close(ours)
    os.close(theirs)
    assert (process.returncode, json.loads(out)["result"]) == (130, "interrupted")
    assert not (tmp_path / "bench.json").exists()
