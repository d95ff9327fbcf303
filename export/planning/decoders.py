"""Language models as parts: decoders without word embedding and head. Sizes in, shapes out; knows no config.json."""

from __future__ import annotations

from dataclasses import dataclass

from export.planning.shapes import Attention, Matrix, Part
from export.planning.towers import LATENTS, LOOK


@dataclass(frozen=True, slots=True)
class Decoder:
    """Sizes of a decoder."""

    width: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int

    @property
    def look(self) -> Attention:
        return Attention(self.layers, self.heads, self.head_dim, self.kv_heads)

    @property
    def attention_matrices(self) -> tuple[Matrix, ...]:
        """q, k and v, output."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return Matrix(q, self.width, self.layers), Matrix(kv, self.width, 2 * self.layers), Matrix(self.width, q, self.layers)

    @property
    def plain_matrices(self) -> tuple[Matrix, ...]:
        """A feed-forward of two layers."""
        return Matrix(self.inner, self.width, self.layers), Matrix(self.width, self.inner, self.layers)

    @property
    def qkv_rows(self) -> int:
        return (self.heads + 2 * self.kv_heads) * self.head_dim


def gated(d: Decoder, *, norms: int = 2, qkv_bias: bool = False) -> Part:
    """Llama, Gemma, Gemma 2 (four norms) and Qwen (biases on q, k and v): RMS norms, a gate beside the feed-forward."""
    up, down = d.plain_matrices
    vectors = d.layers * (norms * d.width + (d.qkv_rows if qkv_bias else 0)) + d.width
    gate = Matrix(up.outputs, up.inputs, 2 * d.layers)
    return Part("decoder", 0, d.width, 3 * d.inner, (*d.attention_matrices, gate, down), vectors, (d.look,))


def kosmos(d: Decoder) -> Part:
    """KosMos-2's: biases everywhere, norms inside attention and feed-forward too."""
    vectors = d.layers * (4 * d.width + 6 * d.width + d.inner + d.width + 2 * d.inner) + 2 * d.width
    return Part("decoder", 0, d.width, d.inner, (*d.attention_matrices, *d.plain_matrices), vectors, (d.look,))


def phi(d: Decoder) -> Part:
    """Phi-1.5: biases everywhere, one norm a layer; Moondream keeps the last one with its head."""
    vectors = d.layers * (d.qkv_rows + d.width + d.inner + d.width + 2 * d.width)
    return Part("decoder", 0, d.width, d.inner, (*d.attention_matrices, *d.plain_matrices), vectors, (d.look,))


def mosaic(d: Decoder, *, qk_norms: bool, bias: bool) -> Part:
    """MosaicML's MPT: two norms a layer, two more over queries and keys where `qk_norms`."""
    once = 2 if bias else 1
    norms = (4 if qk_norms else 2) * d.width * once
    biases = (d.qkv_rows + 2 * d.width + d.inner) if bias else 0
    vectors = d.layers * (norms + biases) + d.width * once
    return Part("decoder", 0, d.width, d.inner, (*d.attention_matrices, *d.plain_matrices), vectors, (d.look,))


def neox(d: Decoder) -> Part:
    """GPT-NeoX: biases everywhere, two norms a layer and a last one, each with a bias."""
    vectors = d.layers * (d.qkv_rows + 2 * d.width + d.inner + 4 * d.width) + 2 * d.width
    return Part("decoder", 0, d.width, d.inner, (*d.attention_matrices, *d.plain_matrices), vectors, (d.look,))


def looks(d: Decoder, *, every: int, sees: int) -> tuple[Part, ...]:
    """OpenFlamingo's gated layers, one before every n-th decoder layer: a look at the latents and a feed-forward."""
    n = d.layers // every
    own = (Matrix(LOOK, d.width, n), Matrix(d.width, LOOK, n), Matrix(4 * d.width, d.width, 2 * n))
    look = Attention(n, 8, LOOK // 8, 8, keys=LATENTS)
    return (
        Part("looks", 0, d.width, 4 * d.width, own, n * (4 * d.width + 2), (look,)),
        Part("media", LATENTS, sees, 0, (Matrix(2 * LOOK, sees, n),), 0),
    )
