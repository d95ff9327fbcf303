"""Qwen-VL's weights by their public names and shapes, and its language model against a second derivation in numpy."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_vla.learn.backbones.qwen import RoboQwen
from edge_vla.learn.backbones.qwen.v1 import QwenVL, allocate
from edge_vla.learn.backbones.qwen.v1_text import QwenVLModel, TextConfig, log_stretch, ntk_alpha
from edge_vla.learn.sequence import attention
from tests.learn.backbones.tiny_qwen import PUBLIC_V1, policy, random_weights, v1_config, v1_shapes, write_qwen_v1

Array = NDArray[np.float64]


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory) -> QwenVL:
    found = RoboQwen(policy(write_qwen_v1(tmp_path_factory.mktemp("v1")))).eval()
    assert isinstance(found, QwenVL)
    return found


def arrays(robot: QwenVL) -> dict[str, Array]:
    return {name: tensor.double().numpy() for name, tensor in robot.backbone.state_dict().items()}


# -- names and shapes


def test_the_full_size_model_has_the_public_names_and_shapes() -> None:
    with torch.device("meta"):
        model = QwenVLModel(TextConfig.read(PUBLIC_V1, "public"))
    own = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert own == v1_shapes(PUBLIC_V1)
    assert len(own) == 853
    assert sum(math.prod(shape) for shape in own.values()) == 9_656_935_168  # as counted by others on the public checkpoint
    assert own["transformer.visual.transformer.resblocks.47.mlp.c_fc.weight"] == (8192, 1664)
    assert own["transformer.h.31.mlp.w2.weight"] == (11008, 4096)


def test_allocated_memory_is_filled_by_the_weights_alone() -> None:
    model = allocate(TextConfig.read(v1_config(), "tiny"))
    assert not any(tensor.is_meta for tensor in [*model.parameters(), *model.buffers()])
    assert float(model.transformer.visual.to_patches.sum()) == pytest.approx(16.0, rel=1e-5)  # every row of weights sums to one


def test_the_weights_are_those_of_the_file(robot: QwenVL) -> None:
    written = random_weights(v1_shapes(v1_config()))
    for name, tensor in robot.backbone.state_dict().items():
        assert torch.equal(tensor, written[name]), name


def test_a_query_position_is_no_parameter(robot: QwenVL) -> None:
    names = dict(robot.named_parameters())
    assert "backbone.transformer.visual.attn_pool.query" in names
    assert "backbone.transformer.visual.attn_pool.pos_embed" not in names


# -- the language model


def rms(x: Array, weight: Array) -> Array:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * weight


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def decode(sd: dict[str, Array], x: Array, *, trained: int = 2048, heads: int = 4) -> Array:
    """Hidden states of (n, d) embeddings in numpy, token after token attending to those before, dynamic NTK and logn included."""
    n, d = x.shape
    size = d // heads
    alpha = max(2 ** math.ceil(math.log2(n / trained) + 1) - 1, 1)
    base = 10000 * alpha ** (size / (size - 2))
    angle = np.arange(n)[:, None] / base ** (np.arange(0, size, 2) / size)
    turn = np.cos(angle) + 1j * np.sin(angle)
    for layer in range(2):
        at = f"transformer.h.{layer}."
        qkv = rms(x, sd[f"{at}ln_1.weight"]) @ sd[f"{at}attn.c_attn.weight"].T + sd[f"{at}attn.c_attn.bias"]
        q, k, v = (part.reshape(n, heads, size) for part in np.split(qkv, 3, -1))
        q, k = ((t[..., : size // 2] + 1j * t[..., size // 2 :]) * turn[:, None] for t in (q, k))
        q = q * np.array([math.log(i, trained) if i > trained else 1.0 for i in range(1, n + 1)])[:, None, None]
        mixed = np.zeros((n, heads, size))
        for i in range(n):
            for h in range(heads):
                scores = (q[i, h].conj() * k[: i + 1, h]).real.sum(-1) / math.sqrt(size)
                mixed[i, h] = softmax(scores) @ v[: i + 1, h]
        x = x + mixed.reshape(n, d) @ sd[f"{at}attn.c_proj.weight"].T
        y = rms(x, sd[f"{at}ln_2.weight"])
        gate = y @ sd[f"{at}mlp.w2.weight"].T
        x = x + (y @ sd[f"{at}mlp.w1.weight"].T * gate / (1 + np.exp(-gate))) @ sd[f"{at}mlp.c_proj.weight"].T
    return rms(x, sd["transformer.ln_f.weight"])


def run(robot: QwenVL, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Hidden states of (rows, n, d) embeddings, pads not counted."""
    mask = torch.ones(x.shape[:2], dtype=torch.bool) if mask is None else mask
    return robot.run_text(x, mask, (mask.cumsum(1) - 1).clamp(min=0)).hidden


