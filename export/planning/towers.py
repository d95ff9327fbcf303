"""Image towers and what stands between them and the language model, as parts. Sizes in, shapes out; knows no config.json."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

from edge_vla.errors import ConfigError
from export.planning.shapes import Attention, Matrix, Part

LATENTS = 64  # of OpenFlamingo's and RoboVLMs' resampler
RESAMPLER_DEPTH = 6
LOOK = 8 * 64  # heads times their width, in the resampler and in OpenFlamingo's looks at the pictures
LEARNED_PX = 224  # what UForm's positions are stored for
STORED_POSITIONS = 16 * 16  # of Qwen-VL, whatever its picture's size
POOL_HEAD = 128  # width of a head that pools Qwen-VL's patches


@dataclass(frozen=True, slots=True)
class Tower:
    """Sizes of a vision transformer. Raises ConfigError for sizes that make none."""

    width: int
    inner: int
    layers: int
    heads: int
    patch: int
    px: int

    def __post_init__(self) -> None:
        if self.px < self.patch or self.width < self.heads:
            raise ConfigError(
                f"an image of {self.px} px in patches of {self.patch}, {self.heads} heads in a width of {self.width}: no tower"
            )

    @property
    def patches(self) -> int:
        return (self.px // self.patch) ** 2

    @property
    def look(self) -> Attention:
        return Attention(self.layers, self.heads, self.width // self.heads, self.heads)

    @property
    def block_matrices(self) -> tuple[Matrix, ...]:
        return Matrix(self.width, self.width, 4 * self.layers), Matrix(self.inner, self.width, self.layers), self.down

    @property
    def down(self) -> Matrix:
        return Matrix(self.width, self.inner, self.layers)

    @property
    def block_vectors(self) -> int:
        """Two norms with biases, a bias behind each matrix."""
        return self.layers * (9 * self.width + self.inner)


def cut(t: Tower) -> Part:
    """Pictures to patches, of a tower that puts a class token before them."""
    return Part("patches", t.patches, t.width, 0, (Matrix(t.width, 3 * t.patch**2, linear=False),), 0)


def clip(t: Tower) -> tuple[Part, ...]:
    """A class token, a norm before and one after the blocks, no bias in the convolution."""
    vectors = t.width + (t.patches + 1) * t.width + 4 * t.width + t.block_vectors
    return cut(t), Part("tower", t.patches + 1, t.width, t.inner, t.block_matrices, vectors, (t.look,))


def clip_beyond(t: Tower, depth: int) -> Part:
    """The blocks that do not run where features are taken from block `depth`."""
    left = replace(t, layers=t.layers - depth)
    return Part("unused", 1, t.width, 0, left.block_matrices, left.block_vectors)


def siglip(t: Tower, *, convolution: bool = True) -> Part:
    """No class token, one norm after the blocks. Moondream cuts its patches by a linear layer instead."""
    patches = Matrix(t.width, 3 * t.patch**2, linear=not convolution)
    vectors = t.width + t.patches * t.width + 2 * t.width + t.block_vectors
    return Part("tower", t.patches, t.width, t.inner, (patches, *t.block_matrices), vectors, (t.look,))


def uform(t: Tower) -> tuple[Part, ...]:
    """UForm-Gen2's: a class token, two layer scales a block, positions learned for 224 px."""
    stored = (LEARNED_PX // t.patch) ** 2
    vectors = 2 * t.width + stored * t.width + 2 * t.width + t.block_vectors + 2 * t.width * t.layers
    return cut(t), Part("tower", t.patches + 1, t.width, t.inner, t.block_matrices, vectors, (t.look,))


def uform_pooler(t: Tower, *, heads: int, inner: int, latents: int, out: int) -> tuple[Part, ...]:
    """Latents that see each other, then the patches; a projection."""
    w, seen = t.width, t.patches + 1
    own = (Matrix(w, w, 6), Matrix(inner, w), Matrix(w, inner), Matrix(out, w))
    vectors = latents * w + 6 * w + inner + w + 6 * w + out  # latents, biases of 6 matrices, of the feed-forward, norms, projection
    looks = (Attention(1, heads, w // heads, heads), Attention(1, heads, w // heads, heads, keys=seen))
    return Part("pooler", latents, w, inner, own, vectors, looks), Part("pooled", seen, w, 0, (Matrix(w, w, 2),), 2 * w)


def qwen_v1(t: Tower, *, out: int, queries: int) -> tuple[Part, ...]:
    """Qwen-VL's: no bias in the convolution, positions of 224 px, learned queries that read the patches once."""
    patches = Matrix(t.width, 3 * t.patch**2, linear=False)
    vectors = STORED_POSITIONS * t.width + 2 * t.width + t.block_vectors
    tower = Part("tower", t.patches, t.width, t.inner, (patches, *t.block_matrices), vectors, (t.look,))
    pool = Attention(1, out // POOL_HEAD, POOL_HEAD, out // POOL_HEAD, keys=t.patches)
    keys = (Matrix(out, out, 2), *(() if t.width == out else (Matrix(out, t.width),)))
    stored = 2 * queries * out  # the queries and their positions
    read = Part("pool", queries, out, 0, (Matrix(out, out, 3),), stored + 2 * out + 6 * out, (pool,))
    return tower, Part("pooled", t.patches, out, 0, keys, 2 * out), read


def qwen_2_5(t: Tower, *, merge: int, full: int, window_px: int, out: int) -> tuple[Part, ...]:
    """Qwen2.5-VL's: gated blocks, all but `full` of them looking inside windows; `merge` squared patches to one token."""
    look, inside = t.look, (window_px // t.patch) ** 2
    looks = (
        Attention(full, look.heads, look.head_dim, look.kv_heads, keys=t.patches),
        Attention(t.layers - full, look.heads, look.head_dim, look.kv_heads, keys=inside),
    )
    matrices = (
        Matrix(t.width, 3 * t.patch**2, linear=False), Matrix(t.width, t.width, 4 * t.layers),
        Matrix(t.inner, t.width, 2 * t.layers), t.down,
    )  # fmt: skip
    vectors = t.layers * (2 * t.width + 4 * t.width + 2 * t.inner + t.width)
    tower = Part("tower", t.patches, t.width, 3 * t.inner, matrices, vectors, looks)
    wide = t.width * merge**2
    merger = Part("merger", t.patches // merge**2, wide, wide, (Matrix(wide, wide), Matrix(out, wide)), t.width + wide + out)
    return tower, merger


def later_frames(t: Tower, frames: int) -> Part:
    """Of Qwen2.5-VL's convolution over `frames`: one picture is all of them, so they are added up into one."""
    return Part("unused", 1, t.width, 0, (Matrix(t.width, 3 * (frames - 1) * t.patch**2, linear=False),), 0)


def perceiver(dim: int, features: int, latents: int = LATENTS) -> tuple[Part, ...]:
    """OpenFlamingo's resampler: latents that see `features` and themselves."""
    own = (Matrix(LOOK, dim, RESAMPLER_DEPTH), Matrix(dim, LOOK, RESAMPLER_DEPTH), Matrix(4 * dim, dim, 2 * RESAMPLER_DEPTH))
    look = Attention(RESAMPLER_DEPTH, 8, LOOK // 8, 8, keys=features + latents)
    vectors = latents * dim + 2 * dim + 4 * dim * RESAMPLER_DEPTH  # of each layer the latents' norm and the feed-forward's
    seen = Part("resampled", features + latents, dim, 0, (Matrix(2 * LOOK, dim, RESAMPLER_DEPTH),), 2 * dim * RESAMPLER_DEPTH)
    return Part("resampler", latents, dim, 4 * dim, own, vectors, (look,)), seen


def kosmos_latents(t: Tower, *, out: int, heads: int, latents: int) -> tuple[Part, ...]:
    """KosMos-2's projection: patches to the text's width, latents that see both."""
    seen = t.patches + 1
    look = Attention(1, heads, out // heads, heads, keys=seen + latents)
    return (
        Part("projection", seen, out, 0, (Matrix(out, t.width),), out),
        Part("latents", latents, out, 0, (Matrix(out, out, 2),), latents * out + 2 * out, (look,)),
        Part("seen", seen + latents, out, 0, (Matrix(out, out, 2),), 2 * out),
    )


def mlp(tokens: int, *widths: int) -> Part:
    """Linear layers with biases, one after the other: a projector."""
    steps = tuple(Matrix(out, into) for into, out in pairwise(widths))
    return Part("projector", tokens, widths[-1], max(widths[1:]), steps, sum(widths[1:]))
