"""Token layouts: the reference's, position by position, and ours, where the action follows the text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla.errors import ConfigError
from edge_vla.layout import ActionSpace, History, Layout, Recipe, Source, TokenSource, lay_out

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "robovlms"
CASES: list[dict[str, Any]] = json.loads((GOLDEN / "layout_cases.json").read_text())["cases"]


def recipe_of(case: dict[str, Any]) -> Recipe:
    return Recipe(
        bos=case["tokenizer"]["bos"], eos=case["tokenizer"]["eos"], image_tokens=case["image_tokens_per_frame"],
        hand_tokens=case["image_tokens_per_frame"] if case["hand_rgb"] else 0, latent=case["latent"], window=case["window_size"],
        history=History(case["history_type"]), action_space=ActionSpace(case["action_space"]),
        image_brackets=case["image_start_end"], fill_zero=bool(case["fill_zero"]), reference_padding=True,
    )  # fmt: skip


def words(layout: Layout, row: int, ids: list[int] | None = None) -> str:
    """A row as the golden file writes it; text as its column where there are no ids."""
    names = {
        Source.IMAGE: "IMG",
        Source.HAND: "HAND",
        Source.ACT: "ACT",
        Source.STATE: "STATE",
        Source.IMAGE_START: "w40",
        Source.IMAGE_END: "w41",
    }
    said = []
    for source, k in zip(layout.source[row], layout.index[row], strict=True):
        said.append(f"w{ids[k] if ids else k}" if source == Source.TEXT else names[Source(source)])
    return " ".join(said)


def masks(*lengths: int) -> np.ndarray:
    return np.arange(max(lengths))[None] < np.array(lengths)[:, None]


@pytest.mark.parametrize("case", CASES, ids=[str(case["case"]) for case in CASES])
def test_the_references_layout(case: dict[str, Any]) -> None:
    with np.load(GOLDEN / "layout_cases.npz") as arrays:
        text_mask, want_mask = arrays[f"{case['case']}/mask"].astype(bool), arrays[f"{case['case']}/embeds_mask"].astype(bool)
    layout = lay_out(text_mask, recipe_of(case))
    assert words(layout, -1, case["lang_ids_row_b1"]) == case["layout_last_row"]
    frames = case["window_size"] if case["history_type"] == "post" else 1  # each frame of `post` is a row of its own there
    np.testing.assert_array_equal(np.repeat(layout.mask, frames, 0), want_mask)
    assert layout.mask[-1].astype(int).tolist() == case["mask_last_row"]


def test_the_action_follows_a_short_text_and_the_pads_come_last() -> None:
    recipe = Recipe(bos=True, eos=True, image_tokens=2)
    layout = lay_out(masks(5, 3), recipe)
    assert words(layout, 0) == "w0 IMG IMG w1 w2 w3 ACT w4"
    assert words(layout, 1) == "w0 IMG IMG w1 ACT w2 w3 w4"
    assert layout.mask[1].tolist() == [True] * 6 + [False] * 2
    assert layout.act.tolist() == [[[6]], [[4]]]
    assert layout.positions()[1].tolist() == [0, 1, 2, 3, 4, 5, 5, 5]


def test_without_an_eos_the_action_is_the_last_thing_said() -> None:
    assert words(lay_out(masks(3, 2), Recipe(bos=False, eos=False, image_tokens=1, latent=2)), 1) == "IMG w0 w1 ACT ACT w2"


def test_the_state_comes_before_the_action() -> None:
    layout = lay_out(masks(3), Recipe(bos=True, eos=True, image_tokens=1, state=True, window=2, history=History.PRE))
    assert words(layout, 0) == "w0 IMG w1 STATE ACT w2 w0 IMG w1 STATE ACT w2"
    assert layout.index[0].tolist() == [0, 0, 1, 0, 0, 2, 0, 1, 1, 1, 0, 2], "image and state of the second frame are the second ones"
    assert layout.act.tolist() == [[[4], [10]]]


def test_each_frame_of_a_video_has_its_own_brackets() -> None:
    recipe = Recipe(bos=False, eos=False, image_tokens=2, window=2, history=History.VIDEO, image_brackets=True)
    layout = lay_out(masks(1), recipe)
    assert words(layout, 0) == "w40 IMG IMG w41 w40 IMG IMG w41 w0 ACT"
    assert layout.index[0][[1, 2, 5, 6]].tolist() == [0, 1, 2, 3]


def test_fill_zero_hides_action_and_state() -> None:
    layout = lay_out(masks(2), Recipe(bos=True, eos=False, image_tokens=1, state=True, fill_zero=True))
    assert layout.mask[0].tolist() == [True, True, True, False, False]


PICKS = {
    (TokenSource.ALL, True): [[0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4, 5, 6]],
    (TokenSource.TEXT, True): [[3, 4, 5], [3, 4, 5]],
    (TokenSource.VISION, True): [[1, 2], [1, 2]],
    (TokenSource.ALL, False): [[0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4, 4, 4]],
    (TokenSource.TEXT, False): [[3, 4, 5], [3, 3, 3]],
    (TokenSource.VISION, False): [[1, 2], [1, 2]],
}


@pytest.mark.parametrize(("tokens", "reference"), PICKS)
def test_what_down_sample_reads(tokens: TokenSource, reference: bool) -> None:
    """Texts of five and three tokens: bos, words, eos. Ours leaves the shorter one's eos and pads out."""
    recipe = Recipe(bos=True, eos=True, image_tokens=2, action_space=ActionSpace.DOWN_SAMPLE, reference_padding=reference)
    layout = lay_out(masks(5, 3), recipe)
    assert words(layout, 0) == "w0 IMG IMG w1 w2 w3 w4"
    assert layout.pick(tokens, recipe)[:, 0].tolist() == PICKS[tokens, reference]
    assert layout.act.shape == (2, 1, 0)


