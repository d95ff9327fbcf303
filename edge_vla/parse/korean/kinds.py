"""A Korean verb and what was said before it, to one command or none. Knows no endings and no order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from edge_vla.parse.command import ASSUMED, BARE, CLEAR, UNSURE, Command, Measure, Way, less
from edge_vla.parse.korean.args import Args
from edge_vla.parse.korean.verbs import Role, Verb
from edge_vla.parse.korean.words import BODY, CAMERA, HANDS
from edge_vla.parse.quantities import merge
from edge_vla.types import ActionType

_LATERAL = (Way.LEFT, Way.RIGHT)
_ALONG = (Way.FORWARD, Way.BACKWARD)
_GO = Verb(Role.GO, ActionType.MOVE)


def build(verb: Verb, args: Args) -> Command | None:
    """The command, or None where the words make it something else: 페이지를 돌려."""
    match verb.role:
        case Role.STOP:
            return Command(ActionType.STOP)
        case Role.GO:
            return _go(verb, args)
        case Role.TURN:
            return _turn(verb, args)
        case Role.TURN_BACK:
            return _half_turn(args, _lateral(args.ways))
        case Role.COME_BACK:
            return _come_back(args)
        case Role.AVOID:
            ways = _lateral(args.ways)
            return _away(args, ways, args.noun or args.place)
        case Role.HAND:
            return Command(verb.kind) if (args.noun or "").split()[-1:] and (args.noun or "").split()[-1] in HANDS else None
        case Role.THING | Role.LOOK | Role.PLACE:
            return _thing(verb, args)
        case _:
            return None


def build_bare(args: Args) -> Command | None:
    """A direction without a verb: 왼쪽, 앞으로 2미터."""
    if not args.only_ways:
        return None
    command = _go(_GO, args)
    return replace(command, sure=min(command.sure, BARE), bare=True) if command else None


def _go(verb: Verb, args: Args) -> Command | None:
    if args.thing and args.thing not in BODY:
        return None  # 컵을 옮겨: something else is to be moved
    ways = ((verb.way,) if verb.way else ()) + tuple(args.ways)
    lateral, along = _lateral(ways), _along(ways)
    place = args.place or (None if ways else args.noun if args.noun not in BODY else None)
    if verb.sideways or args.sideways:
        return replace(_command(ActionType.MOVE, args, ways=lateral, sure=CLEAR if lateral else UNSURE), sideways=True)
    if place and not along:
        side = args.side or (lateral[0] if lateral else None)
        return _command(ActionType.NAVIGATE, args, side=side, target=place)
    if along:
        return _command(ActionType.MOVE, args, ways=along + lateral, target=place)
    if lateral:
        return _command(ActionType.TURN, args, ways=lateral)  # 왼쪽으로 가: a base that cannot strafe turns there
    if args.forward:
        return _command(ActionType.MOVE, args, ways=(Way.FORWARD,))
    if verb.alone and not args.subject:
        measured = args.measure.distance_m is not None or args.measure.duration_s is not None
        return _command(ActionType.MOVE, args, ways=(verb.alone,), sure=BARE if measured else ASSUMED)
    return None


def _turn(verb: Verb, args: Args) -> Command | None:
    lateral = ((verb.way,) if verb.way else ()) + _lateral(args.ways)
    noun = args.noun or args.place
    if noun and noun.split()[-1] in CAMERA:
        return _command(ActionType.LOOK, args, ways=lateral)
    if args.thing and args.thing.split()[-1] not in BODY:
        return None
    if lateral:
        return _command(ActionType.TURN, args, ways=lateral)
    if Way.BACKWARD in args.ways:
        return _half_turn(args)
    if args.place:
        return _command(ActionType.LOOK, args, target=args.place)  # 문 쪽으로 돌아
    if args.loose or Way.FORWARD in args.ways:
        return None
    measured = args.measure.angle_rad is not None or args.measure.bare is not None
    return _command(ActionType.TURN, args, ways=(Way.LEFT,), sure=BARE if measured else ASSUMED)


def _away(args: Args, ways: tuple[Way, ...], target: str | None) -> Command:
    return _command(ActionType.AVOID, args, ways=ways, side=args.side, target=target, sure=CLEAR if ways or args.side else ASSUMED)


def _come_back(args: Args) -> Command | None:
    """돌아가: with a side a turn, with a thing a way around it, with a place the way back."""
    if args.thing:
        return _away(args, _lateral(args.ways), args.thing)
    if args.place or not _lateral(args.ways):
        target = args.place or args.noun
        return _command(ActionType.NAVIGATE, args, target=target, sure=CLEAR if target else ASSUMED)
    return _command(ActionType.TURN, args, ways=_lateral(args.ways))


def _thing(verb: Verb, args: Args) -> Command | None:
    target = args.noun or args.place
    if verb.role is Role.PLACE and target is None and args.ways:
        return _go(_GO, args)
    if verb.role is Role.LOOK and target is None:
        return _command(verb.kind, args, ways=tuple(args.ways), side=args.side)
    side = args.side or (_lateral(args.ways)[0] if _lateral(args.ways) else None)
    return _command(verb.kind, args, side=side, target=target)


def _command(
    kind: ActionType,
    args: Args,
    *,
    ways: tuple[Way, ...] = (),
    side: Way | None = None,
    target: str | None = None,
    sure: float = CLEAR,
) -> Command:
    return Command(
        kind,
        ways=ways,
        side=side,
        target=target,
        measure=args.measure,
        pace=args.pace,
        sure=less(sure, args.extra + (0 if target else len(args.loose))),
        assumed=sure < CLEAR and kind is not ActionType.AVOID,
    )


def _half_turn(args: Args, lateral: tuple[Way, ...] = ()) -> Command:
    """By what was said, or by 180 degrees."""
    if args.measure.angle_rad is None:
        args.measure = merge(args.measure, Measure(angle_rad=math.pi))
    return _command(ActionType.TURN, args, ways=lateral or (Way.LEFT,))


def _lateral(ways: Sequence[Way]) -> tuple[Way, ...]:
    return tuple(way for way in ways if way in _LATERAL)


def _along(ways: Sequence[Way]) -> tuple[Way, ...]:
    return tuple(way for way in ways if way in _ALONG)
