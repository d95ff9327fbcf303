"""What a guard process is told: complete, known, in range, and the same after the pipe."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import Any

import pytest

from edge_vla.errors import ConfigError
from edge_vla.guard.limits import Limits
from edge_vla.guard.settings import GuardSettings, new_session

GOOD = GuardSettings(
    "waveshare", "/dev/ttyTHS1", {"track_m": 0.2}, limits=Limits(max_linear_mps=0.3), low_battery_v=9.6, log_path="x.jsonl"
)


def test_settings_survive_the_pipe() -> None:
    line = GOOD.to_json()
    assert "\n" not in line
    assert GuardSettings.from_json(line) == GOOD


def test_a_session_is_new_and_the_worker_is_this_process() -> None:
    assert len({new_session() for _ in range(100)}) == 100
    assert GOOD.worker_pid == os.getpid()


@pytest.mark.parametrize(
    ("where", "key", "near"), [((), "prot", "port"), ((), "Baud", "baud"), (("limits",), "max_linear", "max_linear_mps")]
)
def test_an_unknown_key_names_the_nearest(where: tuple[str, ...], key: str, near: str) -> None:
    values: dict[str, Any] = asdict(GOOD)
    target = values[where[0]] if where else values
    target[key] = 1
    with pytest.raises(ConfigError, match=f"unknown key '{key}'; did you mean '{near}'"):
        GuardSettings.from_json(json.dumps(values))


@pytest.mark.parametrize("key", ["session", "worker_pid", "limits"])
def test_no_key_has_a_default_on_the_guards_side(key: str) -> None:
    values = asdict(GOOD)
    del values[key]
    with pytest.raises(ConfigError, match=f"missing {key}"):
        GuardSettings.from_json(json.dumps(values))


@pytest.mark.parametrize("line", ["", "{", "[]", "3", "null"])
def test_what_is_no_object_is_refused(line: str) -> None:
    with pytest.raises(ConfigError):
        GuardSettings.from_json(line)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("baud", 0), ("baud", 115200.0), ("baud", True), ("tick_hz", 19), ("tick_hz", 101), ("session", 0), ("session", 1 << 64),
        ("worker_pid", 0), ("base", ""), ("port", ""), ("port", 3), ("low_battery_v", 0.0), ("low_battery_v", float("nan")),
        ("deadman_ms", 199), ("deadman_ms", 1001), ("deadman_ms", -400),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"{key}="):
        GuardSettings(**{"base": "waveshare", "port": "/dev/null"} | {key: value})


def test_limits_are_checked_on_the_guards_side_too() -> None:
    values = asdict(GOOD)
    values["limits"]["max_linear_mps"] = 3.0
    with pytest.raises(ConfigError, match=r"at most 0\.5"):
        GuardSettings.from_json(json.dumps(values))
