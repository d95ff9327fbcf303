"""The operator's door: what is refused, with nothing started and nothing left behind."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_vla import places
from edge_vla.run import main

pytestmark = pytest.mark.usefixtures("here")

KEYS = {
    "result", "goal", "target", "time_s", "path_m", "see_p50_ms", "see_p99_ms", "steer_late_fraction", "simulated", "record",
}  # fmt: skip
FIND_CUP = ["--goal", "find_object", "--target", "cup", "--engine", "oracle"]
TELL = ["--goal", "command", "--engine", "oracle", "--text"]
CHECKOUT = Path(__file__).parents[2]
REAL_ROBOT = CHECKOUT / "launch/waveshare_ugv.toml"
TINY = CHECKOUT / "tests/golden/tiny_bundle"


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """refused(argument, ...): what was said; the exit code was 2, no process was started, and no folder is left behind."""

    def no_process(*words: object, **options: object) -> None:
        raise AssertionError(f"started {words}")

    monkeypatch.setattr(subprocess, "Popen", no_process)

    def refused(*arguments: str) -> str:
        assert main(list(arguments)) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert main([*arguments, "--json"]) == 2
        line = capsys.readouterr().out
        told = json.loads(line)
        assert line.count("\n") == 1
        assert (set(told) >= KEYS, told["result"], told["record"], told["time_s"]) == (True, "refused", None, None)
        assert not list(Path("runs").glob("*"))
        start = said.err.index("run: ")
        assert told["why"] == said.err[start + 5 :].strip()
        return said.err[start + 5 :].strip()

    return refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--goal", "find_objekt", "--target", "cup"], "unknown goal 'find_objekt': did you mean 'find_object'?"),
        (["--goal", "fly"], "unknown goal 'fly': want one of find_object, navigate, follow, avoid"),
        (["--goal", "find_object"], "goal 'find_object' needs a target, for example --target cup"),
        (["--goal", "follow"], "goal 'follow' needs a target"),
        (["--goal", "find_object", "--target", "  "], "target '  ' names nothing"),
        (["--goal", "find_object", "--target", "a<loc0001>"], "holds '<', '>' or an unprintable character"),
        (["--goal", "find_object", "--target", "x" * 65], "target of 65 characters, want at most 64"),
        ([*FIND_CUP, "--timeout-s", "0.5"], "--timeout-s 0.5: want 1 to 86400"),
        ([*FIND_CUP, "--timeout-s", "nan"], "--timeout-s nan: want 1 to 86400"),
        ([*FIND_CUP, "--seed", "-1"], "--seed -1: want 0 to 2147483647"),
        ([*FIND_CUP, "--stop-at", "0.3"], "stop_at 0.3 m: want 0.41 to 3.0"),
        ([*FIND_CUP, "--stop-at", "nan"], "stop_at nan m: want 0.41 to 3.0"),
        (["--goal", "command"], "goal 'command' needs a sentence, for example --text 'turn left 90 degrees'"),
        ([*TELL, "the sky is blue"], "cannot obey 'the sky is blue': no command in"),
        ([*TELL, "go to the cup"], "use --goal navigate --target 'cup'"),
        ([*TELL, "follow the person"], "--goal follow --target 'person' to stay behind it"),
        ([*TELL, "look at the cup"], "look at the cup: use --goal look --target 'cup'"),
        ([*TELL, "look around"], "look around: say where to, left or right"),
        (
            [*TELL, "avoid the chair"],
            "avoid the chair: use --goal avoid, which drives around whatever is in the way",
        ),
        ([*TELL, "turn left and look at the cup"], "use --goal look --target 'cup'"),
        ([*TELL, "의자를 피해"], "use --goal avoid"),
        ([*TELL, "strafe left 0.5 m"], "base 'waveshare' is differential and cannot move sideways"),
        ([*TELL, "pick up the cup"], "goal 'grab' needs an arm, and no behaviour here moves one"),
        (["--goal", "grab", "--target", "cup"], "goal 'grab' needs an arm and this base has none"),
        (["--goal", "release"], "goal 'release' needs an arm and this base has none"),
        (["--goal", "point", "--target", "cup"], "goal 'point' needs an arm and this base has none"),
        (
            ["--goal", "find_object", "--target", "elephant", "--engine", "oracle"],
            "does not know 'elephant'; it knows: cup, bottle, ball, box",
        ),
        (
            ["--goal", "find_object", "--target", "Cupp", "--engine", "oracle"],
            "does not know 'cupp'; did you mean 'cup'? It knows: cup, bottle",
        ),
        (["--goal", "find_object", "--target", "cup", "--engine", "engines/missing"], "no engine 'engines/missing': looked for /"),
        ([], "the following arguments are required: --goal"),
        (["--goal"], "--goal: expected one argument"),
        ([*FIND_CUP, "--seed", "seven"], "--seed: invalid int value: 'seven'"),
        ([*FIND_CUP, "--speed", "3"], "unrecognized arguments: --speed 3"),
        ([*FIND_CUP, "--stop", "0.5"], "unrecognized arguments: --stop 0.5"),
        ([*FIND_CUP, "--robot", "missing.toml"], "robot profile missing.toml: No such file or directory"),
    ],
)
def test_a_bad_argument_is_refused_with_what_is_allowed(refused: Callable[..., str], arguments: list[str], message: str) -> None:
    assert message in refused(*arguments)


def test_what_is_no_command_line_is_told_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*FIND_CUP, "--speed", "3"]) == 2
    assert "usage: python -m edge_vla.run" in capsys.readouterr().err


def test_help_is_no_refusal(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "refused" in capsys.readouterr().out


def test_an_engine_is_said_to_be_missing_from_both_places(refused: Callable[..., str], monkeypatch, here: Path) -> None:
    monkeypatch.setattr(places, "HOME", here / "package")
    said = refused("--goal", "stop")
    assert said.startswith(f"no engine 'engines/default': looked for {here}/engines/default and {here}/package/engines/default; name a")


@pytest.mark.parametrize("goal", [["grab", "--target", "cup"], ["release"], ["point", "--target", "cup"]], ids=lambda words: words[0])
def test_a_robot_with_an_arm_is_not_promised_what_nothing_here_does(refused: Callable[..., str], here: Path, goal: list[str]) -> None:
    (here / "robot.toml").write_text("[robot]\nhas_arm = true\n")
    said = refused("--goal", *goal, "--engine", "oracle", "--robot", "robot.toml")
    assert f"goal {goal[0]!r} has no behaviour in this version, arm or not; there is one for find_object, navigate" in said
    said = refused("--goal", "command", "--text", "pick up the cup", "--engine", "oracle", "--robot", "robot.toml")
    assert "no behaviour here moves one" in said


def test_an_unknown_base_is_refused_before_anything_starts(refused: Callable[..., str], here: Path) -> None:
    (here / "robot.toml").write_text('[base]\nkind = "wave_share"\n')
    assert "base 'wave_share' is unknown; did you mean 'waveshare'?" in refused(*FIND_CUP, "--robot", "robot.toml")


def test_a_camera_that_looks_at_the_ceiling_is_told_so(refused: Callable[..., str], here: Path) -> None:
    (here / "robot.toml").write_text("[camera]\npitch_deg = -30.0\n")
    said = refused(*FIND_CUP, "--robot", "robot.toml")
    assert "sees no floor near enough: with [camera] pitch_deg = -30.0" in said
    assert "its picture begins 8.0" in said


def cut(bundle: Path) -> None:
    graph = bundle / "vision.onnx"
    graph.write_bytes(graph.read_bytes()[: graph.stat().st_size // 2])


def empty(bundle: Path) -> None:
    (bundle / "lm_step.onnx").write_bytes(b"")


def rename(bundle: Path) -> None:
    graph = bundle / "vision.onnx"
    graph.write_bytes(graph.read_bytes().replace(b"tokens", b"tokenz"))


def scramble(bundle: Path) -> None:
    (bundle / "tokenizer.json").write_text("{}")


def shorten(bundle: Path) -> None:
    """Fewer rows than words."""
    np.save(bundle / "embeddings.npy", np.load(bundle / "embeddings.npy")[:2])


def poison(bundle: Path) -> None:
    """Whole in every way that can be seen: it is found out when the first question is asked."""
    np.save(bundle / "embeddings.npy", np.load(bundle / "embeddings.npy") * np.float16(np.nan))


@pytest.mark.parametrize("damage", [cut, empty, rename, scramble, shorten, poison])
def test_a_broken_engine_is_refused_before_anything_starts(refused, here: Path, damage: Callable[[Path], None]) -> None:
    """Broken, and signed as it is: what a checksum cannot find."""
    shutil.copytree(TINY, here / "bundle")
    damage(here / "bundle")
    manifest = json.loads((here / "bundle/manifest.json").read_text())
    manifest["sha256"] = {name: hashlib.sha256((here / "bundle" / name).read_bytes()).hexdigest() for name in manifest["sha256"]}
    (here / "bundle/manifest.json").write_text(json.dumps(manifest))
    said = refused("--goal", "find_object", "--target", manifest["targets"][0], "--engine", "bundle")
    assert "engine" in said
    assert "bundle" in said


def test_a_question_the_engine_was_not_trained_on_is_refused_before_anything_starts(refused, here: Path) -> None:
    shutil.copytree(TINY, here / "bundle")
    manifest = json.loads((here / "bundle/manifest.json").read_text())
    manifest["prompts"]["sentences"] = ["describe"]
    (here / "bundle/manifest.json").write_text(json.dumps(manifest))
    assert "was not trained on 'drive'" in refused("--goal", "avoid", "--engine", "bundle")


def test_an_unknown_key_of_a_profile_names_the_nearest(refused: Callable[..., str], here: Path) -> None:
    (here / "robot.toml").write_text("[limits]\nmax_linear = 0.3\n")
    said = refused(*FIND_CUP, "--robot", "robot.toml")
    assert "[limits] max_linear is unknown; the nearest is 'max_linear_mps'" in said


def test_a_value_of_a_profile_out_of_range_names_the_range(refused: Callable[..., str], here: Path) -> None:
    (here / "robot.toml").write_text("[limits]\nmax_linear_mps = 3.0\n")
    assert "[limits] max_linear_mps = 3.0: wants a number > 0 and <= 0.5" in refused(*FIND_CUP, "--robot", "robot.toml")


def test_a_profile_beside_it_is_used_even_if_it_is_broken(refused: Callable[..., str], here: Path) -> None:
    """Never the simulator when there is a robot profile."""
    (here / "launch").mkdir()
    (here / "launch/robot.toml").write_text("not TOML")
    assert "robot profile launch/robot.toml is not TOML" in refused(*FIND_CUP)


def test_the_oracle_cannot_see_a_real_room(refused: Callable[..., str]) -> None:
    assert "it cannot see a real room" in refused(*FIND_CUP, "--robot", str(REAL_ROBOT))


def test_an_engine_trained_in_the_simulator_does_not_drive_a_real_robot(refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "HOME", CHECKOUT)
    said = refused("--goal", "find_object", "--target", "cup", "--engine", "engines/default", "--robot", str(REAL_ROBOT))
    assert "was trained on 'sim' images and this robot is 'real'; --allow-domain-mismatch" in said
