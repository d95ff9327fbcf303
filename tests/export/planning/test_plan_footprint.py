"""Memory of a model that is still to be exported: by hand for a small one, by rule for all."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla.errors import ConfigError
from edge_vla.layout import History
from edge_vla.learn.card_facts import CARDS, Card
from edge_vla.learn.cards import memory_gib
from export.planning.decoders import Decoder, gated
from export.planning.footprint import BUILD_COPIES, LOAD_COPIES, RUNTIME_BYTES, build_peak, cache_bytes, export_peak, footprint, live_bytes
from export.planning.number_formats import (
    FP8,
    FP16,
    FP32,
    INT4_GROUPS,
    INT8,
    INT8_GROUPS,
    NVFP4,
    ONNX_RUNTIME,
    PRECISIONS,
    TENSORRT,
    NumberFormat,
)
from export.planning.policy_shapes import Policy
from export.planning.published import published, shapes_of
from export.planning.shapes import Matrix, Model, Part
from export.planning.towers import Tower, mlp, siglip
from export.planning.workload import Workload

EYES = Tower(width=8, inner=16, layers=1, heads=2, patch=2, px=4)  # 4 patches
WORDS = Decoder(width=64, inner=96, layers=2, heads=4, kv_heads=1, head_dim=16)
SMALL = Model("small", "RoboPaligemma", (siglip(EYES), mlp(4, 8, 64)), (gated(WORDS),), 100, True, 4, 4)
# By hand. Tower: patches (8, 12); q, k, v, out 4 * 64; feed-forward 2 * 128. Its vectors: bias 8, 4 positions of 8, norm 16, and in the
# block two norms 32, biases 4 * 8 + 16 + 8. Projector (64, 8) and 64.
TOWER_LINEAR, TOWER_CONVOLUTION, TOWER_VECTORS = 4 * 64 + 2 * 128 + 512, 96, 8 + 32 + 16 + 32 + 56 + 64
# Decoder, of each layer: q and out 64 * 64, k and v 16 * 64, gate, up and down 64 * 96; two norms, and one behind all.
DECODER, DECODER_VECTORS = 2 * (2 * 4096 + 2 * 1024 + 3 * 6144), 2 * 2 * 64 + 64
HEAD = 100 * 64


@pytest.mark.parametrize(
    ("kept", "nbytes"),
    [
        (FP32, 4 * 64 * 3), (FP16, 2 * 64 * 3), (INT8, 3 * (64 + 4)), (FP8, 3 * 64 + 4), (INT8_GROUPS, 3 * 2 * 36),
        (INT4_GROUPS, 3 * 2 * 20), (NVFP4, 3 * 4 * 9 + 4),
    ],
)  # fmt: skip
def test_a_matrix_of_3_by_64(kept: NumberFormat, nbytes: int) -> None:
    assert kept.nbytes(3, 64) == nbytes


def test_a_group_that_is_not_full_is_stored_whole() -> None:
    assert INT4_GROUPS.nbytes(3, 65) == 3 * 3 * 20
    assert NVFP4.nbytes(1, 17) == 2 * 9 + 4


def test_a_matrix_is_quantised_only_where_that_makes_it_smaller() -> None:
    """One input in a group of 32 would take 20 bytes for 2."""
    assert PRECISIONS["w4"].matrix(Matrix(5, 1)) == 5 * 2
    assert PRECISIONS["w4"].matrix(Matrix(5, 64, linear=False)) == 5 * 64 * 2


def test_weights_by_hand() -> None:
    assert SMALL.parameters == TOWER_LINEAR + TOWER_CONVOLUTION + TOWER_VECTORS + DECODER + DECODER_VECTORS + HEAD
    full = footprint(SMALL, Workload(), PRECISIONS["fp32"])
    assert full.weights == {
        "vision": 4 * (TOWER_LINEAR + TOWER_CONVOLUTION + TOWER_VECTORS), "lm_step": 4 * (DECODER + DECODER_VECTORS + HEAD),
    }  # fmt: skip
    half = footprint(SMALL, Workload(), PRECISIONS["fp16"])
    assert half.weights == {
        "vision": 2 * (TOWER_LINEAR + TOWER_CONVOLUTION) + 4 * TOWER_VECTORS, "lm_step": 2 * (DECODER + HEAD) + 4 * DECODER_VECTORS,
    }  # fmt: skip
    assert full.rows == half.rows == 100 * 64 * 2


def test_a_cut_head_keeps_its_rows_only() -> None:
    whole, cut = (footprint(SMALL, Workload(rows=rows), PRECISIONS["fp16"]) for rows in (None, 10))
    assert whole.weights["lm_step"] - cut.weights["lm_step"] == 90 * 64 * 2
    assert cut.rows == whole.rows  # the host reads any word


def test_a_heads_biases_go_with_its_rows() -> None:
    """Moondream's, with the norm that is stored beside it."""
    model = published("Moondream 2, layout C")
    whole, cut = (footprint(model, Workload(rows=rows), PRECISIONS["fp16"]).weights["lm_step"] for rows in (None, 512))
    assert model.head_vectors == 2 * 2048 + 51200
    assert whole - cut == 2 * (51200 - 512) * 2048 + 4 * (model.head_vectors - model.head_vectors * 512 // 51200)


def test_coordinates_are_kept_as_words_are_and_policy_heads_are_not() -> None:
    model = published("Moondream 2, layout D")
    region = sum(m.parameters for m in model.beside[0].matrices)
    eight = footprint(model, Workload(), PRECISIONS["w8a8"]).weights["head"]
    assert region < eight < 1.01 * region + 4 * model.beside[0].vectors
    policy = Policy("FCDecoder", 2048, hidden_size=32)
    half, int8 = (footprint(model, Workload(policy=policy), PRECISIONS[name]).weights["head"] for name in ("fp16", "w8a8"))
    assert half == int8


def test_moments_of_the_graphs_by_hand() -> None:
    """The projector's output, with the picture; the decoder's attention of 20 tokens over 25, with its mask and 100 logits."""
    found = footprint(SMALL, Workload(), PRECISIONS["fp16"]).activations
    assert found["vision"] == 4 * (2 * 64 + 64) * 2 + 3 * 4 * 4 * 4
    assert found["lm_step"] == 20 * (2 * 64 + 6 * 16) * 2 + 4 * 20 * 25 * (4 + 2) + 20 * 25 * 4 + 100 * 4


def test_the_cache_by_hand() -> None:
    """Keys and values, one head of 16 in two layers, 4 + 16 + 5 tokens, in half precision, read and written apart."""
    assert footprint(SMALL, Workload(), PRECISIONS["fp16"]).cache == 2 * 2 * 1 * 16 * 25 * 2 * 2
    assert footprint(SMALL, Workload(sequence=100), PRECISIONS["fp32"]).cache == 2 * 2 * 1 * 16 * 100 * 4 * 2
    assert cache_bytes(published("PaliGemma 3B"), 1000, 2, 1) == 2 * 18 * 1 * 256 * 1000 * 2


def test_a_policy_keeps_no_cache_and_has_a_third_graph() -> None:
    policy = Policy("FCDecoder", 64, hidden_size=32, chunk=2, action_dim=3)
    found = footprint(SMALL, Workload(policy=policy), PRECISIONS["fp16"])
    matrices = 32 * 64 + 32 * 32 + sum(1024 * 32 + 512 * 1024 + 256 * 512 + 256 * out for out in (4, 2))
    vectors = 32 + 32 + sum(1024 + 512 + 256 + out for out in (4, 2))
    assert found.cache == 0
    assert found.weights["head"] == 2 * matrices + 4 * vectors
    assert found.weights["lm_step"] == 2 * DECODER + 4 * DECODER_VECTORS


def test_the_largest_moment_of_a_layer_by_hand() -> None:
    """5 tokens after 7: in and out 2 * 64; attention 6 * 16 values and 4 * 12 scores; or gate, up and their product, 3 * 96."""
    decoder = gated(WORDS)
    assert live_bytes(decoder, 5, 7, 2) == 5 * (128 * 2 + max(96 * 2 + 4 * 12 * 6, 288 * 2))
    assert live_bytes(decoder, 5, 700, 4) == 5 * (128 * 4 + 96 * 4 + 4 * 705 * 8)


def test_the_builder_holds_the_largest_graph_three_times() -> None:
    weights, moments = {"vision": 100, "lm_step": 700}, {"vision": 9, "lm_step": 20}
    assert build_peak(weights, moments, TENSORRT, 5000) == RUNTIME_BYTES + 5000 + BUILD_COPIES * 700 + 20
    assert build_peak(weights, {"vision": 2000, "lm_step": 20}, TENSORRT, 0) == RUNTIME_BYTES + BUILD_COPIES * 100 + 2000
    assert build_peak(weights, moments, ONNX_RUNTIME, 5000) == RUNTIME_BYTES + 100 + LOAD_COPIES * 700


def test_the_export_holds_what_is_stored_or_what_it_verifies() -> None:
    assert export_peak(2_000_000_000, 44, 600_000_000, "w4") == 900_000_000 + 44 * 2_000_000 + 2_000_000_000
    assert export_peak(2_000_000_000, 44, 4_000_000_000, "fp32") == 900_000_000 + 44 * 2_000_000 + 4_440_000_000


@pytest.mark.parametrize("precision", ["w4", "w8"])
def test_three_billion_weights_take_less_than_a_third_more(precision: str) -> None:
    model = shapes_of(CARDS[0])
    found = footprint(model, Workload(), PRECISIONS[precision]).export_bytes
    assert found is not None
    assert 2 * model.parameters < found <= 1.3 * 2 * model.parameters


def test_a_checkpoint_in_float32_takes_twice_as_much() -> None:
    model = shapes_of(CARDS[0])
    half, full = (footprint(model, Workload(), PRECISIONS["w4"], stored_bytes=n * model.parameters).export_bytes for n in (2, 4))
    assert half == footprint(model, Workload(), PRECISIONS["w4"]).export_bytes
    assert half is not None
    assert full == half + 2 * model.parameters


def test_running_takes_all_of_it() -> None:
    found = footprint(SMALL, Workload(), PRECISIONS["fp16"])
    assert found.run_bytes == RUNTIME_BYTES + sum(found.weights.values()) + found.rows + found.cache + sum(found.activations.values())


@pytest.mark.parametrize(("precision", "key"), [("fp16", "fp16"), ("w8a8", "int8")])
@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.model)
def test_weights_are_those_of_the_cards_but_for_scales_norms_and_the_table_on_the_host(card: Card, precision: str, key: str) -> None:
    model = shapes_of(card)
    found = footprint(model, Workload(), PRECISIONS[precision])
    own = found.weight_bytes / 2**30 * model.parameters / (model.parameters - (0 if model.tied else model.table.parameters))
    assert own == pytest.approx(memory_gib(model.parameters, key), rel=0.02)


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.model)
def test_four_bits_are_twenty_bytes_in_thirty_two_and_of_logits_thirty_six(card: Card) -> None:
    model = shapes_of(card)
    table = model.table.parameters
    rest = model.parameters - table * (1 if model.tied else 2)
    found = footprint(model, Workload(), PRECISIONS["w4"]).weight_bytes
    assert found == pytest.approx(rest * 20 / 32 + table * 36 / 32, rel=0.02)


