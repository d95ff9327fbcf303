"""What may be said next, as symbols and as rows of a vocabulary."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla.errors import ConfigError, ParseError
from edge_vla.grammars import GRAMMARS, Decoding, PictureMap, Spelling, Vocabulary
from edge_vla.grammars.machine import Machine, Say, State, Whole, spell, then
from tests.grammars.words import END, vocabulary

SQUARE = PictureMap.squashed((640, 480), (448, 448))
WORDS = vocabulary()


def rows(*texts: str) -> list[int]:
    return [row for row, text in WORDS._text_of.items() if text.decode() in texts]


def saying(machine: Machine, text: str) -> State:
    state = machine.start()
    for symbol in spell(text):
        state = state.after(symbol)
    return state


@given(low=st.integers(0, 1200), size=st.integers(0, 1200))
def test_a_number_is_spelled_within_its_range(low: int, size: int) -> None:
    machine = Machine((Whole(lambda _: range(low, low + size + 1)), then(1, ";")))
    for number in {0, 1, low - 1, low, low + size // 2, low + size, low + size + 1, 10 * low}:
        if number < 0:
            continue
        try:
            over = saying(machine, f"{number};").over
        except ParseError:
            over = False
        assert over == (low <= number <= low + size)


@given(low=st.integers(0, 1200), size=st.integers(0, 300), digits=st.text("0123456789", max_size=5))
def test_a_number_never_ends_up_nowhere(low: int, size: int, digits: str) -> None:
    """Digits that may be said can be completed, and have no zeros before them."""
    machine = Machine((Whole(lambda _: range(low, low + size + 1)), then(1, ";")))
    good = {str(number) for number in range(low, low + size + 1)}
    try:
        state = saying(machine, digits)
    except ParseError:
        assert not any(number.startswith(digits) for number in good)
        return
    assert any(number.startswith(digits) for number in good)
    assert (b";" in state.symbols()) == (digits in good)


def test_a_far_corner_lies_beyond_the_near_one() -> None:
    ask = GRAMMARS["paligemma"].ask("cup", SQUARE)
    assert ask is not None
    state = ask.machine.start()
    for symbol in (b"<loc0300>", b"<loc1022>"):
        state = state.after(symbol)
    assert min(state.symbols()) == b"<loc0301>"
    assert state.after(b"<loc0301>").symbols() == {b"<loc1023>"}
    with pytest.raises(ParseError, match="want one of '<loc0301>'"):
        state.after(b"<loc0300>")
    assert b"<loc1023>" not in ask.machine.start().symbols(), "that leaves no room for the far corner"


def test_kosmos_cells_are_right_of_and_below_the_first() -> None:
    ask = GRAMMARS["kosmos"].ask("cup", SQUARE)
    assert ask is not None
    state = ask.machine.start().after(b"<object>").after(b"<patch_index_0990>")  # row 30, column 30
    assert sorted(state.symbols()) == [b"<patch_index_%04d>" % k for k in (990, 991, 1022, 1023)]


def test_absence_is_said_first_or_not_at_all() -> None:
    ask = GRAMMARS["paligemma"].ask("cup", SQUARE)
    assert ask is not None
    state = ask.machine.start()
    assert state.may_end
    for symbol in spell("<loc0001>", "<loc0001>", "<loc0002>", "<loc0002>", " cup"):
        state = state.after(symbol)
        assert not state.may_end or symbol == b"p"
    assert state.may_end
    for symbol in spell(" ; "):
        state = state.after(symbol)
    assert not state.may_end, "a separator promises another box"


def test_rows_are_those_that_spell_what_may_be_said() -> None:
    ask = GRAMMARS["qwen2_5_vl"].ask("cup", SQUARE)
    assert ask is not None
    begin = Decoding.begin(WORDS, ask.machine)
    assert begin.allowed() == sorted(rows("`", "```", "```json", "```json\n[", "```json\n[\n"))
    after = begin.take(*rows("```json\n["))
    assert after.allowed() == sorted(rows("\n", "\n\t{", "]", "]\n", "]\n```"))
    number = after.take(*rows("\n\t{"))
    for letter in '"bbox_2d": [44':
        number = number.take(*rows(letter))
    assert number.allowed() == sorted(rows(*"01234567", ",", ", "))  # 44, 440..447
    with pytest.raises(ParseError, match="go on, got its end"):
        number.take(END)
    with pytest.raises(ParseError, match="want one of"):
        number.take(*rows("9"))


def test_a_mark_is_one_row_and_never_spelled() -> None:
    ask = GRAMMARS["qwen_vl"].ask("cup", SQUARE)
    assert ask is not None
    begin = Decoding.begin(WORDS, ask.machine)
    assert begin.allowed() == rows("<ref>")
    assert begin.take(*rows("<ref>")).allowed() == sorted(rows("c", "cu", "cup"))
    assert begin.take(*rows("<ref>")).take(*rows("cup")).allowed() == rows("</ref>")


def test_nothing_follows_the_end() -> None:
    ask = GRAMMARS["words"].ask("cup", SQUARE)
    assert ask is not None
    said = Decoding.begin(WORDS, ask.machine).take(*rows("yes"))
    assert said.allowed() == [END]
    over = said.take(END)
    assert (over.ended, over.text, over.allowed()) == (True, "yes", [])
    with pytest.raises(ParseError, match="nothing after the end"):
        over.take(END)


@pytest.mark.parametrize(
    ("spelling", "token", "spells"),
    [
        (Spelling.PLAIN, " yes", "yes"), (Spelling.BYTES, "Ġyes", "yes"), (Spelling.PIECES, "▁yes", "yes"),
        (Spelling.PIECES, "▁Yes", "Yes"),
    ],
)  # fmt: skip
def test_tokenizers_write_a_space_each_in_their_way(spelling: Spelling, token: str, spells: str) -> None:
    ask = GRAMMARS["words"].ask("cup", SQUARE)
    assert ask is not None
    words = Vocabulary({"</s>": 0, token: 1, "nothing": 2, "n": 3}, [0], spelling)
    begin = Decoding.begin(words, ask.machine)
    assert begin.allowed() == [1, 3]
    assert begin.take(1).text == f" {spells}"


def test_letters_beyond_ascii_are_spelled_in_bytes() -> None:
    ask = GRAMMARS["paligemma"].ask("컵", SQUARE)
    assert ask is not None
    locs = {f"<loc{k:04d}>": 10 + k for k in range(1024)}
    for spelling, tokens in (
        (Spelling.PIECES, ["▁", "<0xEC>", "<0xBB>", "<0xB5>"]),
        (Spelling.BYTES, ["Ġ", "ì", "»", "µ"]),
        (Spelling.BYTES, ["Ġì", "»µ"]),
        (Spelling.PIECES, ["▁컵"]),
    ):
        words = Vocabulary({"<eos>": 0, **locs, **{token: 2000 + k for k, token in enumerate(tokens)}}, [0], spelling)
        decoding = Decoding.begin(words, ask.machine)
        for mark in (b"<loc0001>", b"<loc0001>", b"<loc0002>", b"<loc0002>"):
            decoding = decoding.take(words.marks[mark])
        for k in range(len(tokens)):
            assert decoding.allowed() == [2000 + k]
            decoding = decoding.take(2000 + k)
        assert decoding.text.endswith(" 컵")
        assert decoding.state.may_end


def test_a_vocabulary_that_cannot_say_it_is_refused() -> None:
    ask = GRAMMARS["paligemma"].ask("cup", SQUARE)
    assert ask is not None
    with pytest.raises(ConfigError, match=r"want a row for '<loc\d{4}>', got none"):
        Decoding.begin(Vocabulary({"<eos>": 0, "a": 1}, [0]), ask.machine).allowed()
    with pytest.raises(ConfigError, match="no row begins with any of"):
        Decoding.begin(Vocabulary({"<eos>": 0, "a": 1}, [0]), Machine((then(0, "b"),))).allowed()
    with pytest.raises(ConfigError, match="ends an answer"):
        Vocabulary({"a": 1}, [])
    with pytest.raises(ConfigError, match="spells nothing"):
        Decoding.begin(WORDS, Machine((then(0, "b"),))).take(10**6)


def test_rows_that_spell_the_same_are_all_allowed() -> None:
    """Sentencepiece has a letter as itself and as its byte."""
    words = Vocabulary({"<eos>": 0, "b": 1, "<0x62>": 2, "bb": 3, "<0x61>": 4}, [0], Spelling.PIECES)
    assert Decoding.begin(words, Machine((then(0, "b"),))).allowed() == [1, 2]


def test_a_row_that_ends_an_answer_spells_nothing() -> None:
    """Some models end a turn with a line break, which is also a character of JSON."""
    words = Vocabulary({"\n": 0, "a": 1, "<0x0A>": 2}, [0], Spelling.PIECES)
    decoding = Decoding.begin(words, Machine((Say(((spell("a\n"), 1), (spell("\na"), 1))),)))
    assert decoding.allowed() == [1, 2]
    assert decoding.take(1).allowed() == [2]
    assert decoding.take(1).take(2).allowed() == [0]
