"""The published models behind the backbones, and what was and was not checked of each. Data only."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Card:
    """One published model of a backbone. `parameters` were counted on torch's meta device from the published shapes."""

    backbone: str  # of BACKBONES
    model: str
    parameters: int
    image_px: int
    image_tokens: int  # in the sequence, of one picture
    note: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What was checked of a backbone, and what was not."""

    checked: tuple[str, ...]
    unproved: tuple[str, ...] = field(default=())


CARDS = (
    Card("RoboPaligemma", "PaliGemma 3B pt-224", 2_923_466_480, 224, 256),
    Card("RoboPaligemma", "PaliGemma 2 3B", 3_032_242_416, 224, 256),
    Card("RoboKosMos", "KosMos-2", 1_664_485_376, 224, 64),
    Card("RoboLLaVA", "LLaVA 1.5 7B (llava-hf)", 7_063_427_072, 336, 576),
    Card("RoboLLaVA", "LLaVA-Lightning-MPT-7B-preview", 6_956_050_432, 224, 256, "with its CLIP ViT-L/14"),
    Card("RoboQwen", "Qwen-VL, Qwen-VL-Chat", 9_656_935_168, 448, 258, "with a start and an end token"),
    Card("RoboQwen", "Qwen2.5-VL 3B", 3_754_622_976, 448, 258, "any multiple of 112 px; 448 is our default"),
    Card("RoboQwen", "Qwen2.5-VL 7B", 8_292_166_656, 448, 258, "any multiple of 112 px; 448 is our default"),
    Card("RoboFlamingo", "OpenFlamingo 3B", 2_560_000_000, 224, 0, "64 latents beside the sequence; parameters to three figures"),
    Card("RoboFlamingo", "OpenFlamingo 4B", 4_040_000_000, 224, 0, "64 latents beside the sequence; parameters to three figures"),
    Card("RoboFlamingo", "OpenFlamingo 9B", 8_130_000_000, 224, 0, "64 latents beside the sequence; parameters to three figures"),
    Card("RoboMoonDream", "Moondream 2, layout B (to May 2024)", 1_857_482_608, 378, 729),
    Card("RoboMoonDream", "Moondream 2, layout C (to January 2025)", 1_866_919_792, 378, 729, "up to 756 px in four tiles"),
    Card("RoboMoonDream", "Moondream 2, layout D (2025)", 1_927_237_104, 378, 729, "and up to 12 tiles"),
    Card("RoboMoonDream", "Moondream 0.5B, layout D", 631_889_382, 378, 729, "and up to 12 tiles"),
    Card("RoboUform", "uform-gen2-qwen-500m, -dpo", 1_117_794_176, 336, 256),
)

NATIVE = "Logits, image features and action hidden states equal transformers' own forward on the same tiny weights, within 1e-5."
FACTS = {
    "RoboFlamingo": Facts(
        (
            "Images, hidden states and head tokens against a derivation with numpy and transformers' MPT and GPT-NeoX, within 1e-5.",
            "Every published name and shape of 3B, 4B and 9B on the meta device.",
            "Block keys, ALiBi and q/k norms of MPT-1B: mosaicml/examples v0.0.4. Contents of checkpoint.pt: open_flamingo 655f693.",
        ),
        (
            "Whether the published MPT-1B fork gives the last hidden state before its norm: `reference_hidden: true` reproduces that.",
            "The exact number of embedding rows of the 4B checkpoint; any that hold the tokenizer are accepted.",
        ),
    ),
    "RoboKosMos": Facts(
        (NATIVE, "The question is laid out token for token as Kosmos2Processor does."),
        ("The Hub's generation settings may forbid repeated trigrams; ours is plain greedy.",),
    ),
    "RoboLLaVA": Facts(
        (
            NATIVE + " (llava-hf layout)",
            "MPT preview: keys, single linear projector, prompt and stop token from the public repository at two revisions.",
        ),
        (
            "Which system prompt the MPT preview was trained with.",
            "Whether its tokenizer.json holds the image start and end tokens: they are added if it does not.",
        ),
    ),
    "RoboMoonDream": Facts(
        (
            "The public code side by side on the same weights: encoder of C within 7e-6, vision and text of D within 3e-6, crops exactly.",
            "What a head reads is before the last norm, which lives in `lm_head`.",
        ),
        (
            "Layout A and Moondream 3 are not read. Real tokenizers were not run.",
            "D's original prefers another resizing library and rounds pictures to bf16; ours uses PIL and float32.",
        ),
    ),
    "RoboPaligemma": Facts(
        (NATIVE, "Answers equal transformers' own with token types, for Gemma and Gemma 2.", "Hub names with and without `vision_model.`"),
        (
            "Whether RoboVLMs' PaliGemma was trained with causal attention throughout: that is what its code asks for today.",
            "PaliGemma 2's second end token.",
        ),
    ),
    "RoboQwen": Facts(
        (
            "Qwen-VL: the original code side by side on tiny weights, same keys, values within 1e-5; its tokenizer on 4 305 texts.",
            "Qwen2.5-VL: " + NATIVE[0].lower() + NATIVE[1:],
        ),
        (
            "Whether boxes of Qwen-VL are in 1000ths or 999ths.",
            "The robot instruction of Qwen2.5-VL is ours: RoboVLMs never had it. Pictures are squashed; the original keeps their aspect.",
        ),
    ),
    "RoboUform": Facts(
        (
            "894 keys, as the published index counts; key names from the vendored vision encoder.",
            "Pooler and encoder blocks against derivations; the position table of 224 px stretched as the original stretches it.",
        ),
        ("The published folder has no tokenizer: copy Qwen1.5-0.5B-Chat's into it.",),
    ),
}
