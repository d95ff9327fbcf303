"""What GitHub Actions is told: errors for what fails, warnings for what a reader should know, one table."""

from __future__ import annotations

from collections.abc import Callable

from edge_vla.bench.github import command, notices, summary
from edge_vla.bench.measuring import judged
from edge_vla.bench.report import Report
from tests.bench.handmade import answers, edited

Make = Callable[..., Report]


def test_a_workflow_command_is_escaped_as_githubs_toolkit_does_it() -> None:
    assert (
        command("error", "a, b: 5%", "10% slower\r\nthan: before, by 2")
        == "::error title=a%2C b%3A 5%25::10%25 slower%0D%0Athan: before, by 2"
    )


def test_a_regression_is_an_error_for_each_quantile(make_report: Make) -> None:
    report = judged(make_report({"vision": 12.0}), [make_report({"vision": 10.0})], 0.1)
    assert notices(report) == [
        "::error title=slower::vision p50 10.00 to 12.00 ms (+20%25)",
        "::error title=slower::vision p95 12.00 to 14.40 ms (+20%25)",
    ]


def test_another_answer_is_an_error(make_report: Make) -> None:
    report = judged(answers(make_report(), 1, text="go back."), [make_report()], 0.1)
    (line,) = notices(report)
    assert line.startswith("::error title=another answer::base: 'drive' (k2): was 'go forward.'")
    assert "is 'go back.'" in line


def test_noise_and_a_throttled_machine_are_warnings(make_report: Make) -> None:
    new = edited(make_report({"vision": 12.0}, jitter=0.3), conditions={"throttled": True, "throttle_events": 3})
    lines = notices(judged(new, [make_report({"vision": 10.0}, jitter=0.3)], 0.1))
    assert [line.split("::")[1] for line in lines] == ["warning title=latency"] * 2
    assert "throttled: 3 events" in lines[0]
    assert "unclear, for noise hides it: vision p50 10.00 to 12.00 ms (+20%25)" in lines[1]


def test_no_more_annotations_than_github_shows(make_report: Make) -> None:
    base, new = (make_report({f"stage {k}": ms for k in range(30)}) for ms in (10.0, 20.0))
    assert len(notices(judged(new, [base], 0.1))) == 8


def test_a_good_run_is_a_notice(make_report: Make) -> None:
    assert notices(judged(make_report(), [make_report()], 0.1)) == [
        "::notice title=latency::no stage slower by more than 10%25, the same 2 answers"
    ]


def test_the_summary_is_a_table_of_stages(make_report: Make) -> None:
    told = summary(judged(make_report({"vision": 12.0, "a|b*c": 1.0}), [make_report({"vision": 10.0, "a|b*c": 1.0})], 0.1))
    lines = told.splitlines()
    assert lines[0] == "### ❌ Latency: slower"
    assert "| stage | cold ms | p50 | p95 | p99 | max | n | p50 was | p95 was |" in lines
    assert "| vision | 36.00 | 12.00 | 14.40 | 24.00 | 30.00 | 80 | **10.00 (+20%) slower** | **12.00 (+20%) slower** |" in lines
    assert "| a\\|b\\*c | 3.00 | 1.00 | 1.20 | 2.00 | 2.50 | 80 | 1.00 (+0%) | 1.20 (+0%) |" in lines
    assert any(line.startswith("| power | not a Jetson") for line in lines)
    columns = {line.count("|") - line.count("\\|") for line in lines if line.startswith("| ") and "ms" not in line.split("|")[1]}
    assert columns == {10, 3}


def test_the_summary_of_a_first_measurement_has_no_columns_to_compare(make_report: Make) -> None:
    told = summary(make_report())
    assert told.startswith("### ✅ Latency: measured\n")
    assert "was" not in told
