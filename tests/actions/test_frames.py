"""World and tool frames: the reference's forward values, and a way back that the reference never had."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from edge_vla.actions import tcp_to_world_frame, world_to_tcp_frame

GOLDEN = np.load(Path(__file__).resolve().parents[1] / "golden" / "robovlms" / "action_utils.npz")
MOVES = arrays(np.float64, (3, 7), elements=st.floats(-1, 1))
ANGLES = st.tuples(st.floats(-3.1, 3.1), st.floats(-1.4, 1.4), st.floats(-3.1, 3.1))

Array = NDArray[np.float64]


def observed(angles: tuple[float, float, float]) -> Array:
    return np.tile([0.1, -0.2, 0.3, *angles], (3, 1))


def test_the_tool_frame_is_the_references() -> None:
    got = world_to_tcp_frame(GOLDEN["tcp/action_world"], GOLDEN["tcp/robot_obs"])
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, GOLDEN["tcp/action_tcp"], rtol=0, atol=1e-5)
    swapped = world_to_tcp_frame(GOLDEN["tcp/action_world"], GOLDEN["tcp/robot_obs"][:, ::-1])
    assert np.abs(swapped - GOLDEN["tcp/action_tcp"]).max() > 0.1


@given(MOVES, ANGLES)
def test_there_and_back(moves: Array, angles: tuple[float, float, float]) -> None:
    obs = observed(angles)
    np.testing.assert_allclose(tcp_to_world_frame(world_to_tcp_frame(moves, obs), obs), moves, rtol=0, atol=1e-6)
    np.testing.assert_allclose(world_to_tcp_frame(tcp_to_world_frame(moves, obs), obs), moves, rtol=0, atol=1e-6)


@given(MOVES, st.tuples(st.floats(-3, 3), st.floats(1.7, 3.0), st.floats(-3, 3)))
def test_there_and_back_where_the_angles_are_not_the_usual_reading(moves: Array, angles: tuple[float, float, float]) -> None:
    """Middle angles beyond pi/2 name the same rotation as others below it; the difference must be taken from the former."""
    obs = observed(angles)
    np.testing.assert_allclose(tcp_to_world_frame(world_to_tcp_frame(moves, obs), obs), moves, rtol=0, atol=1e-6)


def test_float32_there_and_back() -> None:
    moves, obs = GOLDEN["tcp/action_world"], GOLDEN["tcp/robot_obs"]
    back = tcp_to_world_frame(world_to_tcp_frame(moves, obs), obs)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, moves, rtol=0, atol=1e-6)


def test_an_unturned_tool_sees_the_world_and_half_a_turn_mirrors_it() -> None:
    move = np.array([0.1, 0.2, 0.3, 0, 0, 0.5, 1])
    np.testing.assert_allclose(world_to_tcp_frame(move, np.zeros(6)), [0.1, 0.2, 0.3, 0, 0, -0.5, 1], atol=1e-12)
    half = np.array([0, 0, 0, 0, 0, np.pi])
    np.testing.assert_allclose(world_to_tcp_frame(move, half)[:3], [-0.1, -0.2, 0.3], atol=1e-12)


@pytest.mark.parametrize("shape", [(7,), (2, 7), (2, 3, 7), (2, 3, 4, 7)])
def test_any_number_of_leading_dimensions(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    moves, obs = rng.uniform(-1, 1, shape), rng.uniform(-1, 1, shape)
    flat = world_to_tcp_frame(moves.reshape(-1, 7), obs.reshape(-1, 7))
    np.testing.assert_array_equal(world_to_tcp_frame(moves, obs), flat.reshape(shape))


@pytest.mark.parametrize(("action", "obs"), [((2, 6), (2, 7)), ((2, 7), (2, 5)), ((2, 7), (3, 7)), ((2, 8), (2, 7))])
def test_shapes_that_do_not_fit_are_refused(action: tuple[int, ...], obs: tuple[int, ...]) -> None:
    for turn in (world_to_tcp_frame, tcp_to_world_frame):
        with pytest.raises(ValueError, match="robot_obs"):
            turn(np.zeros(action), np.zeros(obs))
        with pytest.raises(ValueError, match="nan or inf"):
            turn(np.full((2, 7), np.nan), np.zeros((2, 7)))
