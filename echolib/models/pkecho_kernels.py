"""Kernels that segment a clip, refined frame by frame, over the frames and over the videos of a batch: KSS of PKEcho-Net.

Paper: Wu et al. (AAAI 2023), "Kernel-based semi-supervised segmentation", eq. 1-4. A kernel is a 1x1 convolution, d numbers for
each frame and class; one :class:`KernelStage` takes a mask, sums the features under it (the *group*), lets kernel and group
attend to each other, kernels to those of the other frames, then to those of the other videos, and convolves again.

What the released network does and the text does not say is the default; ``hybrid="paper"`` is eq. 2. With one class there is one
query and one key, so the "hybrid attention" has nothing to choose: softmax of one number is 1, its query and key projections
decide nothing and get no gradient. They are kept for the count of parameters and are not computed.

Shapes: features ``(B, F, d, h, w)``, logits ``(B, F, c, h, w)``, kernels and groups ``(B, F, c, d)``.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Grouping = Literal["sum", "mean"]
Hybrid = Literal["released", "paper", "gate"]
Across = Literal["batch", "alone", "none"]


def grouped(features: Tensor, logits: Tensor, grouping: Grouping = "sum") -> Tensor:
    """Features under the soft mask (eq. 1): ``(B, F, c, d)``.

    ``sum`` (paper, released) grows with the size of the map; ``mean`` is over its pixels.
    """
    mask = logits.sigmoid()
    group = torch.einsum("bfchw,bfdhw->bfcd", mask, features)
    return group if grouping == "sum" else group / (mask.shape[-2] * mask.shape[-1])


class Attention(nn.Module):
    """One head of scaled dot-product attention (Vaswani et al. 2017), ``(N, n, d)`` looking at ``(N, m, d)``.

    Args:
        dimension: d.
        dropout: share of the attention weights that are dropped; with a single key, the whole message.
    """

    def __init__(self, dimension: int, dropout: float) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(dimension, dimension) for _ in range(4))
        self.dropout = dropout

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """``(N, n, d)``."""
        if key.shape[1] == 1:
            weights = torch.ones_like(query[..., :1])                               # softmax of one number
        else:
            weights = (self.query(query) @ self.key(key).transpose(1, 2) / query.shape[-1] ** 0.5).softmax(-1)
        return self.out(F.dropout(weights, self.dropout, self.training) @ self.value(value))


class Hybridisation(nn.Module):
    """Kernels and groups attend to each other within a frame: ``(N, c, d)`` each -> ``(N, c, d)`` (eq. 2).

    The second attention's residual is the first one's result, and a linear layer joins the two (released); with ``literal`` each
    has its own and they are added (eq. 2).
    """

    def __init__(self, dimension: int, dropout: float, literal: bool) -> None:
        super().__init__()
        self.of_kernel, self.of_group = Attention(dimension, dropout), Attention(dimension, dropout)
        self.norm_kernel, self.norm_group = nn.LayerNorm(dimension), nn.LayerNorm(dimension)
        self.dropout, self.literal = nn.Dropout(dropout), literal
        if not literal:
            self.join, self.norm = nn.Linear(dimension, dimension), nn.LayerNorm(dimension)

    def forward(self, kernel: Tensor, group: Tensor) -> Tensor:
        to_kernel = self.dropout(self.of_kernel(kernel, group, group))
        to_group = self.dropout(self.of_group(group, kernel, kernel))
        if self.literal:
            return self.norm_group(to_group + group) + self.norm_kernel(to_kernel + kernel)
        first = kernel + to_kernel
        second = first + to_group
        return F.relu(self.norm(self.join(self.norm_kernel(first) + self.norm_group(second))))


class Gate(nn.Module):
    """What stands in for the hybrid attention where it is switched off: the gates of K-Net (Zhang et al., NeurIPS 2021)."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.kernel, self.group = nn.Linear(dimension, dimension), nn.Linear(dimension, dimension)
        self.gates = nn.ModuleList(nn.Sequential(nn.Linear(dimension, dimension), nn.LayerNorm(dimension)) for _ in range(4))

    def forward(self, kernel: Tensor, group: Tensor) -> Tensor:
        both = self.group(group) * self.kernel(kernel)
        return self.gates[0](both).sigmoid() * self.gates[2](group) + self.gates[1](both).sigmoid() * self.gates[3](kernel)


