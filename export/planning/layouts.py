"""config.json of each backbone, in its public layout, to shapes. Reads no weights; what only they tell is asked for as an argument."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from edge_vla.errors import ConfigError, did_you_mean
from export.planning import decoders, towers
from export.planning.decoders import Decoder
from export.planning.shapes import Matrix, Model, Part
from export.planning.towers import Tower

CLIP_L14 = Tower(1024, 4096, 24, 16, 14, 224)
CLIP_TOWERS = {"clip-vit-large-patch14": CLIP_L14, "clip-vit-large-patch14-336": replace(CLIP_L14, px=336)}  # as mm_vision_tower names them
QWEN_2_5_PX = 448  # a side, where no configuration says another
# What transformers' configuration classes fill in where a config.json is silent.
LLAMA = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32000}
MISTRAL = LLAMA | {"intermediate_size": 14336, "num_key_value_heads": 8}
SIGLIP = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12, "image_size": 224, "patch_size": 16,
}  # fmt: skip
CLIP = SIGLIP | {"patch_size": 32}
GEMMA = {
    "hidden_size": 3072, "intermediate_size": 24576, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 16,
    "head_dim": 256, "vocab_size": 256000,
}  # fmt: skip
GEMMA_2 = GEMMA | {
    "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26, "num_attention_heads": 8, "num_key_value_heads": 4,
}  # fmt: skip
KOSMOS_TEXT = {"embed_dim": 2048, "layers": 24, "ffn_dim": 8192, "attention_heads": 32, "vocab_size": 65037}
KOSMOS_VISION = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16, "image_size": 224, "patch_size": 14,
}  # fmt: skip
QWEN_2_5_VISION = {"depth": 32, "num_heads": 16, "intermediate_size": 3420, "patch_size": 14, "spatial_merge_size": 2}
QWEN_2_5_VISION |= {"temporal_patch_size": 2, "window_size": 112}
QWEN_05B = {  # UForm-Gen2's language model, which its config.json names without sizes
    "vocab_size": 151936, "hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 24, "num_attention_heads": 16,
    "num_key_value_heads": 16,
}  # fmt: skip
UFORM = {
    "image_size": 336, "image_pooler_num_attn_heads": 16, "image_pooler_intermediate_size": 3200, "image_encoder_hidden_size": 1280,
    "image_encoder_patch_size": 14, "image_encoder_num_layers": 32, "image_encoder_num_heads": 16, "num_image_latents": 256,
}  # fmt: skip
PHI = {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24, "num_attention_heads": 32, "vocab_size": 51200}
PHI_EARLY = {"hidden_size": "n_embd", "intermediate_size": "n_inner", "num_hidden_layers": "n_layer", "num_attention_heads": "n_head"}
MOONDREAM_EYES = {"enc_dim": 1152, "enc_ff_dim": 4304, "enc_n_layers": 27, "enc_n_heads": 16, "enc_patch_size": 14, "crop_size": 378}
MOONDREAM_EYES |= {"proj_inner_dim": 8192, "proj_out_dim": 2048}
MOONDREAM_TEXT = {"dim": 2048, "ff_dim": 8192, "n_layers": 24, "n_heads": 32, "vocab_size": 51200}
REGION = {"dim": 2048, "coord_feat_dim": 256, "coord_out_dim": 1024, "size_feat_dim": 512, "size_out_dim": 2048, "inner_dim": 8192}
GATES = {"mosaic_gpt": 1, "gpt_neox": 2, "mpt": 4}  # layers to a gated one, in OpenFlamingo's 3B, 4B and 9B
TIED, APART = True, False  # the word embedding and the head

Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Beyond:
    """What a config.json leaves to other files."""

    image_px: int | None = None  # a side, of the one backbone that takes any
    clip: Tower | None = None  # the tower that is another model's folder
    moondream: str | None = None  # layout B, C or D


class Sizes:
    """One section of a config.json with its defaults; every number read is checked."""

    def __init__(self, found: object, name: str, defaults: Mapping[str, int]) -> None:
        if not isinstance(found, Mapping):
            raise ConfigError(f"config.json: {name} is a {type(found).__name__}, want a section")
        self._found, self._name, self._defaults = found, name, defaults

    def __call__(self, key: str, default: int | None = None) -> int:
        """A whole number of at least 1. Raises ConfigError for anything else, and for a key that is missing without a default."""
        value = self._found.get(key)
        value = self._defaults.get(key, default) if value is None else value
        if value is None:
            raise ConfigError(f"config.json: {self._name} has no {key}")
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(f"config.json: {self._name}.{key} {value!r}: want a whole number of at least 1")
        return value

    def tower(self) -> Tower:
        """Under transformers' names."""
        return Tower(
            self("hidden_size"), self("intermediate_size"), self("num_hidden_layers"), self("num_attention_heads"), self("patch_size"),
            self("image_size"),
        )  # fmt: skip

    def decoder(self) -> Decoder:
        """Under transformers' names."""
        width, heads = self("hidden_size"), self("num_attention_heads")
        kv_heads, head_dim = self("num_key_value_heads", heads), self("head_dim", width // heads)
        return Decoder(width, self("intermediate_size"), self("num_hidden_layers"), heads, kv_heads, head_dim)


def derive(config: Config, name: str, beyond: Beyond) -> Model:
    """The shapes a config.json describes. Raises ConfigError for a kind of model that no backbone reads."""
    kind = str(config.get("model_type"))
    if kind not in LAYOUTS:
        hint = did_you_mean(kind, LAYOUTS)
        raise ConfigError(f"{name}: its config.json says model_type {kind!r}; the backbones read {', '.join(sorted(LAYOUTS))}{hint}")
    try:
        return replace(LAYOUTS[kind](config, beyond), name=name)
    except ConfigError as err:
        raise ConfigError(f"{name}: {err}") from err


def _paligemma(config: Config, _: Beyond) -> Model:
    section = config.get("text_config") or {}
    second = isinstance(section, Mapping) and section.get("model_type") == "gemma2"
    text = Sizes(section, "text_config", GEMMA_2 if second else GEMMA)
    sight = Sizes(config.get("vision_config") or {}, "vision_config", SIGLIP).tower()
    decoder = text.decoder()
    out = Sizes(config, "the top", {})("projection_dim", decoder.width)
    vision = (towers.siglip(sight), towers.mlp(sight.patches, sight.width, out))
    language = decoders.gated(decoder, norms=4 if second else 2)
    return Model("", "RoboPaligemma", vision, (language,), text("vocab_size"), TIED, sight.patches, sight.px)


def _kosmos(config: Config, _: Beyond) -> Model:
    text = Sizes(config.get("text_config") or {}, "text_config", KOSMOS_TEXT)
    sight = Sizes(config.get("vision_config") or {}, "vision_config", KOSMOS_VISION).tower()
    width, heads = text("embed_dim"), text("attention_heads")
    latents = Sizes(config, "the top", {"latent_query_num": 64})("latent_query_num")
    vision = (*towers.clip(sight), *towers.kosmos_latents(sight, out=width, heads=heads, latents=latents))
    language = decoders.kosmos(Decoder(width, text("ffn_dim"), text("layers"), heads, heads, width // heads))
    return Model("", "RoboKosMos", vision, (language,), text("vocab_size"), TIED, latents, sight.px)


def _llava(config: Config, _: Beyond) -> Model:
    if "text_config" not in config:
        raise ConfigError("config.json: LLaVA in its authors' layout; want the Hub's -hf conversion, or LLaVA on MPT")
    section = config["text_config"] or {}
    kind = section.get("model_type", "llama") if isinstance(section, Mapping) else "llama"
    if kind not in {"llama", "mistral"}:
        raise ConfigError(f"config.json: text_config.model_type {kind!r}: want llama or mistral")
    text = Sizes(section, "text_config", LLAMA if kind == "llama" else MISTRAL)
    sight = Sizes(config.get("vision_config") or {}, "vision_config", CLIP).tower()
    decoder = text.decoder()
    seen, unused = _clip_up_to(sight, config.get("vision_feature_layer", -2), "vision_feature_layer")
    vision = (*seen, towers.mlp(sight.patches, sight.width, decoder.width, decoder.width))
    language = (decoders.gated(decoder),)
    return Model("", "RoboLLaVA", vision, language, text("vocab_size"), APART, sight.patches, sight.px, unused=unused)


def _llava_mpt(config: Config, beyond: Beyond) -> Model:
    named = str(config.get("mm_vision_tower", "")).rpartition("/")[2]
    sight = beyond.clip or CLIP_TOWERS.get(named)
    if sight is None:
        raise ConfigError(f"config.json: mm_vision_tower {named!r}: want its folder beside the model, or one of {', '.join(CLIP_TOWERS)}")
    language, vocabulary = _mosaic({**config, "model_type": "mpt"})
    kind = str(config.get("mm_projector_type") or "linear")
    steps = 1 if kind == "linear" else int(kind[3]) if kind[:3] == "mlp" and kind[3:4].isdigit() and kind[4:] == "x_gelu" else 0
    if not steps:
        raise ConfigError(f"config.json: mm_projector_type {kind!r}: want linear or mlp2x_gelu and the like")
    seen, unused = _clip_up_to(sight, config.get("mm_vision_select_layer", -1), "mm_vision_select_layer")
    vision = (*seen, towers.mlp(sight.patches, sight.width, *[language.width] * steps))
    return Model("", "RoboLLaVA", vision, (language,), vocabulary, TIED, sight.patches, sight.px, unused=unused)


def _clip_up_to(sight: Tower, layer: object, key: str) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
    """The tower up to a hidden state, counted as transformers does: 0 before the first block, -1 after the last; and what is left of it."""
    count = sight.layers
    if isinstance(layer, bool) or not isinstance(layer, int) or not -count - 1 <= layer <= count:
        raise ConfigError(f"config.json: {key} {layer!r}: want one of the tower's hidden states, {-count - 1} to {count}")
    depth = layer if layer >= 0 else count + 1 + layer
    return towers.clip(replace(sight, layers=depth)), (towers.clip_beyond(sight, depth),)


def _mosaic(config: Config) -> tuple[Part, int]:
    """The decoder and its vocabulary, of `mosaic_gpt` or `mpt`."""
    top = Sizes(config, "the top", {})
    nested = config.get("attn_config") or {}
    width, heads, layers = top("d_model"), top("n_heads"), top("n_layers")
    inner = width * top("mlp_ratio", top("expansion_ratio", 4))
    qk_norms = bool(config.get("attn_qk_ln") or (isinstance(nested, Mapping) and nested.get("qk_ln")))
    bias = not config.get("no_bias", config.get("model_type") == "mpt")
    decoder = Decoder(width, inner, layers, heads, heads, width // heads)
    return decoders.mosaic(decoder, qk_norms=qk_norms, bias=bias), top("vocab_size")


def _flamingo(config: Config, beyond: Beyond) -> Model:
    kind, sight = str(config["model_type"]), beyond.clip or CLIP_L14
    if kind == "gpt_neox":
        top = Sizes(config, "the top", {})
        language, vocabulary = decoders.neox(top.decoder()), top("vocab_size")
    else:
        language, vocabulary = _mosaic(config)
    look = language.attention[0]
    decoder = Decoder(language.width, language.inner, look.layers, look.heads, look.kv_heads, look.head_dim)
    vision = (*towers.clip(sight), *towers.perceiver(sight.width, sight.patches))
    text = (language, *decoders.looks(decoder, every=GATES[kind], sees=sight.width))
    return Model("", "RoboFlamingo", vision, text, vocabulary, kind != "gpt_neox", 0, sight.px)


def _qwen(config: Config, _: Beyond) -> Model:
    top = Sizes(config, "the top", {})
    visual = config.get("visual")
    eyes = Sizes({} if visual is None else visual, "visual", {"n_queries": 256})
    ratio = visual.get("mlp_ratio") if isinstance(visual, Mapping) else None
    if not isinstance(ratio, (int, float)) or isinstance(ratio, bool) or ratio <= 0:
        raise ConfigError(f"config.json: visual.mlp_ratio {ratio!r}: want a number above 0")
    width = eyes("width")
    sight = Tower(width, int(width * ratio), eyes("layers"), eyes("heads"), eyes("patch_size"), eyes("image_size"))
    whole = top.decoder()
    decoder = replace(whole, inner=whole.inner // 2)  # both halves of its gated feed-forward together
    language = decoders.gated(decoder, qkv_bias=True)
    queries = eyes("n_queries")
    vision = towers.qwen_v1(sight, out=eyes("output_dim"), queries=queries)
    return Model("", "RoboQwen", vision, (language,), top("vocab_size"), APART, queries + 2, sight.px)


def _qwen_2_5(config: Config, beyond: Beyond) -> Model:
    text = Sizes(config.get("text_config") or config, "text_config", {})
    section = config.get("vision_config") or {}
    eyes = Sizes(section, "vision_config", QWEN_2_5_VISION)
    px, patch, merge, window = beyond.image_px or QWEN_2_5_PX, eyes("patch_size"), eyes("spatial_merge_size"), eyes("window_size")
    if px % window:
        raise ConfigError(f"image_size {px}: want a multiple of {window}, the side of this model's attention windows")
    full = section.get("fullatt_block_indexes", (7, 15, 23, 31)) if isinstance(section, Mapping) else ()
    decoder = text.decoder()
    sight = Tower(eyes("hidden_size"), eyes("intermediate_size"), eyes("depth"), eyes("num_heads"), patch, px)
    out = eyes("out_hidden_size", decoder.width)
    vision = towers.qwen_2_5(sight, merge=merge, full=len(full), window_px=window, out=out)
    language = decoders.gated(decoder, qkv_bias=True)
    tied = bool(config.get("tie_word_embeddings", False))
    unused = (towers.later_frames(sight, eyes("temporal_patch_size")),)
    return Model("", "RoboQwen", vision, (language,), text("vocab_size"), tied, vision[-1].tokens + 2, px, unused=unused)


def _uform(config: Config, _: Beyond) -> Model:
    if "image_pooler_num_latents" in config:
        raise ConfigError("config.json: of the first UForm-Gen, which pools otherwise; want UForm-Gen2")
    top = Sizes(config, "the top", UFORM)
    text = Sizes(config.get("text_config") or {}, "text_config", QWEN_05B)
    width = top("image_encoder_hidden_size")
    sight = Tower(
        width, 4 * width, top("image_encoder_num_layers"), top("image_encoder_num_heads"), top("image_encoder_patch_size"),
        top("image_size"),
    )  # fmt: skip
    decoder, latents = text.decoder(), top("num_image_latents")
    heads, inner = top("image_pooler_num_attn_heads"), top("image_pooler_intermediate_size")
    vision = (*towers.uform(sight), *towers.uform_pooler(sight, heads=heads, inner=inner, latents=latents, out=decoder.width))
    language = decoders.gated(decoder, qkv_bias=True)
    return Model("", "RoboUform", vision, (language,), text("vocab_size"), TIED, latents, sight.px)


def _moondream(config: Config, beyond: Beyond) -> Model:
    layout = beyond.moondream
    if layout is None:
        raise ConfigError("config.json of a Moondream: which layout it is, B, C or D, only its safetensors tell, and there are none")
    modern = layout == "D"
    section = (config.get("config") or {}) if modern else config
    eyes = Sizes(section.get("vision") or {}, "vision", MOONDREAM_EYES)
    decoder, vocabulary = _phi_of_d(section) if modern else _phi_of_bc(config)
    sight = Tower(eyes("enc_dim"), eyes("enc_ff_dim"), eyes("enc_n_layers"), eyes("enc_n_heads"), eyes("enc_patch_size"), eyes("crop_size"))
    views = 1 if layout == "B" else 2
    projection = towers.mlp(sight.patches, views * sight.width, eyes("proj_inner_dim"), eyes("proj_out_dim"))
    vision = (towers.siglip(sight, convolution=False), projection)
    beside = (_region(Sizes(section.get("region") or {}, "region", REGION)),) if modern else ()
    head_vectors = 2 * decoder.width + vocabulary
    return Model(
        "", "RoboMoonDream", vision, (decoders.phi(decoder),), vocabulary, APART, sight.patches, sight.px, head_vectors, beside
    )  # fmt: skip


def _phi_of_bc(config: Config) -> tuple[Decoder, int]:
    given = config.get("text_config") or config.get("phi_config") or {}
    early = {ours: given[theirs] for ours, theirs in PHI_EARLY.items() if theirs in given} if isinstance(given, Mapping) else {}
    text = Sizes({**early, **given}, "text_config", PHI)
    return text.decoder(), text("vocab_size")


def _phi_of_d(section: Config) -> tuple[Decoder, int]:
    text = Sizes(section.get("text") or {}, "text", MOONDREAM_TEXT)
    width, heads = text("dim"), text("n_heads")
    return Decoder(width, text("ff_dim"), text("n_layers"), heads, text("n_kv_heads", heads), width // heads), text("vocab_size")


def _region(r: Sizes) -> Part:
    """Layout D's coordinates in and out of the language model."""
    width, inner = r("dim"), r("inner_dim")
    coords, sizes = (r("coord_feat_dim"), r("coord_out_dim")), (r("size_feat_dim"), r("size_out_dim"))
    matrices = [matrix for into, out in (coords, sizes) for matrix in (Matrix(width, into), Matrix(inner, width), Matrix(out, inner))]
    vectors = 2 * (width + inner) + coords[1] + sizes[1] + coords[0] // 2 + sizes[0]
    return Part("region", 1, width, inner, tuple(matrices), vectors)


LAYOUTS: dict[str, Callable[[Config, Beyond], Model]] = {  # model_type of a config.json
    "paligemma": _paligemma, "kosmos-2": _kosmos, "llava": _llava, "llava_mpt": _llava_mpt, "mosaic_gpt": _flamingo, "mpt": _flamingo,
    "gpt_neox": _flamingo, "qwen": _qwen, "qwen2_5_vl": _qwen_2_5, "vlm": _uform, "moondream1": _moondream,
}  # fmt: skip
