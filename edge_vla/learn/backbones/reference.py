"""What a backbone says of RoboVLMs' checkpoints: where names and values in them are not those of its public layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor


class Reference:
    """As a rule RoboVLMs' `backbone` is the public model itself, so its weights have the names and values of the public files."""

    parts_beside: ClassVar[tuple[str, ...]] = ()  # prefixes of what the reference keeps beside its backbone and is part of ours
    import_inside: ClassVar[str] = ""  # prefix of what in its backbone the reference calls `model`: LoRA wraps that, under this second name

    @classmethod
    def import_name(cls, name: str, config: Mapping[str, Any]) -> str | None:  # noqa: ARG003 - for backbones that rename
        """RoboVLMs' name of a tensor, without `backbone.`, in the public layout of the model with this config.json.

        Two names for one weight come out alike. None for what holds nothing that a policy uses.
        """
        return name

    @classmethod
    def import_backbone(
        cls, tensors: dict[str, Tensor], folder: Path, policy: Mapping[str, Tensor]  # noqa: ARG003 - for backbones that rescale
    ) -> dict[str, Tensor]:  # fmt: skip
        """The tensors under those names to what they have to be here. `policy` are RoboVLMs' others. Raises ConfigError."""
        return tensors

    @classmethod
    def import_policy(cls, tensors: dict[str, Tensor], folder: Path) -> dict[str, Tensor]:  # noqa: ARG003 - for backbones that rescale
        """RoboVLMs' other tensors to what they have to be here, where the two differ in what they feed the language model."""
        return tensors

    @classmethod
    def import_files(cls, folder: Path, configs: Mapping[str, Any]) -> dict[str, Path]:  # noqa: ARG003 - for backbones of two folders
        """Files from elsewhere that the model's folder needs beside its weights, by their names in it."""
        return {}


def hub_name(name: str) -> str:
    """A composite model's name in transformers' memory since 4.52 to the one of before, which the Hub's files have."""
    if name.startswith("lm_head."):
        return f"language_model.{name}"
    return name.removeprefix("model.").replace("language_model.", "language_model.model.", 1) if name.startswith("model.") else name
