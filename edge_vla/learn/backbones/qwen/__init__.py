"""Qwen-VL of 2023 (own code) and Qwen2.5-VL (transformers' code): one class, RoboQwen, that reads either."""

from edge_vla.learn.backbones.qwen.robo import RoboQwen

__all__ = ["RoboQwen"]
