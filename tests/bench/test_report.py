"""The report as JSON: what is written is read, what is something else is refused with its reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_vla.bench.measuring import judged
from edge_vla.bench.report import Report, read_report
from edge_vla.errors import ConfigError

Make = Callable[..., Report]


def test_a_report_survives_its_file(make_report: Make, tmp_path: Path) -> None:
    report = judged(make_report({"vision": 12.0}), [make_report({"vision": 10.0})], 0.1)
    path = tmp_path / "bench.json"
    path.write_text(report.model_dump_json())
    assert read_report(path).model_dump() == report.model_dump()
    assert read_report(path).path == str(path)


def test_the_schema_says_what_a_latency_depends_on(make_report: Make) -> None:
    told = json.loads(make_report().model_dump_json())
    assert {"power_mode", "cpu_mhz", "clocks_locked", "throttled", "power_w", "jetson_stats", "waited"} < set(told["conditions"])
    assert {"board", "jetson", "processor", "cores"} < set(told["machine"])
    assert {"precision", "providers", "threads", "sha256"} < set(told["engine"])
    assert {"python", "packages", "commit"} < set(told["versions"])
    assert {"cold_ms", "warm_up", "n", "p50_ms", "p95_ms", "p99_ms", "max_ms"} < set(told["stages"]["vision"])


def put(*keys: str, value: object) -> Callable[[dict[str, Any]], None]:
    def edit(data: dict[str, Any]) -> None:
        at = data
        for key in keys[:-1]:
            at = at[key]
        at[keys[-1]] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (put("schema_version", value=2), r"schema_version: .*got '2'; want a report of .* with schema_version 1"),
        (put("machine", "cores", value="4"), r"machine\.cores: .*got '4'"),
        (put("stages", "vision", "p50_ms", value=float("nan")), r"stages\.vision\.p50_ms: "),
        (put("colour", value="red"), "colour: Extra inputs"),
        (lambda data: data.pop("answers"), "answers: Field required"),
    ],
)
def test_what_is_no_report_is_refused(make_report: Make, tmp_path: Path, edit: Callable[[dict[str, Any]], None], why: str) -> None:
    data = json.loads(make_report().model_dump_json())
    edit(data)
    path = tmp_path / "base.json"
    path.write_text(json.dumps(data))
    with pytest.raises(ConfigError, match=rf"report .*base\.json: {why}"):
        read_report(path)


def test_no_file_and_no_json_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"report .*none\.json: No such file"):
        read_report(tmp_path / "none.json")
    (tmp_path / "text.json").write_text("fast")
    with pytest.raises(ConfigError, match=r"report .*text\.json: file: Invalid JSON"):
        read_report(tmp_path / "text.json")
