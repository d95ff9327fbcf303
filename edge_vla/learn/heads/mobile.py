"""Heads of RoboVLMs' mobile fork: a base's velocities, and classes of motion. No gripper, so their second output is None."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from edge_vla.learn.heads.base import Losses, MLPTanhHead, Output, WindowedHead, at_least_one, initialize_param
from edge_vla.learn.heads.lstm import lstm
from edge_vla.learn.losses import class_losses, regression


class MobileHead(WindowedHead):
    """The LSTM and its window; frames may come flattened, (b, l, L * d)."""

    accepts_flat = True

    def __init__(  # noqa: PLR0913 - the reference's constructor
        self,
        in_features: int,
        action_dim: int,
        down_sample: str,
        latent: int,
        fwd_pred_next_n: int,
        window_size: int,
        hidden_size: int = 1024,
        num_layers: int = 4,
        policy_rnn_dropout_p: float = 0.0,
        **layout: Any,
    ) -> None:
        super().__init__(hidden_size, action_dim, down_sample=down_sample, latent=latent, **layout)
        at_least_one(fwd_pred_next_n=fwd_pred_next_n)
        self.fwd_pred_next_n = fwd_pred_next_n
        self._init_memory(window_size)
        self._init_sampler(in_features)
        self.rnn = lstm(in_features * latent, hidden_size * latent, num_layers, policy_rnn_dropout_p)

    def body(self, features: Tensor, h_0: tuple[Tensor, Tensor] | None = None) -> Tensor:
        return self.rnn(features, h_0)[0]


class MobileVLALSTMDecoder(MobileHead):
    """Velocities (b, l, C, A) in (-1, 1): linear_x and linear_y with the fork's A of 2."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.velocities = MLPTanhHead(self.hidden_size * self.latent, self.fwd_pred_next_n * self.action_dim)
        initialize_param(self)

    def outputs(self, x: Tensor) -> Output:
        return self._chunks(self.velocities(x)), None

    def loss(self, pred_action: Any, labels: Any, attention_mask: Tensor | None = None) -> Losses:
        """Huber of labels[0] (b, l, C, A) under a mask (b, l, C)."""
        losses: dict[str, Tensor | float | None] = {"loss_velocity": None, "loss_gripper": None, "acc_gripper": None}
        if labels is not None and labels[0] is not None:
            velocities = pred_action if isinstance(pred_action, Tensor) else pred_action[0]
            losses["loss_velocity"] = regression(velocities, labels[0], attention_mask)
        return losses


class MobileVLAClassificationDecoder(MobileHead):
    """Logits (b, l, C, num_classes): 6 in the fork, any number here. `class_weights` count a class more; `action_dim` says nothing."""

    class_weights_tensor: Tensor | None

    def __init__(self, *args: Any, num_classes: int = 6, class_weights: Sequence[float] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        at_least_one(num_classes=num_classes)
        if class_weights is not None and len(class_weights) != num_classes:
            raise ValueError(f"class_weights: want {num_classes}, one a class, got {len(class_weights)}")
        if class_weights is not None and not all(0 <= weight < math.inf for weight in class_weights):
            raise ValueError(f"class_weights: want numbers of at least 0, got {list(class_weights)}")
        self.num_classes = self.action_dim = num_classes
        self.logits = nn.Linear(self.hidden_size * self.latent, self.fwd_pred_next_n * num_classes)
        weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float)
        self.register_buffer("class_weights_tensor", weights)
        initialize_param(self)

    def outputs(self, x: Tensor) -> Output:
        return self._chunks(self.logits(x)), None

    def loss(self, pred_action: Any, labels: Any, attention_mask: Tensor | None = None) -> Losses:
        """Weighted cross-entropy of labels[0] (b, l, C), class numbers, under a mask of that shape."""
        if labels is None or labels[0] is None:
            return {"loss_velocity": None, "loss_gripper": None, "acc_velocity": None}
        logits = pred_action if isinstance(pred_action, Tensor) else pred_action[0]
        loss, accuracy = class_losses(logits, labels[0], attention_mask, self.class_weights_tensor)
        return {"loss_velocity": loss, "loss_gripper": None, "acc_velocity": accuracy}
