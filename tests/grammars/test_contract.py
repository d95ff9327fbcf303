"""What every reply format keeps, whichever it is: the registry's formats in turn, and none beside them."""

from __future__ import annotations

import math
import random
import re
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edge_vla.grammars
from edge_vla.errors import ConfigError, ParseError
from edge_vla.grammars import GRAMMARS, Answer, Chances, Columns, Decoding, Grammar, PictureMap, grammar
from edge_vla.grammars.machine import Say
from edge_vla.parse.loc import MAX_CHARS
from edge_vla.types import Box
from tests.grammars.words import END, converse, vocabulary, walk

SQUASHED = PictureMap.squashed((640, 480), (448, 448))
PICTURES = [SQUASHED, PictureMap.padded((640, 480), 336), PictureMap.padded((31, 200), 336), PictureMap.middle((640, 480), 224)]
WORDS, BYTES = vocabulary(), vocabulary(longer=False)
every = pytest.mark.parametrize("one", GRAMMARS.values(), ids=GRAMMARS)
SEEDS = (
    "<loc0256><loc0128><loc0768><loc0512> cup", "<seg001>", " ; ", "<object><patch_index_0001><patch_index_0040></object>",
    "<phrase> a cup</phrase>", "</delimiter_of_multi_objects/>", "<ref>cup</ref><box>(1,2),(300,400)</box>",
    '```json\n[{"bbox_2d": [1, 2, 30, 40], "label": "cup"}]\n```', '{"objects": [{"x_min": 0.1, "y_min": 0.1, "x_max": 0.2, "y_max": 1}]}',
    '{"points": [{"x": 0.1, "y": 2}]}', "yes\nleft", "no", "[", "{", '"', "NaN", "1e999", "9" * 5000, "<", ">", "\n", "\x00", "\ud800",
    "<eos>", "none",
)  # fmt: skip
messy = st.lists(st.sampled_from(SEEDS) | st.text(max_size=12), max_size=8).map("".join) | st.sampled_from(SEEDS).flatmap(
    lambda seed: st.integers(0, len(seed)).map(lambda cut: seed[:cut])
)


def read(one: Grammar, text: str, picture: PictureMap = SQUASHED, chances: Chances | None = None) -> Answer | str:
    """The answer, or why it was refused: what was wanted and what came, and no more."""
    try:
        return one.parse(text, picture, "cup", chances)
    except ParseError as err:
        reason = str(err)
    assert 10 < len(reason) < 700
    return reason


def test_the_registry_holds_every_format_under_its_name() -> None:
    assert all(name == one.name for name, one in GRAMMARS.items())
    folder = Path(edge_vla.grammars.__file__).parent
    parts = {"__init__", "grammar", "machine", "notation", "picture", "senses", "spots", "steps", "tags", "telling", "vocabulary"}
    assert {file.stem for file in folder.glob("*.py")} - parts == set(GRAMMARS)


def test_an_unknown_format_is_refused_with_the_nearest() -> None:
    assert grammar("kosmos") is GRAMMARS["kosmos"]
    with pytest.raises(ConfigError, match="did you mean 'paligemma'"):
        grammar("paligema")


@every
@given(text=messy, picture=st.sampled_from(PICTURES))
def test_any_text_is_read_or_refused(one: Grammar, text: str, picture: PictureMap) -> None:
    answer = read(one, text, picture)
    if isinstance(answer, str):
        return
    assert not answer.measured
    for place in answer.places:
        edges = [getattr(place.where, name) for name in place.where.__dataclass_fields__ if name != "label"]
        assert all(0 <= edge <= 1 for edge in edges)
        assert place.label
        assert 0 < place.confidence < 1, "of the parse: never certain"
    for box in answer.boxes:
        assert box.x_min < box.x_max
        assert box.y_min < box.y_max


@every
@given(text=messy)
def test_any_text_leads_to_a_question_or_a_refusal(one: Grammar, text: str) -> None:
    with suppress(ParseError):
        assert one.ask("cup", SQUASHED, text) is None or one.name == "words"


