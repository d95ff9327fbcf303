"""What may stand before an English imperative: politeness, subjects, negations, corrections. Knows no verb's meaning."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from edge_vla.parse.english.verbs import GERUNDS, HEADS, phrases
from edge_vla.parse.english.words import PACES, WAYS, is_adverb
from edge_vla.parse.numerals import to_float

_LOOKAHEAD = 8  # tokens: nobody puts more between "please" and the verb
NEGATORS = frozenset("not never neither nor nowhere hardly without".split())
_FILLERS = frozenset(
    """
    please kindly now just also then first firstly second secondly third thirdly next finally lastly okay ok yes yeah yep sure
    alright well hey hi hello so simply immediately again maybe perhaps quickly gently robot rover thus therefore hence dear thanks
    either and , emergency attention warning caution certainly absolutely understood roger affirmative instead rather afterwards
    still always
    """.split()
)
_SUBJECTS = phrases(
    "i, we, you, robot, the robot, this robot, your robot, my robot, rover, the rover, the agent, it, the vehicle, the gripper, the arm"
)
_MODALS = phrases("should, will, must, shall, would, need to, needs to, have to, has to, ought to, had better, do, does")
SHOULD = frozenset("should will must shall needs has ought".split())
_PLANS = phrases("going to, about to, to, supposed to")
_BE = {"i": "am", "we": "are", "you": "are"}
_SEEMS = ("is", "would be", "might be", "may be", "could be", "will be", "seems", "is probably", "is now")
_GOOD = phrases("""
    best, better, wise, wiser, wisest, safe, safer, safest, advisable, necessary, important, recommended, preferable, prudent, good,
    reasonable, sensible, required, a good idea, the best idea, time, a good time, essential
""")
_BAD = phrases("""
    unsafe, dangerous, unwise, risky, impossible, inadvisable, a bad idea, forbidden, not allowed, not possible, not permitted,
    unnecessary, not advised, too dangerous, too risky, prohibited
""")
_LEAD_INS = (
    {f"{who} {modal}" for who in _SUBJECTS for modal in _MODALS}
    | {f"{who} {_BE.get(who, 'is')} {plan}" for who in _SUBJECTS for plan in _PLANS}
    | {f"{modal} {who}" for modal in ("can", "could", "would", "will") for who in ("you", "you please")}
    | phrases("""
        could the robot, would the robot, you can, you could, you may, you might, would you mind, let us, let the robot, go ahead
        and, try to, make sure to, make sure you, make sure that you, be sure to, remember to, feel free to, start by, begin
        by, start to, begin to, continue to, proceed to, go and, come and, i want to, i want you to, i need you to, i would
        like you to, i would like to, i think, i think that, i believe, i suggest, i suggest that, i recommend, i would
        recommend, i would suggest, i recommend that, i advise you to, i command you to, i order you to, i ask you to, i am
        asking you to, the best option is to, you had better, do not hesitate to, do not forget to, never forget to, do not
        be afraid to, time to, your task is to, the task is to, your job is to, my plan is to, the plan is to, have the
        robot, make the robot, get the robot to, tell the robot to, command the robot to, you want to, you dare, you ever,
        under any circumstances, at any time, in any case, for any reason, at all, all right, all you need to do is, what
        you should do is, may i ask you to, can i ask you to, could i ask you to, begin with, start with, start off with,
        take it slow, take it easy, be careful, slow down, roger that, copy that, got it, will do, of course, right away
    """)
    | {f"it {be} {good} to" for be in _SEEMS for good in _GOOD}
)
# these are lead-ins only where a verb follows: "keep left", "i", "start" are something else
_WITH_VERB = phrases("""
    continue, start, begin, try, do, better, keep, keep on, dare, ever, even, it seems, it seems that, it appears, it appears
    that, it looks like, that, think about, think of, i am, we are, let me, i, we, you, robot, the robot, the rover
""")
_NEGATIVE = (
    phrases("""
    can not, could not, am unable to, is unable to, are unable to, unable to, am not able to, no need to, there is no need to,
    refrain from, under no circumstances, by no means, in no case, on no account, no longer, no more, refuse to,
    not allowed to, you are forbidden to, keep from,
    you are not allowed to, no one should, nobody should, must avoid, should avoid
