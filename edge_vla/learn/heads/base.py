"""What all policy heads share: output stacks, down-sampling, the window of past frames. Knows no backbone and no action space's meaning.

Shapes: b batch, l frames, n tokens of a frame, d features of a token, L latent, C = fwd_pred_next_n, A = action_dim.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from edge_vla.learn.losses import head_losses
from edge_vla.learn.resampler import PerceiverResampler

Output = tuple[Tensor, Tensor | None]  # arm (..., C, A - 1) and gripper (..., C, 1); what has no gripper gives None
Losses = Mapping[str, Tensor | float | None]

STACK = (1024, 512, 256)  # hidden widths of every output stack


def _stack(hidden_size: int, output_size: int, *last: nn.Module) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in STACK:
        layers += [nn.Linear(hidden_size, width), nn.ReLU()]
        hidden_size = width
    return nn.Sequential(*layers, nn.Linear(hidden_size, output_size), *last)


class MLPTanhHead(nn.Module):
    """Four linear layers, then tanh: values in (-1, 1)."""

    def __init__(self, hidden_size: int, output_size: int) -> None:
        super().__init__()
        self.mlp = _stack(hidden_size, output_size, nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(x)


class MLPSigmoidHead(nn.Module):
    """Four linear layers that give logits, as the reference's do whatever their name says; probabilities with `probability`."""

    def __init__(self, hidden_size: int, output_size: int, *, probability: bool = False) -> None:
        super().__init__()
        self.mlp = _stack(hidden_size, output_size, *([nn.Sigmoid()] if probability else []))

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(x)


def initialize_param(model: nn.Module) -> None:
    """Xavier-uniform weights and zero biases in every linear layer below `model`; recurrent layers keep PyTorch's own start."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    module.bias.zero_()


def at_least_one(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name}: want at least 1, got {size}")


def _shares(tokens: Tensor, count: int) -> list[Tensor]:
    """(m, n, d) in `count` runs of tokens, cut as AdaptiveMaxPool1d cuts; slices, because ONNX has no pool for uneven shares."""
    n = tokens.shape[1]
    return [tokens[:, k * n // count : ((k + 1) * n + count - 1) // count] for k in range(count)]


class BasePolicyHead(nn.Module):
    """A head without outputs. What else an `act_head` section holds is about the token layout, and is not the head's business."""

    actions: nn.Module
    gripper: nn.Module
    fwd_pred_next_n: int

    def __init__(
        self,
        hidden_size: int,
        action_dim: int,
        action_space: str = "continuous",
        down_sample: str = "pooling",
        latent: int = 1,
        **_layout: object,
    ) -> None:
        super().__init__()
        at_least_one(hidden_size=hidden_size, action_dim=action_dim, latent=latent)
        self.hidden_size = hidden_size
        self.action_dim = action_dim
        self.action_space = action_space
        self.down_sample = down_sample
        self.latent = latent
        self.gripper_probability = False

    def reset(self) -> None:
        """Forgets the episode. Nothing to forget in a head without history."""

    def whole(self, tok_seq: Tensor) -> Output:
        """What losses read: the output of every frame there is, in any mode. No memory is read and none written."""
        output: Output = self(tok_seq)
        return output

    def step(self, tok_seq: Tensor, history: Tensor | None = None) -> tuple[Output, Tensor | None]:
        """One frame (b, 1, n, d) after `history`, and the history for the next frame. Changes nothing in the head."""
        if history is not None:
            raise ValueError(f"{type(self).__name__} has no history, got one of shape {tuple(history.shape)}")
        return self(tok_seq), None

    def loss(
        self, pred_action: Tensor | Sequence[Tensor | None], labels: Sequence[Tensor | None] | None, attention_mask: Tensor | None = None
    ) -> Losses:
        """Huber of the arm and BCE of the gripper: labels (arm (b, l, C, A - 1), gripper (b, l, C) in {0, 1}), mask (b, l, C).

        {"loss": None} without labels. The trainer weighs the parts: `edge_vla.learn.losses.total_loss`.
        """
        if labels is None or labels[0] is None:
            return {"loss": None}
        return head_losses(pred_action, labels, attention_mask, probability=self.gripper_probability)

    def _init_sampler(self, in_features: int) -> None:
        self.in_features = in_features
        at_least_one(in_features=in_features)
        if self.down_sample == "resampler":
            self.resampler = PerceiverResampler(dim=in_features, num_latents=self.latent)
        elif self.down_sample not in {"none", "pooling"}:
            raise ValueError(f"down_sample: want none, pooling or resampler, got {self.down_sample!r}")

    def _init_outputs(self, *, gripper_probability: bool) -> None:
        """`actions` and `gripper` over latent * hidden_size features."""
        if self.action_dim < 2:
            raise ValueError(f"action_dim: want an arm and a gripper, at least 2, got {self.action_dim}")
        at_least_one(fwd_pred_next_n=self.fwd_pred_next_n)
        width = self.hidden_size * self.latent
        self.gripper_probability = gripper_probability
        self.actions = MLPTanhHead(width, self.fwd_pred_next_n * (self.action_dim - 1))
        self.gripper = MLPSigmoidHead(width, self.fwd_pred_next_n, probability=gripper_probability)

    def _sample(self, tok_seq: Tensor) -> Tensor:
        """(m, n, d) to (m, L * d), latents slow and features fast."""
        width = self.in_features * self.latent
        if self.down_sample == "none":
            if tok_seq.shape[1] * tok_seq.shape[2] != width:
                raise ValueError(
                    f"down_sample none wants {self.latent} token(s) of {self.in_features} features, got {tuple(tok_seq.shape[1:])}"
                )
            return tok_seq.flatten(1)
        if tok_seq.shape[2] != self.in_features:
            raise ValueError(f"want tokens of {self.in_features} features, got {tok_seq.shape[2]}")
        if self.down_sample == "pooling":
            return torch.cat([part.amax(1) for part in _shares(tok_seq, self.latent)], 1)
        return self.resampler(tok_seq[:, None, None])[:, 0].flatten(1)

    def _chunks(self, flat: Tensor) -> Tensor:
        """(..., C * k) to (..., C, k)."""
        return flat.unflatten(-1, (self.fwd_pred_next_n, -1))


