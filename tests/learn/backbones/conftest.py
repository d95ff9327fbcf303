"""Tiny random checkpoints of the models that transformers has, in the layout and under the key names of the public ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Writer = Callable[..., Path]
WORDS = ["<pad>", "<eos>", "<bos>", "<unk>", "\n", "go", "to", "the", "cup", "find", "a"]
SIGLIP = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28, "patch_size": 14,
    "projection_dim": 32, "model_type": "siglip_vision_model", "vision_use_head": False,
}  # fmt: skip
GEMMA = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 8,
    "vocab_size": 400,
}  # fmt: skip
CLIP = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 28, "patch_size": 14,
    "projection_dim": 16, "hidden_act": "quick_gelu",
}  # fmt: skip
LLAMA = {
    "model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 4, "vocab_size": 400, "pad_token_id": 0,
}  # fmt: skip
KOSMOS_TEXT = {
    "vocab_size": 1500, "embed_dim": 32, "layers": 2, "ffn_dim": 64, "attention_heads": 4, "max_position_embeddings": 64, "pad_token_id": 1,
    "bos_token_id": 0, "eos_token_id": 2,
}  # fmt: skip
MPT: dict[str, Any] = {  # liuhaotian/LLaVA-Lightning-MPT-7B-preview's config.json but for the sizes
    "architectures": ["LlavaMPTForCausalLM"],
    "attn_config": {
        "alibi": True, "alibi_bias_max": 8, "attn_impl": "torch", "attn_pdrop": 0, "attn_type": "multihead_attention",
        "attn_uses_sequence_id": False, "clip_qkv": None, "prefix_lm": False, "qk_ln": False, "softmax_scale": None,
    },
    "d_model": 32, "emb_pdrop": 0, "embedding_fraction": 1.0, "expansion_ratio": 4, "freeze_mm_mlp_adapter": False,
    "init_device": "cpu", "learned_pos_emb": True, "logit_scale": None, "max_seq_len": 64, "mm_hidden_size": 16,
    "mm_use_im_start_end": True, "mm_vision_select_layer": -2, "mm_vision_tower": "openai/clip-vit-large-patch14",
    "model_type": "llava_mpt", "n_heads": 4, "n_layers": 2, "no_bias": True, "norm_type": "low_precision_layernorm", "resid_pdrop": 0,
    "sep_image_conv_front": False, "tokenizer_name": "sam-mosaic/gpt-neox-20b-chatml", "torch_dtype": "float16",
    "transformers_version": "4.28.0.dev0", "tune_mm_mlp_adapter": False, "use_cache": True, "use_mm_proj": True, "verbose": 0,
    "vocab_size": 400,
}  # fmt: skip


def write_tokenizer(folder: Path, words: list[str], special: dict[str, str], template: str | None, added: tuple[str, ...] = ()) -> None:
    """Whole words, line ends as words of their own; `template` as "<bos> $A" is what it adds by itself."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    told = Tokenizer(models.WordLevel({word: k for k, word in enumerate(words)}, unk_token=special["unk_token"]))
    told.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(" ", "removed"), pre_tokenizers.Split(Regex("\n"), "isolated")],
    )
    if template:
        marks = [(word, words.index(word)) for word in template.split() if word != "$A"]
        told.post_processor = processors.TemplateProcessing(single=template, special_tokens=marks)
    fast = PreTrainedTokenizerFast(tokenizer_object=told, **special)
    fast.add_tokens(list(added), special_tokens=True)
    fast.save_pretrained(folder)


def rekey(folder: Path, new_name: Callable[[str], str]) -> None:
    """The checkpoint under other keys, as the Hub has them."""
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    save_file({new_name(name): tensor for name, tensor in load_file(file).items()}, file, {"format": "pt"})


def shaken(model: Any, seed: int) -> Any:
    """Weights far enough from zero that every part shows in the output."""
    import torch

    torch.manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.randn_like(p) * 0.2 + (1.0 if p.ndim == 1 and "norm" in name and "bias" not in name else 0.0))
    return model


@pytest.fixture(scope="session")
def write_paligemma() -> Writer:
    """PaliGemma, or with `text={"model_type": "gemma2", ...}` PaliGemma 2, the tower's keys as on the Hub."""

    def write(folder: Path, seed: int = 0, hub: bool = True, **text: Any) -> Path:
        from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration

        folder.mkdir(parents=True, exist_ok=True)
        words = [*WORDS, *(f"w{k}" for k in range(320))]
        tokens = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
        write_tokenizer(folder, words, tokens, "<bos> $A")
        config = PaliGemmaConfig(
            vision_config=SIGLIP, text_config={"model_type": "gemma", **GEMMA, **text}, projection_dim=32, image_token_index=399
        )
        shaken(PaliGemmaForConditionalGeneration(config), seed).save_pretrained(folder)
        if hub:
            rekey(folder, lambda name: name.replace("vision_tower.", "vision_tower.vision_model."))
        return folder

    return write