CHAINS = (("fp32", "fp16", "w8", "w4"), ("fp32", "fp16", "w8a8", "fp8", "fp4"))  # of weights alone, and of what they meet too


@pytest.mark.parametrize("chain", CHAINS)
@given(
    matrix=st.builds(Matrix, outputs=st.integers(1, 5000), inputs=st.integers(64, 7000), count=st.integers(1, 4)),
)
def test_a_lower_precision_never_takes_more(chain: tuple[str, ...], matrix: Matrix) -> None:
    """Of matrices with at least 64 inputs, as every published one has: in less than a group or two, scales outweigh what they scale."""
    sizes = [PRECISIONS[name].matrix(matrix) for name in chain]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.model)
def test_a_lower_precision_never_takes_more_of_any_published_model(card: Card, chain: tuple[str, ...]) -> None:
    sizes = [footprint(shapes_of(card), Workload(), PRECISIONS[name]).weight_bytes for name in chain]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0] / 5


@given(
    name=st.sampled_from([card.model for card in CARDS]), precision=st.sampled_from(sorted(PRECISIONS)), prompt=st.integers(1, 3000),
    more=st.integers(1, 500), new=st.integers(1, 200),
)  # fmt: skip
def test_a_longer_sequence_never_takes_less(name: str, precision: str, prompt: int, more: int, new: int) -> None:
    model, kept = published(name), PRECISIONS[precision]
    short = footprint(model, Workload(prompt=prompt, new_tokens=new), kept)
    long = footprint(model, Workload(prompt=prompt + more, new_tokens=new), kept)
    spare = footprint(model, Workload(prompt=prompt, new_tokens=new, sequence=model.image_tokens + prompt + new + more), kept)
    for longer in (long, spare):
        assert longer.cache > short.cache
        assert longer.run_bytes > short.run_bytes
        assert longer.build_bytes >= short.build_bytes
        assert longer.weights == short.weights