class WindowedHead(BasePolicyHead):
    """A head that reads a window of frames. Many frames in a call: every step's output. One frame in evaluation: it joins the memory.

    A step's output depends on the last `window_size` frames only, run from nothing; that is the reference's result at every step
    (it carries its recurrent state until the window is full). Training keeps no memory, so batches cannot leak into each other.
    """

    window_size: int
    accepts_flat = False  # whether (b, l, L * d) is taken as well

    def _init_memory(self, window_size: int) -> None:
        at_least_one(window_size=window_size)
        self.window_size = self.history_len = window_size
        self.history_memory: list[Tensor] = []  # sampled frames (b, 1, L * d), oldest first

    def reset(self) -> None:
        """Forgets the episode. To be called before a new one, and before another batch size."""
        self.history_memory = []

    def sample(self, tok_seq: Tensor) -> Tensor:
        """(b, l, n, d) to (b, l, L * d)."""
        if tok_seq.dim() == 3 and self.accepts_flat:
            if tok_seq.shape[2] != self.in_features * self.latent:
                raise ValueError(f"want frames of {self.in_features * self.latent} features, got {tok_seq.shape[2]}")
            return tok_seq
        if tok_seq.dim() != 4:
            raise ValueError(f"{type(self).__name__} wants (batch, frames, tokens, features), got shape {tuple(tok_seq.shape)}")
        return self._sample(tok_seq.flatten(0, 1)).unflatten(0, tok_seq.shape[:2])

    def body(self, features: Tensor, h_0: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Sampled frames (b, l, L * d) to hidden states (b, l, L * hidden_size), each from the frames up to its own."""
        raise NotImplementedError

    def outputs(self, x: Tensor) -> Output:
        """Hidden states (b, l, L * hidden_size) to the head's output."""
        return self._chunks(self.actions(x)), self._chunks(self.gripper(x))

    def whole(self, tok_seq: Tensor) -> Output:
        return self.outputs(self.body(self.sample(tok_seq)))

    def forward(self, tok_seq: Tensor, h_0: tuple[Tensor, Tensor] | None = None, **_: object) -> Output:
        features = self.sample(tok_seq)
        if features.shape[1] > 1 or self.training or h_0 is not None:
            return self.outputs(self.body(features, h_0))
        output, window = self._step(features, torch.cat(self.history_memory, 1) if self.history_memory else None)
        self.history_memory = list(window.detach().split(1, 1))
        return output

    def step(self, tok_seq: Tensor, history: Tensor | None = None) -> tuple[Output, Tensor]:
        """One frame (b, 1, n, d) after `history` (b, up to window_size, L * d); the second result is the next call's history."""
        features = self.sample(tok_seq)
        if features.shape[1] != 1:
            raise ValueError(f"step takes one frame, got {features.shape[1]}")
        return self._step(features, history)

    def _step(self, features: Tensor, history: Tensor | None) -> tuple[Output, Tensor]:
        if history is not None:
            if history.shape[0] != features.shape[0] or history.shape[2:] != features.shape[2:]:
                raise ValueError(
                    f"frame {tuple(features.shape)} does not continue a history {tuple(history.shape)}: reset() before another batch"
                )
            features = torch.cat([history, features], 1)[:, -self.window_size :]
        return self.outputs(self.body(features)[:, -1:]), features
