"""Which weights learn, LoRA, recomputed activations and bf16, on the tiny PaliGemma."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from edge_vla.errors import ConfigError
from edge_vla.learn.backbones.kosmos import RoboKosMos
from edge_vla.learn.backbones.paligemma import RoboPaligemma
from edge_vla.learn.trainable import dtype_of, merge_lora

Configs = Callable[..., dict[str, Any]]
LAYER = "backbone.model.language_model.layers."
VISION, WORDS, PROJECTOR = (
    "backbone.model.vision_tower.",
    "backbone.model.language_model.embed_tokens.",
    "backbone.model.multi_modal_projector.",
)
LORA = {"lora_enable": True, "lora_r": 4, "lora_alpha": 8, "lora_dropout": 0.0}


def loaded(configs: Configs, folder: Path, setup: dict[str, Any], **rest: Any) -> RoboPaligemma:
    torch.manual_seed(2)
    model = RoboPaligemma(configs(folder, train_setup=setup, **rest))
    torch.manual_seed(3)  # adapters have drawn numbers too
    torch.nn.init.normal_(model.action_token)
    return model.train()


def batch(seed: int = 0) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "vision_x": torch.randn(2, 2, 3, 28, 28, generator=generator), "lang_x": torch.randint(5, 40, (2, 5), generator=generator),
        "rel_state": torch.zeros(2, 2, 7),
        "action_labels": (torch.rand(2, 2, 2, 3, generator=generator), torch.randint(0, 2, (2, 2, 2), generator=generator).float()),
    }  # fmt: skip


def gradients(model: RoboPaligemma) -> dict[str, Tensor]:
    """Parameters that got one, by name, after a step on one batch."""
    model.zero_grad()
    model(**batch())["loss"].backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def learns(model: RoboPaligemma) -> set[str]:
    """Parts that get gradients that are not all zero, named as far as the switches can tell them apart."""
    found = set()
    for name, grad in gradients(model).items():
        if not bool((grad != 0).any()):
            continue
        if name.startswith(LAYER):
            found.add("layer " + name.removeprefix(LAYER).split(".")[0])
        elif name.startswith("backbone."):
            found.add(next((part for part in (VISION, WORDS, PROJECTOR) if name.startswith(part)), name))
        else:
            found.add(name.split(".")[0])
    return found


ALWAYS = {"action_token", "act_head", "vision_resampler", "embed_arm_state", "embed_gripper_state", "embed_state"}
BODY = {"layer 0", "layer 1", PROJECTOR, "backbone.model.language_model.norm.weight"}


@pytest.mark.parametrize(
    ("setup", "want"),
    [
        ({}, ALWAYS | BODY),
        ({"train_vision": True, "train_text_embedding": True}, ALWAYS | BODY | {VISION, WORDS}),
        ({"freeze_backbone": True}, ALWAYS),
        ({"freeze_backbone": True, "train_vision": True}, ALWAYS | {VISION}),
        ({"freeze_backbone": True, "train_text_embedding": True, "train_decoder_layers": 1}, ALWAYS | {WORDS}),
        ({"train_decoder_layers": 1}, ALWAYS | {"layer 1"}),
        ({"train_decoder_layers": 0}, ALWAYS),
        ({"train_decoder_layers": 2, "train_vision": True}, ALWAYS | {"layer 0", "layer 1", VISION}),
        ({"freeze_resampler": True, "freeze_backbone": True}, ALWAYS - {"vision_resampler"}),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "",
)
def test_exactly_the_parts_that_are_switched_on_learn(setup: dict[str, Any], want: set[str], configs: Configs, paligemma: Path) -> None:
    shape = {"vision_resampler": {"depth": 1, "num_latents": 2, "heads": 2, "dim_head": 8}}
    model = loaded(configs, paligemma, setup, use_vision_resampler=True, use_state=True, **shape)
    assert learns(model) == want


def test_more_layers_than_there_are_cannot_learn(configs: Configs, paligemma: Path) -> None:
    with pytest.raises(ConfigError, match="train_decoder_layers 3: this backbone has 2"):
        loaded(configs, paligemma, {"train_decoder_layers": 3})


# -- LoRA


def test_lora_leaves_every_weight_in_the_state_dict_once(configs: Configs, paligemma: Path) -> None:
    plain, lora = loaded(configs, paligemma, {}), loaded(configs, paligemma, LORA)
    names = [name.replace(".base_layer.", ".") for name in lora.state_dict() if ".lora_" not in name]
    assert names == list(plain.state_dict()), "the same names but for the adapted layers', none twice and none gone"
    adapters = [name for name in lora.state_dict() if ".lora_" in name]
    assert len(adapters) == 2 * 2 * 7, "A and B for q, k, v, o, gate, up and down of two layers"
    assert all(name.startswith(LAYER) for name in adapters)
    storages = [t.untyped_storage().data_ptr() for name, t in lora.state_dict().items() if "lm_head" not in name]
    assert len(storages) == len(set(storages))
    lora.eval()
    with torch.no_grad():
        given = batch()
        torch.testing.assert_close(lora.inference(**given)["action"][0], plain.eval().inference(**given)["action"][0])


@pytest.mark.parametrize(
    ("setup", "besides"),
    [
        ({}, {PROJECTOR}),
        ({"train_vision": True, "train_text_embedding": True}, {PROJECTOR, VISION, WORDS}),
        ({"freeze_backbone": True}, set()),
        ({"freeze_backbone": True, "train_vision": True}, {VISION}),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "",
)
def test_with_lora_adapters_learn_and_what_is_switched_on(
    setup: dict[str, Any], besides: set[str], configs: Configs, paligemma: Path
) -> None:
    model = loaded(configs, paligemma, LORA | setup)
    assert learns(model) == {"layer 0", "layer 1", "action_token", "act_head"} | besides
    inside = {name for name, p in model.named_parameters() if name.startswith(LAYER) and p.requires_grad}
    assert all(".lora_" in name for name in inside)
    assert gradients(model).keys() == {name for name, p in model.named_parameters() if p.requires_grad}


def test_lora_biases_learn_where_they_are_named(configs: Configs, write_paligemma: Callable[..., Path], tmp_path: Path) -> None:
    folder = write_paligemma(tmp_path, attention_bias=True)
    for word, want in (("none", False), ("lora_only", True), ("all", True)):
        model = loaded(configs, folder, LORA | {"lora_bias": word})
        biases = {name: p.requires_grad for name, p in model.named_parameters() if name.startswith(LAYER) and name.endswith(".bias")}
        assert biases
        assert set(biases.values()) == {want}
        vision = {p.requires_grad for name, p in model.named_parameters() if name.startswith(VISION) and name.endswith(".bias")}
        assert vision == {word == "all"}


def test_merged_adapters_say_the_same_under_the_old_names(configs: Configs, paligemma: Path) -> None:
    plain, model = loaded(configs, paligemma, {}), loaded(configs, paligemma, LORA)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(**batch())["loss"].backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        before = model.inference(**batch())["action"][0]
        model.act_head.reset()
        merge_lora(model)
        torch.testing.assert_close(model.inference(**batch())["action"][0], before, atol=1e-5, rtol=1e-5)
    own, old = model.state_dict(), plain.state_dict()
    assert list(own) == list(old)
    name = f"{LAYER}0.self_attn.q_proj.weight"
    assert not torch.equal(own[name], old[name])
    plain.load_state_dict(own)


# -- recomputation


@pytest.mark.parametrize("setup", [{"train_vision": True, "train_text_embedding": True}, LORA], ids=["full", "lora"])
def test_activations_are_recomputed_and_gradients_stay(setup: dict[str, Any], configs: Configs, paligemma: Path) -> None:
    counts, grads = {}, {}
    for on in (False, True):
        model = loaded(configs, paligemma, setup | {"gradient_checkpointing": on})
        calls = {"text": 0, "vision": 0}

        def count(which: str, calls: dict[str, int] = calls) -> Callable[..., None]:
            def hook(*_: object) -> None:
                calls[which] += 1

            return hook

        model.text_tower.layers[0].mlp.register_forward_pre_hook(count("text"))
        model.vision_tower.encoder.layers[0].mlp.register_forward_pre_hook(count("vision"))
        grads[on], counts[on] = gradients(model), calls
    assert counts[False] == {"text": 1, "vision": 1}
    assert counts[True] == {"text": 2, "vision": 2 if "train_vision" in setup else 1}, "once more on the way back"
    assert grads[True].keys() == grads[False].keys()
    for name, grad in grads[True].items():
        torch.testing.assert_close(grad, grads[False][name], atol=1e-7, rtol=1e-5, msg=name)


def test_recomputation_reaches_adapters_when_nothing_before_them_learns(configs: Configs, paligemma: Path) -> None:
    head = {"action_space": "down_sample", "down_sample": "pooling", "type": "FCDecoder"}
    torch.manual_seed(2)
    setup = LORA | {"freeze_backbone": True, "gradient_checkpointing": True}
    model = RoboPaligemma(configs(paligemma, head=head, train_setup=setup)).train()
    assert {"layer 0", "layer 1"} <= learns(model)


# -- precision


def test_bf16_runs_finite_and_close(configs: Configs, paligemma: Path) -> None:
    model = loaded(configs, paligemma, {"train_vision": True}).eval()
    given = batch()
    with torch.no_grad():
        want = model.inference(**given)["action"]
        half = model.to(dtype_of("bf16"))
        cast = {k: v.bfloat16() if isinstance(v, Tensor) and v.is_floating_point() else v for k, v in given.items()}
        got = half.inference(**cast)["action"]
    for own, full in zip(got, want, strict=True):
        assert own.dtype == torch.bfloat16
        assert torch.isfinite(own).all()
        assert 0 < (own.float() - full).abs().max() < 0.05
    half.train()
    cast["action_labels"] = tuple(part.bfloat16() for part in given["action_labels"])
    loss = half(**cast)["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in half.parameters() if p.grad is not None)
    with pytest.raises(ConfigError, match="precision 'int8': want one of bf16"):
        dtype_of("int8")


@pytest.mark.parametrize("lengths", [(5, 5), (5, 2)])
def test_a_row_with_pads_gives_finite_gradients_in_bf16(lengths: tuple[int, int], configs: Configs, paligemma: Path) -> None:
    model = loaded(configs, paligemma, {}, head={"history_type": "pre"}).bfloat16()
    given = batch()
    mask = torch.arange(5)[None] < torch.tensor(lengths)[:, None]
    labels = tuple(part.bfloat16() for part in given["action_labels"])
    loss = model(given["vision_x"].bfloat16(), given["lang_x"], mask, action_labels=labels)["loss"]
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_an_answer_in_the_middle_of_training_keeps_its_cache(configs: Configs, kosmos: Path) -> None:
    """Recomputing layers drop theirs, and KosMos-2 has dropout besides."""
    head = {"type": "DiscreteDecoder", "action_space": "discrete", "action_dim": 4}
    model = RoboKosMos(configs(kosmos, head=head, train_setup={"gradient_checkpointing": True})).train()
    model.vision_tower.eval()
    rgb, given = np.zeros((30, 40, 3), np.uint8), {k: batch()[k] for k in ("vision_x", "lang_x")}
    said, done = model.generate("find the cup", rgb, 8), model.inference(**given)["action"]
    assert model.training
    assert model.text_tower.training
    assert not model.vision_tower.training
    model.eval()
    assert said == model.generate("find the cup", rgb, 8)
    np.testing.assert_array_equal(done, model.inference(**given)["action"])
