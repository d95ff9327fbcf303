"""The continuous heads against the reference's own outputs and losses, through the reference's own state-dict keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from edge_vla.learn.heads import HEADS, BasePolicyHead

Golden = Callable[[str], tuple[dict[str, Any], dict[str, np.ndarray]]]
FILES = ("fc_latent1", "lstm_latent1", "gpt_in32_hidden64")
CLOSE = {"rtol": 0, "atol": 1e-5}


def build(case: dict[str, Any], arrays: dict[str, np.ndarray], run: str) -> BasePolicyHead:
    head = HEADS[case["head"]](**case["ctor"], down_sample=run.partition("_")[0])
    head.load_state_dict({k.removeprefix("sd/"): torch.from_numpy(v) for k, v in arrays.items() if k.startswith("sd/")}, strict=True)
    return head.eval()


def runs(suffix: tuple[str, ...]) -> list[tuple[str, str]]:
    names = {"fc_latent1": ("4d", "3d", "2d"), "lstm_latent1": ("train", "steps"), "gpt_in32_hidden64": ("train", "steps")}
    return [(f, f"{ds}_{kind}") for f in FILES for ds in ("none", "pooling") for kind in names[f] if kind in suffix]


def close(got: Tensor, wanted: np.ndarray) -> None:
    assert got.shape == wanted.shape
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got.detach().numpy(), wanted, **CLOSE)


@pytest.mark.parametrize("name", FILES)
def test_the_keys_and_shapes_are_the_references(golden: Golden, name: str) -> None:
    case, arrays = golden(name)
    own = {key: list(value.shape) for key, value in build(case, arrays, "none_").state_dict().items()}
    assert own == case["state_dict_shapes"]


@pytest.mark.parametrize(("name", "run"), runs(("4d", "3d", "2d", "train")))
def test_a_window_is_the_references(golden: Golden, name: str, run: str) -> None:
    case, arrays = golden(name)
    arm, gripper = build(case, arrays, run)(torch.from_numpy(arrays[f"{run}/in"]))
    close(arm, arrays[f"{run}/actions"])
    close(gripper, arrays[f"{run}/gripper"])


@pytest.mark.parametrize(("name", "run"), runs(("steps",)))
def test_each_step_is_the_references(golden: Golden, name: str, run: str) -> None:
    """With the head's memory, and with a history that the caller keeps."""
    case, arrays = golden(name)
    head, frames = build(case, arrays, run), torch.from_numpy(arrays[f"{run}/in"])
    history = None
    for t in range(frames.shape[1]):
        arm, gripper = head(frames[:, t : t + 1])
        (pure_arm, pure_gripper), history = head.step(frames[:, t : t + 1], history)
        for got, wanted in ((arm, "actions"), (pure_arm, "actions"), (gripper, "gripper"), (pure_gripper, "gripper")):
            close(got, arrays[f"{run}/{wanted}"][:, t : t + 1])
        assert len(head.history_memory) == history.shape[1] == arrays[f"{run}/history_len"][t]
    head.reset()
    close(head(frames[:, :1])[0], arrays[f"{run}/actions"][:, :1])


@torch.no_grad()
@pytest.mark.parametrize(("name", "run"), runs(("4d", "3d", "train")))
@pytest.mark.parametrize("masked", ["nomask", "mask"])
def test_losses_are_the_references(golden: Golden, name: str, run: str, masked: str) -> None:
    case, arrays = golden(name)
    head = build(case, arrays, run)
    labels = tuple(torch.from_numpy(arrays[f"{run}/label_{part}"]) for part in ("arm", "gripper"))
    mask = torch.from_numpy(arrays[f"{run}/mask"]) if masked == "mask" else None
    got = head.loss(head(torch.from_numpy(arrays[f"{run}/in"])), labels, mask)
    assert {key: float(value) for key, value in got.items()} == pytest.approx(case["runs"][run]["loss"][masked], abs=1e-5)


@pytest.mark.parametrize("name", FILES)
def test_other_weights_are_told_apart(golden: Golden, name: str) -> None:
    """The comparison above can fail: each weight matters by more than the tolerance."""
    case, arrays = golden(name)
    run = "none_4d" if name.startswith("fc") else "none_train"
    for key in [k for k in arrays if k.startswith("sd/") and arrays[k].dtype == np.float32 and arrays[k].ndim > 1]:
        changed = {**arrays, key: np.roll(arrays[key], 1, axis=0)}
        arm, gripper = build(case, changed, run)(torch.from_numpy(arrays[f"{run}/in"]))
        off = max(float(np.abs(x.detach().numpy() - arrays[f"{run}/{n}"]).max()) for x, n in ((arm, "actions"), (gripper, "gripper")))
        assert off > 1e-5, key


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("wrong", ["missing", "unexpected", "shape"])
def test_a_checkpoint_that_does_not_fit_is_refused(golden: Golden, name: str, wrong: str) -> None:
    case, arrays = golden(name)
    if wrong == "missing":
        del arrays["sd/gripper.mlp.6.bias"]
    elif wrong == "unexpected":
        arrays["sd/gripper.mlp.8.bias"] = arrays["sd/gripper.mlp.6.bias"]
    else:
        arrays["sd/actions.mlp.6.weight"] = arrays["sd/actions.mlp.6.weight"][:-1]
    with pytest.raises(RuntimeError, match="mlp"):
        build(case, arrays, "none_")


def test_a_gpt_checkpoint_without_the_mask_buffers_is_complete(golden: Golden) -> None:
    case, arrays = golden("gpt_in32_hidden64")
    without = {key: value for key, value in arrays.items() if not key.endswith((".attn.bias", ".attn.masked_bias"))}
    assert len(arrays) - len(without) == 16
    close(build(case, without, "none_")(torch.from_numpy(arrays["none_train/in"]))[0], arrays["none_train/actions"])
