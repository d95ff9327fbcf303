"""What is fed and what is expected of it: the block mask, the targets, the jitter and the flip, cell by cell."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from edge_vla.learn.finder.batch import BLOCKS, DETECT_LEN, DETECTIONS, JITTER_BINS, OTHER_LEN, TEXT_LEN, Packer, Sample, Text, decode, flip
from edge_vla.learn.finder.language import EOS, PAD, Query, certainly_absent, describe, largest
from edge_vla.learn.finder.patches import patch_targets
from edge_vla.sim.objects import CLASSES

MakeBoxes = Callable[..., NDArray[np.float32]]
MakeSample = Callable[..., Sample]
LOC, BOS, NEWLINE, DETECT, CUP, BALL = 56, 2, 4, 5, 44, 46
STARTS = np.cumsum([0, *BLOCKS[:-1]])
SEEN = Query("detect cup", "cup", (0.25, 0.5, 0.75, 0.625), detects=True)
ABSENT = Query("detect ball", "", None, detects=True)


@pytest.fixture
def packer(tokenizer: Tokenizer) -> Packer:
    return Packer(tokenizer, len(CLASSES), seed=0)


@pytest.fixture
def two_queries(packer: Packer) -> Text:
    """A seen cup in the first block, an absent ball in the second."""
    text = Text.empty()
    text.fill(0, DETECT_LEN, SEEN, *packer.encode_query(SEEN))
    text.fill(10, DETECT_LEN, ABSENT, *packer.encode_query(ABSENT))
    return text


# -- one query


def test_a_query_becomes_rows(packer: Packer) -> None:
    assert packer.encode_query(SEEN) == ([BOS, DETECT, CUP, NEWLINE], [LOC + 256, LOC + 512, LOC + 768, LOC + 640, CUP, EOS])
    assert packer.encode_query(ABSENT) == ([BOS, DETECT, BALL, NEWLINE], [EOS])
    assert packer.encode_query(Query("drive", "turn left ."))[1][-1] == EOS


@pytest.mark.parametrize(("value", "bin_"), [(0.0, 0), (0.5 / 1024, 0), (1 / 1024, 1), (1023.999 / 1024, 1023), (1.0, 1023)])
def test_a_coordinate_becomes_the_bin_it_lies_in(packer: Packer, value: float, bin_: int) -> None:
    assert packer.encode_query(Query("detect cup", "cup", (value,) * 4, detects=True))[1][:4] == [LOC + bin_] * 4


def test_the_mask_of_two_blocks_cell_by_cell(two_queries: Text) -> None:
    """Prompts see themselves both ways, answers what came before them, pads themselves; nobody sees another block."""
    seen = """
        1111......
        1111......
        1111......
        1111......
        11111.....
        111111....
        1111111...
        11111111..
        111111111.
        .........1
    """.split()
    absent = """
        1111......
        1111......
        1111......
        1111......
        ....1.....
        .....1....
        ......1...
        .......1..
        ........1.
        .........1
    """.split()
    want = np.eye(TEXT_LEN, dtype=bool)
    for block, rows in enumerate((seen, absent)):
        want[10 * block : 10 * block + 10, 10 * block : 10 * block + 10] = [[cell == "1" for cell in row] for row in rows]
    assert (two_queries.open == want).all()


def test_the_ids_and_targets_of_two_blocks_cell_by_cell(two_queries: Text) -> None:
    ids = [BOS, DETECT, CUP, NEWLINE, LOC + 256, LOC + 512, LOC + 768, LOC + 640, CUP, PAD, BOS, DETECT, BALL, NEWLINE] + [PAD] * 6
    assert two_queries.ids[:20].tolist() == ids  # the end is only predicted, never fed
    assert two_queries.target[:20].tolist() == [-100] * 7 + [CUP, EOS] + [-100] * 11
    nan = float("nan")
    np.testing.assert_array_equal(two_queries.loc[:20], [nan] * 3 + [0.25, 0.5, 0.75, 0.625] + [nan] * 13)
    np.testing.assert_array_equal(two_queries.present[:20], [nan] * 3 + [1.0] + [nan] * 9 + [0.0] + [nan] * 6)


def test_a_sentence_is_learned_from_its_first_word_to_the_end(packer: Packer, tokenizer: Tokenizer) -> None:
    text, query = Text.empty(), Query("drive", "turn slightly left .")
    text.fill(70, OTHER_LEN, query, *packer.encode_query(query))
    words = tokenizer.encode("turn slightly left .").ids
    assert text.ids[70:77].tolist() == [BOS, 10, NEWLINE, *words]
    assert text.target[72:77].tolist() == [*words, EOS]
    assert (text.target[:72] == -100).all()
    assert (text.target[77:] == -100).all()
    assert np.isnan(text.loc).all()
    assert np.isnan(text.present).all()


def test_each_block_starts_right_behind_the_picture() -> None:
    """What the engine will do: one question at a time, at positions 196, 197, ..."""
    assert Text.empty().position.tolist() == [*(list(range(196, 206)) * 7), *range(196, 223)]


def test_a_query_that_fills_its_block_fits_and_one_more_token_does_not(packer: Packer) -> None:
    query = Query("drive", "move forward .")  # 3 + 4 - 1
    Text.empty().fill(0, 6, query, *packer.encode_query(query))
    with pytest.raises(ValueError, match=r"'drive' -> 'move forward \.' takes 6 tokens, the block has 5"):
        Text.empty().fill(0, 5, query, *packer.encode_query(query))


def test_every_class_and_the_longest_description_fit(packer: Packer, make_boxes: MakeBoxes) -> None:
    for name in CLASSES:
        query = Query(f"detect {name}", name, (0.0, 0.0, 1.0, 1.0), detects=True)
        Text.empty().fill(0, DETECT_LEN, query, *packer.encode_query(query))
    longest = describe(make_boxes(*((name, 0.1, 0.1, 0.5, 0.2, 99) for name in CLASSES[:3])))
    for query in (Query("describe", longest), Query(f"is there a {CLASSES[-1]} ?", "yes"), Query("what is the main object ?", "a cup .")):
        Text.empty().fill(0, OTHER_LEN, query, *packer.encode_query(query))


# -- eight queries


@pytest.fixture
def busy(make_boxes: MakeBoxes) -> NDArray[np.float32]:
    """Five things that are seen, one that barely is, touching every edge of the picture."""
    return make_boxes(
        ("cup", 0.0, 0.0, 0.3, 0.2, 800),
        ("ball", 0.4, 0.4, 0.6, 0.6, 700),
        ("door", 0.5, 0.8, 1.0, 1.0, 600),
        ("can", 0.7, 0.1, 0.9, 0.2, 500),
        ("book", 0.7, 0.3, 0.9, 0.4, 400),
        ("cone", 0.1, 0.5, 0.12, 0.52, 5),
    )


FREE = np.full(16, 2.0, np.float32)


def test_four_seen_things_are_asked_for_and_the_rest_is_surely_absent(packer: Packer, busy: NDArray[np.float32]) -> None:
    asked = set()
    for _ in range(30):
        queries = packer.queries(busy, FREE)
        assert len(queries) == DETECTIONS + 1
        assert [q.detects for q in queries] == [True] * DETECTIONS + [False]
        names = [q.prompt.removeprefix("detect ") for q in queries[:DETECTIONS]]
        assert len(set(names)) == DETECTIONS
        assert "cone" not in names, "barely visible: neither there nor absent"
        assert [q.box is not None for q in queries[:DETECTIONS]] == [True] * 4 + [False] * 3
        for name, query in zip(names, queries, strict=False):
            index = CLASSES.index(name)
            assert query.box == (tuple(largest(busy)[index][1:5].tolist()) if query.box else None)
            assert query.box or index in certainly_absent(busy)
        asked |= set(names)
    assert asked == set(CLASSES) - {"cone"}


@pytest.mark.parametrize("count", [0, 1, 12])
def test_an_empty_and_a_full_picture_make_seven_questions_too(packer: Packer, make_boxes: MakeBoxes, count: int) -> None:
    boxes = make_boxes(*((name, 0.1, 0.1, 0.4, 0.4, 99) for name in CLASSES[:count]))
    queries = packer.queries(boxes, FREE)[:DETECTIONS]
    assert sum(q.box is not None for q in queries) == {0: 0, 1: 1, 12: 7}[count]


def test_no_block_sees_another(packer: Packer, busy: NDArray[np.float32]) -> None:
    block = np.repeat(np.arange(len(BLOCKS)), BLOCKS)
    seen = packer.pack_text(busy, FREE).open
    assert not seen[block[:, None] != block[None]].any()
    assert seen.diagonal().all()


def test_jitter_moves_only_what_is_fed_back(tokenizer: Tokenizer, busy: NDArray[np.float32]) -> None:
    """Over many packings: fed corners move by up to six bins either way, the corners to be predicted by nothing."""
    packer, moves = Packer(tokenizer, len(CLASSES), seed=1), set()
    for _ in range(60):
        text = packer.pack_text(busy, FREE)
        for start in STARTS[:DETECTIONS]:
            name = CLASSES[text.ids[start + 2] - CUP]
            want = largest(busy).get(CLASSES.index(name))
            if want is None:
                assert text.target[start + 3] == -100
                assert np.isnan(text.loc[start : start + DETECT_LEN]).all()
                continue
            assert text.loc[start + 3 : start + 7].tolist() == want[1:5].tolist()
            assert text.target[start : start + DETECT_LEN].tolist() == [-100] * 7 + [text.ids[start + 2], EOS, -100]
            fed = text.ids[start + 4 : start + 8] - LOC
            true = np.minimum(1023, (want[1:5] * 1024).astype(int))
            moved = fed - true
            assert ((fed >= 0) & (fed <= 1023)).all()
            assert (np.abs(moved) <= JITTER_BINS).all()
            moves |= {int(m) for m, t in zip(moved, true, strict=True) if 6 <= t <= 1017}
            assert text.ids[start + 8] == text.ids[start + 2], "the label is fed as it is"
    assert moves == set(range(-JITTER_BINS, JITTER_BINS + 1))


# -- pictures


def test_a_flip_mirrors_picture_boxes_and_free_distances(make_boxes: MakeBoxes) -> None:
    image = np.arange(224 * 224 * 3, dtype=np.uint32).astype(np.uint8).reshape(224, 224, 3)
    boxes, free = make_boxes(("cup", 0.125, 0.25, 0.5, 0.375, 80)), np.arange(16, dtype=np.float32)
    mirrored, moved, reversed_free = flip(image, boxes, free)
    assert (mirrored[5, 0] == image[5, 223]).all()
    assert moved.tolist() == make_boxes(("cup", 0.125, 0.625, 0.5, 0.75, 80)).tolist()
    assert reversed_free.tolist() == list(range(15, -1, -1))
    assert boxes[0, 2] == 0.25, "the original is left alone"


def test_two_flips_are_none(make_boxes: MakeBoxes) -> None:
    rng = np.random.default_rng(0)
    image, free = rng.integers(0, 255, (224, 224, 3), dtype=np.uint8), rng.random(16, dtype=np.float32)
    edges = np.sort(rng.random((5, 4), dtype=np.float32))[:, [0, 2, 1, 3]]
    boxes = np.column_stack([np.arange(5), edges, np.full(5, 90)]).astype(np.float32)
    back = flip(*flip(image, boxes, free))
    assert (back[0] == image).all()
    assert np.abs(back[1] - boxes).max() < 1e-7 * 2
    assert (back[2] == free).all()


def test_a_jpeg_is_decoded_to_rgb(make_boxes: MakeBoxes) -> None:
    rgb = np.zeros((224, 224, 3), np.uint8)
    rgb[:, :112, 0], rgb[:, 112:, 2] = 200, 100
    jpeg = cv2.imencode(".jpg", rgb[..., ::-1])[1].ravel()
    got = decode(jpeg)
    assert got.shape == (224, 224, 3)
    assert np.abs(got[100, 50].astype(int) - (200, 0, 0)).max() < 6
    assert np.abs(got[100, 170].astype(int) - (0, 0, 100)).max() < 6


@pytest.mark.parametrize("shape", [(240, 320, 3), (112, 112, 3)])
def test_a_picture_of_another_size_is_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=rf"want a JPEG of 224 x 224, got \({shape[0]}, {shape[1]}, 3\)"):
        decode(cv2.imencode(".jpg", np.zeros(shape, np.uint8))[1].ravel())


def test_bytes_that_are_no_picture_are_refused() -> None:
    with pytest.raises(ValueError, match="want a JPEG of 224 x 224, got None"):
        decode(np.arange(100, dtype=np.uint8))


# -- a batch


def test_a_batch_is_its_samples_in_order(packer: Packer, make_sample: MakeSample, busy: NDArray[np.float32]) -> None:
    samples = [make_sample(busy), make_sample(busy[:1], free_m=3.0)]
    batch = packer(samples, flips=False)
    for i, (jpeg, boxes, free) in enumerate(samples):
        assert (batch.image[i].numpy() == decode(jpeg).transpose(2, 0, 1)).all()
        assert (batch.free_m[i].numpy() == free).all()
        label, box = patch_targets(boxes, len(CLASSES))
        assert (batch.patch_class[i].numpy() == label).all()
        np.testing.assert_array_equal(batch.patch_box[i].numpy(), box)
    dtypes = {name: getattr(batch, name).dtype for name in ("image", "ids", "target", "loc", "open", "position")}
    assert dtypes == {
        "image": torch.uint8, "ids": torch.int64, "target": torch.int64,
        "loc": torch.float32, "open": torch.bool, "position": torch.int64,
    }  # fmt: skip


def test_half_of_a_batch_is_flipped_and_its_answers_with_it(tokenizer: Tokenizer, make_sample: MakeSample, make_boxes: MakeBoxes) -> None:
    boxes = make_boxes(("cup", 0.2, 0.0, 0.5, 0.25, 900))
    batch = Packer(tokenizer, len(CLASSES), seed=3)([make_sample(boxes)] * 24, flips=True)
    flipped = batch.free_m[:, 0] < batch.free_m[:, -1]
    assert 6 <= int(flipped.sum()) <= 18
    for i in range(24):
        x_min, x_max = (0.75, 1.0) if flipped[i] else (0.0, 0.25)
        assert batch.loc[i, 3:7].tolist() == pytest.approx([0.2, x_min, 0.5, x_max])
        owned = batch.patch_box[i][~torch.isnan(batch.patch_box[i][:, 0])]
        assert owned[0].tolist() == pytest.approx([0.2, x_min, 0.5, x_max])
        left, right = batch.image[i, :, 78, 10].float(), batch.image[i, :, 78, 214].float()
        grey = (right if not flipped[i] else left) - 60
        assert grey.abs().max() < 8, "the cup is where its box is"
