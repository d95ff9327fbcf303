"""Answers in float32 from a model whose weights are stored in half precision: each weight is widened where it is used, and no longer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

HALVES = (torch.bfloat16, torch.float16)
AT_ONCE = 2**20  # numbers of a weight that are widened at once in a matrix product: what a core keeps near, and never a whole vocabulary
aten = torch.ops.aten
CHECKING = (nn.RNNBase, nn.Conv1d, nn.Conv2d, nn.Conv3d)  # compare types before anybody can widen; they are small, and widened as wholes
GATHERS = (aten.embedding.default, aten.index.Tensor, aten.index_select.default, aten.gather.default)


class _Widening(TorchDispatchMode):
    """Below everything a model calls: what it takes for its weights' type is float32."""

    def __init__(self) -> None:
        super().__init__()
        self._room = torch.empty(AT_ONCE)  # one for all pieces: taken and given back 4 MB at a time, a heap falls to pieces and grows

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        told = dict(kwargs or {})
        if told.get("dtype") in HALVES:
            told["dtype"] = torch.float32
        if func.is_view or func._schema.is_mutable:
            return func(*args, **told)
        if func in GATHERS:
            return tree_map_only(Tensor, _wide, func(*args, **told))
        if func in (aten.mm.default, aten.addmm.default) and args[-1].dtype in HALVES:
            return self._product(func, [_wide(arg) for arg in args[:-1]], args[-1], told)
        if func is aten.bmm.default and args[1].dtype in HALVES and (len(args[1]) == 1 or args[1].stride(0) == 0):
            return torch.stack(
                [self._product(aten.mm.default, [each], args[1][0], told) for each in _wide(args[0])]
            )  # one for the whole batch
        args, told = tree_map_only(Tensor, _wide, (args, told))
        return func(*args, **told)

    def _product(self, func: Any, before: list[Tensor], weight: Tensor, told: dict[str, Any]) -> Tensor:
        """(rows, inner) by (inner, columns), some columns after others; before it a bias (columns,) where there is one."""
        inner, columns = weight.shape
        most = max(AT_ONCE // inner, 1)
        out = before[-1].new_empty(len(before[-1]), columns)
        for first in range(0, columns, most):
            part = slice(first, min(first + most, columns))
            beside = [bias[..., part] for bias in before[:-1]]
            out[:, part] = func(*beside, before[-1], self._widened(weight[:, part]), **told)
        return out

    def _widened(self, piece: Tensor) -> Tensor:
        """A piece of a weight in float32, its axes in memory as they were."""
        if piece.numel() > self._room.numel():
            return piece.float()
        room = self._room[: piece.numel()]
        if piece.stride(0) == 1:
            return room.view(piece.shape[1], piece.shape[0]).copy_(piece.t()).t()
        return room.view(piece.shape).copy_(piece)


def _wide(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in HALVES else tensor


@contextmanager
def widened(module: nn.Module) -> Iterator[None]:
    """While it lasts `module` computes in float32, from float32 inputs, whatever its weights are stored in. Nothing is learned."""
    checked = [part for part in module.modules() if isinstance(part, CHECKING)]
    kept = [(part, key, weight) for part in checked for key, weight in part.named_parameters(recurse=False)]
    try:
        for part, key, weight in kept:
            setattr(part, key, nn.Parameter(weight.detach().float(), requires_grad=False))
        with torch.no_grad(), _Widening():
            yield
    finally:
        for part, key, weight in kept:
            setattr(part, key, weight)
