"""OpenFlamingo's files: the published names and shapes, where they are looked for, and one clear error for each way they can be wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from edge_vla.errors import ConfigError
from edge_vla.learn.backbones.clip_tower import config_of, tower_tensors
from edge_vla.learn.backbones.flamingo import RoboFlamingo
from edge_vla.learn.backbones.flamingo_files import FlamingoBackbone, build_language, language_name, whole_names
from edge_vla.learn.build import load_policy
from edge_vla.learn.import_robovlms import import_checkpoint
from edge_vla.learn.reference_names import one_each
from tests.learn.backbones.tiny_flamingo import (
    KINDS,
    TINY_CONFIG,
    WORDS,
    checkpoint_shapes,
    language_shapes,
    parts,
    tower_shapes,
    write_flamingo,
)

PUBLISHED = {  # config.json of the published language models, the keys that shapes depend on; width, layers, inner, n
    "mosaic_gpt": ({"d_model": 2048, "n_heads": 16, "n_layers": 24}, 2048, 24, 8192, 1),
    "gpt_neox": (
        {"hidden_size": 2560, "num_attention_heads": 32, "num_hidden_layers": 32, "intermediate_size": 10240, "rotary_pct": 1.0},
        2560, 32, 10240, 2,
    ),
    "mpt": ({"d_model": 4096, "n_heads": 32, "n_layers": 32}, 4096, 32, 16384, 4),
}  # fmt: skip
ROWS = 50280
# Language model, gates and resampler, tower; counted from the shapes here and rounded as the model cards do.
BILLIONS = {"mosaic_gpt": 3, "gpt_neox": 4, "mpt": 8}


@pytest.mark.parametrize("kind", KINDS)
def test_the_published_names_and_shapes_are_the_models(kind: str) -> None:
    """At full size, without memory: every published weight has its place, and there is no place without one."""
    sizes, width, layers, inner, every = PUBLISHED[kind]
    config = TINY_CONFIG[kind] | sizes
    with torch.device("meta"):
        tower = {name: torch.empty(shape) for name, shape in tower_shapes(1024, 24, 14, 224).items()}
        from transformers import CLIPVisionModel

        vision = CLIPVisionModel(config_of(tower_tensors(tower), "tower", {}))
        backbone = FlamingoBackbone(vision, build_language(config, ROWS, 1024, every))
        language = {name: torch.empty(shape) for name, shape in language_shapes(kind, width, layers, ROWS, inner).items()}
    found = {name: tuple(tensor.shape) for name, tensor in backbone.state_dict().items()}
    named = {f"lang_encoder.{language_name(name, config)}": tuple(tensor.shape) for name, tensor in language.items()}
    trained = checkpoint_shapes(kind, width, layers, every, ROWS, 1024)
    sees = {f"vision_encoder.{name}": tuple(tensor.shape) for name, tensor in tower_tensors(tower).items()}
    assert found == named | trained | sees
    assert vision.config.num_attention_heads == 16
    assert round(sum(p.numel() for p in backbone.parameters()) / 1e9) == BILLIONS[kind]
    gated = [name for name in trained if name.endswith("attn_gate")]
    assert len(gated) == layers // every


@pytest.fixture
def broken(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """write(kind) -> configuration; its files are to be damaged."""

    def write(kind: str = "mosaic_gpt", **keys: Any) -> dict[str, Any]:
        return write_flamingo(tmp_path, kind, **keys)

    return write


def edit_checkpoint(config: dict[str, Any], change: Callable[[dict[str, Any]], Any]) -> None:
    file = next(Path(config["vlm"]["pretrained_model_name_or_path"]).parent.glob("OpenFlamingo*/checkpoint.pt"))
    tensors = torch.load(file, weights_only=True)
    torch.save(change(tensors) or tensors, file)


def folder_of(config: dict[str, Any]) -> Path:
    return Path(config["vlm"]["pretrained_model_name_or_path"])


def test_every_weight_comes_from_its_file(broken: Callable[..., dict[str, Any]]) -> None:
    language, checkpoint, tower = parts("mosaic_gpt")
    got = RoboFlamingo(broken()).backbone.state_dict()
    blocks = "lang_encoder.transformer.blocks.1"
    torch.testing.assert_close(got[f"{blocks}.decoder_layer.attn.q_ln.weight"], language["transformer.blocks.1.attn.q_ln.weight"])
    torch.testing.assert_close(got[f"{blocks}.gated_cross_attn_layer.ff_gate"], checkpoint[f"{blocks}.gated_cross_attn_layer.ff_gate"])
    torch.testing.assert_close(got["lang_encoder.transformer.wte.weight"], checkpoint["lang_encoder.transformer.wte.weight"])
    qkv = torch.cat([got[f"vision_encoder.encoder.layers.0.self_attn.{k}_proj.bias"] for k in "qkv"])
    torch.testing.assert_close(qkv, tower["visual.transformer.resblocks.0.attn.in_proj_bias"])


@pytest.mark.parametrize("wrapped", ["model_state_dict", "plain"])
def test_a_training_checkpoint_is_unwrapped(broken: Callable[..., dict[str, Any]], wrapped: str) -> None:
    config = broken(tower="open_clip")
    if wrapped == "model_state_dict":
        edit_checkpoint(config, lambda t: {"epoch": 3, "model_state_dict": {f"module.{name}": tensor for name, tensor in t.items()}})
    model = RoboFlamingo(config)
    assert len(model.word_embedding.weight) == len(WORDS) + 3


def test_without_the_checkpoint_the_gates_are_shut_and_new_words_are_the_mean(broken: Callable[..., dict[str, Any]]) -> None:
    config = broken()
    edit_checkpoint(config, lambda t: t.clear())
    model = RoboFlamingo(config | {"train_setup": {"load_vl_param": False}})
    gates = [p for name, p in model.named_parameters() if name.endswith("_gate")]
    assert len(gates) == 4
    assert all(not gate.any() for gate in gates)
    table = parts("mosaic_gpt")[0]["transformer.wte.weight"]
    torch.testing.assert_close(model.word_embedding.weight, table[: len(WORDS) + 3])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop("perceiver.norm.bias") * 0, "1 missing: perceiver.norm.bias"),
        (lambda t: t.update(odd=torch.ones(1)), "1 unexpected: odd"),
        (lambda t: t.update({"perceiver.latents": torch.ones(3, 64)}), r"perceiver.latents \(3, 64\), want \(64, 64\)"),
        (lambda t: t["perceiver.latents"].fill_(float("nan")) * 0, "1 tensors hold nan or inf: perceiver.latents"),
        (lambda t: {k: v for k, v in t.items() if "gated" not in k}, "no gated_cross_attn_layer"),
        (lambda t: {k: v for k, v in t.items() if "blocks.0.gated" not in k}, r"at every 1\. layer, these weights have them at every 2\."),
        (lambda t: {k: v for k, v in t.items() if "wte" not in k}, "no word embedding"),
        (lambda t: t.update({"lang_encoder.transformer.wte.weight": torch.ones(9, 48)}), "has 323 tokens .* the embedding 9 rows"),
    ],
)  # fmt: skip
def test_a_wrong_checkpoint_is_one_error(broken: Callable[..., dict[str, Any]], change: Callable[..., Any], said: str) -> None:
    config = broken()
    edit_checkpoint(config, lambda tensors: found if isinstance(found := change(tensors), dict) else None)
    with pytest.raises(ConfigError, match=said):
        RoboFlamingo(config)


def test_a_checkpoint_that_carries_code_is_refused(broken: Callable[..., dict[str, Any]]) -> None:
    config = broken()
    edit_checkpoint(config, lambda tensors: tensors | {"path": Path("/")})
    with pytest.raises(ConfigError, match="refused, a checkpoint may hold tensors only"):
        RoboFlamingo(config)


@pytest.mark.parametrize(
    ("file", "damage", "said"),
    [
        ("model-00002-of-00002.safetensors", Path.unlink, "1 of 2 shards are missing"),
        ("model-00001-of-00002.safetensors", lambda f: f.write_bytes(f.read_bytes()[:-40]), "not a whole safetensors file"),
        (
            "config.json",
            lambda f: f.write_text(json.dumps(TINY_CONFIG["mpt"] | {"n_layers": 2})),
            "4 unexpected: transformer.blocks.0.decoder_layer.attn.k_ln.weight",
        ),
        ("config.json", lambda f: f.write_text(json.dumps({"model_type": "llama"})), "model_type 'llama': this backbone reads mosaic_gpt"),
        ("config.json", lambda f: f.write_text(json.dumps(TINY_CONFIG["mosaic_gpt"] | {"alibi": False})), "learned positions"),
        ("config.json", lambda f: f.write_text(json.dumps(TINY_CONFIG["mosaic_gpt"] | {"prefix_lm": True})), "prefix_lm True"),
        ("config.json", lambda f: f.write_text(json.dumps(TINY_CONFIG["mosaic_gpt"] | {"n_heads": 6})), "n_heads 6"),
        ("config.json", lambda f: f.write_text(json.dumps({"model_type": "mosaic_gpt"})), "no 'd_model'"),
        ("tokenizer.json", Path.unlink, "no usable tokenizer"),
    ],
)
def test_a_wrong_language_model_is_one_error(
    broken: Callable[..., dict[str, Any]], file: str, damage: Callable[[Path], Any], said: str
) -> None:
    config = broken()
    damage(folder_of(config) / file)
    with pytest.raises(ConfigError, match=said):
        RoboFlamingo(config)


def test_files_are_looked_for_where_the_configuration_says(broken: Callable[..., dict[str, Any]]) -> None:
    config = broken()
    root, folder = folder_of(config).parent, folder_of(config)
    published = root / KINDS["mosaic_gpt"][1] / "checkpoint.pt"
    shutil.move(published, root / "elsewhere.pt")
    with pytest.raises(ConfigError, match=r"checkpoint.pt: no such file; vlm.openflamingo_checkpoint"):
        RoboFlamingo(config)
    vlm = config["vlm"] | {"openflamingo_checkpoint": str(root / "elsewhere.pt")}
    RoboFlamingo(config | {"vlm": vlm})
    RoboFlamingo(config | {"vlm": vlm | {"name": "flamingo"}})  # as `build_vlm` says: n is in the weights
    with pytest.raises(ConfigError, match=r"'llama_7b': want one of mpt_1b"):
        RoboFlamingo(config | {"vlm": vlm | {"name": "llama_7b"}})
    with pytest.raises(ConfigError, match=r"gates are at every 2\. layer"):
        RoboFlamingo(config | {"vlm": vlm | {"name": "mpt_3b"}})
    with pytest.raises(ConfigError, match=r"vlm.residual"):
        RoboFlamingo(config | {"vlm": vlm | {"residual": True}})
    shutil.move(root / "elsewhere.pt", folder / "checkpoint.pt")
    RoboFlamingo(config)
    (root / "clip-vit-large-patch14").rename(root / "away")
    with pytest.raises(ConfigError, match=r"CLIP tower: neither .*clip-vit-large-patch14 nor"):
        RoboFlamingo(config)
    RoboFlamingo(config | {"vision_encoder": {"clip_vision_encoder_pretrained": str(root / "away")}})
    with pytest.raises(ConfigError, match="a ViT-L-14 has"):
        RoboFlamingo(
            config | {"vision_encoder": {"clip_vision_encoder_pretrained": str(root / "away"), "clip_vision_encoder_path": "ViT-L-14"}}
        )


@pytest.mark.parametrize("kind", KINDS)
def test_one_folder_with_everything_is_the_same_model(broken: Callable[..., dict[str, Any]], kind: str) -> None:
    """What the reference's policies become: its names, its doubled layers, its whole CLIP; then our own names, saved again."""
    config = broken(kind)
    model, folder = RoboFlamingo(config), folder_of(config)
    language, checkpoint, tower = parts(kind)
    blocks = "gpt_neox.layers" if kind == "gpt_neox" else "transformer.blocks"
    reference = {name.removeprefix("lang_encoder."): tensor for name, tensor in checkpoint.items()}
    embeddings = set(reference)
    for name, tensor in language.items():
        if name not in embeddings:
            reference[_inside(name, blocks) if blocks in name else name] = tensor
    at = (f"{blocks}.0.decoder_layer.", f"{blocks}.{KINDS[kind][2] - 1}.gated_cross_attn_layer.")
    lists = ("old_decoder_blocks.0.", f"gated_cross_attn_layers.{KINDS[kind][2] - 1}.")
    doubled = {n.replace(own, listed): t for own, listed in zip(at, lists, strict=True) for n, t in reference.items() if n.startswith(own)}
    assert len(doubled) > 10
    whole = {
        f"vision_encoder.{name}": t for name, t in (tower | {"text_projection": torch.ones(2, 2), "logit_scale": torch.ones(())}).items()
    }
    imported, left_out = one_each(reference | doubled | whole, lambda name: RoboFlamingo.import_name(name, TINY_CONFIG[kind]))
    assert left_out.keys() == doubled.keys()
    for file in [*folder.glob("model*"), *folder.glob("pytorch_model*"), *folder.parent.glob("OpenFlamingo*/*")]:
        file.unlink()
    save_file({name: tensor.clone() for name, tensor in imported.items()}, folder / "model.safetensors", {"format": "pt"})
    again = RoboFlamingo(config)
    save_file(
        {name: tensor.clone() for name, tensor in again.backbone.state_dict().items()}, folder / "model.safetensors", {"format": "pt"}
    )
    third = RoboFlamingo(config)
    for other in (again, third):
        assert {n: t.tolist() for n, t in model.backbone.state_dict().items()} == {
            n: t.tolist() for n, t in other.backbone.state_dict().items()
        }
    damaged = load_file(folder / "model.safetensors")
    damaged.pop("perceiver.norm.weight")
    save_file(damaged, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match=r"1 missing: perceiver.norm.weight"):
        RoboFlamingo(config)


