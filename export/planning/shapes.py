"""What a model is made of, in numbers: weight matrices, other parameters, attention. Knows no file, no device and no precision."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Matrix:
    """`count` weights (outputs, inputs), each applied to every token of its part."""

    outputs: int
    inputs: int
    count: int = 1
    linear: bool = True  # a matrix product; False is a convolution, which no quantiser here touches

    @property
    def parameters(self) -> int:
        return self.outputs * self.inputs * self.count


@dataclass(frozen=True, slots=True)
class Attention:
    """`layers` alike; `keys` that each token sees, 0 for as many as there are."""

    layers: int
    heads: int
    head_dim: int
    kv_heads: int
    keys: int = 0

    def flops(self, tokens: int, past: int = 0) -> int:
        """Scores and their sums: two products of 2 operations each."""
        return 4 * self.layers * self.heads * self.head_dim * tokens * self.seen(tokens, past)

    def seen(self, tokens: int, past: int = 0) -> int:
        """Keys of one token."""
        return self.keys or tokens + past


@dataclass(frozen=True, slots=True)
class Part:
    """Layers that all see the same tokens."""

    name: str
    tokens: int  # of one picture or window; 0 for those of the sequence
    width: int
    inner: int  # values a token has in its widest hidden layer, gate and product counted
    matrices: tuple[Matrix, ...]
    vectors: int  # parameters in no matrix: norms, biases, positions
    attention: tuple[Attention, ...] = ()
    reads: int = 1  # times its weights are read in one run: a recurrent layer's once a step

    @property
    def parameters(self) -> int:
        return self.vectors + sum(m.parameters for m in self.matrices)

    @property
    def layers(self) -> int:
        """That a tracer walks through."""
        return max((a.layers for a in self.attention), default=1)

    def weight_flops(self, tokens: int) -> int:
        """Of the products with weights, for `tokens` of the sequence."""
        return 2 * (self.tokens or tokens) * sum(m.parameters for m in self.matrices)

    def attention_flops(self, tokens: int, past: int = 0) -> int:
        """Of the products without weights."""
        return sum(a.flops(self.tokens or tokens, 0 if self.tokens else past) for a in self.attention)


@dataclass(frozen=True, slots=True)
class Model:
    """A backbone by its graphs: `vision`, then `text` (its first part the decoder that keeps keys and values) with a vocabulary."""

    name: str
    backbone: str  # of edge_vla.learn.backbones.BACKBONES
    vision: tuple[Part, ...]
    text: tuple[Part, ...]
    vocabulary: int
    tied: bool  # the word embedding is the head's weight too
    image_tokens: int  # in the sequence, of one picture, its brackets with it
    image_px: int
    head_vectors: int = 0  # biases of the head and norms stored with it
    beside: tuple[Part, ...] = ()  # weights that neither pictures nor words go through on the way to a word
    unused: tuple[Part, ...] = ()  # weights of the checkpoint that no graph has

    @property
    def hidden(self) -> int:
        return self.text[0].width

    @property
    def keeps(self) -> Attention:
        """The attention whose keys and values are kept."""
        return self.text[0].attention[0]

    @property
    def table(self) -> Matrix:
        """The word embedding."""
        return Matrix(self.vocabulary, self.hidden)

    @property
    def parameters(self) -> int:
        """Each stored weight once."""
        tables = self.table.parameters * (1 if self.tied else 2)
        return tables + self.head_vectors + sum(part.parameters for part in (*self.vision, *self.text, *self.beside, *self.unused))

    @property
    def layers(self) -> int:
        return sum(part.layers for part in (*self.vision, *self.text))
