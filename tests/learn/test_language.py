"""Finder's words: every sentence it is taught can be said, and says the truth about its labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer

from edge_vla.learn.finder.language import (
    BOS,
    CRAWL_M,
    EOS,
    LOC_BINS,
    MIN_PIXELS,
    PAD,
    UNK,
    WALK_M,
    Query,
    article,
    certainly_absent,
    describe,
    detect_query,
    drive,
    largest,
    main_object,
    other_query,
    token_id,
)
from edge_vla.sim.objects import CLASSES

MakeBoxes = Callable[..., NDArray[np.float32]]
FREE = np.full(16, 4.0, np.float32)


# -- the tokenizer


def test_the_loc_rows_are_1024_consecutive_ones_at_the_end(tokenizer: Tokenizer) -> None:
    first = tokenizer.token_to_id("<loc0000>")
    assert [tokenizer.token_to_id(f"<loc{k:04d}>") for k in range(LOC_BINS)] == list(range(first, first + 1024))
    assert tokenizer.get_vocab_size() == first + 1024
    assert tokenizer.token_to_id("<loc1024>") is None


def test_special_rows_are_where_gemmas_config_expects_them(tokenizer: Tokenizer) -> None:
    rows = [tokenizer.token_to_id(word) for word in ("<pad>", "<eos>", "<bos>", "<unk>")]
    assert rows == [PAD, EOS, BOS, UNK] == [0, 1, 2, 3]


def test_the_vocabulary_is_pinned(tokenizer: Tokenizer) -> None:
    """A checkpoint's rows mean what they meant when it was trained."""
    assert tokenizer.get_vocab_size() == 1080
    rows = {word: tokenizer.token_to_id(word) for word in ("\n", "detect", "drive", "nothing", "cup", "person", "<loc0000>")}
    assert rows == {"\n": 4, "detect": 5, "drive": 10, "nothing": 40, "cup": 44, "person": 55, "<loc0000>": 56}


PLACES = {"on the left": (0.1, 0.3), "in the middle": (0.4, 0.6), "on the right": (0.7, 0.9)}
PHRASES = [f"{article(name)} {place}" for name in CLASSES for place in PLACES]
SENTENCES = [
    *(f"detect {name}" for name in CLASSES),
    *(f"is there {article(name)} ?" for name in CLASSES),
    "drive",
    "describe",
    "what is the main object ?",
    *("yes", "no", "move forward .", "move forward slowly ."),
    *(f"turn {how}{side} ." for how in ("", "slightly ") for side in ("left", "right")),
    *("nothing .", "nothing here ."),
    *(f"{article(name)} ." for name in CLASSES),
    *(f"{phrase} ." for phrase in PHRASES),
    *(f"{one} and {two} ." for one, two in zip(PHRASES, PHRASES[5:], strict=False)),
    *(f"{one} , {two} and {three} ." for one, two, three in zip(PHRASES, PHRASES[7:], PHRASES[2:], strict=False)),
]


@pytest.mark.parametrize("sentence", SENTENCES)
def test_every_sentence_can_be_said_and_read_back(tokenizer: Tokenizer, sentence: str) -> None:
    ids = tokenizer.encode(sentence).ids
    assert UNK not in ids
    assert len(ids) == len(sentence.split())
    said = tokenizer.decode(ids)
    assert said == sentence.replace(" .", ".").replace(" ,", ",").replace(" ?", "?")
    assert tokenizer.encode(said).ids == ids