def test_a_policy_of_the_reference_is_imported(broken: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    """Its checkpoint has tower and resampler beside the backbone, the backbone under two names and its layers twice in each."""
    head = {"type": "LSTMDecoder", "hidden_size": 16, "action_dim": 7, "action_space": "down_sample", "down_sample": "pooling"}
    configs = broken("mpt") | {"window_size": 3, "fwd_pred_next_n": 2, "act_head": head}
    model = RoboFlamingo(configs)
    stored: dict[str, Any] = {f"act_head.{name}": tensor for name, tensor in model.act_head.state_dict().items()}
    for name, tensor in model.backbone.state_dict().items():
        part, _, rest = name.partition(".")
        if part == "lang_encoder":
            stored |= {f"backbone.{rest}": tensor, f"model.{rest}": tensor}
        elif part == "perceiver":
            stored[name] = tensor
    stored |= {f"vision_encoder.{name}": tensor for name, tensor in (parts("mpt")[2] | {"logit_scale": torch.ones(())}).items()}
    gate = stored["backbone.transformer.blocks.3.gated_cross_attn_layer.attn_gate"]
    stored |= {f"{k}.gated_cross_attn_layers.3.attn_gate": gate for k in ("model", "backbone")}
    torch.save({"model_state_dict": stored}, tmp_path / "policy.pt")
    (tmp_path / "project.json").write_text(json.dumps(configs))
    import_checkpoint(tmp_path / "policy.pt", tmp_path / "project.json", tmp_path / "out")
    again = load_policy(tmp_path / "out")
    assert {n: t.tolist() for n, t in model.state_dict().items()} == {n: t.tolist() for n, t in again.state_dict().items()}


def _inside(name: str, blocks: str) -> str:
    index, rest = name.removeprefix(f"{blocks}.").split(".", 1)
    return f"{blocks}.{index}.decoder_layer.{rest}"


def test_one_name_for_two_weights_is_an_error() -> None:
    with pytest.raises(ConfigError, match="two tensors would become"):
        whole_names({"perceiver.latents": torch.ones(1), "module.perceiver.latents": torch.ones(1)}, TINY_CONFIG["mpt"])
