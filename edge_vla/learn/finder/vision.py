"""Finder's eye: a convolutional stem, a dense detector on its 14x14 features, and tokens that carry both."""

import torch
from torch import Tensor, nn

GRID = 14


def conv(c_in: int, c_out: int, *, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(c_out), nn.ReLU(inplace=True))


class Residual(nn.Module):
    """Two 3x3 convolutions around a skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = conv(width, width)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.second(self.first(x)))


class Block(nn.Module):
    """Pre-norm self-attention and MLP over the 196 patches."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 3 * width), nn.GELU(approximate="tanh"), nn.Linear(3 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        # written out: torch's fused CPU attention is slower here, mostly in its backward pass
        weight = torch.softmax(q @ k.transpose(-1, -2) * (d // self.heads) ** -0.5, -1).to(v.dtype)
        x = x + self.out((weight @ v).transpose(1, 2).reshape(b, n, d))
        return x + self.mlp(self.norm2(x))


class Vision(nn.Module):
    """(B, 3, 224, 224) in -1..1 to patch features, per-patch class logits and boxes, and free distances."""

    def __init__(self, classes: int, columns: int, width: int = 192, layers: int = 4, free_cap_m: float = 4.0) -> None:
        super().__init__()
        self.free_cap_m = free_cap_m
        self.stem = nn.Sequential(
            conv(3, 32, stride=2), conv(32, 48, stride=2), Residual(48),
            conv(48, 96, stride=2), Residual(96), Residual(96),
            conv(96, width, stride=2), Residual(width), Residual(width),
        )  # fmt: skip
        self.position = nn.Parameter(torch.randn(1, GRID * GRID, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, width // 32) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        says = nn.Linear(width, classes + 4)
        nn.init.constant_(says.bias[:classes], -4.0)  # 2 % of patches belong to a class
        self.dense = nn.Sequential(nn.Linear(width, width), nn.GELU(approximate="tanh"), says)
        self.classes = classes
        centre = (torch.arange(GRID) + 0.5) / GRID
        y, x = torch.meshgrid(centre, centre, indexing="ij")
        self.centre: Tensor
        self.register_buffer("centre", torch.stack([y, x], -1).reshape(1, GRID * GRID, 2), persistent=False)
        self.column = nn.Sequential(nn.Linear(GRID * 32, 128), nn.GELU(approximate="tanh"))
        self.squeeze = nn.Linear(width, 32)
        self.spread = nn.Linear(GRID * 128, columns)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns features (B, 196, width), class logits (B, 196, C), boxes (B, 196, 4) y0 x0 y1 x1, free (B, columns) m."""
        x = self.stem(image).flatten(2).transpose(1, 2) + self.position
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        dense = self.dense(x)
        logits, raw = dense[..., : self.classes], dense[..., self.classes :].float()
        reach = nn.functional.softplus(raw) * 0.2
        centre = self.centre.to(reach)
        boxes = torch.cat([centre - reach[..., :2], centre + reach[..., 2:]], -1)
        return x, logits.float(), boxes, self._free(x)

    def _free(self, x: Tensor) -> Tensor:
        b = x.shape[0]
        columns = self.squeeze(x).reshape(b, GRID, GRID, 32).transpose(1, 2).reshape(b, GRID, GRID * 32)
        return self.free_cap_m * torch.sigmoid(self.spread(self.column(columns).reshape(b, -1)).float())