def test_frames_of_an_interleaved_sequence_are_read_apart() -> None:
    recipe = Recipe(bos=True, eos=True, image_tokens=1, window=2, history=History.PRE, action_space=ActionSpace.DOWN_SAMPLE)
    assert lay_out(masks(3), recipe).pick(TokenSource.TEXT, recipe).tolist() == [[[2], [6]]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Recipe(bos=True, eos=True, image_tokens=-1), "image_tokens -1: want at least 0"),
        (lambda: Recipe(bos=True, eos=True, image_tokens=1, latent=0), "latent 0: want at least 1"),
        (lambda: Recipe(bos=True, eos=True, image_tokens=1, window=0), "window 0: want at least 1"),
        (lambda: lay_out(np.ones((2, 0), bool), Recipe(bos=True, eos=True, image_tokens=1)), r"shape \(2, 0\)"),
        (lambda: lay_out(np.array([[True, False, True]]), Recipe(bos=True, eos=True, image_tokens=1)), "a token after a pad"),
    ],
)
def test_what_fits_no_sequence_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_text_of_bos_and_eos_has_no_words_to_read() -> None:
    recipe = Recipe(bos=True, eos=True, image_tokens=1, action_space=ActionSpace.DOWN_SAMPLE)
    with pytest.raises(ConfigError, match="token_source 'text': the sequences have no such tokens"):
        lay_out(masks(2), recipe).pick(TokenSource.TEXT, recipe)


@given(
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=4), bos=st.booleans(), eos=st.booleans(), images=st.integers(0, 4),
    hand=st.integers(0, 3), latent=st.integers(1, 3), window=st.integers(1, 3), history=st.sampled_from(History),
    brackets=st.booleans(), state=st.booleans(), reference=st.booleans(),
)  # fmt: skip
def test_every_token_has_one_place_and_padding_changes_no_real_one(
    lengths: list[int], bos: bool, eos: bool, images: int, hand: int, latent: int, window: int, history: History,
    brackets: bool, state: bool, reference: bool,
) -> None:  # fmt: skip
    recipe = Recipe(bos, eos, images, hand, latent, window, history, ActionSpace.CONTINUOUS, brackets, state, False, reference)
    layout = lay_out(masks(*lengths), recipe)
    frames = window if history is History.PRE else 1
    for row, length in enumerate(lengths):
        used = list(zip(layout.frame[row], layout.source[row], layout.index[row], strict=True))
        ones = [u for u in used if u[1] not in (Source.IMAGE_START, Source.IMAGE_END)]
        assert len(set(ones)) == len(ones)
        assert layout.act.shape[1:] == (frames, latent)
        assert (layout.source[row][layout.act[row]] == Source.ACT).all()
        assert layout.mask[row].sum() == len(used) - frames * (max(lengths) - length)
        if not reference:  # alone, the text is laid out just so, without its pads
            alone = lay_out(masks(length), recipe)
            real = layout.mask[row]
            for name in ("source", "index", "frame"):
                np.testing.assert_array_equal(getattr(layout, name)[row][real], getattr(alone, name)[0])
            np.testing.assert_array_equal(layout.positions()[row][real], alone.positions()[0])
