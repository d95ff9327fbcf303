"""RoboVLMs checkpoints in, strictly: their names, their wrappings, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration, PreTrainedTokenizerFast

from edge_vla.errors import ConfigError
from edge_vla.learn.build import load_policy
from edge_vla.learn.import_robovlms import import_checkpoint, main

HIDDEN = 48
Tensors = dict[str, Tensor]


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny PaliGemma in transformers' layout."""
    folder = tmp_path_factory.mktemp("vlm")
    words = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"w{k}" for k in range(20))]
    tokenizer = Tokenizer(models.WordLevel({word: k for k, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    vision = {
        "model_type": "siglip_vision_model", "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 2, "image_size": 28, "patch_size": 14, "projection_dim": HIDDEN,
    }  # fmt: skip
    text = {
        "model_type": "gemma", "hidden_size": HIDDEN, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 16, "vocab_size": 40,
    }  # fmt: skip
    config = PaliGemmaConfig(
        vision_config=vision, text_config=text, projection_dim=HIDDEN, hidden_size=HIDDEN, image_token_index=39, vocab_size=40
    )
    PaliGemmaForConditionalGeneration(config).save_pretrained(folder)
    return folder


@pytest.fixture
def config(tmp_path: Path, vlm: Path) -> Path:
    file = tmp_path / "project.json"
    text = {
        "robovlm_name": "RoboPaligemma", "model": "paligemma", "window_size": 3, "fwd_pred_next_n": 2,
        "act_head": {"type": "LSTMDecoder", "hidden_size": 16, "num_layers": 1, "action_dim": 7, "down_sample": "none", "latent": 1},
        "train_setup": {"train_vision": True, "lora_alpha": 16, "lora_r": 8},
        "vlm": {"name": "paligemma", "pretrained_model_name_or_path": str(vlm)},
    }  # fmt: skip
    file.write_text(json.dumps(text))
    return file


@pytest.fixture
def reference(tmp_path: Path, vlm: Path, config: Path) -> Tensors:
    """What the reference's trainer saves: `model.` before everything, the backbone under the names of its time."""
    from edge_vla.learn.build import build_policy

    torch.manual_seed(1)
    own = build_policy(json.loads(config.read_text())).state_dict()
    policy = {f"model.{name}": 0.1 * torch.randn_like(tensor) for name, tensor in own.items() if not name.startswith("backbone.")}
    backbone = {f"model.backbone.{name}": tensor + 0.01 for name, tensor in load_file(vlm / "model.safetensors").items()}
    return policy | backbone


def save(tmp_path: Path, content: object) -> Path:
    torch.save(content, tmp_path / "policy.pt")
    return tmp_path / "policy.pt"


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(1, 3, 3, 28, 28, generator=generator), torch.randint(4, 20, (1, 5), generator=generator)


WRAPPINGS: dict[str, Callable[[Tensors], object]] = {
    "lightning": lambda t: {"state_dict": t, "epoch": 3, "global_step": 7},
    "model_state_dict": lambda t: {"model_state_dict": {name.removeprefix("model."): v for name, v in t.items()}},
    "data parallel": lambda t: {"state_dict": {f"module.{name}": v for name, v in t.items()}},
    "deepspeed": lambda t: {"module": {f"_forward_module.{name}": v for name, v in t.items()}},
    "doubled backbone": lambda t: {
        "state_dict": t | {n.replace("model.backbone.", "model.model."): v for n, v in t.items() if "backbone" in n}
    },
}


@pytest.mark.parametrize("wrap", WRAPPINGS.values(), ids=WRAPPINGS.keys())
def test_every_wrapping_gives_the_same_policy(tmp_path: Path, config: Path, reference: Tensors, wrap: Callable[[Tensors], object]) -> None:
    import_checkpoint(save(tmp_path, wrap(reference)), config, tmp_path / "out")
    policy, backbone = load_file(tmp_path / "out" / "policy.safetensors"), load_file(tmp_path / "out" / "vlm" / "model.safetensors")
    assert {f"model.{n}" for n in policy} | {f"model.backbone.{n}" for n in backbone} == set(reference)
    for name, tensor in backbone.items():
        assert torch.equal(tensor, reference[f"model.backbone.{name}"])
    for name, tensor in policy.items():
        scale = HIDDEN**0.5 if name == "action_token" else 1.0  # Gemma scaled what was injected, today's does not
        torch.testing.assert_close(tensor, reference[f"model.{name}"] * scale, rtol=1e-6, atol=0)


def test_what_was_imported_acts_and_other_weights_act_otherwise(tmp_path: Path, config: Path, reference: Tensors) -> None:
    import_checkpoint(save(tmp_path, {"state_dict": reference}), config, tmp_path / "out")
    model = load_policy(tmp_path / "out")
    assert model.reference_padding
    arm, gripper = model.inference(*batch())["action"]
    assert (arm.shape, gripper.shape) == ((1, 3, 2, 6), (1, 3, 2, 1))
    other = {name: tensor + 0.1 if name == "model.action_token" else tensor for name, tensor in reference.items()}
    import_checkpoint(save(tmp_path, {"state_dict": other}), config, tmp_path / "other")
    assert (load_policy(tmp_path / "other").inference(*batch())["action"][0] - arm).abs().max() > 1e-4


def test_adapters_are_merged(tmp_path: Path, config: Path, reference: Tensors) -> None:
    adapted = "model.backbone.language_model.model.layers.0.self_attn.q_proj.weight"
    assert adapted in reference
    a, b = torch.randn(8, HIDDEN), torch.randn(reference[adapted].shape[0], 8)
    wrapped: Tensors = {}
    for name, tensor in reference.items():
        inside = name.replace("model.backbone.", "model.backbone.base_model.model.")
        wrapped[inside.replace("q_proj.weight", "q_proj.base_layer.weight") if name == adapted else inside] = tensor
    stem = adapted.replace("model.backbone.", "model.backbone.base_model.model.").removesuffix(".weight")
    wrapped |= {f"{stem}.lora_A.default.weight": a, f"{stem}.lora_B.default.weight": b}
    import_checkpoint(save(tmp_path, {"state_dict": wrapped}), config, tmp_path / "out")
    found = load_file(tmp_path / "out" / "vlm" / "model.safetensors")[adapted.removeprefix("model.backbone.")]
    torch.testing.assert_close(found, reference[adapted] + 16 / 8 * b @ a, rtol=1e-5, atol=1e-6)


def drop(name: str) -> Callable[[Tensors], Tensors]:
    return lambda t: {k: v for k, v in t.items() if k != name}


REFUSED: dict[str, tuple[Callable[[Tensors], Any], str]] = {
    "a head that is missing": (drop("model.act_head.actions.mlp.0.weight"), "1 missing: act_head.actions.mlp.0.weight"),
    "a backbone weight that is missing": (
        drop("model.backbone.multi_modal_projector.linear.bias"), "missing: .*multi_modal_projector.linear.bias",
    ),
    "a key of nobody": (lambda t: t | {"model.surprise": torch.ones(1)}, "unexpected keys: model.surprise|unexpected keys: surprise"),
    "a head of another size": (
        lambda t: t | {"model.act_head.actions.mlp.6.bias": torch.ones(5)},
        r"of another shape: act_head.actions.mlp.6.bias \(5,\), want \(12,\)",
    ),
    "nan": (lambda t: t | {"model.action_token": torch.full((HIDDEN,), float("nan"))}, "1 tensors hold nan or inf: model.action_token"),
    "two backbones that differ": (
        lambda t: t | {"model.model.multi_modal_projector.linear.bias": torch.full((HIDDEN,), 9.0)},
        "are one weight in RoboVLMs, and differ here",
    ),
    "no backbone": (lambda t: {k: v for k, v in t.items() if "backbone" not in k}, "no key begins with backbone."),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_whole_is_refused_and_leaves_nothing(
    tmp_path: Path, config: Path, reference: Tensors, change: Callable[[Tensors], Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        import_checkpoint(save(tmp_path, {"state_dict": change(reference)}), config, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"project.json", "policy.pt"}


class Bomb:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return pytest.fail, ("the pickle was run",)


def test_a_checkpoint_that_carries_code_is_refused_and_not_run(
    tmp_path: Path, config: Path, reference: Tensors, capsys: pytest.CaptureFixture[str]
) -> None:
    file = save(tmp_path, {"state_dict": reference, "callbacks": Bomb()})
    assert main([str(file), str(config), str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("import_robovlms: ")
    assert "a checkpoint may hold tensors only" in said
    assert "Traceback" not in said


def test_the_table_tells_what_went_where(tmp_path: Path, config: Path, reference: Tensors, capsys: pytest.CaptureFixture[str]) -> None:
    doubled = WRAPPINGS["doubled backbone"](reference)
    assert main([str(save(tmp_path, doubled)), str(config), str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    words = ("act_head.rnn", "multi_modal_projector", "policy.safetensors", "with other values", "action_token", "left out", "doubled")
    for word in words:
        assert word in said
    assert main([str(tmp_path / "policy.pt"), str(config), str(tmp_path / "out")]) == 2
    assert "exists already; name a new folder" in capsys.readouterr().err
