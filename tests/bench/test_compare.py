"""Which base is refused, which stage is slower, which answer is another one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edge_vla.bench.compare import Here, compare, require_comparable
from edge_vla.bench.measuring import judged
from edge_vla.bench.report import Report
from edge_vla.errors import ConfigError
from tests.bench.handmade import answers, edited

Make = Callable[..., Report]
LIMIT = 0.1


def words(bases: list[Report], new: Report, limit: float = LIMIT) -> dict[tuple[str, str], str]:
    return {(change.stage, change.statistic): change.word for change in compare(bases, new, limit).changes}


def here(report: Report, **other: Any) -> Here:
    values = {
        "machine": report.machine, "power_mode": report.conditions.power_mode, "threads": report.engine.threads,
        "keys": tuple(line.key for line in report.answers), "groups": ("engine",),
    }  # fmt: skip
    return Here(**{**values, **other})


# -- latency -----------------------------------------------------------------------------------------------------------
def test_the_same_is_the_same(make_report: Make) -> None:
    report = judged(make_report(), [make_report()], LIMIT)
    assert (report.result, report.exit_code, report.changed) == ("same", 0, [])
    assert {change.word for change in report.comparison.changes} == {"same"}
    assert {(change.stage, change.statistic) for change in report.comparison.changes} == {
        (stage, statistic) for stage in ("vision", "decode", "answer") for statistic in ("p50", "p95")
    }


def test_one_slower_stage_is_a_regression_even_if_the_answer_is_as_fast(make_report: Make) -> None:
    new = make_report({"vision": 12.0, "decode": 1.0, "answer": 20.0})
    report = judged(new, [make_report()], LIMIT)
    assert (report.result, report.exit_code) == ("slower", 1)
    assert [(c.stage, c.statistic, c.base_ms, c.new_ms, c.ratio) for c in report.comparison.slower] == [
        ("vision", "p50", 10.0, 12.0, 1.2), ("vision", "p95", 12.0, 14.4, 1.2),
    ]  # fmt: skip


@pytest.mark.parametrize(("limit", "exit_code"), [(0.19, 1), (0.2, 0), (0.5, 0)])
def test_the_limit_decides(make_report: Make, limit: float, exit_code: int) -> None:
    assert judged(make_report({"vision": 12.0}), [make_report({"vision": 10.0})], limit).exit_code == exit_code


def test_what_noise_hides_is_unclear_and_no_failure(make_report: Make) -> None:
    report = judged(make_report({"vision": 12.0}, jitter=0.2), [make_report({"vision": 10.0}, jitter=0.2)], LIMIT)
    assert (report.result, report.exit_code) == ("same", 0)
    assert [change.word for change in report.comparison.changes] == ["unclear", "unclear"]


def test_a_second_base_shows_the_drift_of_the_machine(make_report: Make) -> None:
    """12 is slower than 10, but not than 10 and 13 of the same thing, whose middle is 11.5."""
    new = make_report({"vision": 12.0})
    assert words([make_report({"vision": 10.0})], new) == {("vision", "p50"): "slower", ("vision", "p95"): "slower"}
    both = [make_report({"vision": 10.0}), make_report({"vision": 13.0})]
    assert words(both, new) == {("vision", "p50"): "same", ("vision", "p95"): "same"}
    assert words(both, make_report({"vision": 12.9})) == {("vision", "p50"): "unclear", ("vision", "p95"): "unclear"}
    assert words(both, make_report({"vision": 14.0})) == {("vision", "p50"): "slower", ("vision", "p95"): "slower"}


def test_faster_is_said_and_fails_nothing(make_report: Make) -> None:
    report = judged(make_report({"vision": 5.0}), [make_report({"vision": 10.0})], LIMIT)
    assert (report.exit_code, {change.word for change in report.comparison.changes}) == (0, {"faster"})


def test_stages_come_and_go(make_report: Make) -> None:
    assert words([make_report({"vision": 10.0, "decode": 1.0})], make_report({"vision": 10.0, "head": 2.0})) == {
        ("vision", "p50"): "same", ("vision", "p95"): "same", ("head", "p50"): "new", ("decode", "p50"): "gone",
    }  # fmt: skip


def test_cold_figures_are_one_sample_and_are_not_judged(make_report: Make) -> None:
    base, new = make_report(), make_report()
    cold = {name: {**stage.model_dump(), "cold_ms": 9999.0} for name, stage in new.stages.items()}
    assert judged(edited(new, stages=cold), [base], LIMIT).exit_code == 0


# -- answers -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("k", "other"),
    [
        (0, {"text": ""}),
        (0, {"text": "<loc0100><loc0200><loc0300><loc0400> ball"}),
        (0, {"text": "<loc0101><loc0200><loc0300><loc0400> cup"}),  # the same files on the same machine: not one bin
        (0, {"confidence": 0.8985}),
        (0, {"free_distance_m": [1.0, 2.002]}),
        (0, {"free_distance_m": [1.0]}),
        (0, {"free_distance_m": None}),
        (1, {"text": "go back."}),
    ],
)
def test_another_answer_is_a_change_whatever_the_latency(make_report: Make, k: int, other: dict[str, Any]) -> None:
    report = judged(answers(make_report({"vision": 5.0}), k, **other), [make_report({"vision": 10.0})], LIMIT)
    assert (report.result, report.exit_code, len(report.changed)) == ("changed", 1, 1)
    assert report.comparison.answers.tolerance == "0 bins, 0.001 of confidence and 0.001 m"
    assert repr(report.answers[k].prompt) in report.changed[0]


@pytest.mark.parametrize("other", [{"confidence": 0.9009}, {"free_distance_m": [1.0009, 2.0]}])
def test_what_json_rounds_is_no_change(make_report: Make, other: dict[str, Any]) -> None:
    assert judged(answers(make_report(), 0, **other), [make_report()], LIMIT).exit_code == 0


OTHERWISE = {
    "another engine": {"engine": {"sha256": {"vision.onnx": "cc", "manifest.json": "bb"}}},
    "another provider": {"engine": {"providers": ["CUDAExecutionProvider"]}},
    "another onnxruntime": {"versions": {"packages": {"onnxruntime": "1.24.0"}}},
    "another processor": {"machine": {"processor": "Another CPU"}},
}


@pytest.mark.parametrize("other", OTHERWISE.values(), ids=OTHERWISE.keys())
def test_what_runs_otherwise_may_round_otherwise(make_report: Make, other: dict[str, Any]) -> None:
    """Eight bins, a tenth of confidence and five centimetres, as when a bundle is verified; not more."""
    near = {"text": "<loc0108><loc0192><loc0300><loc0400> cup", "confidence": 0.81, "free_distance_m": [1.049, 2.0]}
    base, new = make_report(), edited(make_report(), **other)
    found = compare([base], answers(new, 0, **near), LIMIT)
    assert (found.answers.changed, found.answers.tolerance) == ([], "8 bins, 0.1 of confidence and 0.05 m")
    assert len(found.notes) == 1
    for far in ({"text": "<loc0109><loc0192><loc0300><loc0400> cup"}, {"confidence": 0.79}, {"free_distance_m": [1.051, 2.0]}):
        assert len(compare([base], answers(new, 0, **{**near, **far}), LIMIT).answers.changed) == 1


def test_many_changed_answers_are_counted(make_report: Make) -> None:
    lines = [{"key": f"k{k}", "prompt": "drive", "text": "go.", "confidence": None, "free_distance_m": None} for k in range(30)]
    base = edited(make_report(), answers=lines)
    new = edited(base, answers=[{**line, "text": "stop."} for line in lines])
    assert len(compare([base], new, LIMIT).answers.changed) == 21
    assert compare([base], new, LIMIT).answers.changed[-1] == "and 10 more"


# -- bases that say nothing --------------------------------------------------------------------------------------------
def test_a_base_measured_here_is_comparable(make_report: Make) -> None:
    base = make_report()
    require_comparable(base, here(base), any_machine=False)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"power_mode": "15W"}, "power_mode 'not a Jetson', here '15W'"),
        ({"threads": 4}, "threads 1, here 4"),
        ({"groups": ()}, "it measured engine; add --stages engine"),
        ({"keys": ("k1",)}, r"it asked 2 other questions \(reference of x\); name the same with --frames"),
        ({"keys": ("k1", "k3")}, "other questions"),
    ],
)
def test_a_base_of_something_else_is_refused(make_report: Make, other: dict[str, Any], why: str) -> None:
    base = make_report()
    with pytest.raises(ConfigError, match=why):
        require_comparable(base, here(base, **other), any_machine=False)


@pytest.mark.parametrize("name", ["board", "jetson", "processor", "gpu"])
def test_a_base_of_another_machine_is_refused_unless_the_risk_is_named(make_report: Make, name: str) -> None:
    base = edited(make_report(), machine={name: "another"})
    with pytest.raises(ConfigError, match=f"another machine.*{name} 'another', here .*--any-machine"):
        require_comparable(base, here(make_report()), any_machine=False)
    require_comparable(base, here(make_report()), any_machine=True)
    assert compare([base], make_report(), LIMIT).notes == ["another machine or power mode: the latencies are not comparable"]


def test_a_little_more_memory_is_the_same_machine(make_report: Make) -> None:
    base = edited(make_report(), machine={"memory_gib": 15.9})
    require_comparable(base, here(make_report()), any_machine=False)
    assert compare([base], make_report(), LIMIT).answers.tolerance.startswith("0 bins")


def test_naming_the_risk_does_not_make_other_questions_the_same(make_report: Make) -> None:
    with pytest.raises(ConfigError, match="other questions"):
        require_comparable(make_report(), here(make_report(), keys=("k1",)), any_machine=True)
