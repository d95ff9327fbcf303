"""Labels of actions and back: RoboVLMs' order by hand, round trips, and the gripper left alone."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge_vla.action_scaling import ActionScaling
from edge_vla.actions import mu_law_companding, world_to_tcp_frame
from edge_vla.errors import ConfigError

FULL: dict[str, Any] = {
    "norm_action": True, "norm_min": -0.65, "norm_max": 0.65, "regular_action": True, "x_mean": [0.1, -0.1, 0.2, 0.0, 0.3, -0.2, 9.0],
    "x_std": [0.5, 1.0, 2.0, 0.1, 0.7, 0.9, 9.0], "use_mu_law": True, "mu_val": 255, "tcp_rel": True,
}  # fmt: skip
NORM = {"norm_action": True, "norm_min": -0.65, "norm_max": 0.65}
SUBSETS = [
    {}, NORM, {"norm_action": True}, {"regular_action": True, "x_mean": 0.2, "x_std": 0.4}, {"use_mu_law": True, "mu_val": 5},
    NORM | {"use_mu_law": True}, {k: v for k, v in FULL.items() if k != "tcp_rel"}, {"tcp_rel": True}, FULL,
]  # fmt: skip
inside = st.floats(-0.6, 0.6)


def actions() -> st.SearchStrategy[Any]:
    arm, gripper = arrays(np.float64, (3, 6), elements=inside), arrays(np.float64, (3, 1), elements=st.sampled_from([0.0, 1.0]))
    return st.tuples(arm, gripper).map(lambda both: np.concatenate(both, 1))


@pytest.mark.parametrize("config", SUBSETS)
@given(action=actions(), pose=arrays(np.float64, (3, 6), elements=st.floats(-1.2, 1.2)))
def test_decoding_undoes_encoding(config: dict[str, Any], action: Any, pose: Any) -> None:
    scaling = ActionScaling.from_config(config)
    back = scaling.decode(scaling.encode(action, pose), pose)
    np.testing.assert_allclose(back, action, atol=1e-6)


@pytest.mark.parametrize("config", [c for c in SUBSETS if "tcp_rel" not in c])
@given(label=arrays(np.float64, (2, 5, 7), elements=st.floats(-0.9, 0.9)))
def test_a_gripper_comes_out_of_a_policy_as_it_was(config: dict[str, Any], label: Any) -> None:
    """The reference stretches it with the arm: its evaluation can then never close one whose norm_max is 0.5."""
    got = ActionScaling.from_config(config).decode(label)
    assert np.array_equal(got[..., -1], label[..., -1])
    np.testing.assert_allclose(got[1, 3], ActionScaling.from_config(config).decode(label[1, 3]), err_msg="of its row alone")


def test_the_order_is_the_references() -> None:
    pose = np.array([[0.0, 0, 0, 0.3, -0.2, 0.5]] * 2)
    action = np.array([[0.3, -0.4, 0.1, 0.2, 0.9, -0.1, 1.0], [0.1, 0.2, -0.9, 0.0, 0.1, 0.3, -1.0]])
    mean, std = np.array(FULL["x_mean"]), np.array(FULL["x_std"])
    by_hand = 2 * (np.clip(action, -0.65, 0.65) + 0.65) / 1.3 - 1
    by_hand = (by_hand - mean) / (std + 1e-6)
    by_hand[:, -1] = action[:, -1]
    by_hand = world_to_tcp_frame(mu_law_companding(by_hand, 255), pose)
    got = ActionScaling.from_config(FULL).encode(action, pose)
    np.testing.assert_allclose(got[:, :-1], by_hand[:, :-1], atol=1e-12)
    assert got[:, -1].tolist() == [1.0, 0.0], "open is 1, whatever else 0"


def test_rt_1_grippers_between_are_shut() -> None:
    action = np.zeros((4, 7))
    action[:, -1] = [1.0, 0.5, 0.0, -1.0]
    assert ActionScaling().encode(action)[:, -1].tolist() == [1.0, 0.0, 0.0, 0.0]
    assert action[:, -1].tolist() == [1.0, 0.5, 0.0, -1.0], "what came in is not written to"


@pytest.mark.parametrize("head", ["MobileVLALSTMDecoder", "MobileVLAClassificationDecoder"])
def test_a_base_has_no_gripper(head: str) -> None:
    scaling = ActionScaling.from_config(NORM | {"act_head": {"type": head}})
    np.testing.assert_allclose(scaling.encode([0.65, -0.325]), [1.0, -0.5])
    np.testing.assert_allclose(scaling.decode([1.0, -0.5]), [0.65, -0.325])
    with pytest.raises(ConfigError, match="tcp_rel: only an arm with a gripper has a tool"):
        ActionScaling.from_config({"tcp_rel": True, "act_head": {"type": head}})


def test_what_is_not_given_is_the_references_default() -> None:
    assert ActionScaling.from_config({}) == ActionScaling.from_config(dict.fromkeys(FULL)) == ActionScaling()
    assert ActionScaling.from_config({"norm_action": True}).bounds == (-1.0, 1.0)
    assert ActionScaling.from_config({"norm_min": -0.65, "norm_max": 0.65, "x_mean": 3, "mu_val": 5}) == ActionScaling(), "switched off"
    found = ActionScaling.from_config({"regular_action": True, "use_mu_law": True})
    assert (found.mean, found.deviation, found.mu) == (0.0, 1.0, 255.0)
    with pytest.raises(FrozenInstanceError):
        found.mu = 5.0  # type: ignore[misc]


def test_dtypes_stay() -> None:
    scaling = ActionScaling.from_config(NORM)
    assert scaling.encode(np.zeros(7, np.float32)).dtype == scaling.decode(np.zeros(7, np.float32)).dtype == np.float32
    assert ActionScaling().decode([1, 2, 3]).dtype == np.float64


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (NORM | {"norm_min": 0.65}, "norm_min and norm_max"),
        (NORM | {"norm_max": float("nan")}, "norm_min and norm_max"),
        ({"regular_action": True, "x_mean": [0.0, float("inf")]}, "x_mean"),
        ({"regular_action": True, "x_std": -1.0}, "x_std -1.0: want finite numbers of at least 0"),
        ({"use_mu_law": True, "mu_val": 0}, "mu_val 0.0: want a finite number above 0"),
    ],
)
def test_numbers_that_cannot_be_are_refused_at_once(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ActionScaling.from_config(config)


@pytest.mark.parametrize("values", [float("nan"), [0.0, float("nan")], [0.0, float("inf")], 0.5, ["a"]])
def test_what_is_no_action_is_refused(values: Any) -> None:
    for call in (ActionScaling().encode, ActionScaling().decode, ActionScaling.from_config(NORM).decode):
        with pytest.raises(ValueError, match="action: "):
            call(values)


def test_a_tools_frame_wants_the_tool() -> None:
    scaling = ActionScaling.from_config({"tcp_rel": True})
    for call in (scaling.encode, scaling.decode):
        with pytest.raises(ValueError, match=r"tcp_rel: .* want robot_obs"):
            call(np.zeros(7))
