"""How a backbone is asked and read in words: its prompts as token ids, its answers as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from edge_vla.errors import ConfigError
from edge_vla.grammars import Spelling


class Wording:
    """What a backbone says of its tokenizer and its prompts."""

    tokenizer: Any
    grammar: ClassVar[str]  # of its answers about where a thing is, by name in `edge_vla.grammars`
    spelling: ClassVar[Spelling]  # how its tokenizer writes its tokens down
    prompt: ClassVar[str]  # of a text question, "{text}" in it, and "{image}" where the picture is not second (or, without bos, first)
    instruction: ClassVar[str]  # of a robot's task, as the reference's training data has it, "{text}" in it
    adds_special: ClassVar[bool] = True  # whether the tokenizer adds its own special tokens to prompt and instruction
    max_text_len: int | None = None  # most tokens of an instruction, its special ones with them; the rest is cut off

    def take_words(self, section: Mapping[str, Any], rows: int) -> None:
        """What a configuration's `tokenizer` section says, for a word embedding of that many rows.

        Raises ConfigError for an additional token that the embedding has no row for: the reference would fail at its first use.
        """
        self.max_text_len = section.get("max_text_len")
        tokens = list(section.get("additional_special_tokens") or [])
        if tokens:
            self.tokenizer.add_special_tokens({"additional_special_tokens": tokens})
        beyond = [token for token in tokens if self.tokenizer.convert_tokens_to_ids(token) >= rows]
        if beyond:
            raise ConfigError(f"tokenizer.additional_special_tokens {beyond}: the word embedding has {rows} rows, and none for these")

    def question_ids(self, question: str) -> list[int]:
        """A question as the model was trained on questions, its picture behind the first `question_lead` tokens."""
        before, image, after = self.prompt.rpartition("{image}")
        ids = self.ids(before) if image else []
        return ids + self.ids(after.format(text=question), special=not image)

    def question_lead(self) -> int:
        """How many of a question's tokens come before the picture: those before "{image}", or the bos if there is one."""
        before, image, _ = self.prompt.rpartition("{image}")
        return len(self.ids(before)) if image else int(self.tokenizer.bos_token is not None)

    def instruction_ids(self, task: str) -> list[int]:
        """A robot's task as `lang_x` has it, without pads, at most `max_text_len` long."""
        return self.ids(self.instruction.format(text=task.strip()), most=self.max_text_len)

    def ids(self, text: str, *, special: bool = True, most: int | None = None) -> list[int]:
        """Token ids, with the tokenizer's own special tokens where this model wants them; of `most` the last words are left out."""
        cut = {} if most is None else {"truncation": "only_first", "max_length": most}
        return list(self.tokenizer(text, add_special_tokens=special and self.adds_special, **cut).input_ids)

    def end_ids(self) -> set[int]:
        """Tokens that end an answer."""
        return {self.tokenizer.eos_token_id} - {None}

    def decode(self, ids: list[int]) -> str:
        """An answer as text, with the tokens a grounding format is made of."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=False)).strip()