@pytest.fixture(scope="session")
def paligemma(write_paligemma: Writer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_paligemma(tmp_path_factory.mktemp("paligemma"))


@pytest.fixture(scope="session")
def write_kosmos() -> Writer:
    def write(folder: Path, seed: int = 0) -> Path:
        from transformers import Kosmos2Config, Kosmos2ForConditionalGeneration

        folder.mkdir(parents=True, exist_ok=True)
        words = ["<s>", "<pad>", "</s>", "<unk>", "go", "to", "the", "cup", "find", "An", "image", "of", "a", "robot"]
        tokens = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
        write_tokenizer(folder, [*words, *(f"w{k}" for k in range(320))], tokens, "<s> $A </s>")
        sight = {k: v for k, v in CLIP.items() if k != "projection_dim"}
        config = Kosmos2Config(vision_config=sight, text_config=KOSMOS_TEXT, latent_query_num=4)
        shaken(Kosmos2ForConditionalGeneration(config), seed).save_pretrained(folder)
        return folder

    return write


@pytest.fixture(scope="session")
def kosmos(write_kosmos: Writer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_kosmos(tmp_path_factory.mktemp("kosmos"))


@pytest.fixture(scope="session")
def write_llava() -> Writer:
    """LLaVA 1.5 as llava-hf has it."""

    def write(folder: Path, seed: int = 0) -> Path:
        from transformers import LlavaConfig, LlavaForConditionalGeneration

        folder.mkdir(parents=True, exist_ok=True)
        tokens = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
        write_tokenizer(folder, [*WORDS, *(f"w{k}" for k in range(320)), "USER:", "ASSISTANT:"], tokens, "<bos> $A", ("<image>",))
        mark = len(WORDS) + 322
        config = LlavaConfig(vision_config={**CLIP, "model_type": "clip_vision_model"}, text_config=LLAMA, image_token_index=mark)
        shaken(LlavaForConditionalGeneration(config), seed).save_pretrained(folder)
        rekey(folder, lambda name: name.replace("vision_tower.", "vision_tower.vision_model."))
        return folder

    return write


@pytest.fixture(scope="session")
def llava(write_llava: Writer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llava(tmp_path_factory.mktemp("llava"))


@pytest.fixture(scope="session")
def write_llava_mpt() -> Writer:
    """LLaVA on MPT in `folder`/LLaVA-Lightning-MPT-7B-preview, in two .bin shards, and its CLIP whole beside it."""

    def write(folder: Path, seed: int = 0, **changes: Any) -> Path:
        import torch
        from safetensors.torch import save_file
        from transformers import CLIPVisionConfig, CLIPVisionModel, MptConfig, MptForCausalLM

        config = {**MPT, **changes}
        place, beside = folder / "LLaVA-Lightning-MPT-7B-preview", folder / "clip-vit-large-patch14"
        place.mkdir(parents=True, exist_ok=True)
        beside.mkdir(exist_ok=True)
        words = [*WORDS, *(f"w{k}" for k in range(300))]
        tokens = {"bos_token": "<eos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>"}
        write_tokenizer(place, words, tokens, None, ("<|im_start|>", "<|im_end|>"))
        keys = ("d_model", "n_heads", "n_layers", "expansion_ratio", "max_seq_len", "vocab_size")
        text = shaken(MptForCausalLM(MptConfig(**{k: config[k] for k in keys})), seed)
        stored = {name: tensor for name, tensor in text.state_dict().items() if name != "lm_head.weight"}
        stored |= {"transformer.mm_projector.weight": torch.randn(32, 16) * 0.2, "transformer.mm_projector.bias": torch.randn(32) * 0.2}
        index: dict[str, str] = {}
        for k, part in enumerate((list(stored)[:6], list(stored)[6:]), 1):
            name = f"pytorch_model-{k:05d}-of-00002.bin"
            torch.save({key: stored[key].half() for key in part}, place / name)
            index |= dict.fromkeys(part, name)
        (place / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
        (place / "config.json").write_text(json.dumps(config))
        tower = shaken(CLIPVisionModel(CLIPVisionConfig(**CLIP)), seed + 1)
        whole = {f"vision_model.{name}": tensor for name, tensor in tower.state_dict().items()}
        whole |= {f"{name}_projection.weight": torch.ones(16, 16) for name in ("visual", "text")} | {"logit_scale": torch.ones(())}
        whole |= {"text_model.final_layer_norm.weight": torch.ones(16), "vision_model.embeddings.position_ids": torch.arange(5)[None]}
        save_file({name: tensor.contiguous() for name, tensor in whole.items()}, beside / "model.safetensors", {"format": "pt"})
        sight = {"model_type": "clip_vision_model", **CLIP}
        (beside / "config.json").write_text(json.dumps({"model_type": "clip", "vision_config": sight}))
        return place

    return write


@pytest.fixture(scope="session")
def llava_mpt(write_llava_mpt: Writer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llava_mpt(tmp_path_factory.mktemp("vlms"))


@pytest.fixture(scope="session")
def engine(
    write_paligemma: Writer, write_kosmos: Writer, write_llava: Writer, write_llava_mpt: Writer, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Any]:
    """engine("kosmos"): a tiny model by its name in engines.py, with the rows its reply format takes; made once."""
    from tests.learn.backbones import engines

    writers = {"paligemma": write_paligemma, "kosmos": write_kosmos, "llava": write_llava, "llava_mpt": write_llava_mpt}
    made: dict[str, Any] = {}

    def get(name: str) -> Any:
        if name not in made:
            made[name] = engines.load(engines.write(name, tmp_path_factory.mktemp(name), writers))
        return made[name]

    return get


@pytest.fixture(scope="session")
def configs() -> Callable[..., dict[str, Any]]:
    """configs(folder, head={...}, train_setup={...}, window_size=2): a small LSTM policy unless told otherwise."""

    def make(folder: Path, head: dict[str, Any] | None = None, **rest: Any) -> dict[str, Any]:
        act_head = {
            "type": "LSTMDecoder", "hidden_size": 16, "action_dim": 4, "action_space": "continuous", "history_type": "post",
            "down_sample": "none", "num_layers": 1, **(head or {}),
        }  # fmt: skip
        if act_head["type"] != "LSTMDecoder":
            act_head.pop("num_layers")
        return {"vlm": {"pretrained_model_name_or_path": str(folder)}, "window_size": 2, "fwd_pred_next_n": 2, "act_head": act_head} | rest

    return make
