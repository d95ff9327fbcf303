"""From a trainer's folder to wheels: the student exported, evaluated in closed loop, and driving as it drives in torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_vla.evaluate import main as evaluate
from edge_vla.learn.build import load_policy
from edge_vla.learn.policy.driver import Driver
from edge_vla.learn.policy.student import release, seeded
from edge_vla.parts import make_engine
from edge_vla.types import Frame, acting
from export.onnx import main as export
from export.plan import main as plan
from tests.bundles import copied

MS = 1_000_000


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(model, bundle) of an untrained student."""
    root = tmp_path_factory.mktemp("student")
    release(seeded(3, root / "fresh").eval(), root / "model")
    assert export([str(root / "model"), "--out", str(root / "bundle"), "--domain", "sim", "--max-angular", "0.6"]) == 0
    return root / "model", root / "bundle"


def test_the_bundle_wants_what_the_policy_wants(folders: tuple[Path, Path]) -> None:
    """Look by look over more frames than its window holds, and again after it was told to forget."""
    engine, driver = make_engine(str(folders[1]), threads=1, domain="sim"), Driver(load_policy(folders[0]))
    assert acting(engine)
    assert engine.moves == driver.moves
    rng = np.random.default_rng(4)
    frames = [Frame(rng.integers(0, 255, (240, 320, 3), dtype=np.uint8), k * 250 * MS, k) for k in range(7)]
    said = []
    for _ in range(2):
        engine.forget()
        driver.forget()
        for frame in frames:
            told = [who.ask(frame, "go to the cone").chunk for who in (engine, driver)]
            assert all(chunk is not None for chunk in told)
            numbers = [np.array([(t.linear_x, t.linear_y, t.angular_z) for t in chunk.twists]) for chunk in told if chunk is not None]
            assert numbers[0] == pytest.approx(numbers[1], abs=1e-4)
            assert [(chunk.period_s, chunk.execute) for chunk in told if chunk is not None] == [(0.25, "first")] * 2
            said.append(numbers[0])
    assert np.abs(said[0] - said[4]).max() > 1e-3  # another frame, another motion
    assert all((before == after).all() for before, after in zip(said[:7], said[7:], strict=True))
    engine.close()


def test_it_is_evaluated_in_closed_loop(folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--engine", str(folders[1]), "--target", "cone", "--episodes", "1", "--absent-fraction", "0", "--timeout-s", "2"]
    assert evaluate([*arguments, "--seed", "960200", "--json", "--picture", str(tmp_path / "paths.png")]) == 0
    said = capsys.readouterr()
    line = json.loads(said.out.splitlines()[-1])
    assert (line["episodes"], line["targets"], line["fault"], sum(line["said"].values())) == (1, ["cone"], "", 1)
    assert set(line["said"]) <= {"reached", "timeout"}
    assert "slowed from 0.35 m/s and 1.0 rad/s to 0.15 m/s and 0.6 rad/s" in said.err


def test_one_that_differs_from_its_model_is_evaluated_by_force_alone(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def doubtful(manifest: dict[str, Any]) -> None:
        manifest["verified"] |= {"passed": False, "agreeing": 0}

    bundle = copied(folders[1], tmp_path / "doubtful", doubtful, {})
    arguments = ["--engine", str(bundle), "--target", "cone", "--episodes", "1", "--absent-fraction", "0", "--timeout-s", "1"]
    arguments += ["--seed", "960200", "--picture", str(tmp_path / "paths.png"), "--json"]
    assert evaluate(arguments) == 2
    assert "--allow-unverified drives it all the same" in json.loads(capsys.readouterr().out.splitlines()[-1])["why"]
    assert evaluate([*arguments, "--allow-unverified"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out.splitlines()[-1])["episodes"] == 1
    assert f"UNVERIFIED engine {bundle}: --allow-unverified was given" in said.err


def test_its_plan_says_what_comes_out(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert plan([str(folders[1]), "--device", "orin-nano"]) == 0
    assert "MobileVLALSTMDecoder, window 4, 4 x 2 numbers; 7.4 GiB visible" in capsys.readouterr().out