@pytest.mark.parametrize(
    ("load", "tokens"),
    [
        (Workload(prompt=10), 14), (Workload(prompt=10, image_tokens=8), 18), (Workload(prompt=10, pictures=3), 22),
        (Workload(prompt=10, policy=Policy("LSTMDecoder", 64, latent=2, window=5)), 16),
        (Workload(prompt=10, policy=Policy("LSTMDecoder", 64, latent=2, window=5), history=History.PRE), 5 * 16),
        (Workload(prompt=10, policy=Policy("FCDecoder", 64, latent=2, window=5), history=History.VIDEO), 5 * 4 + 12),
        (Workload(prompt=10, policy=Policy("LSTMDecoder", 64, latent=2, window=5, acts=False)), 14),
        (Workload(prompt=10, policy=Policy("DiscreteDecoder", 64)), 14),
    ],
)  # fmt: skip
def test_tokens_before_an_answer(load: Workload, tokens: int) -> None:
    assert load.prefill(SMALL) == tokens


def test_a_resampler_makes_64_of_any_number() -> None:
    load = Workload(resampled=True)
    fitted = load.fitted(replace(SMALL, image_tokens=300))
    assert load.prefill(fitted) == 64 + 16
    assert isinstance(fitted.vision[-1], Part)
    assert fitted.parameters > SMALL.parameters


