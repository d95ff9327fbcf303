"""The English verbs: what each verb phrase does. Data, and the table made from it.

A new verb is one word in one row of `_ROWS`; its -ing form is made here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto

from edge_vla.parse.command import Way
from edge_vla.types import ActionType


class Takes(Enum):
    """What may follow a verb for it to be a command to the robot."""

    WAY = auto()  # a direction or a place; "move the cup" is no drive
    NOTHING = auto()  # stands alone; what follows is circumstance
    THING = auto()  # an object; without one it is no command
    MAYBE_THING = auto()  # an object or nothing
    PLACE = auto()  # a place or thing to go to
    MAYBE_PLACE = auto()


@dataclass(frozen=True, slots=True)
class Sense:
    """A verb phrase. `way` is said by the phrase itself; `alone` is assumed when no way is said."""

    kind: ActionType
    takes: Takes
    way: Way | None = None
    alone: Way | None = None
    sideways: bool = False
    half_turn: bool = False
    around: bool = False  # a direction behind it is the way taken, not the side the thing is on


_A = ActionType
_GO = Sense(_A.MOVE, Takes.WAY, alone=Way.FORWARD)
_ROWS: tuple[tuple[Sense, str], ...] = (
    (
        _GO,
        """
        move, go, drive, walk, travel, roll, run, proceed, advance, continue, carry on, go on, go ahead, cruise, keep going, keep
        moving, keep driving, keep on going, keep rolling, keep walking, press on, move on, set off, make your way, push on, get
        moving, get going, start moving, start driving, begin moving, begin driving, drive on, roll on, step on it, continue on,
        continue moving, continue going, continue driving
        """,
    ),
    (replace(_GO, alone=None), """
        head, keep, stay on, step, take a step, inch, creep, crawl, come, rush, race, hurry, keep on, nudge, edge, budge
    """),
    (replace(_GO, way=Way.BACKWARD), """
        reverse, retreat, back up, back off, back away, back, step back, back it up, pull back, withdraw, fall back, move back
    """),
    (replace(_GO, way=Way.FORWARD), "move up a bit, pull forward, pull ahead, roll forward, forge ahead"),
    (replace(_GO, alone=None, sideways=True), """
        strafe, sidestep, side step, crab, crabwalk, crab walk, slide, shift, sidle, translate, scoot
    """),
    (Sense(_A.TURN, Takes.WAY, alone=Way.LEFT), """
        turn, rotate, spin, pivot, revolve, swivel, twist, yaw, keep turning, keep rotating, start turning, begin turning, start
        rotating, begin rotating, continue turning, continue rotating
    """),
    (Sense(_A.TURN, Takes.WAY), """
        steer, veer, swerve, bear, curve, swing, hang a, bend, bank, make a, make the, do a, do the, perform a, execute a, make one,
        do one, perform one, make another
    """),
    (
        Sense(_A.TURN, Takes.NOTHING, half_turn=True, way=Way.LEFT),
        """
        turn around, turn round, turn back, turn about, spin around, rotate around, about face, face the other way, reverse
        direction, reverse course, reverse your direction, make a u turn, do a u turn, u turn, perform a u turn, take a u turn, make
        a uturn, uturn, do an about face
        """,
    ),
    (
        Sense(_A.STOP, Takes.NOTHING),
        """
        stop, halt, freeze, pause, wait, brake, stand still, stay still, stay put, stay there, stay here, stay where you are,
        remain, stay, stand by, hold still, hold on, hold position, hold your position, hold it, hold there, hold here,
        cease, park, abort, cancel, emergency stop, e stop, estop, full stop, come to a stop, come to a halt, come to a full
        stop, come to a complete stop, come to rest, quit, idle, rest, whoa, be still, do nothing, shut down, power off, hit
        the brakes, apply the brakes, apply brakes, keep still, keep your position, maintain position, watch out, look out,
        make a stop, no motion, no movement, stop moving, enough, slam on the brakes, stay in place, remain in place, kill
        the motors, kill the engine, kill the power, cut the motors, cut the engine, cut the power, cut the throttle,
        disable the motors, shut off, power down, stand down
        """,
    ),
    (
        Sense(_A.GRAB, Takes.THING),
        """
        grab, grasp, pick, pick up, hold, catch, seize, lift, lift up, fetch, get, take, collect, retrieve, take hold of, grab hold
        of, get hold of, clutch, grip, bring, pinch, snatch, scoop up
        """,
    ),
    (Sense(_A.GRAB, Takes.NOTHING), "close the gripper, close your gripper, close gripper, close the claw, close your hand"),
    (Sense(_A.RELEASE, Takes.THING), "put, put down, set, set down, lay, lay down, place, hand over, deposit, unload"),
    (Sense(_A.RELEASE, Takes.MAYBE_THING), "release, drop, drop off, let go of, let go"),
    (Sense(_A.RELEASE, Takes.NOTHING), "open the gripper, open your gripper, open gripper, open the claw, open your hand, let it go"),
    (Sense(_A.POINT, Takes.PLACE), """
        point, point at, point to, point out, indicate, aim, aim at, gesture at, gesture to, gesture towards
    """),
    (Sense(_A.LOOK, Takes.MAYBE_THING), "look, look at, look around, gaze, gaze at, glance, glance at, peek, watch, scan, search"),
    (
        Sense(_A.LOOK, Takes.THING),
        """
        look for, look out for, observe, inspect, examine, search for, seek, face, stare at, check, check out, view, monitor, focus
        on, scan for, take a look at, have a look at, keep an eye on, keep your eyes on, study, turn to face, turn and face, rotate
        to face, watch for
        """,
    ),
    (Sense(_A.LOOK, Takes.NOTHING), """
        turn your head, turn the camera, point the camera, point your camera, aim the camera, rotate the camera, pan, pan the
        camera, take a look, take a look around, have a look, look both ways, swing the camera, turn your camera, move the camera
    """),
    (
        Sense(_A.NAVIGATE, Takes.PLACE),
        """
        navigate, head for, find, locate, reach, approach, follow, chase, track, pursue, enter, visit, go find, go and find, go look
        for, go get to, come find, go see, go visit, go after, go through, pass through, drive through, get to, get near, get close
        to, get closer to, get next to, move close to, move closer to, go close to, go closer to, go near, take me to, lead me to,
        guide me to, bring me to, catch up with, catch up to, go over to, track down, hunt for, go up to, come up to, walk up to,
        drive up to, make for, run after, close in on, home in on
        """,
    ),
    (Sense(_A.NAVIGATE, Takes.MAYBE_PLACE), """
        come here, come back, return, go home, come home, return home, come over here, come to me, follow me
    """),
    (
        Sense(_A.AVOID, Takes.MAYBE_THING),
        """
        avoid, dodge, evade, bypass, circumvent, skirt, steer clear of, keep away from, stay away from, move away from, get away
        from, go away from, keep clear of, stay clear of, keep clear, watch out for, beware of, keep your distance from, run away
        from, turn away from, steer away from, drive away from, veer away from, keep out of the way of, stay out of the way of, get
        out of the way of, mind
        """,
    ),
    (
        Sense(_A.AVOID, Takes.THING, around=True),
        """
        go around, drive around, move around, walk around, navigate around, steer around, swerve around, maneuver around, manoeuvre
        around, get around, go round, drive round, move round, detour around, curve around, pass around, work around, make your way
        around
        """,
    ),
)  # fmt: skip
_DOUBLED = frozenset("run stop spin grab drop get put set let step grip crab hit pan scan quit".split())


def phrases(text: str) -> frozenset[str]:
    """The phrases of a table, split at its commas."""
    return frozenset(" ".join(text.split()).split(", "))


def _gerund(word: str) -> str:
    if word in _DOUBLED:
        return f"{word}{word[-1]}ing"
    return f"{word[:-1]}ing" if word.endswith("e") and not word.endswith("ee") else f"{word}ing"


def _senses() -> tuple[dict[str, Sense], frozenset[str]]:
    """Every phrase in its base and -ing form; a base form written out beats another verb's -ing form."""
    written = {phrase: sense for sense, row in _ROWS for phrase in phrases(row)}
    made = {" ".join([_gerund(phrase.split()[0]), *phrase.split()[1:]]): sense for phrase, sense in written.items()}
    return made | written, frozenset(phrase.split()[0] for phrase in made)


SENSES, GERUNDS = _senses()
HEADS = frozenset(phrase.split()[0] for phrase in SENSES)
LONGEST = max(len(phrase.split()) for phrase in SENSES)
