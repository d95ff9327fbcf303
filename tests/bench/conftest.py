"""A small engine with reference answers of its own, another that answers otherwise, and reports made by hand."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_vla.behaviours.state import Inputs, Phase, Plan
from edge_vla.bench.report import Report
from edge_vla.drive import Tick
from edge_vla.geometry import CameraPose
from edge_vla.goals import Goal
from edge_vla.pilot import understand
from edge_vla.record import Recorder, Stages
from edge_vla.types import ActionType, Frame, Pose, Reply, RobotAction
from tests.bench.handmade import ANSWERS, RED, picture
from tests.bundles import Manifest, copied


@pytest.fixture
def make_bundle(checkout: Path, tmp_path: Path) -> Callable[..., Path]:
    """make_bundle(name, edit, files): the tiny bundle of tests/golden with reference answers about a red picture, then edited."""

    def make(name: str, edit: Callable[[Manifest], object] = lambda _: None, files: dict[str, bytes] | None = None) -> Path:
        told = {
            "pictures": [{"png": base64.b64encode(picture(RED)).decode(), "free_distance_m": [4 / 3] * 4}],
            "answers": [{"picture": 0, "prompt": prompt, "text": text, "confidence": 1.0} for prompt, text in ANSWERS],
        }
        answered = {"reference.json": json.dumps(told).encode(), **(files or {})}

        def named(manifest: Manifest) -> None:
            manifest["reference"] = "reference.json"
            edit(manifest)

        return copied(checkout / "tests/golden/tiny_bundle", tmp_path / name, named, answered)

    return make


@pytest.fixture
def bundle(make_bundle: Callable[..., Path]) -> Path:
    """It answers as its reference says."""
    return make_bundle("engine")


@pytest.fixture
def other_bundle(make_bundle: Callable[..., Path]) -> Path:
    """It takes red for blue: no cup any more, but a ball, as fast as before."""
    return make_bundle("other", lambda m: m["preprocess"].update(colour="bgr"))


@pytest.fixture
def make_report() -> Callable[..., Report]:
    """A report of three stages with given medians; what a test cares about is given by name."""

    def stage(p50_ms: float, jitter: float = 0.01) -> dict[str, Any]:
        blocks = [round(p50_ms * (1 + jitter * (k % 3 - 1)), 6) for k in range(8)]
        p95 = [round(1.2 * ms, 6) for ms in blocks]
        return {
            "what": "a stage", "cold_ms": 3 * p50_ms, "warm_up": 9, "n": 80, "p50_ms": p50_ms, "p95_ms": 1.2 * p50_ms, "p99_ms": 2 * p50_ms,
            "max_ms": 2.5 * p50_ms, "mean_ms": 1.05 * p50_ms, "p50_blocks_ms": blocks, "p95_blocks_ms": p95, "samples_ms": [*blocks, *p95],
        }  # fmt: skip

    def make(medians_ms: dict[str, float] | None = None, jitter: float = 0.01, **other: Any) -> Report:
        values: dict[str, Any] = {
            "schema_version": 1, "result": "measured", "measured_at": "2026-11-22 12:00:00 +0000",
            "engine": {
                "folder": "engines/tiny", "name": "tiny", "precision": "fp32", "backend": "onnx", "providers": ["CPUExecutionProvider"],
                "threads": 1, "sha256": {"vision.onnx": "aa", "manifest.json": "bb"},
            },
            "machine": {
                "board": "", "jetson": "not a Jetson", "processor": "A CPU", "cores": 4, "usable_cores": 4, "memory_gib": 16.0, "gpu": "",
            },
            "conditions": {
                "power_mode": "not a Jetson", "governor": "performance", "clocks_locked": True, "gpu_mhz": None, "celsius": None,
                "cpu_mhz": {"least": 2000.0, "median": 2100.0, "most": 2200.0}, "power_w": None, "jetson_stats": "not a Jetson",
                "throttled": None, "throttle_events": None, "load_before": 0.1, "waited": 0.001,
            },
            "versions": {"edge_vla": "0.0.1", "python": "3.12.1", "kernel": "Linux", "commit": None, "packages": {"onnxruntime": "1.23.0"}},
            "method": {"stages": ["engine"], "rounds": 10, "blocks": 8, "questions": 2, "source": "reference of x", "statistic": "p50"},
            "stages": {name: stage(ms, jitter) for name, ms in (medians_ms or {"vision": 10.0, "decode": 1.0, "answer": 20.0}).items()},
            "guard_ticks": "", "unsteady": 0, "reference": None, "comparison": None,
            "answers": [
                {"key": "k1", "prompt": "detect cup", "text": "<loc0100><loc0200><loc0300><loc0400> cup", "confidence": 0.9,
                 "free_distance_m": [1.0, 2.0]},
                {"key": "k2", "prompt": "drive", "text": "go forward.", "confidence": None, "free_distance_m": None},
            ],
        }  # fmt: skip
        return Report.model_validate({**values, **other})

    return make


@pytest.fixture
def recorded_run(tmp_path: Path) -> Path:
    """A run of three looks, 31, 32 and 33 ms old when the engine was asked."""
    camera = CameraPose(1.2, 4 / 3, 0.25, 0.17, 0.08)
    plan, folder = Plan(Goal.FIND_OBJECT, "cup", camera), tmp_path / "run"
    inputs = Inputs(5_000_000_000, Pose(5_000_000_000, 0.0, 0.0, 0.0), None, armed=True, held=False)
    action = RobotAction(ActionType.STOP, description="waiting for a look")
    with Recorder(folder, plan, profile={}, engine={"name": "tiny"}, simulated=True) as recorder:
        for k in range(3):
            frame = Frame(np.full((48, 64, 3), 80 * k, np.uint8), 10**9 * (k + 1), k)
            look = understand(Reply("", 0.9), frame, Pose(0, 0.0, 0.0, 0.0), plan, (frame.t_capture_ns + 10**8, 10**8))
            recorder.look(frame, Reply("", 0.9), look, 10**8, Stages((31 + k) * 10**6, 10**7, 10**5))
        recorder.tick(Tick(inputs, Phase.SEARCH, action, "DISARMED", "NONE", 0.0, 0.0))
    return folder


@pytest.fixture
def make_nan_bundle(make_bundle: Callable[..., Path], checkout: Path) -> Callable[[], Path]:
    """A bundle that loads and fails at its first answer: one of its embeddings is no number."""

    def make() -> Path:
        rows = np.load(checkout / "tests/golden/tiny_bundle/embeddings.npy")
        rows[2] = np.nan  # <bos>, which every prompt begins with
        data = io.BytesIO()
        np.save(data, rows)
        return make_bundle("nan", files={"embeddings.npy": data.getvalue()})

    return make
