"""PaliGemma's scales, against the arithmetic of RoboVLMs' wrapper and of the Gemma of its time, written out.

Then (transformers 4.44): projected pictures / sqrt(config.hidden_size); all embeddings * sqrt(the text model's hidden_size), inside it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from edge_vla.errors import ConfigError
from edge_vla.learn import actor
from edge_vla.learn.build import build_policy, load_policy
from edge_vla.learn.import_robovlms import import_checkpoint
from edge_vla.learn.resampler import PerceiverResampler

HIDDEN = 32  # of the tiny text model
Tensors = dict[str, Tensor]


def config_of(folder: Path, *, resampled: bool, state: bool = False) -> dict[str, Any]:
    head = {"type": "FCDecoder", "hidden_size": 16, "action_dim": 7, "action_space": "continuous", "down_sample": "none", "latent": 1}
    return {
        "robovlm_name": "RoboPaligemma", "window_size": 2, "fwd_pred_next_n": 2, "act_head": head, "use_vision_resampler": resampled,
        "vision_resampler": {"vis_dim": 1024, "depth": 8, "dim_head": 64, "heads": 8, "num_latents": 64}, "use_state": state,
        "vlm": {"name": "paligemma", "pretrained_model_name_or_path": str(folder)},
    }  # fmt: skip


def saved(folder: Path, *, resampled: bool, state: bool = False) -> Tensors:
    torch.manual_seed(3)
    own = build_policy(config_of(folder, resampled=resampled, state=state) | {"vision_resampler": None}).state_dict()
    policy = {name: tensor + 0.3 * torch.randn_like(tensor) for name, tensor in own.items() if not name.startswith("backbone.")}
    stored = {f"backbone.{name}": tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    head = {"backbone.language_model.lm_head.weight": stored["backbone.language_model.model.embed_tokens.weight"]}
    return stored | head | policy


def then(model: Any, tensors: Tensors, width: int, ids: Tensor, images: Tensor) -> Tensor:
    """The hidden state at the action token, one row a picture: RoboVLMs' layout, its scales, its text model without a mask."""
    linear = "backbone.multi_modal_projector.linear"
    seen = model.vision_tower(images).last_hidden_state
    pictures = (seen @ tensors[f"{linear}.weight"].T + tensors[f"{linear}.bias"]) / width**0.5
    if any(name.startswith("vision_resampler.") for name in tensors):
        resampler = PerceiverResampler(dim=HIDDEN).double()
        resampler.load_state_dict({n.removeprefix("vision_resampler."): t for n, t in tensors.items() if n.startswith("vision_resampler.")})
        pictures = resampler(pictures[:, None, None])[:, 0]
    words = tensors["backbone.language_model.model.embed_tokens.weight"][ids].expand(len(images), -1, -1)
    act = tensors["action_token"].expand(len(images), 1, -1)
    everything = torch.cat([words[:, :1], pictures, words[:, 1:-1], act, words[:, -1:]], 1) * HIDDEN**0.5
    return model.text_tower(inputs_embeds=everything).last_hidden_state[:, -2]  # type: ignore[no-any-return]


@torch.no_grad()
@pytest.mark.parametrize("resampled", [False, True], ids=("pictures", "latents"))
@pytest.mark.parametrize("width", [HIDDEN, 48, None], ids=("one width", "two widths", "no width"))
def test_hidden_states_are_those_of_then(width: int | None, resampled: bool, write_paligemma: Callable[..., Path], tmp_path: Path) -> None:
    """Without the key transformers takes 2048; a PaliGemma 2 has another width at its top than in its text model."""
    folder = write_paligemma(tmp_path / "vlm")
    stored = json.loads((folder / "config.json").read_text()) | {"hidden_size": width}
    (folder / "config.json").write_text(json.dumps({key: value for key, value in stored.items() if value is not None}))
    tensors = saved(folder, resampled=resampled)
    torch.save({"state_dict": {f"model.{name}": tensor for name, tensor in tensors.items()}}, tmp_path / "policy.pt")
    (tmp_path / "project.json").write_text(json.dumps(config_of(folder, resampled=resampled)))
    import_checkpoint(tmp_path / "policy.pt", tmp_path / "project.json", tmp_path / "out")
    model, tensors = load_policy(tmp_path / "out").double(), {name: tensor.double() for name, tensor in tensors.items()}
    draw = torch.Generator().manual_seed(5)
    images, ids = torch.randn(1, 2, 3, 28, 28, generator=draw).double(), torch.randint(5, 40, (1, 6), generator=draw)
    want = then(model, tensors, width or 2048, ids, images[0])
    got = actor.read(model, images, ids, None, {})[0, :, 0]
    torch.testing.assert_close(got, want, atol=2e-6, rtol=0.0)  # norms and softmax are float32 inside
    wrong = then(model, tensors | {"action_token": tensors["action_token"] * 1.01}, width or 2048, ids, images[0])
    assert (got - wrong).abs().max() > 1e-4


@torch.no_grad()
def test_a_state_is_scaled_too(write_paligemma: Callable[..., Path], tmp_path: Path) -> None:
    folder = write_paligemma(tmp_path / "vlm")
    tensors = saved(folder, resampled=False, state=True)
    torch.save({"model_state_dict": tensors}, tmp_path / "policy.pt")
    (tmp_path / "project.json").write_text(json.dumps(config_of(folder, resampled=False, state=True)))
    import_checkpoint(tmp_path / "policy.pt", tmp_path / "project.json", tmp_path / "out")
    model = load_policy(tmp_path / "out")
    state = torch.tensor([[[0.1, -0.2, 0.3, 0.4, -0.5, 0.6, 1.0]]])
    arm = state[..., :6] @ tensors["embed_arm_state.weight"].T + tensors["embed_arm_state.bias"]
    both = torch.cat([arm, tensors["embed_gripper_state.weight"][1].expand(1, 1, -1)], -1)
    want = (both @ tensors["embed_state.weight"].T + tensors["embed_state.bias"]) * HIDDEN**0.5
    torch.testing.assert_close(model.encode_state(state), want, atol=1e-5, rtol=1e-6)


@pytest.mark.parametrize("text", [{}, {"text_config": {}}, {"text_config": {"hidden_size": 0}}])
def test_a_folder_without_the_width_is_refused(text: dict[str, Any], write_paligemma: Callable[..., Path], tmp_path: Path) -> None:
    folder = write_paligemma(tmp_path / "vlm")
    tensors = saved(folder, resampled=False)
    config = {key: value for key, value in json.loads((folder / "config.json").read_text()).items() if key != "text_config"}
    (folder / "config.json").write_text(json.dumps(config | text))
    torch.save({"model_state_dict": tensors}, tmp_path / "policy.pt")
    (tmp_path / "project.json").write_text(json.dumps(config_of(folder, resampled=False)))
    with pytest.raises(ConfigError, match="no usable hidden_size, at its top and in text_config; got"):
        import_checkpoint(tmp_path / "policy.pt", tmp_path / "project.json", tmp_path / "out")
