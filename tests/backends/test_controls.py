"""Engines made worse on purpose are worse in the way they say, and in no other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edge_vla.backends.finder import FinderEngine
from edge_vla.errors import ConfigError
from edge_vla.sim.controls import Blank, Swapped
from edge_vla.types import Frame, Reply, acting

CUP = "<loc0192><loc0304><loc0416><loc0528> cup"
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


class Parrot:
    """Says the prompt back."""

    targets = ("cup", "bottle", "ball", "box", "can", "book")

    def ask(self, frame: Frame, prompt: str) -> Reply:
        return Reply(f"<loc0001><loc0002><loc0003><loc0004> {prompt.removeprefix('detect ')}", 0.5, None)

    def close(self) -> None:
        self.closed = True


def test_swapped_finds_something_else_and_calls_it_what_was_asked(engine: FinderEngine, red: Frame, blue: Frame) -> None:
    swapped = Swapped(engine)
    assert engine.ask(red, "detect cup").text == CUP
    assert swapped.ask(red, "detect cup").text == ""
    assert swapped.ask(blue, "detect cup").text == "<loc0480><loc0592><loc0704><loc0816> cup"  # the ball's box
    assert swapped.ask(red, "detect acorn").text == "<loc0192><loc0304><loc0416><loc0528> acorn"


def test_swapped_never_asks_for_the_thing_itself_and_always_answers_with_its_name() -> None:
    asked = []

    class Listener(Parrot):
        def ask(self, frame: Frame, prompt: str) -> Reply:
            asked.append(prompt.removeprefix("detect "))
            return super().ask(frame, prompt)

    swapped, frame = Swapped(Listener()), Frame(np.zeros((2, 2, 3), np.uint8), 0, 0)
    for thing in Parrot.targets:
        assert swapped.ask(frame, f"detect {thing}").text == f"<loc0001><loc0002><loc0003><loc0004> {thing}"
    assert asked == ["box", "can", "book", "cup", "bottle", "ball"]


@pytest.mark.parametrize(
    ("targets", "listed"),
    [(None, "none"), ((), "none"), (("cup",), "cup"), (("cup", "cup"), "cup, cup")],
    ids=["open", "none", "one", "twice"],
)
def test_swapped_is_refused_where_it_would_be_honest(targets: tuple[str, ...] | None, listed: str) -> None:
    parrot = Parrot()
    parrot.targets = targets
    with pytest.raises(ConfigError, match=f"the swapped control needs an engine that lists two things or more, got {listed}$"):
        Swapped(parrot)


@pytest.mark.parametrize(
    ("says", "wanted"),
    [
        ("<loc0001><loc0002><loc0003><loc0004> Bottle.", "<loc0001><loc0002><loc0003><loc0004> loc."),
        ("<loc0001><loc0002><loc0003><loc0004>bottle", "<loc0001><loc0002><loc0003><loc0004>loc"),
        ("<loc0001><loc0002><loc0003><loc0004> bottle ; <loc0001><loc0002><loc0003><loc0004> bottle;", None),
        ("<loc0001><loc0002><loc0003><loc0004> bottleneck", "<loc0001><loc0002><loc0003><loc0004> bottleneck"),
        ("<loc0001><loc0002><loc0003><loc0004>", "<loc0001><loc0002><loc0003><loc0004>"),
    ],
)
def test_swapped_renames_labels_and_nothing_else(says: str, wanted: str | None) -> None:
    class Speaker(Parrot):
        targets = ("loc", "bottle")

        def ask(self, frame: Frame, prompt: str) -> Reply:
            return Reply(says if prompt == "detect bottle" else "<loc0001><loc0002><loc0003><loc0004> loc", 0.5, None)

    swapped, frame = Swapped(Speaker()), Frame(np.zeros((2, 2, 3), np.uint8), 0, 0)
    assert swapped.ask(frame, "detect loc").text == (says.replace("bottle", "loc") if wanted is None else wanted)
    assert swapped.ask(frame, "detect bottle").text == "<loc0001><loc0002><loc0003><loc0004> bottle"


def test_swapped_leaves_other_questions_alone(engine: FinderEngine, red: Frame) -> None:
    swapped = Swapped(engine)
    assert swapped.ask(red, "is there a cup?").text == "yes"
    assert swapped.ask(red, "drive").text == engine.ask(red, "drive").text
    with pytest.raises(ConfigError, match="does not know 'zebra'"):
        swapped.ask(red, "detect zebra")


def test_blank_sees_grey_whatever_there_is(engine: FinderEngine, paint: Callable[..., Frame], red: Frame, blue: Frame) -> None:
    blank = Blank(engine)
    assert blank.ask(red, "detect cup").text == blank.ask(blue, "detect ball").text == ""
    assert blank.ask(red, "is there a cup?").text == "no"
    free = blank.ask(paint(WHITE, BLACK), "drive").free_distance_m
    assert free == pytest.approx((4 * 127 / 255,) * 4, abs=1e-5)


def test_blank_leaves_the_frame_as_it_was(engine: FinderEngine, red: Frame) -> None:
    before = red.rgb.copy()
    Blank(engine).ask(red, "detect cup")
    assert (red.rgb == before).all()


@pytest.mark.parametrize("control", [Swapped, Blank])
def test_a_control_knows_what_its_engine_knows_and_closes_it(control: Callable[..., Swapped | Blank]) -> None:
    parrot = Parrot()
    worse = control(parrot)
    assert worse.targets == parrot.targets
    worse.close()
    assert parrot.closed


class Policy(Parrot):
    """Remembers what it is told."""

    targets = None
    moves = frozenset({"linear_x"})

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def ask(self, frame: Frame, prompt: str) -> Reply:
        self.told.append(prompt)
        return Reply("", 1.0)

    def forget(self) -> None:
        self.told.clear()


@pytest.mark.parametrize("control", [lambda engine: Swapped(engine, ("cup", "ball")), Blank])
def test_a_control_around_a_policy_is_a_policy(control: Callable[[Policy], Swapped | Blank]) -> None:
    policy = Policy()
    worse = control(policy)
    assert acting(worse)
    assert worse.moves == {"linear_x"}
    worse.ask(Frame(np.zeros((2, 2, 3), np.uint8), 0, 0), "stand")
    assert policy.told == ["stand"]
    worse.forget()
    assert policy.told == []
    assert not acting(Blank(Parrot()))


def test_swapped_tells_a_policy_about_something_else() -> None:
    policy, frame = Policy(), Frame(np.zeros((2, 2, 3), np.uint8), 0, 0)
    swapped = Swapped(policy, ("cup", "red cup", "ball", "box"))
    for sentence in ("go to the cup", "find the red cup", "follow the ball", "detect box", "teacup"):
        swapped.ask(frame, sentence)
    assert policy.told == ["go to the ball", "find the box", "follow the cup", "detect red cup", "teacup"]
