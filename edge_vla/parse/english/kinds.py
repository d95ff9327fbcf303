"""An English verb's sense and what stands behind it, to one command or none. Knows no clauses and no negation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from edge_vla.parse.command import ASSUMED, BARE, CLEAR, NO_MEASURE, UNSURE, Command, Measure, Way, less
from edge_vla.parse.english.scan import Noun, Parts, scan
from edge_vla.parse.english.verbs import GERUNDS, SENSES, Sense, Takes
from edge_vla.parse.english.words import DETERMINERS, FILLERS, NOT_TAKEN, NOUNS_TOO, NP_ENDS, PICTURE_NOUNS, SIGNS, TURN_NOUNS, WAYS
from edge_vla.parse.quantities import merge
from edge_vla.types import ActionType

ONE_STEP = Measure(distance_m=0.3)
_LATERAL = (Way.LEFT, Way.RIGHT)
_ALONG = (Way.FORWARD, Way.BACKWARD)
_SPINS = frozenset("spin spinning rotate rotating revolve revolving".split())  # "turn around once" is half of that
_TIMES = {"once": 1.0, "twice": 2.0}
_GO = Sense(ActionType.MOVE, Takes.WAY)


def build(sense: Sense, head: Sequence[str], rest: Sequence[str]) -> Command | None:
    """The command of a verb phrase and its complement, or None where it is something else: "move the cup"."""
    if sense.kind is ActionType.STOP:
        return _stop(head, rest)
    parts = scan(rest, sense.kind)
    if head[0] in _SPINS and not _lateral(parts.ways):
        times = next((_TIMES[word] for word in rest if word in _TIMES), None)
        parts.measure = merge(parts.measure, Measure(angle_rad=times and 2.0 * math.pi * times))
    if sense.half_turn:
        return _half_turn(parts, _lateral(parts.ways))
    if sense.kind in {ActionType.MOVE, ActionType.TURN}:
        return _motion(sense, parts, stepping="step" in head)
    if sense.kind is ActionType.AVOID:
        return _avoid(sense, parts)
    return _thing(sense, head, rest, parts)


def build_bare(tokens: Sequence[str], *, alone: bool) -> Command | None:
    """A direction without a verb: "left", "90 degrees to the right", "straight ahead, slowly"."""
    parts = scan(tokens, ActionType.MOVE)
    if not (parts.ways or parts.straight) or parts.thing or parts.place or parts.away or parts.around or parts.extra or parts.circumstances:
        return None
    if list(tokens) == ["right"] and not alone:
        return None  # "right, move forward"
    command = _motion(_GO, parts, stepping=False)
    return replace(command, sure=min(command.sure, BARE), bare=True) if command else None


def build_reversed(tokens: Sequence[str]) -> Command | None:
    """The verb behind its way: "three metres forward go"."""
    sense = SENSES.get(tokens[-1]) if len(tokens) > 1 and tokens[-1] not in WAYS else None
    if sense is None or sense.kind not in {ActionType.MOVE, ActionType.TURN} or build_bare(tokens[:-1], alone=False) is None:
        return None
    return build(sense, tokens[-1:], tokens[:-1])


def detail(tokens: Sequence[str]) -> Parts | None:
    """A quantity or a pace alone, for the command before it: "turn left, slowly, 30 degrees"."""
    parts = scan(tokens, ActionType.MOVE)
    said = parts.measure != NO_MEASURE or parts.pace != 1.0
    alone = not (
        parts.ways or parts.straight or parts.thing or parts.place or parts.away or parts.around or parts.extra or parts.circumstances
    )
    return parts if said and alone else None


def _stop(head: Sequence[str], rest: Sequence[str]) -> Command | None:
    if rest and rest[0] in SIGNS:
        return None
    if (
        head[0] in NOUNS_TOO
        and rest
        and (rest[0] == "of" or not (rest[0] in NP_ENDS or rest[0] in DETERMINERS or rest[0] in FILLERS or rest[0] in GERUNDS))
    ):
        return None  # "park bench", "the rest of it"
    return Command(ActionType.STOP)


def _motion(sense: Sense, parts: Parts, *, stepping: bool) -> Command | None:
    if parts.away or parts.around:
        return _around(parts)
    if parts.thing:
        return None  # something else is to be moved
    if stepping and parts.measure.distance_m is None:
        parts.measure = merge(parts.measure, ONE_STEP)
    ways = ((sense.way,) if sense.way else ()) + tuple(parts.how) + tuple(parts.ways)
    if parts.straight and Way.BACKWARD not in ways:  # "back straight up" goes straight, but back
        ways += (Way.FORWARD,)
    lateral, along = _lateral(ways), _along(ways)
    if sense.sideways or parts.sideways or (stepping and lateral and not along):
        return replace(_command(ActionType.MOVE, parts, ways=lateral, sure=CLEAR if lateral else UNSURE), sideways=True)
    if sense.kind is ActionType.TURN:
        return _turn(sense, parts, lateral, along)
    if along == (Way.BACKWARD,) and parts.place and not sense.way:
        return _command(ActionType.NAVIGATE, parts, target=parts.place)  # "go back to the door"
    if along:
        return _command(ActionType.MOVE, parts, ways=along + lateral, target=parts.place)
    if lateral:
        return _command(ActionType.TURN, parts, ways=lateral)  # "go left": a base that cannot strafe turns there
    if parts.place:
        return _command(ActionType.NAVIGATE, parts, target=parts.place)
    if sense.alone and not parts.extra and not parts.circumstances:
        measured = parts.measure.distance_m is not None or parts.measure.duration_s is not None
        return _command(ActionType.MOVE, parts, ways=(sense.alone,), sure=BARE if measured else ASSUMED)
    return None


def _turn(sense: Sense, parts: Parts, lateral: tuple[Way, ...], along: tuple[Way, ...]) -> Command | None:
    if lateral:
        return _command(ActionType.TURN, parts, ways=lateral)
    if parts.around_alone or along == (Way.BACKWARD,):
        return _half_turn(parts)
    if parts.place and not along:
        return _command(ActionType.LOOK, parts, target=parts.place)  # "turn towards the window"
    measured = parts.measure.angle_rad is not None or parts.measure.bare is not None
    if along or parts.extra or parts.circumstances or parts.passing or not (measured or sense.alone):
        return None  # "turn on the light"
    return _command(ActionType.TURN, parts, ways=(Way.LEFT,), sure=BARE if measured else ASSUMED)


def _around(parts: Parts) -> Command:
    return _away(parts, _lateral(parts.how + parts.ways), parts.side, parts.away or parts.around)


def _away(parts: Parts, ways: tuple[Way, ...], side: Way | None, target: Noun | None) -> Command:
    return _command(ActionType.AVOID, parts, ways=ways, side=side, target=target, sure=CLEAR if ways or side else ASSUMED)


def _avoid(sense: Sense, parts: Parts) -> Command | None:
    """With a thing, "left" is where the thing is, unless the verb or "by turning left" says it is the way."""
    ways = _lateral(parts.ways)
    if sense.takes is Takes.THING and not (parts.thing or parts.place):
        return None
    if parts.thing and parts.thing.only_side:
        return _away(parts, (), parts.thing.side, None)
    if parts.how or sense.around or not parts.thing:
        return _away(parts, _lateral(parts.how) or ways, parts.side, parts.thing)
    return _away(parts, (), parts.side or (ways[0] if ways else None), parts.thing)


def _thing(sense: Sense, head: Sequence[str], rest: Sequence[str], parts: Parts) -> Command | None:
    """GRAB, RELEASE, POINT, LOOK and NAVIGATE."""
    if list(head) in (["take"], ["taking"]):
        return _take(parts)
    target = parts.thing or parts.place
    if sense.kind is ActionType.LOOK and _last(target) in PICTURE_NOUNS:
        return None  # "looking at the image"
    if list(head) == ["pick"] and "up" not in rest:
        return None
    if target is None and (parts.ways or parts.straight) and sense.kind is ActionType.NAVIGATE:
        return _motion(_GO, parts, stepping=False)  # "navigate left"
    if target is None and parts.ways and sense.kind in {ActionType.LOOK, ActionType.POINT}:
        return _command(sense.kind, parts, ways=tuple(parts.ways), side=parts.side)
    if target is None and sense.takes in {Takes.THING, Takes.PLACE}:
        return None
    lateral = _lateral(parts.ways)
    return _command(sense.kind, parts, side=parts.side or (lateral[0] if target and lateral else None), target=target)


def _take(parts: Parts) -> Command | None:
    """ "take" a thing, a turn, two steps back; not a photo."""
    thing = parts.thing
    if thing is None:
        return _motion(_GO, parts, stepping=False) if parts.ways else None
    if _last(thing) in NOT_TAKEN:
        return None
    if thing.only_side or _last(thing) in TURN_NOUNS:
        return _command(ActionType.TURN, parts, ways=(thing.side,)) if thing.side else None
    return _command(ActionType.GRAB, parts, target=thing)


def _last(noun: Noun | None) -> str:
    return noun.text.split()[-1] if noun and noun.text else ""


def _command(
    kind: ActionType,
    parts: Parts,
    *,
    ways: tuple[Way, ...] = (),
    side: Way | None = None,
    target: Noun | None = None,
    sure: float = CLEAR,
) -> Command:
    return Command(
        kind,
        ways=ways,
        side=side or (parts.side if kind is not ActionType.MOVE else None),
        target=target.text if target else None,
        measure=parts.measure,
        pace=parts.pace,
        sure=less(sure, parts.extra),
        assumed=sure < CLEAR and kind is not ActionType.AVOID,
    )


def _half_turn(parts: Parts, lateral: tuple[Way, ...] = ()) -> Command:
    """By what was said, or by 180 degrees."""
    if parts.measure.angle_rad is None:
        parts.measure = merge(parts.measure, Measure(angle_rad=math.pi))
    return _command(ActionType.TURN, parts, ways=lateral or (Way.LEFT,))


def _lateral(ways: Sequence[Way]) -> tuple[Way, ...]:
    return tuple(way for way in ways if way in _LATERAL)


def _along(ways: Sequence[Way]) -> tuple[Way, ...]:
    return tuple(way for way in ways if way in _ALONG)
