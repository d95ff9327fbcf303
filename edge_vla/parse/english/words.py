"""The small English words around a verb: directions, paces, articles, what ends a noun phrase. Data only."""

from __future__ import annotations

from edge_vla.parse.command import CAREFUL, QUICK, SLOW, Way
from edge_vla.parse.english.verbs import HEADS

_WAYS = {
    Way.FORWARD: "forward forwards ahead straight onward onwards",
    Way.BACKWARD: "back backward backwards rearward rearwards",
    Way.LEFT: "left leftward leftwards counterclockwise port",
    Way.RIGHT: "right rightward rightwards clockwise starboard",
}
WAYS = {word: way for way, words in _WAYS.items() for word in words.split()}
SIDES = {"left": Way.LEFT, "right": Way.RIGHT}
SIDEWAYS = frozenset("sideways sideway laterally lateral crabwise".split())
_PACES = {
    SLOW: "slowly slow slower gently gradually leisurely",
    CAREFUL: "carefully cautiously careful cautious gingerly",
    QUICK: "quickly quick fast faster rapidly swiftly hurriedly briskly",
}
PACES = {word: pace for pace, words in _PACES.items() for word in words.split()}
LITTLE = frozenset("slightly little bit smidge touch tad".split())
FILLERS = frozenset(
    """
    please kindly now just also then first firstly second secondly third thirdly next finally lastly okay ok yes yeah yep sure
    alright well hey hi hello so simply directly immediately again too maybe perhaps really very more further only about
    approximately roughly around nearly exactly another robot rover for by at once instead thanks thank you sharp sharply hard
    smoothly steadily safely speed pace full ten turn turns turning direction side motion safe clear all way possible soon still
    quite rather somewhat there here place spot slight tight gentle far as much wide movement movements eos real super pretty nice
    """.split()
)  # fmt: skip
DETERMINERS = frozenset(
    """
        the a an my your its his her our their this that these those some any another each every nearest closest first second next
        other same
        """.split()
)
PRONOUNS = frozenset("it them him her me you us this that one something anything everything nothing someone here there".split())
GOING_TO = frozenset("to toward towards into inside near beside behind between through onto under unto".split())
CIRCUMSTANCE = frozenset(
    """
    on in at along past across with of from over beyond against above below within upon per off out outside among amid
    during via like than except before after using
    """.split()
)
NP_ENDS = (
    GOING_TO
    | CIRCUMSTANCE
    | (frozenset(PACES) - {"slow", "fast", "quick"})
    | frozenset(
        """
        , and or but then so because that which who whose where when while if as is are was were be has have will should please now
        again immediately up down away back backward backwards forward forwards ahead by for until till instead around next close
        closer sideways once not without slightly % / carefully too also located standing sitting lying placed first
        """.split()
    )
)
FINITE = frozenset(
    """
    is are was were would will can may might could has have had seems seem looks appears appear be been leads shows contains does
    did makes should means remains stands sits
    """.split()
)
ROBOT_NOUNS = frozenset("robot rover vehicle base body yourself wheels itself car chassis bot platform".split())
TURN_NOUNS = frozenset("turn turns exit path route way fork lane corridor hallway road passage branch side hand direction".split())
NOT_TAKEN = frozenset("photo picture break look seat nap video screenshot image shot photograph care note".split())
NOUNS_TOO = frozenset(
    "rest resting park parking freeze pause idle brake cancel abort quit enough".split()
)  # "park bench", "the rest of the room"
SIGNS = frozenset("sign signs light lights lamp button line".split())  # "stop sign ahead"
PICTURE_NOUNS = frozenset("image picture photo photograph scene frame view screenshot camera".split())
PURPOSES = frozenset(
    """
    avoid find reach get see look approach grab pick take search locate dodge evade bypass face make keep let allow continue go move
    turn be have check ensure prevent clear pass align center centre follow explore inspect stop not enter escape return navigate
    """.split()
)


LY_NOUNS = frozenset("family butterfly jelly belly assembly supply trolly dolly lily holly reply bully gully folly".split())


def is_adverb(word: str) -> bool:
    """ "probably", "gradually": they say how, and how is not what."""
    return word.endswith("ly") and len(word) > 4 and word not in HEADS