@pytest.mark.parametrize(
    ("load", "said"),
    [
        (Workload(image_tokens=6), "image tokens 6: small makes 4 of a picture; want a multiple"),
        (Workload(image_tokens=2), "image tokens 2: small makes 4"),
        (Workload(image_tokens=0), "image tokens 0: small makes 4"),
        (Workload(image_tokens=-4), "image tokens -4: small makes 4"),
        (Workload(sequence=24), "sequence 24: 25 tokens go into it, 20 of them before the answer"),
        (Workload(rows=101), "rows 101: small has a vocabulary of 100"),
    ],
)
def test_a_look_that_the_model_cannot_take(load: Workload, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        footprint(SMALL, load, PRECISIONS["fp16"])


def test_pictures_beside_the_sequence_have_no_tokens_in_it() -> None:
    with pytest.raises(ConfigError, match="has its pictures beside the sequence"):
        footprint(published("OpenFlamingo 3B"), Workload(image_tokens=64), PRECISIONS["fp16"])


@pytest.mark.parametrize(("sizes", "said"), [({"prompt": 0}, "prompt 0"), ({"new_tokens": 0}, "new tokens 0"), ({"rows": 0}, "rows 0")])
def test_sizes_that_are_none(sizes: dict[str, int], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Workload(**sizes)


def test_an_unknown_head() -> None:
    with pytest.raises(ConfigError, match=r"act_head\.type 'LSTMDecode': want one of .*; did you mean 'LSTMDecoder'"):
        Policy("LSTMDecode", 64)
