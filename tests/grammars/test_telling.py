"""An answer told row by row by a made-up model: legal whatever it prefers, and as sure as that model is."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import pytest

from edge_vla.errors import ParseError
from edge_vla.grammars import GRAMMARS, Ask, Chances, Columns, Decoding, Grammar, PictureMap, Spelling, Telling, Told, Vocabulary, together
from edge_vla.grammars.machine import Machine, Say, Whole, spell, then
from tests.grammars.words import END, vocabulary

SQUARE = PictureMap.squashed((640, 480), (448, 448))
WORDS, BYTES = vocabulary(), vocabulary(longer=False)
SIZE = len(WORDS._text_of) + 1
SPELLED = [one for one in GRAMMARS.values() if one.spelled]
Model = Callable[[str], list[float]]  # what was said to the log-probabilities of all rows


def random_model(seed: int, spread: float = 3.0, size: int = SIZE) -> Model:
    """The same text is followed by the same probabilities; the end, which may outweigh a thousand bins, is far up or down."""

    @cache
    def follow(said: str) -> list[float]:
        rng = random.Random(f"{seed} {said}")
        return log_softmax([rng.gauss(0, 20), *(rng.gauss(0, spread) for _ in range(size - 1))])

    return follow


def flat_model(likely: dict[str, float], words: Vocabulary = WORDS) -> Model:
    """These rows by what they spell, "" for the end, with these probabilities; the other rows share what is left."""
    spelled = {text.decode(): row for row, text in words._text_of.items()} | {"": END}

    def follow(_said: str) -> list[float]:
        rest = (1 - sum(likely.values())) / (SIZE - len(likely))
        found = [math.log(rest)] * SIZE
        for text, chance in likely.items():
            found[spelled[text]] = math.log(chance)
        return found

    return follow


def log_softmax(logits: Sequence[float]) -> list[float]:
    top = max(logits)
    total = top + math.log(sum(math.exp(x - top) for x in logits))
    return [min(0.0, x - total) for x in logits]


def tell(ask: Ask, model: Model, words: Vocabulary = WORDS) -> Told:
    telling, said = Telling(words, ask), ""
    while not telling.over:
        rows, logs = telling.allowed(), model(said)
        row = telling.take([logs[k] for k in rows])
        assert row in rows
        said += "" if row == END else words._text_of[row].decode()
    return telling.told()


def converse(one: Grammar, model: Model, words: Vocabulary, most: int = 3) -> tuple[str, Chances]:
    told: list[Told] = []
    while ask := one.ask("cup", SQUARE, "\n".join(one.text for one in told) if told else None):
        told.append(tell(replace(ask, machine=replace(ask.machine, most=most)), model, words))
    return together(told)


@pytest.mark.parametrize("one", SPELLED, ids=lambda one: one.name)
@pytest.mark.parametrize("words", [WORDS, BYTES], ids=["long", "bytes"])
def test_whatever_a_model_prefers_is_whole_and_read(one: Grammar, words: Vocabulary) -> None:
    """Long rows too, that cross numbers, marks and the fork between a place and none."""
    said = set()
    for seed in range(15):
        text, chances = converse(one, random_model(seed), words)
        assert "".join(token for token, _ in chances.tokens) == text
        assert all(0 <= chance <= 1 for _, chance in chances.tokens)
        answer = one.parse(text, SQUARE, "cup", chances)
        assert len(answer.places) <= 3
        assert 0 <= answer.confidence <= 1
        assert answer.measured
        assert (chances.present is None) == (chances.absent is None) == (not one.says_absent)
        if chances.present is not None and chances.absent is not None:
            assert chances.present + chances.absent <= 1
        said.add(bool(answer.places))
    assert said == ({True, False} if one.says_absent else {True})


@pytest.mark.parametrize("one", GRAMMARS.values(), ids=GRAMMARS)
def test_what_a_format_calls_none_is_legal_and_names_nothing(one: Grammar) -> None:
    ask = one.ask("cup", SQUARE)
    assert ask is not None
    assert bool(ask.none) == one.says_absent
    for text in ask.none:
        assert legal(ask.machine, text)
        assert one.parse(text, SQUARE, "cup").places == ()
    second = one.ask("cup", SQUARE, "yes") if one.name == "words" else None
    if second is not None:
        means = [{one.parse(f"yes\n{text}", SQUARE, "cup").places[0].where for text in group} for group in second.alike]
        assert [len(group) for group in means] == [1, 1, 1]
        assert len(set.union(*means)) == 3
        assert all(legal(second.machine, text) for group in second.alike for text in group)


def legal(machine: Machine, text: str) -> bool:
    state = machine.start()
    for byte in text.encode():
        state = state.after(bytes([byte]))
    return state.may_end


def test_a_place_spread_over_many_bins_is_there() -> None:
    """No bin is as likely as the end, all together are: there is something, most likely at the likeliest bin."""
    bins = {f"<loc{k:04d}>": 0.02 for k in range(300, 330)} | {"<loc0310>": 0.04}
    ask = GRAMMARS["paligemma"].ask("cup", SQUARE)
    assert ask is not None
    telling = Telling(WORDS, ask)
    first = flat_model(bins | {"": 0.3})("")
    rows = telling.allowed()
    assert telling.take([first[row] for row in rows]) == WORDS.marks[b"<loc0310>"]
    rest = (1 - sum(bins.values()) - 0.3) / (SIZE - len(bins) - 1)
    whole = tell(ask, lambda said: flat_model(bins | {"": 0.3} if not said else {" cup": 0.9})(said))
    present = sum(bins.values()) + rest * (1023 - 30)
    assert (whole.present, whole.absent) == (pytest.approx(present), pytest.approx(0.3))
    near = 0.04 + 0.02 * 26 + rest * 6  # 294..326
    assert whole.tokens[0] == ("<loc0310>", pytest.approx(near / present))


def test_spellings_of_one_word_count_together() -> None:
    """ " Yes" and "yes" against "No": 0.4 to 0.35. A space alone may become either and counts for none."""
    words = GRAMMARS["words"]
    told = {"yes": 0.2, " Yes": 0.15, "Ye": 0.05, "no": 0.05, "No": 0.3, " ": 0.1}
    text, chances = converse(words, lambda said: flat_model({"left": 0.5, "Left": 0.2} if said else told)(said), WORDS)
    assert text.split("\n")[0] == "yes"
    assert chances.present == pytest.approx(0.4, abs=1e-3)
    assert chances.absent == pytest.approx(0.35, abs=1e-3)


def test_a_side_is_as_likely_as_all_its_spellings() -> None:
    ask = GRAMMARS["words"].ask("cup", SQUARE, "yes")
    assert ask is not None
    told = tell(ask, flat_model({"left": 0.3, "Left": 0.1, " left": 0.1, "Le": 0.05, "middle": 0.4}))
    assert told.text == "left", "0.55 to 0.4"
    assert told.tokens == (("left", pytest.approx(0.55, abs=1e-3)),)
    assert (told.present, told.absent) == (None, None)


def test_sides_in_the_padding_are_no_answers() -> None:
    picture = PictureMap.padded((31, 200), 336)
    ask = GRAMMARS["words"].ask("cup", picture, "yes")
    assert ask is not None
    assert tell(ask, flat_model({"left": 0.9, "middle": 0.01})).text == "middle"
    (place,) = GRAMMARS["words"].parse("yes\nmiddle", picture, "cup").places
    assert place.where == Columns(0.0, 1.0)
    wide = GRAMMARS["words"].ask("cup", PictureMap.padded((200, 31), 336), "yes")
    assert wide is not None
    assert tell(wide, flat_model({"left": 0.9})).text == "left"


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("near", [0, 7])
def test_the_mass_near_a_number_is_at_most_all_of_it(seed: int, near: int) -> None:
    """Between the chance of the rows that said it and the whole tree of rows, where what can only become near counts in full."""
    low, high = sorted(random.Random(seed).sample(range(1200), 2))
    words = Vocabulary({"<end>": 0, **{text: k + 1 for k, text in enumerate((*"0123456789;", "12", "44", "7;"))}}, [0])
    model, machine = random_model(seed, 2.0, 15), Machine((Whole(lambda _: range(low, high + 1), near), then(1, ";")))
    told = tell(Ask("", machine), model, words)
    value, share = int(told.text[:-1]), math.prod(chance for token, chance in told.tokens if token != ";")
    good = {str(number) for number in range(max(low, value - near), min(high, value + near) + 1)}
    rows, all_ = taken(words, model, machine), {str(number) for number in range(low, high + 1)}
    assert rows - 1e-12 <= share <= tree(words, model, "", good, all_) + 1e-12
    assert share > rows or not near


def tree(words: Vocabulary, model: Model, said: str, good: set[str], legal_: set[str]) -> float:
    """The chance that a text which is to be one of `legal_` and a mark behind it becomes one of `good`."""
    found = {number for number in legal_ if f"{number};".startswith(said)}
    if found <= good or not found & good:
        return float(bool(found) and found <= good)
    return sum(
        math.exp(model(said)[row]) * tree(words, model, said + raw.decode(), good, legal_) for row, raw in words._text_of.items()
    )  # fmt: skip


def taken(words: Vocabulary, model: Model, machine: Machine) -> float:
    """The chance of the rows that are the likeliest."""
    decoding, total = Decoding.begin(words, machine), 0.0
    while not decoding.state.over:
        logs = model(decoding.text)
        row = max(decoding.allowed(), key=lambda k: logs[k])
        total, decoding = total + logs[row], decoding.take(row)
    return math.exp(total)


@pytest.mark.parametrize(("most", "share"), [(100, 0.6 * 0.8), (1000, 0.6 * 0.5 * 0.9)])
def test_a_number_counts_what_can_only_become_near(most: int, share: float) -> None:
    """44 with reach 3. Of two digits the last may be 1..7; of up to three 41 may become 410, and 44 has to end first."""
    words = Vocabulary({"<end>": 0, **{letter: k + 1 for k, letter in enumerate("0123456789;")}}, [0])
    chances = {"": {"4": 0.6, "3": 0.3}, "4": {"4": 0.5, "1": 0.2, "7": 0.1, "8": 0.05, ";": 0.1}, "44": {";": 0.9}}

    def model(said: str) -> list[float]:
        known = chances[said]
        return [math.log(known.get(text.decode(), 1e-9)) for _, text in sorted(words._text_of.items())]

    telling, said = Telling(words, Ask("", Machine((Whole(lambda _: range(most), 3), then(1, ";"))))), ""
    while not telling.over:
        row = telling.take([model(said)[row - 1] for row in telling.allowed()])
        said += words._text_of[row].decode()
    tokens = telling.told().tokens
    assert [token for token, _ in tokens] == ["4", "4", ";"]
    assert [chance for _, chance in tokens] == [pytest.approx(share), 1.0, pytest.approx(0.9)]


def test_a_row_that_begins_a_number_counts_alone() -> None:
    """What stood in its place ended what was before it in another way."""
    words = Vocabulary({"<end>": 0, "x": 1, "x1": 2, "x2": 3, "1": 4, ";": 5}, [0])
    telling = Telling(words, Ask("", Machine((then(0, "x"), Whole(lambda _: range(10), 5), then(2, ";")))))
    assert telling.allowed() == [1, 2, 3]
    assert telling.take([math.log(chance) for chance in (0.1, 0.4, 0.3)]) == 2
    telling.take([math.log(0.7)])
    assert telling.told().tokens == (("x1", pytest.approx(0.4)), (";", pytest.approx(0.7)))


def test_an_answer_that_may_stop_before_it_means_none_is_open() -> None:
    """ "no" is an answer by itself here, and the beginning of the one that says there is none."""
    words = Vocabulary({"<end>": 0, "no": 1, " ball": 2, "yes": 3}, [0])
    machine = Machine((Say(((spell("no"), 1), (spell("yes"), 2))), Say((((), 2), (spell(" ball"), 2)))))
    telling = Telling(words, Ask("", machine, none=("no ball",)))
    telling.take([math.log(0.5), math.log(0.2)])
    telling.take([math.log(0.6), math.log(0.3)])
    told = telling.told()
    assert (told.text, told.present, told.absent) == ("no", pytest.approx(0.2 + 0.5 * 0.6), pytest.approx(0.5 * 0.3))


def test_letters_of_several_rows_are_one_piece() -> None:
    locs = {f"<loc{k:04d}>": 10 + k for k in range(1024)}
    words = Vocabulary({"<eos>": 0, "▁": 1, "<0xEC>": 2, "<0xBB>": 3, "<0xB5>": 4, **locs}, [0], Spelling.PIECES)
    ask = GRAMMARS["paligemma"].ask("컵", SQUARE)
    assert ask is not None
    telling = Telling(words, ask)
    while not telling.over:
        telling.take([-1.0] * len(telling.allowed()))
    told = telling.told()
    assert told.text.endswith(" 컵")
    assert told.tokens[-1][0] in ("컵", "") or told.tokens[-2][0] == "컵"
    GRAMMARS["paligemma"].parse(told.text, SQUARE, "컵", Chances(told.tokens, told.present, told.absent))


@pytest.mark.parametrize("logs", [[], [-1.0], [math.nan] * 3, [0.1] * 3, [-math.inf] * 3])
def test_what_are_no_probabilities_are_refused(logs: list[float]) -> None:
    telling = Telling(WORDS, Ask("", Machine((Whole(lambda _: range(3)), then(1, ";")))))
    assert len(telling.allowed()) == 3
    with pytest.raises(ParseError, match="want 3 logarithms of probabilities"):
        telling.take(logs)


def test_an_answer_that_has_to_go_on_is_none() -> None:
    ask = GRAMMARS["kosmos"].ask("cup", SQUARE)
    assert ask is not None
    telling = Telling(WORDS, ask)
    telling.take([-1.0])
    with pytest.raises(ParseError, match="want a whole answer, got '<object>', which has to go on"):
        telling.told()


def test_absence_has_a_probability_of_its_own() -> None:
    answer = GRAMMARS["paligemma"].parse("", SQUARE, "cup", Chances((), 0.2, 0.5))
    assert (answer.places, answer.confidence) == ((), 0.5)
    with pytest.raises(ParseError, match=r"got 1\.5 for nothing being there"):
        GRAMMARS["paligemma"].parse("", SQUARE, "cup", Chances((), 0.2, 1.5))