""")
    | {f"it {be} {bad} to" for be in _SEEMS for bad in _BAD | {f"not {good}" for good in _GOOD}}
    | {f"it {be[:-3]} not be {good} to" for be in _SEEMS if be.endswith(" be") for good in _GOOD}
)
_CORRECTIONS = phrases("no, actually, sorry, oops, i mean, scratch that, correction, wait no, no wait, my mistake, or rather")
_MOTIONS = frozenset("turn turns movement movements motion".split())
_AUXILIARIES = frozenset("need have want should will must can could".split())
_ANSWERS = frozenset(
    """
    action move step command answer option choice decision instruction maneuver response output suggestion recommendation advice plan
    thing
    """.split()
)
_REQUESTS = frozenset("can could would will may please".split())  # a question that begins so is a request
_PREPOSITIONS = frozenset("at in on from for by with given based according due".split())
_SUBJECT_MODALS = {f"{who} {modal}" for who in _SUBJECTS for modal in _MODALS}
_ALL_LEAD_INS = _LEAD_INS | _WITH_VERB
_LONGEST = max(len(phrase.split()) for phrase in _ALL_LEAD_INS | _NEGATIVE)


@dataclass(frozen=True, slots=True)
class Lead:
    """What stands before the verb, and where it ends."""

    at: int
    negated: bool = False
    replaces: bool = False
    polite: bool = False
    pace: float = 1.0


def lead_of(tokens: Sequence[str]) -> Lead:
    """Walk over everything that may stand before an imperative."""
    lead = Lead(_answer(tokens), polite=bool(tokens) and tokens[0] in _REQUESTS)
    while lead.at < len(tokens):
        following = _next(tokens, lead)
        if following is None:
            break
        lead = following
    return lead


def starts_command(tokens: Sequence[str], at: int) -> bool:
    """Whether a verb, a negation or a subject comes next, past "then", "please" and adverbs: what "and" joins."""
    at = _skip(tokens, at)
    return _is(tokens, at, HEADS) or _is(tokens, at, {"do", "not", "never", "you", "i", "we", "then"})


def _next(tokens: Sequence[str], lead: Lead) -> Lead | None:
    """One step further, or None where the verb must be."""
    at, token = lead.at, tokens[lead.at]
    if width := _phrase(tokens, at, _NEGATIVE):
        return replace(lead, at=at + width, negated=True)
    if (token == "no" and _noun_of_motion(tokens, at + 1)) or (token in {"avoid", "avoiding"} and _is(tokens, at + 1, GERUNDS)):
        return replace(lead, at=at + 1, negated=True)
    if width := _phrase(tokens, at, _CORRECTIONS):
        return replace(lead, at=at + width, replaces=True)
    if width := _lead_in(tokens, at):
        return replace(lead, at=at + width)
    if token in NEGATORS:
        return replace(lead, at=at + 1, negated=True)
    if token in PACES:
        return replace(lead, at=at + 1, pace=PACES[token])
    if token in _FILLERS or is_adverb(token):
        return replace(lead, at=at + 1, polite=lead.polite or token == "please")
    if at == 0 and to_float(token) is not None and _is(tokens, 1, HEADS):
        return replace(lead, at=1)  # "2) move forward"
    if at == 0 and token in _PREPOSITIONS:
        return _behind_circumstance(tokens, lead)
    return None


def starts_with_robot(tokens: Sequence[str]) -> bool:
    """Whether a clause is about the robot: "the robot is facing a wall"."""
    return _phrase(tokens, 0, _SUBJECTS) > 0


def _behind_circumstance(tokens: Sequence[str], lead: Lead) -> Lead | None:
    """Behind "at this point", where "we have to" follows."""
    for at in range(2, min(len(tokens), _LOOKAHEAD)):
        if tokens[at - 1] in NEGATORS:
            break
        if _phrase(tokens, at, _SUBJECT_MODALS):
            return replace(lead, at=at)
    return None


def _answer(tokens: Sequence[str]) -> int:
    """Behind "the best action is (to)", or 0."""
    for at in range(1, min(len(tokens) - 1, _LOOKAHEAD)):
        if tokens[at] in {"is", "be"} and tokens[at - 1] in _ANSWERS | {"would", "should", "do"} and not _ANSWERS.isdisjoint(tokens[:at]):
            told = list(tokens[at + 1 :]) == ["right"]  # "the answer is right"
            return 0 if told else at + (2 if tokens[at + 1] in {"to", "that"} else 1)
    return 0


def _noun_of_motion(tokens: Sequence[str], at: int) -> bool:
    """ "no turning", "no left turn", "no forward movement"; not "no, turn left"."""
    return _is(tokens, at, GERUNDS) or (_is(tokens, at, WAYS) and _is(tokens, at + 1, _MOTIONS))


def _lead_in(tokens: Sequence[str], at: int) -> int:
    for width in range(min(_LONGEST, len(tokens) - at), 0, -1):
        phrase = " ".join(tokens[at : at + width])
        if phrase in _WITH_VERB or (phrase in _LEAD_INS and phrase.endswith((" to", " by"))):
            if _headed(tokens, at + width):
                return width
        elif phrase in _LEAD_INS:
            return width
    return 0


def _headed(tokens: Sequence[str], at: int) -> bool:
    """Whether a verb comes next, past adverbs, negations and another lead-in."""
    at = _skip(tokens, at)
    return _is(tokens, at, HEADS) or _is(tokens, at, _AUXILIARIES) or _phrase(tokens, at, _ALL_LEAD_INS) > 0


def _skip(tokens: Sequence[str], at: int) -> int:
    last = min(len(tokens), at + _LOOKAHEAD)
    while at < last and (tokens[at] in _FILLERS or tokens[at] in PACES or tokens[at] in NEGATORS or is_adverb(tokens[at])):
        at += 1
    return at


def _phrase(tokens: Sequence[str], at: int, known: Collection[str]) -> int:
    """How many tokens the longest known phrase takes here, or 0."""
    for width in range(min(_LONGEST, len(tokens) - at), 0, -1):
        if " ".join(tokens[at : at + width]) in known:
            return width
    return 0


def _is(tokens: Sequence[str], at: int, words: Collection[str]) -> bool:
    return at < len(tokens) and tokens[at] in words
