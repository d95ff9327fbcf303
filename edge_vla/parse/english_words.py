"""The English lexicon: what each verb phrase does, and the small words around it. Data only.

A new verb is one word in one row of `_ROWS`; its -ing form is made here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto

from edge_vla.parse.command import CAREFUL, QUICK, SLOW, Way
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
        "move, go, drive, walk, travel, roll, run, proceed, advance, continue, carry on, go on, go ahead, cruise, keep going, keep moving,"
        " keep driving, keep on going, keep rolling, keep walking, press on, move on, set off, make your way, push on, get moving, get going,"
        " start moving, start driving, begin moving, begin driving, drive on, roll on, step on it, continue on, continue moving, continue going,"
        " continue driving",
    ),
    (replace(_GO, alone=None), "head, keep, stay on, step, take a step, inch, creep, crawl, come, rush, race, hurry, keep on, nudge, edge"),
    (replace(_GO, way=Way.BACKWARD), "reverse, retreat, back up, back off, back away, back, step back, pull back, withdraw, fall back, move back"),
    (replace(_GO, way=Way.FORWARD), "move up a bit, pull forward, pull ahead, roll forward, forge ahead"),
    (replace(_GO, alone=None, sideways=True), "strafe, sidestep, side step, crab, crabwalk, crab walk, slide, shift, sidle, translate, scoot"),
    (Sense(_A.TURN, Takes.WAY, alone=Way.LEFT), "turn, rotate, spin, pivot, revolve, swivel, twist, yaw, keep turning, keep rotating, start turning,"
        " begin turning, start rotating, begin rotating, continue turning, continue rotating"),
    (Sense(_A.TURN, Takes.WAY), "steer, veer, swerve, bear, curve, swing, hang a, bend, bank, make a, make the, do a, do the, perform a, execute a,"
        " make one, do one, perform one, make another"),
    (
        Sense(_A.TURN, Takes.NOTHING, half_turn=True, way=Way.LEFT),
        "turn around, turn round, turn back, turn about, spin around, rotate around, about face, face the other way, reverse direction, reverse course,"
        " reverse your direction, make a u turn, do a u turn, u turn, perform a u turn, take a u turn, make a uturn, uturn, do an about face",
    ),
    (
        Sense(_A.STOP, Takes.NOTHING),
        "stop, halt, freeze, pause, wait, brake, stand still, stay still, stay put, stay there, stay here, stay where you are, remain, stay, stand by,"
        " hold still, hold on, hold position, hold your position, hold it, hold there, hold here, cease, park, abort, cancel, emergency stop, full stop,"
        " come to a stop, come to a halt, come to a full stop, come to a complete stop, come to rest, quit, idle, rest, whoa, be still, do nothing,"
        " shut down, power off, hit the brakes, apply the brakes, apply brakes, keep still, keep your position, maintain position, watch out, look out,"
        " make a stop, no motion, no movement, stop moving, enough, slam on the brakes, stay in place, remain in place",
    ),
    (
        Sense(_A.GRAB, Takes.THING),
        "grab, grasp, pick, pick up, hold, catch, seize, lift, lift up, fetch, get, take, collect, retrieve, take hold of, grab hold of, get hold of, clutch,"
        " grip, bring, pinch, snatch, scoop up",
    ),
    (Sense(_A.GRAB, Takes.NOTHING), "close the gripper, close your gripper, close gripper, close the claw, close your hand"),
    (Sense(_A.RELEASE, Takes.THING), "put, put down, set, set down, lay, lay down, place, hand over, deposit, unload"),
    (Sense(_A.RELEASE, Takes.MAYBE_THING), "release, drop, drop off, let go of, let go"),
    (Sense(_A.RELEASE, Takes.NOTHING), "open the gripper, open your gripper, open gripper, open the claw, open your hand, let it go"),
    (Sense(_A.POINT, Takes.PLACE), "point, point at, point to, point out, indicate, aim, aim at, gesture at, gesture to, gesture towards"),
    (Sense(_A.LOOK, Takes.MAYBE_THING), "look, look at, look around, gaze, gaze at, glance, glance at, peek, watch, scan, search"),
    (
        Sense(_A.LOOK, Takes.THING),
        "look for, look out for, observe, inspect, examine, search for, seek, face, stare at, check, check out, view, monitor, focus on, scan for,"
        " take a look at, have a look at, keep an eye on, keep your eyes on, study, turn to face, turn and face, rotate to face, watch for",
    ),
    (Sense(_A.LOOK, Takes.NOTHING), "turn your head, turn the camera, point the camera, point your camera, aim the camera, rotate the camera, pan,"
        " pan the camera, take a look, take a look around, have a look, look both ways, swing the camera, turn your camera, move the camera"),
    (
        Sense(_A.NAVIGATE, Takes.PLACE),
        "navigate, find, locate, reach, approach, follow, chase, track, pursue, enter, visit, go find, go and find, go look for, go get to, come find,"
        " go see, go visit, go after, go through, pass through, drive through, get to, get near, get close to, get closer to, get next to, move close to,"
        " move closer to, go close to, go closer to, go near, take me to, lead me to, guide me to, bring me to, catch up with, catch up to, go over to,"
        " track down, hunt for, go up to, come up to, walk up to, drive up to, make for, run after, close in on, home in on",
    ),
    (Sense(_A.NAVIGATE, Takes.MAYBE_PLACE), "come here, come back, return, go home, come home, return home, come over here, come to me, follow me"),
    (
        Sense(_A.AVOID, Takes.MAYBE_THING),
        "avoid, dodge, evade, bypass, circumvent, skirt, steer clear of, keep away from, stay away from, move away from, get away from, go away from,"
        " keep clear of, stay clear of, keep clear, watch out for, beware of, keep your distance from, run away from, turn away from, steer away from,"
        " drive away from, veer away from, keep out of the way of, stay out of the way of, get out of the way of, mind",
    ),
    (
        Sense(_A.AVOID, Takes.THING, around=True),
        "go around, drive around, move around, walk around, navigate around, steer around, swerve around, maneuver around, manoeuvre around, get around,"
        " go round, drive round, move round, detour around, curve around, pass around, work around, make your way around",
    ),
)  # fmt: skip

_DOUBLED = {"run", "stop", "spin", "grab", "drop", "get", "put", "set", "let", "step", "grip", "crab", "hit", "cut", "pan", "scan", "swim", "quit"}


def _gerund(word: str) -> str:
    if word in _DOUBLED:
        return f"{word}{word[-1]}ing"
    return f"{word[:-1]}ing" if word.endswith("e") and not word.endswith("ee") else f"{word}ing"


SENSES: dict[str, Sense] = {}
GERUNDS: set[str] = set()
for _sense, _phrases in _ROWS:
    for _phrase in _phrases.split(", "):
        _first, *_more = _phrase.split()
        SENSES.setdefault(" ".join([_gerund(_first), *_more]), _sense)
        GERUNDS.add(_gerund(_first))
        SENSES[_phrase] = _sense
HEADS = frozenset(phrase.split()[0] for phrase in SENSES)
LONGEST = max(len(phrase.split()) for phrase in SENSES)

WAYS = {
    "forward": Way.FORWARD, "forwards": Way.FORWARD, "ahead": Way.FORWARD, "straight": Way.FORWARD, "onward": Way.FORWARD, "onwards": Way.FORWARD,
    "back": Way.BACKWARD, "backward": Way.BACKWARD, "backwards": Way.BACKWARD, "rearward": Way.BACKWARD, "rearwards": Way.BACKWARD,
    "left": Way.LEFT, "leftward": Way.LEFT, "leftwards": Way.LEFT, "counterclockwise": Way.LEFT, "port": Way.LEFT,
    "right": Way.RIGHT, "rightward": Way.RIGHT, "rightwards": Way.RIGHT, "clockwise": Way.RIGHT, "starboard": Way.RIGHT,
}  # fmt: skip
SIDES = {"left": Way.LEFT, "right": Way.RIGHT}
SIDEWAYS = frozenset("sideways sideway laterally lateral crabwise".split())
PACES = {
    "slowly": SLOW, "slow": SLOW, "slower": SLOW, "gently": SLOW, "gradually": SLOW, "leisurely": SLOW, "gingerly": CAREFUL,
    "carefully": CAREFUL, "cautiously": CAREFUL, "careful": CAREFUL, "cautious": CAREFUL,
    "quickly": QUICK, "quick": QUICK, "fast": QUICK, "faster": QUICK, "rapidly": QUICK, "swiftly": QUICK, "hurriedly": QUICK, "briskly": QUICK,
}  # fmt: skip
LITTLE = frozenset("slightly little bit smidge touch tad".split())
FILLERS = frozenset(
    "please kindly now just also then first firstly second secondly third thirdly next finally lastly okay ok yes yeah yep sure alright well hey hi hello"
    " so simply directly immediately again too maybe perhaps really very more further only about approximately roughly around nearly exactly another"
    " robot rover for by at once instead thanks thank you sharp sharply hard smoothly steadily safely speed pace full ten turn turns turning"
    " direction side motion safe clear all way possible soon still quite rather somewhat there here place spot".split()
)  # fmt: skip
LEAD_FILLERS = frozenset(
    "please kindly now just also then first firstly second secondly third thirdly next finally lastly okay ok yes yeah yep sure alright well hey hi hello"
    " so simply immediately again maybe perhaps quickly gently robot rover thus therefore hence dear thanks and , emergency attention warning caution"
    " certainly absolutely understood roger affirmative instead rather afterwards still always".split()
)  # fmt: skip

SUBJECTS = ("i", "we", "you", "robot", "the robot", "this robot", "your robot", "my robot", "rover", "the rover", "the agent", "it", "the vehicle")
_MODALS = ("should", "will", "must", "shall", "would", "need to", "needs to", "have to", "has to", "ought to", "going to", "about to", "had better")
_BE = {"i": "am", "we": "are", "you": "are"}
LEAD_INS = frozenset(
    {f"{who} {modal}" for who in SUBJECTS for modal in _MODALS[:-4]}
    | {f"{who} {_BE.get(who, 'is')} {going}" for who in SUBJECTS for going in ("going to", "about to", "to", "supposed to")}
    | {f"{who} {modal}" for who in SUBJECTS for modal in ("have to", "has to", "ought to", "had better", "do", "does")}
    | {"i", "we", "you", "i am", "we are", "robot", "the robot", "the rover"}
    | {f"{modal} {who}" for modal in ("can", "could", "would", "will") for who in ("you", "you please")}
    | {"you can", "you could", "you may", "you might", "would you mind", "let us", "let me", "let the robot", "go ahead and", "try to", "try"}
    | {"make sure to", "make sure you", "make sure that you", "be sure to", "remember to", "feel free to", "start by", "begin by", "start to"}
    | {"begin to", "continue to", "proceed to", "continue", "start", "begin", "go and", "come and", "i want to", "i want you to", "i need you to"}
    | {"i would like you to", "i would like to", "i think", "i think that", "i believe", "i suggest", "i suggest that", "i recommend", "i would recommend"}
    | {"i would suggest", "i recommend that", "i advise you to", "i command you to", "i order you to", "i ask you to", "i am asking you to", "it is best to"}
    | {"it would be best to", "it is better to", "the best option is to", "better", "you had better", "do not hesitate to", "do not forget to"}
    | {"never forget to", "do not be afraid to", "it is time to", "time to", "your task is to", "the task is to", "your job is to", "my plan is to"}
    | {"the plan is to", "have the robot", "make the robot", "get the robot to", "tell the robot to", "command the robot to", "you want to", "do"}
    | {"it is safe to", "all you need to do is", "what you should do is"}
)  # fmt: skip
ANSWER_NOUNS = frozenset("action move step command answer option choice decision instruction maneuver response output".split())
LONGEST_LEAD_IN = max(len(phrase.split()) for phrase in LEAD_INS)

NEGATORS = frozenset({"not", "never", "neither", "nor", "nowhere", "hardly", "without"})
NEGATIVE_PHRASES = frozenset(
    {"no need to", "there is no need to", "refrain from", "under no circumstances", "by no means", "in no case", "on no account", "no longer", "no more"}
    | {"refuse to", "it is forbidden to", "it is not allowed to", "it is unsafe to", "it is dangerous to", "not allowed to", "you are forbidden to"}
    | {"it is not safe to", "keep from", "you are not allowed to", "no one should", "nobody should", "must avoid", "should avoid"}
)  # fmt: skip

DETERMINERS = frozenset(
    "the a an my your its his her our their this that these those some any another each every nearest closest first second next other same".split()
)
PRONOUNS = frozenset("it them him her me you us this that one something anything everything nothing someone here there".split())
GOING_TO = frozenset("to toward towards into inside near beside behind through onto under unto".split())
CIRCUMSTANCE = frozenset(
    "on in at along past across with between of from over beyond against above below within upon per off out outside among amid during via like than"
    " except before after using".split()
)
NP_ENDS = (
    GOING_TO
    | CIRCUMSTANCE
    | (frozenset(PACES) - {"slow", "fast", "quick"})
    | frozenset(
        ", and or but then so because that which who whose where when while if as is are was were be has have will can should please now again"
        " immediately up down away back backward backwards forward forwards ahead by for until till instead around next close closer sideways once not"
        " without slightly % / carefully too also located standing sitting lying placed first".split()
    )
)
FINITE = frozenset(
    "is are was were would will can may might could has have had seems seem looks appears appear be been leads shows contains does did makes should"
    " means remains stands sits".split()
)
ROBOT_NOUNS = frozenset("robot rover vehicle base body yourself wheels itself car chassis bot platform".split())
TURN_NOUNS = frozenset("turn turns exit path route way fork lane corridor hallway road passage branch side hand direction".split())
NOT_TAKEN = frozenset("photo picture break look seat nap video screenshot image shot photograph care note".split())
NOUNS_TOO = frozenset("rest park freeze pause idle brake cancel abort quit enough".split())  # "park bench", "the rest of the room"
SIGNS = frozenset("sign signs light lights lamp button line".split())  # "stop sign ahead"
PICTURE_NOUNS = frozenset("image picture photo photograph scene frame view screenshot camera".split())
PURPOSES = frozenset(
    "avoid find reach get see look approach grab pick take search locate dodge evade bypass face make keep let allow continue go move turn be have"
    " check ensure prevent clear pass align center centre follow explore inspect stop not enter escape return navigate".split()
)


def is_adverb(word: str) -> bool:
    """ "probably", "gradually": they say how, and how is not what."""
    return word.endswith("ly") and len(word) > 4 and word not in HEADS
