"""A torch LSTM as ONNX's own operator, for any number of frames: torch's exporter takes the number it is shown for the only one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

ONNX_ORDER = (0, 3, 1, 2)  # of torch's gates input, forget, cell, output: ONNX has input, output, forget, cell


class OnnxLstm(nn.Module):
    """(1, frames, features) to (1, frames, hidden), from nothing. What it computes in torch is what the LSTM does."""

    def __init__(self, lstm: nn.LSTM) -> None:
        """Raises ValueError for one of another kind than heads have."""
        super().__init__()
        if lstm.bidirectional or lstm.proj_size or not (lstm.batch_first and lstm.bias):
            raise ValueError(f"want an LSTM of one direction with biases, batch first, got {lstm}")
        self.lstm = [lstm]  # not a child: its weights are in the buffers below, in the order they are exported in
        self.layers, self.width = lstm.num_layers, lstm.hidden_size
        for layer in range(lstm.num_layers):
            taken = {name: getattr(lstm, f"{name}_l{layer}").detach() for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
            self.register_buffer(f"W{layer}", self._ordered(taken["weight_ih"])[None])
            self.register_buffer(f"R{layer}", self._ordered(taken["weight_hh"])[None])
            self.register_buffer(f"B{layer}", torch.cat([self._ordered(taken["bias_ih"]), self._ordered(taken["bias_hh"])])[None])

    def forward(self, x: Tensor, start: object = None) -> tuple[Tensor, None]:
        """As nn.LSTM is called. Raises ValueError for a state to start from."""
        if start is not None:
            raise ValueError("an exported LSTM starts from nothing")
        if not torch.compiler.is_exporting():
            return self.lstm[0](x)[0], None
        y = x.squeeze(0).unsqueeze(1)  # no transpose: ONNX Runtime 1.32 fuses one with a half-precision product, and falls over
        for layer in range(self.layers):
            y = torch.onnx.ops.symbolic(
                "LSTM", (y, *(getattr(self, f"{name}{layer}") for name in "WRB")), {"hidden_size": self.width}, dtype=x.dtype,
                shape=(y.shape[0], 1, y.shape[1], self.width), version=14,
            )[:, 0]  # fmt: skip
        return y.squeeze(1).unsqueeze(0), None

    def _ordered(self, gates: Tensor) -> Tensor:
        """(4 * hidden, ...) in ONNX's order."""
        return torch.cat([gates.unflatten(0, (4, self.width))[k] for k in ONNX_ORDER])
