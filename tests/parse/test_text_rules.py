"""What the text parser promises beyond single sentences: queues, prompts, budgets, speeds, confidence."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from edge_vla.parse import VLAActionParser, parse_all, parse_text
from edge_vla.parse.command import CAREFUL, CRUISE_MPS, MAX_SPEED_MPS, MAX_TRAVEL_M, MAX_TURN_RAD, QUICK, SLOW, TURN_RADPS
from edge_vla.types import DEFAULT_TRAVEL_M, DEFAULT_TURN_RAD, ActionType, RobotAction

Signs = Callable[[RobotAction], str]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("turn left then move forward", [("TURN", "00+"), ("MOVE", "+00")]),
        ("Turn right 90 degrees, go forward 1 m and stop.", [("TURN", "00-"), ("MOVE", "+00"), ("STOP", "000")]),
        ("go forward. turn left. go back.", [("MOVE", "+00"), ("TURN", "00+"), ("MOVE", "-00")]),
        ("먼저 우회전하고 그다음 전진한 뒤 멈춰", [("TURN", "00-"), ("MOVE", "+00"), ("STOP", "000")]),
        ("1. 왼쪽으로 회전\n2. 앞으로 이동", [("TURN", "00+"), ("MOVE", "+00")]),
        ('[{"action": "turn_right"}, {"action": "move_forward"}]', [("TURN", "00-"), ("MOVE", "+00")]),
        ("go to the table and stop", [("NAVIGATE", "000"), ("STOP", "000")]),
        ("turn left and please move forward", [("TURN", "00+"), ("MOVE", "+00")]),
        ("turn left and slowly move forward", [("TURN", "00+"), ("MOVE", "+00")]),
        ("don't worry and turn left", [("TURN", "00+")]),
        ("왼쪽, 오른쪽", [("TURN", "00+"), ("TURN", "00-")]),
        ("turn left, don't turn right", [("TURN", "00+")]),
        ("turn left, then, no, turn right", [("TURN", "00-")]),
        ("turn, left", [("TURN", "00+")]),
        ("Action: turn\nDirection: right", [("TURN", "00-")]),
        ("strafe, right", [("MOVE", "0-0")]),
        ("go forward after turning left", [("TURN", "00+"), ("MOVE", "+00")]),
        ("after turning left, go forward", [("TURN", "00+"), ("MOVE", "+00")]),
        ("왼쪽으로 돌아가지고 앞으로 가", [("TURN", "00+"), ("MOVE", "+00")]),
        ("[우회전, 45도]", [("TURN", "00-")]),
        ("nothing to do here", [("UNKNOWN", "000")]),
    ],
)
def test_queue(text: str, wanted: list[tuple[str, str]], signs: Signs) -> None:
    assert [(action.action_type.name, signs(action)) for action in parse_all(text)] == wanted


def test_each_action_says_its_own_words() -> None:
    assert [action.description for action in parse_all("turn left, then go forward")] == ["turn left", "go forward"]
    assert [action.description for action in parse_all("왼쪽으로 돌고, 앞으로 가")] == ["왼쪽으로 돌고", "앞으로 가"]


def test_first_of_the_queue_is_the_action() -> None:
    text = "go forward 30 cm then turn left"
    assert parse_all(text)[0] == parse_text(text)


def test_queue_is_bounded() -> None:
    assert len(parse_all("turn left. " * 100)) == 16


@pytest.mark.parametrize(
    ("reply", "prompt", "wanted"),
    [
        ("Robot action: move forward", "Robot action:", "+00"),
        ("robot ACTION: turn left", " Robot Action: ", "00+"),
        ("find cup\nnavigate to cup", "find cup", "000"),
        ("drive\nturn right", "drive", "00-"),
        ("drive forward", "drive", "+00"),  # one word alone is no echo
        ("driveway ahead", "drive", "000"),
        ("Do not turn left. What now?\nturn right", "Do not turn left. What now?", "00-"),
        ("turn left", "turn left", "000"),  # an echo and nothing else
        ("stop", "move forward", "000"),
    ],
)
def test_prompt_is_stripped(reply: str, prompt: str, wanted: str, signs: Signs) -> None:
    assert signs(VLAActionParser().parse_text_output(reply, original_prompt=prompt)) == wanted


def test_prompt_says_nothing() -> None:
    action = parse_text("turn left or right?\nnavigate to the cup", "turn left or right?")
    assert (action.action_type, action.target_object) == (ActionType.NAVIGATE, "cup")


@pytest.mark.parametrize(
    ("text", "travel_m", "turn_rad"),
    [
        ("move forward", DEFAULT_TRAVEL_M, DEFAULT_TURN_RAD),
        ("move forward 50 cm", 0.5, DEFAULT_TURN_RAD),
        ("move forward 4.999 m", 4.999, DEFAULT_TURN_RAD),
        ("move forward 5 m", MAX_TRAVEL_M, DEFAULT_TURN_RAD),
        ("move forward 5.001 m", MAX_TRAVEL_M, DEFAULT_TURN_RAD),
        ("move forward 2", DEFAULT_TRAVEL_M, DEFAULT_TURN_RAD),  # two of what? never further than usual
        ("move forward 0.2", 0.2, DEFAULT_TURN_RAD),
        ("move forward for 1 second", CRUISE_MPS, DEFAULT_TURN_RAD),
        ("turn left for 2 seconds", DEFAULT_TRAVEL_M, 2 * TURN_RADPS),
        ("turn left 30 degrees", DEFAULT_TRAVEL_M, math.radians(30)),
        ("turn left 360 degrees", DEFAULT_TRAVEL_M, MAX_TURN_RAD),
        ("turn left 361 degrees", DEFAULT_TRAVEL_M, MAX_TURN_RAD),
        ("turn around", DEFAULT_TRAVEL_M, math.pi),
        ("왼쪽으로 반 바퀴 돌아", DEFAULT_TRAVEL_M, math.pi),
        ("앞으로 이 미터 가", 2.0, DEFAULT_TURN_RAD),
        ("1. turn left 2. go forward", DEFAULT_TRAVEL_M, DEFAULT_TURN_RAD),  # the item's number is no angle
        ("go forward 2.", DEFAULT_TRAVEL_M, DEFAULT_TURN_RAD),
        ('{"action": "forward", "distance": 0.4, "foo": 1}', 0.4, DEFAULT_TURN_RAD),
        ('{"motion": "reverse", "cm": 30}', 0.3, DEFAULT_TURN_RAD),
        ("turn right, not left, 60 degrees", DEFAULT_TRAVEL_M, math.radians(60)),
        ("우회전, 45도", DEFAULT_TRAVEL_M, math.radians(45)),
        ("spin around once", DEFAULT_TRAVEL_M, MAX_TURN_RAD),
    ],
)
def test_budgets(text: str, travel_m: float, turn_rad: float) -> None:
    action = parse_text(text)
    assert action.max_travel_m == pytest.approx(travel_m)
    assert action.max_turn_rad == pytest.approx(turn_rad)


@pytest.mark.parametrize(
    ("text", "linear_x", "angular_z"),
    [
        ("move forward", CRUISE_MPS, 0.0),
        ("move forward slowly", CRUISE_MPS * SLOW, 0.0),
        ("slowly move forward", CRUISE_MPS * SLOW, 0.0),
        ("carefully go back", -CRUISE_MPS * CAREFUL, 0.0),
        ("move forward quickly", CRUISE_MPS * QUICK, 0.0),
        ("turn left, slowly", 0.0, TURN_RADPS * SLOW),
        ("turn right fast", 0.0, -TURN_RADPS * QUICK),
        ("move forward at 0.1 m/s", 0.1, 0.0),
        ("move forward at 5 m/s", MAX_SPEED_MPS, 0.0),
        ("천천히 전진하세요", CRUISE_MPS * SLOW, 0.0),
        ("빠르게 후진", -CRUISE_MPS * QUICK, 0.0),
        ("조심스럽게 전진", CRUISE_MPS * CAREFUL, 0.0),
        ("초속 0.1미터로 전진", 0.1, 0.0),
    ],
)
def test_speeds(text: str, linear_x: float, angular_z: float) -> None:
    action = parse_text(text)
    assert (action.linear_x, action.angular_z) == (pytest.approx(linear_x), pytest.approx(angular_z))


@pytest.mark.parametrize(
    ("text", "confidence"),
    [
        ("turn left", 0.9),
        ("do not move", 0.9),
        ("left", 0.7),
        ("turn 90 degrees", 0.7),
        ("turn", 0.5),
        ("avoid the chair", 0.5),
        ("avoid the chair on the left", 0.9),
        ("의자를 피해", 0.5),
        ("왼쪽 의자를 피해", 0.9),
        ("회전해", 0.5),
        ("가", 0.5),
        ("2미터 가", 0.7),
        ("2초 동안 가", 0.7),
        ("go 2 meters", 0.7),
        ("turn left, please, robot", 0.9),
        ("turn left zig zag", 0.0),  # a thing behind a turn makes it another verb: "turn the page"
        ("turn left or right", 0.2),
        ("if the way is free, go forward", 0.2),
        ("a cup on a table", 0.0),
        ("", 0.0),
    ],
)
def test_confidence(text: str, confidence: float) -> None:
    assert parse_text(text).confidence == pytest.approx(confidence)


@pytest.mark.parametrize("kind", ["grab the cup", "release the cup", "point at the cup", "컵을 잡아", "컵을 놓아", "컵을 가리켜"])
def test_arm_verbs_do_not_move_the_base(kind: str, signs: Signs) -> None:
    action = parse_text(kind)
    assert signs(action) == "000"
    assert action.confidence == pytest.approx(0.9)


def test_why_nothing_moves_is_said() -> None:
    assert "no command" in parse_text("a red door").description
    assert "forbidden" in parse_text("don't turn left").description
    assert "conditional" in parse_text("if you can see it, turn left").description
    assert "alternatives" in parse_text("turn left or turn right").description
    assert "ambiguous" in parse_text("turn left right").description
    assert "quantity" in parse_text("go forward 1e308 m").description


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("move forward 100 m", "move forward 100 m (at most 5 m at a time)"),
        ("turn left 720 degrees", "turn left 720 degrees (at most 360 degrees at a time)"),
        ("move forward 2 m", "move forward 2 m"),
    ],
)
def test_a_cut_figure_is_told(text: str, said: str) -> None:
    assert parse_text(text).description == said