class SelfAttention(nn.Module):
    """h = LN(h + drop(A(h, h, h))) over the middle axis of ``(N, n, d)``."""

    def __init__(self, dimension: int, dropout: float) -> None:
        super().__init__()
        self.attention, self.norm, self.dropout = Attention(dimension, dropout), nn.LayerNorm(dimension), nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.norm(tokens + self.dropout(self.attention(tokens, tokens, tokens)))


class KernelStage(nn.Module):
    """One refinement of the kernels and the masks that they make (eq. 1-4).

    Args:
        dimension: d, channels of the reduced features.
        classes: c.
        frames: of a clip, for the position embedding; 0 for a stage without one.
        hybrid: ``released``, ``paper`` (eq. 2), or ``gate`` (the ablation without hybrid attention).
        temporal: attention over the frames.
        across: ``none`` for a stage without attention over videos.
        ratio: inner width of the feed-forward network over d.
        bias: a bias of each class's mask (released).
        grouping: see :func:`grouped`.
        dropout: of attention weights, messages and the feed-forward network.
    """

    def __init__(self, dimension: int, classes: int, frames: int, *, hybrid: Hybrid, temporal: bool, across: Across, ratio: int,
                 bias: bool, grouping: Grouping, dropout: float) -> None:
        super().__init__()
        self.grouping = grouping
        self.hybrid = Gate(dimension) if hybrid == "gate" else Hybridisation(dimension, dropout, hybrid == "paper")
        self.position = nn.Parameter(torch.randn(1, frames, dimension)) if frames else None
        self.temporal = SelfAttention(dimension, dropout) if temporal else None
        self.videos = SelfAttention(dimension, dropout) if across != "none" else None
        self.inner = nn.Sequential(nn.Linear(dimension, ratio * dimension), nn.ReLU(), nn.Dropout(dropout),
                                   nn.Linear(ratio * dimension, dimension), nn.Dropout(dropout))
        self.norm = nn.LayerNorm(dimension)
        self.bias = nn.Parameter(torch.zeros(classes)) if bias else None

    def forward(self, features: Tensor, logits: Tensor, kernels: Tensor, together: bool) -> tuple[Tensor, Tensor]:
        """The refined kernels, and the logits ``(B, F, c, h, w)`` that they give.

        Args:
            features: ``(B, F, d, h, w)``.
            logits: of the stage before.
            kernels: of the stage before.
            together: kernels attend to those of the other videos of the batch; else each video is alone.
        """
        batch, frames, classes, dimension = kernels.shape
        group = grouped(features, logits, self.grouping)
        h = self.hybrid(kernels.flatten(0, 1), group.flatten(0, 1)).view(kernels.shape)
        if self.position is not None:
            h = h + self.position[:, :, None]  # not in place: h may be the output of a ReLU, which its gradient needs
        if self.temporal is not None:
            over_frames = h.transpose(1, 2).reshape(batch * classes, frames, dimension)
            h = self.temporal(over_frames).view(batch, classes, frames, dimension).transpose(1, 2)
        if self.videos is not None:
            tokens = h.reshape(batch, frames * classes, dimension)
            tokens = tokens.transpose(0, 1) if together else tokens.reshape(-1, 1, dimension)
            tokens = self.videos(tokens)
            h = (tokens.transpose(0, 1) if together else tokens).reshape(kernels.shape)
        h = self.norm(h + self.inner(h))
        return h, convolved(features, h, self.bias)


def convolved(features: Tensor, kernels: Tensor, bias: Tensor | None) -> Tensor:
    """Every frame's features under its own 1x1 kernels: logits ``(B, F, c, h, w)``."""
    logits = torch.einsum("bfcd,bfdhw->bfchw", kernels, features)
    return logits if bias is None else logits + bias.view(1, 1, -1, 1, 1)
