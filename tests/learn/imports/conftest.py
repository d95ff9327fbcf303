"""The tiny models of the backbones' own tests."""

from tests.learn.backbones.conftest import write_kosmos, write_llava, write_llava_mpt, write_paligemma

__all__ = ["write_kosmos", "write_llava", "write_llava_mpt", "write_paligemma"]
