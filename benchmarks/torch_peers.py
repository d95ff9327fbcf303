"""Finder run by torch, in three ways, each ending in the bins of a box. All choose words by the engine's own rule, so that equal logits
give equal bins.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from transformers import GemmaForCausalLM, LogitsProcessor, LogitsProcessorList, StaticCache

from edge_vla.backends.decode import decode_detection, pick_bin
from edge_vla.backends.manifest import Tokens
from edge_vla.learn.finder.model import IMAGE_TOKENS, Finder
from export.finder.onnx import modules_of

Bins = tuple[int, ...] | None
Peer = Callable[[Tensor, list[int], int], Bins]  # image (1, 3, 224, 224), rows of the prompt, row of the thing's name
ROOM = 224  # positions of a static cache: 196, a prompt, an answer
SHUT = torch.finfo(torch.float32).min


class PrefixGemma(GemmaForCausalLM):
    """Gemma that generates after a two-way prefix, as PaliGemma does: the mask of the prefill is given, not built."""

    prefix_mask: torch.Tensor | None = None

    def prepare_inputs_for_generation(self, input_ids, inputs_embeds=None, **kwargs):  # noqa: ANN001, ANN201 - transformers' own
        inputs = super().prepare_inputs_for_generation(input_ids, inputs_embeds=inputs_embeds, **kwargs)
        embeds = inputs.get("inputs_embeds")
        prefill = embeds is not None and embeds.shape[1] > 1
        inputs["attention_mask"] = self.prefix_mask if prefill else None
        return inputs


class _Grammar(LogitsProcessor):
    """Four corners, the thing's name, the end; or the end."""

    def __init__(self, tokens: Tokens, name: int) -> None:
        self.tokens, self.name = tokens, name

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        chosen = torch.full_like(scores, -torch.inf)
        chosen[0, self._next(input_ids[0].tolist(), scores[0])] = 0
        return chosen

    def _next(self, said: list[int], logits: Tensor) -> int:
        t, corner = self.tokens, len(said)
        locs = logits[t.loc_start : t.loc_start + t.loc_bins]
        if corner >= 4 or (corner == 0 and torch.logsumexp(locs, 0) < logits[t.eos]):
            return self.name if corner == 4 else t.eos
        low = said[corner - 2] - t.loc_start + 1 if corner >= 2 else 0
        return t.loc_start + pick_bin(locs.numpy(), low, t.loc_bins if corner >= 2 else t.loc_bins - 1)[0]


def generating(finder: Finder, tokens: Tokens) -> Peer:
    """`transformers` generate, eager: the whole answer, six tokens."""
    lm = PrefixGemma(finder.lm.config).eval()
    lm.load_state_dict(finder.lm.state_dict())

    def detect(image: Tensor, ids: list[int], name: int) -> Bins:
        with torch.inference_mode():
            embeds = _together(finder, finder.image_tokens(image)[0], ids)
            lm.prefix_mask = _mask(len(ids), embeds.shape[1])
            grammar = LogitsProcessorList([_Grammar(tokens, name)])
            said = lm.generate(inputs_embeds=embeds, max_new_tokens=6, do_sample=False, logits_processor=grammar)[0].tolist()
        return tuple(row - tokens.loc_start for row in said[:4]) if len(said) == 6 else None

    return detect


def compiled(finder: Finder, tokens: Tokens) -> Peer:
    """torch.compile of transformers' own modules, with its static cache; the loop is ours, and reads four logits."""
    see = torch.compile(finder.image_tokens)
    cache = StaticCache(finder.lm.config, max_cache_len=ROOM)

    def forward(embeds: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
        told = finder.lm(
            inputs_embeds=embeds, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1
        )
        return told.logits[:, -1]

    step = torch.compile(forward, dynamic=False)

    def detect(image: Tensor, ids: list[int], _: int) -> Bins:
        with torch.inference_mode():
            cache.reset()
            embeds = _together(finder, see(image)[0], ids)
            past = embeds.shape[1]
            first = step(embeds, _mask(len(ids), ROOM), torch.arange(past)[None])

            def feed(row: int) -> object:
                nonlocal past
                mask = torch.full((1, 1, 1, ROOM), SHUT)
                mask[..., : past + 1] = 0
                past += 1
                return step(finder.embed(torch.tensor([[row]])), mask, torch.tensor([[past - 1]]))[0].numpy()

            return decode_detection(first[0].numpy(), feed, tokens).bins

    return detect


def compiled_graphs(finder: Finder, tokens: Tokens) -> Peer:
    """torch.compile of the modules that are exported: no work is left that the engine leaves out."""
    see, read, step = (torch.compile(module, dynamic=name == "lm_step") for name, module in modules_of(finder).items())

    def detect(image: Tensor, ids: list[int], _: int) -> Bins:
        with torch.inference_mode():
            keys, values = read(see(image)[0])

            def take(rows: list[int]) -> object:
                nonlocal keys, values
                past, new = keys.shape[2], len(rows)
                positions, mask = torch.arange(past, past + new)[None], torch.zeros(1, 1, new, past + new)
                logits, keys, values = step(finder.embed(torch.tensor([rows])), positions, mask, keys, values)
                return logits[0].numpy()

            return decode_detection(take(ids), lambda row: take([row]), tokens).bins

    return detect


def _together(finder: Finder, image: Tensor, ids: list[int]) -> Tensor:
    return torch.cat([image, finder.embed(torch.tensor([ids]))], 1)


def _mask(text: int, length: int) -> Tensor:
    """(1, 1, 196 + text, length): the image sees itself, the text image and text, nobody the rest."""
    mask = torch.full((1, 1, IMAGE_TOKENS + text, length), SHUT)
    mask[..., :IMAGE_TOKENS] = 0
    mask[..., IMAGE_TOKENS:, : IMAGE_TOKENS + text] = 0
    return mask