@every
@pytest.mark.parametrize("unit", [*SEEDS, " ", "a", "é", '{"a":', "[[", '"bbox_2d":', '"bbox_2d": [', "yes ", "<phrase>", "(1,"])
def test_a_megabyte_takes_no_longer_than_its_length(one: Grammar, unit: str) -> None:
    text = (unit * (MAX_CHARS // len(unit)))[:MAX_CHARS]
    start = time.perf_counter()
    read(one, text)
    read(one, text, SQUASHED, Chances(((text, 0.5),)))
    assert time.perf_counter() - start < 30, "seconds where a quadratic reader would need hours"
    assert isinstance(read(one, text + "x"), str), "over the limit: not looked at"


@every
@given(rng=st.randoms(use_true_random=False), picture=st.sampled_from([SQUASHED, PictureMap.squashed((9, 5), (28, 1024))]))
@settings(max_examples=30)
def test_whatever_may_be_emitted_can_be_read(one: Grammar, rng: random.Random, picture: PictureMap) -> None:
    words = rng.choice([WORDS, BYTES])
    said = converse(one, "cup", picture, words, rng)
    if not one.spelled:
        assert said == "<coord><coord><size>" * (len(said) // 20)
        return
    answer = one.parse(said, picture, "cup")
    assert one.says_absent or answer.places
    assert one.says_boxes == (len(answer.boxes) == len(answer.places)) or not answer.places
    assert all(place.label.removeprefix("the ") == "cup" for place in answer.places)


@every
def test_the_allowed_rows_are_exactly_those_that_may_be_taken(one: Grammar) -> None:
    rng = random.Random(0)
    for said in (None, "yes") if one.name == "words" else (None,):
        ask = one.ask("cup", SQUASHED, said)
        assert ask is not None
        decoding = Decoding.begin(WORDS, ask.machine)
        for _ in range(12):
            allowed = decoding.allowed()
            taken = [row for row in [END, *WORDS._text_of] if _may(decoding, row)]
            assert allowed == sorted(taken)
            if not allowed:
                break
            decoding = decoding.take(rng.choice([row for row in allowed if row != END] or allowed))


def _may(decoding: Decoding, row: int) -> bool:
    try:
        decoding.take(row)
    except ParseError:
        return False
    return True


@every
def test_an_answer_holds_a_bounded_number_of_places(one: Grammar) -> None:
    """A model that would go on for ever is stopped where its parser would refuse it."""
    if not one.says_boxes:
        return
    ask = one.ask("cup", SQUASHED)
    assert ask is not None
    state, rng, said = ask.machine.start(), random.Random(1), b""
    while symbols := state.symbols():
        slot = ask.machine.slots[state.at]
        back = min(slot.options, key=lambda option: option[1] if option[0] else 99)[0] if isinstance(slot, Say) and not state.part else ()
        symbol = back[0] if back and back[0] in symbols else rng.choice(sorted(symbols))
        state, said = state.after(symbol), said + symbol
        assert len(said) < 100_000
    if one.spelled:
        assert len(one.parse(said.decode(), SQUASHED).places) == 256
    else:
        assert said.count(b"<size>") == 50


@every
@pytest.mark.parametrize("picture", PICTURES, ids=["squashed", "padded", "tall", "middle"])
@given(low=st.tuples(*[st.floats(0, 0.97)] * 2), size=st.tuples(*[st.floats(0.03, 1)] * 2))
def test_a_box_comes_back_within_the_formats_quantum(
    one: Grammar, picture: PictureMap, low: tuple[float, float], size: tuple[float, float]
) -> None:
    (x_min, y_min), (x_max, y_max) = low, (min(1.0, a + b) for a, b in zip(low, size, strict=True))
    box = Box(y_min, x_min, y_max, x_max, "cup")
    try:
        text = one.encode([box], picture)
    except ParseError:
        refused = True
    else:
        refused = False
    left, right = picture.to_input(x_min * picture.original[0], 0)[0], picture.to_input(x_max * picture.original[0], 0)[0]
    cut = picture.offset[0] < 0 and not 0 <= left < right <= picture.canvas[0]
    assert refused == cut, "only what is cut off is not in the input"
    if refused:
        return
    wide, high = one.quantum(picture)
    (place,) = one.parse(text, picture, "cup").places
    assert place.label == "cup"
    if isinstance(place.where, Columns):
        assert place.where.x_min - 1e-9 <= (x_min + x_max) / 2 <= place.where.x_max + 1e-9
        return
    assert isinstance(place.where, Box)
    slack = 1e-9
    assert max(abs(place.where.x_min - x_min), abs(place.where.x_max - x_max)) <= wide + slack
    assert max(abs(place.where.y_min - y_min), abs(place.where.y_max - y_max)) <= high + slack


@every
def test_several_boxes_come_back_in_order(one: Grammar) -> None:
    boxes = [Box(0.1, 0.1, 0.3, 0.4, "cup"), Box(0.5, 0.6, 0.9, 0.8, "cup")]
    if not one.says_boxes:
        with pytest.raises(ParseError, match="at most 1 box"):
            one.encode(boxes, SQUASHED)
        return
    found = one.parse(one.encode(boxes, SQUASHED), SQUASHED, "cup").boxes
    assert [(round(box.x_min, 1), box.label) for box in found] == [(0.1, "cup"), (0.6, "cup")]


@every
def test_nothing_is_said_and_read(one: Grammar) -> None:
    assert one.parse(one.encode([], SQUASHED), SQUASHED, "cup").places == ()


@every
@pytest.mark.parametrize("box", [Box(0.2, 0.5, 0.4, 0.4), Box(0.2, 0.3, 0.2, 0.4), Box(0.1, -0.1, 0.2, 0.2), Box(0.1, 0.1, math.nan, 0.2)])
def test_impossible_boxes_are_not_said(one: Grammar, box: Box) -> None:
    with pytest.raises(ParseError, match="inside the input"):
        one.encode([box], SQUASHED)


@every
@pytest.mark.parametrize("thing", ["", "<loc0001>", "cup\x00"])
def test_impossible_things_are_not_asked_for(one: Grammar, thing: str) -> None:
    with pytest.raises(ConfigError):
        one.ask(thing, SQUASHED)


@every
def test_a_question_names_the_thing_and_ends(one: Grammar) -> None:
    ask = one.ask("Red Ball", SQUASHED)
    assert ask is not None
    assert "red ball" in ask.text
    answers = [one.encode([Box(0.1, 0.1, 0.3, 0.3, "red ball")], SQUASHED)] if one.says_boxes else ["yes\nleft", "no"]
    assert [one.ask("red ball", SQUASHED, answer) for answer in answers] == [None] * len(answers)


@every
@pytest.mark.parametrize("thing", ["컵", 'the "red" cup', "café"])
def test_names_in_any_script_can_be_spelled(one: Grammar, thing: str) -> None:
    ask = one.ask(thing, SQUASHED)
    assert ask is not None
    state, rng, symbols = ask.machine.start(), random.Random(2), []
    while not state.over and not (state.may_end and symbols):
        symbols.append(rng.choice(sorted(state.symbols())))
        state = state.after(symbols[-1])
    said = b"".join(symbols).decode()
    if one.name in {"paligemma", "qwen_vl", "qwen2_5_vl"}:
        assert one.parse(said, SQUASHED).places[0].label == thing.removeprefix("the ")


# -- confidence


@every
def test_token_probabilities_make_the_confidence(one: Grammar) -> None:
    text = one.encode([Box(0.1, 0.1, 0.3, 0.4, "cup")], SQUASHED)
    sure = one.parse(text, SQUASHED, "cup", Chances(tuple((letter, 1.0) for letter in text)))
    assert (sure.measured, sure.confidence, sure.places[0].confidence) == (True, 1.0, 1.0)
    half = one.parse(text, SQUASHED, "cup", Chances(((text, 0.5),)))
    assert half.places[0].confidence == pytest.approx(0.25), "present x the mean over the numbers, each in the one token"
    given_ = one.parse(text, SQUASHED, "cup", Chances(((text, 0.5),), present=0.9))
    assert given_.confidence == pytest.approx(0.45)
    plain = one.parse(text, SQUASHED, "cup")
    assert (plain.measured, plain.confidence) == (False, 0.8)


@every
def test_only_the_numbers_of_a_place_count(one: Grammar) -> None:
    """What spells a label, a bracket or another box tells nothing about where this one is."""
    boxes = [Box(0.1, 0.1, 0.3, 0.4, "cup"), Box(0.5, 0.6, 0.9, 0.8, "cup")][: 2 if one.says_boxes else 1]
    text = one.encode(boxes, SQUASHED)
    numbers = {"paligemma": r"<loc[0-9]+>", "kosmos": r"<patch_index_[0-9]+>", "words": "left"}.get(one.name, r"[0-9.]+")
    where = {at for match in re.finditer(numbers, text) for at in range(*match.span())}
    chances = Chances(tuple((letter, 1.0 if at in where else 0.01) for at, letter in enumerate(text)), present=1.0)
    assert [place.confidence for place in one.parse(text, SQUASHED, "cup", chances).places] == [1.0] * len(boxes)
    last = max(where)
    doubtful = replace(chances, tokens=tuple((letter, 0.5 if at == last else chance) for at, (letter, chance) in enumerate(chances.tokens)))
    counts = {"kosmos": 2, "words": 1}.get(one.name, 4)
    *others, hit = [place.confidence for place in one.parse(text, SQUASHED, "cup", doubtful).places]
    assert (others, hit) == ([1.0] * (len(boxes) - 1), pytest.approx(0.5 ** (1 / counts)))


@every
def test_absence_has_its_own_probability(one: Grammar) -> None:
    text = one.encode([], SQUASHED)
    answer = one.parse(text, SQUASHED, "cup", Chances(((text, 0.7),)))
    assert (answer.places, answer.confidence, answer.measured) == ((), 0.7, True)


@every
@pytest.mark.parametrize(
    ("chances", "reason"),
    [
        (Chances((("x", 0.5),)), "of this reply's"),
        (Chances((("x", math.nan),)), "in 0..1, got nan"),
        (Chances((("x", 1.5),)), "in 0..1, got 1.5"),
    ],
)
def test_probabilities_of_another_reply_are_refused(one: Grammar, chances: Chances, reason: str) -> None:
    with pytest.raises(ParseError, match=reason):
        one.parse(one.encode([Box(0.1, 0.1, 0.3, 0.4, "cup")], SQUASHED), SQUASHED, "cup", chances)


@every
def test_an_impossible_presence_is_refused(one: Grammar) -> None:
    text = one.encode([Box(0.1, 0.1, 0.3, 0.4, "cup")], SQUASHED)
    with pytest.raises(ParseError, match=r"got 1\.5 for anything"):
        one.parse(text, SQUASHED, "cup", Chances(((text, 0.5),), present=1.5))


def test_walks_differ_by_seed() -> None:
    """The random answers above are random: a walk that always said the same would prove little."""
    ask = GRAMMARS["paligemma"].ask("cup", SQUASHED)
    assert ask is not None
    assert len({walk(Decoding.begin(WORDS, ask.machine), random.Random(seed)).text for seed in range(20)}) > 5
