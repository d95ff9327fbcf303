"""Where chat templates put a picture, and how M-RoPE counts its tokens. Worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edge_vla.errors import ConfigError
from edge_vla.layout import ActionSpace, History, Recipe, Source, lay_out

TEXT, IMAGE = Source.TEXT, Source.IMAGE


def test_a_picture_goes_behind_the_lead() -> None:
    recipe = Recipe(bos=True, eos=False, image_tokens=2, action_space=ActionSpace.DISCRETE, lead=3)
    layout = lay_out(np.ones((1, 5), bool), recipe)
    assert layout.source[0].tolist() == [TEXT] * 3 + [IMAGE] * 2 + [TEXT] * 2
    assert layout.index[0].tolist() == [0, 1, 2, 0, 1, 3, 4]
    first = lay_out(np.ones((1, 5), bool), Recipe(bos=True, eos=False, image_tokens=2, action_space=ActionSpace.DISCRETE, lead=0))
    assert first.source[0].tolist() == [IMAGE] * 2 + [TEXT] * 5


def test_a_negative_lead_is_refused() -> None:
    with pytest.raises(ConfigError, match="lead -1"):
        Recipe(bos=True, eos=False, image_tokens=2, lead=-1)


def test_an_image_takes_its_longer_side() -> None:
    # [start, 2 x 3 tokens, end, word, word, ACT]
    recipe = Recipe(bos=False, eos=False, image_tokens=6, image_brackets=True)
    time, height, width = lay_out(np.ones((1, 2), bool), recipe).positions((2, 3))[:, 0].tolist()
    assert time == [0, 1, 1, 1, 1, 1, 1, 4, 5, 6, 7]
    assert height == [0, 1, 1, 1, 2, 2, 2, 4, 5, 6, 7]
    assert width == [0, 1, 2, 3, 1, 2, 3, 4, 5, 6, 7]


def test_pads_are_not_counted() -> None:
    recipe = Recipe(bos=False, eos=True, image_tokens=4, hand_tokens=4)
    layout = lay_out(np.array([[True, True, True, True], [True, True, False, False]]), recipe)
    placed = layout.positions((2, 2))
    short = lay_out(np.ones((1, 2), bool), recipe).positions((2, 2))
    real = layout.mask[1]
    np.testing.assert_array_equal(placed[:, 1][:, real], short[:, 0])
    assert placed[0, 0].tolist() == [0, 0, 0, 0, 2, 2, 2, 2, 4, 5, 6, 7, 8]
    assert placed[1, 0].tolist()[:8] == [0, 0, 1, 1, 2, 2, 3, 3]


def test_frames_of_one_sequence_follow_each_other() -> None:
    recipe = Recipe(bos=False, eos=False, image_tokens=4, window=2, history=History.PRE)
    time, height, width = lay_out(np.ones((1, 1), bool), recipe).positions((2, 2))[:, 0].tolist()
    assert time == [0, 0, 0, 0, 2, 3, 4, 4, 4, 4, 6, 7]
    assert height == [0, 0, 1, 1, 2, 3, 4, 4, 5, 5, 6, 7]
    assert width == [0, 1, 0, 1, 2, 3, 4, 5, 4, 5, 6, 7]


def test_without_a_grid_positions_run_on() -> None:
    layout = lay_out(np.ones((1, 2), bool), Recipe(bos=False, eos=False, image_tokens=4))
    assert layout.positions().tolist() == [[0, 1, 2, 3, 4, 5, 6]]