def test_a_word_it_was_not_given_is_unknown(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("detect zebra").ids == [token_id(tokenizer, "detect"), UNK]


def test_a_prompt_is_bos_words_newline(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("<bos> detect cup\n").ids == [BOS, 5, 44, 4]


def test_an_answer_of_locs_is_one_row_each(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("<loc0000><loc0007><loc0512><loc1023> cup").ids == [56, 63, 568, 1079, 44]


def test_a_row_that_is_not_there_is_an_error(tokenizer: Tokenizer) -> None:
    assert token_id(tokenizer, "cup") == 44
    with pytest.raises(ValueError, match="no 'zebra'"):
        token_id(tokenizer, "zebra")


@pytest.mark.parametrize(("word", "want"), [("cup", "a cup"), ("apple", "an apple"), ("orange", "an orange"), ("unicycle", "an unicycle")])
def test_the_article_goes_by_the_letter(word: str, want: str) -> None:
    assert article(word) == want


# -- drive


def free(ahead: float, left: float = 4.0, right: float = 4.0) -> NDArray[np.float32]:
    """Sixteen columns: five on the left, the four in the middle that count as ahead, five on the right."""
    return np.array([left] * 6 + [ahead] * 4 + [right] * 6, np.float32)


def below(limit: float) -> float:
    return float(np.nextafter(np.float32(limit), np.float32(0)))


def above(limit: float) -> float:
    return float(np.nextafter(np.float32(limit), np.float32(9)))


@pytest.mark.parametrize(
    ("ahead", "left", "right", "want"),
    [
        (4.0, 0.1, 0.1, "move forward ."),
        (above(1.6), 4, 1, "move forward ."),
        (below(1.6), 4, 1, "move forward slowly ."),
        (above(WALK_M), 4, 1, "move forward slowly ."),
        (below(WALK_M), 4, 1, "turn slightly left ."),
        (below(WALK_M), 1, 4, "turn slightly right ."),
        (CRAWL_M, 4, 1, "turn slightly left ."),
        (below(CRAWL_M), 4, 1, "turn left ."),
        (below(CRAWL_M), 1, 4, "turn right ."),
        (0.0, 2, 2, "turn right ."),
        (0.0, above(2), 2, "turn left ."),
    ],
)
def test_the_way_ahead_decides_and_the_freer_side_is_turned_to(ahead: float, left: float, right: float, want: str) -> None:
    assert drive(free(ahead, left, right)) == want


@pytest.mark.parametrize("column", range(16))
def test_one_near_thing_counts_as_ahead_in_the_middle_four_columns_only(column: int) -> None:
    way = FREE.copy()
    way[column] = 0.2
    assert (drive(way) == "move forward .") == (column not in {6, 7, 8, 9})


def test_a_side_is_its_median_so_one_gap_is_no_way_out() -> None:
    way = free(0.2, left=0.4, right=0.6)
    way[0] = 4.0
    assert drive(way) == "turn right ."


# -- boxes in words


def test_a_description_names_the_three_most_visible_biggest_first(make_boxes: MakeBoxes) -> None:
    boxes = make_boxes(
        ("cup", 0.5, 0.0, 0.6, 0.2, 90),
        ("door", 0.1, 0.4, 0.9, 0.6, 9000),
        ("ball", 0.5, 0.8, 0.6, 0.9, 400),
        ("book", 0.5, 0.8, 0.6, 0.9, 89),
    )
    assert describe(boxes) == "a door in the middle , a ball on the right and a cup on the left ."
    assert describe(boxes[:2]) == "a door in the middle and a cup on the left ."
    assert describe(boxes[:1]) == "a cup on the left ."
    assert main_object(boxes) == "a door ."
    assert main_object(boxes[2:]) == "a ball ."


def test_nothing_is_said_to_be_nothing(make_boxes: MakeBoxes) -> None:
    for boxes in (make_boxes(), make_boxes(("cup", 0.5, 0.5, 0.51, 0.51, MIN_PIXELS - 1))):
        assert describe(boxes) == "nothing here ."
        assert main_object(boxes) == "nothing ."


@pytest.mark.parametrize(
    ("centre", "place"), [(0.35, "on the left"), (0.37, "in the middle"), (0.63, "in the middle"), (0.65, "on the right")]
)
def test_left_and_right_begin_a_seventh_off_the_middle(make_boxes: MakeBoxes, centre: float, place: str) -> None:
    assert describe(make_boxes(("can", 0.2, centre - 0.05, 0.4, centre + 0.05, 200))) == f"a can {place} ."


def test_two_of_a_kind_count_as_the_more_visible_one(make_boxes: MakeBoxes) -> None:
    boxes = make_boxes(("cup", 0.1, 0.0, 0.2, 0.2, 50), ("cup", 0.1, 0.8, 0.2, 1.0, 60), ("cup", 0.1, 0.4, 0.2, 0.6, 40))
    assert describe(boxes) == "a cup on the right ."
    assert largest(boxes)[CLASSES.index("cup")].tolist() == boxes[1].tolist()


@pytest.mark.parametrize(("pixels", "seen", "absent"), [(0.5, False, False), (13, False, False), (14, True, False), (500, True, False)])
def test_between_seen_and_absent_lies_barely_visible(make_boxes: MakeBoxes, pixels: float, seen: bool, absent: bool) -> None:
    boxes, cup = make_boxes(("cup", 0.1, 0.1, 0.2, 0.2, pixels)), CLASSES.index("cup")
    assert (cup in largest(boxes)) == seen
    assert (cup in certainly_absent(boxes)) == absent
    assert sorted([cup, *certainly_absent(boxes)]) == list(range(len(CLASSES)))


# -- questions


def test_a_detection_carries_the_largest_box_and_its_name(make_boxes: MakeBoxes) -> None:
    best = largest(make_boxes(("cup", 0.125, 0.25, 0.5, 0.75, 80), ("cup", 0.0, 0.0, 1.0, 1.0, 20)))
    cup, ball = CLASSES.index("cup"), CLASSES.index("ball")
    assert detect_query(cup, best) == Query("detect cup", "cup", (0.125, 0.25, 0.5, 0.75), detects=True)
    assert detect_query(ball, best) == Query("detect ball", "", None, detects=True)


def test_questions_in_words_come_in_four_kinds_and_are_answered_truly(make_boxes: MakeBoxes) -> None:
    boxes = make_boxes(("cup", 0.5, 0.0, 0.6, 0.2, 90), ("door", 0.1, 0.4, 0.9, 0.6, 9000), ("ball", 0.5, 0.8, 0.6, 0.9, 5))
    rng, asked = np.random.default_rng(0), Counter[str]()
    for _ in range(400):
        query = other_query(rng, boxes, FREE)
        assert not query.detects
        assert query.box is None
        if query.prompt.startswith("is there "):
            thing = query.prompt.removeprefix("is there a ").removeprefix("is there an ").removesuffix(" ?")
            assert thing != "ball", "barely visible: neither yes nor no is true"
            assert query.answer == ("yes" if thing in {"cup", "door"} else "no")
            asked[query.answer] += 1
        else:
            want = {"drive": drive(FREE), "describe": describe(boxes), "what is the main object ?": "a door ."}
            assert query.answer == want[query.prompt]
            asked[query.prompt] += 1
    assert set(asked) == {"yes", "no", "drive", "describe", "what is the main object ?"}
    assert min(asked.values()) > 25  # of 50 expected for the rarest, yes and no


@pytest.mark.parametrize("present", [[], CLASSES])
def test_with_nothing_or_everything_there_the_answer_is_still_true(make_boxes: MakeBoxes, present: list[str]) -> None:
    boxes, rng = make_boxes(*((name, 0.1, 0.1, 0.4, 0.4, 99) for name in present)), np.random.default_rng(1)
    answers = {q.answer for q in (other_query(rng, boxes, FREE) for _ in range(100)) if q.prompt.startswith("is there ")}
    assert answers == ({"yes"} if present else {"no"})