def embeddings(n: int, rows: int = 1, seed: int = 0) -> Tensor:
    return torch.randn(rows, n, 256, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_the_language_model_is_its_second_derivation(robot: QwenVL) -> None:
    x = embeddings(9)
    want = decode(arrays(robot), x[0].double().numpy())
    hidden = run(robot, x)[0]
    np.testing.assert_allclose(hidden.double().numpy(), want, rtol=0, atol=1e-5)
    logits = want @ arrays(robot)["lm_head.weight"].T
    np.testing.assert_allclose(robot.logits(hidden[None])[0].double().numpy(), logits, rtol=0, atol=1e-5)


@torch.no_grad()
def test_another_seed_is_another_model(robot: QwenVL) -> None:
    other = {k: v.double().numpy() for k, v in random_weights(v1_shapes(v1_config()), seed=1).items()}
    assert np.abs(decode(other, embeddings(9)[0].double().numpy()) - run(robot, embeddings(9))[0].numpy()).max() > 0.1


@torch.no_grad()
def test_it_is_transformers_qwen2_under_other_names(robot: QwenVL) -> None:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=640, hidden_size=256, intermediate_size=160, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4,
        rms_norm_eps=1e-6, rope_parameters={"rope_type": "default", "rope_theta": 10000.0}, tie_word_embeddings=False,
    )  # fmt: skip
    qwen2, sd = Qwen2ForCausalLM(config).eval(), robot.backbone.state_dict()
    found = {"lm_head.weight": sd["lm_head.weight"], "model.norm.weight": sd["transformer.ln_f.weight"]}
    found["model.embed_tokens.weight"] = sd["transformer.wte.weight"]
    names = {"self_attn.o_proj": "attn.c_proj", "mlp.gate_proj": "mlp.w2", "mlp.up_proj": "mlp.w1", "mlp.down_proj": "mlp.c_proj"}
    names |= {"input_layernorm": "ln_1", "post_attention_layernorm": "ln_2"}
    for n in range(2):
        theirs, ours = f"model.layers.{n}.", f"transformer.h.{n}."
        found |= {f"{theirs}{a}.weight": sd[f"{ours}{b}.weight"] for a, b in names.items()}
        for kind in ("weight", "bias"):
            found |= {f"{theirs}self_attn.{p}_proj.{kind}": t for p, t in zip("qkv", sd[f"{ours}attn.c_attn.{kind}"].chunk(3), strict=True)}
    qwen2.load_state_dict(found)
    ids = torch.randint(0, 640, (2, 8), generator=torch.Generator().manual_seed(0))
    mask = torch.ones(2, 8, dtype=torch.bool)
    mask[1, 5:] = False
    want = qwen2(ids, attention_mask=mask.long()).logits
    got = robot.logits(run(robot, robot.word_embedding(ids), mask))
    torch.testing.assert_close(got[mask], want[mask], rtol=0, atol=1e-5)


@torch.no_grad()
def test_beyond_the_trained_length_angles_and_queries_stretch(tmp_path: Path) -> None:
    robot = RoboQwen(policy(write_qwen_v1(tmp_path, seq_length=6))).eval()
    for n in (6, 7, 12, 13):  # alpha 1, 3, 3, 7
        want = decode(arrays(robot), embeddings(n)[0].double().numpy(), trained=6)
        np.testing.assert_allclose(run(robot, embeddings(n))[0].double().numpy(), want, rtol=0, atol=1e-5)
        if n > 6:
            assert np.abs(decode(arrays(robot), embeddings(n)[0].double().numpy()) - want).max() > 0.05
    trained = run(robot.train(), embeddings(9))[0]  # in training neither applies
    np.testing.assert_allclose(trained.double().numpy(), decode(arrays(robot), embeddings(9)[0].double().numpy()), rtol=0, atol=1e-5)


def test_the_stretches_begin_behind_the_trained_length() -> None:
    assert [ntk_alpha(n, 2048) for n in (1, 2048, 2049, 4096, 4097, 8192, 8193)] == [1, 1, 3, 3, 7, 7, 15]
    got = log_stretch(torch.tensor([[0, 2047, 2048, 8191]]), 2048).flatten().tolist()
    assert got == pytest.approx([1, 1, math.log(2049, 2048), math.log(8192, 2048)], abs=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("trained", [2048, 6])
def test_a_step_at_a_time_is_the_whole_at_once(tmp_path: Path, trained: int) -> None:
    robot = RoboQwen(policy(write_qwen_v1(tmp_path, seq_length=trained))).eval()
    x, mask = embeddings(5 + 4, rows=2), torch.ones(2, 9, dtype=torch.bool)
    mask[1, 2:4] = False  # pads in the middle, as between a short text and what follows it
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    whole = robot.run_text(x[:, :5], mask[:, :5], positions[:, :5], keep=True)
    steps, cache = [whole.hidden], whole.cache
    for n in range(5, 9):
        out = robot.run_text(x[:, n : n + 1], mask[:, : n + 1], positions[:, n : n + 1], cache, keep=True)
        steps, cache = [*steps, out.hidden], out.cache
    if trained == 2048:
        want = robot.run_text(x, mask, positions).hidden
        torch.testing.assert_close(torch.cat(steps, 1)[mask], want[mask], rtol=0, atol=1e-5)
    else:  # the base is the prompt's, which was short; only queries stretch
        at_once = robot.text_tower(x, *_allowed_and_positions(mask, positions), stretch=log_stretch(positions, 6))[0]
        torch.testing.assert_close(torch.cat(steps, 1)[mask], at_once[mask], rtol=0, atol=1e-5)


def _allowed_and_positions(mask: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    return attention(mask, mask.shape[1], torch.float32), positions


@torch.no_grad()
def test_what_is_masked_has_no_say(robot: QwenVL) -> None:
    mask = torch.tensor([[True, True, False, False, True, True]])
    x = embeddings(6)
    other = x.clone()
    other[:, 2:4] = 7.0
    a, b = run(robot, x, mask), run(robot, other, mask)
    torch.testing.assert_close(a[mask], b[mask], rtol=0, atol=1e-6)
    torch.testing.assert_close(a[mask], run(robot, x[:, [0, 1, 4, 5]])[0], rtol=0, atol=1e-5)


@torch.no_grad()
def test_both_ways_lets_the_first_see_the_last(robot: QwenVL) -> None:
    x, mask = embeddings(4), torch.ones(1, 4, dtype=torch.bool)
    positions = torch.arange(4)[None]
    causal, full = (robot.run_text(x, mask, positions, both_ways=both).hidden for both in (False, True))
    assert (causal[:, 0] - full[:, 0]).abs().max() > 1e-3
