"""From coarse logits to fine ones without a decoder: affinity estimators and propagation of PKEcho-Net.

Paper: Wu et al., "Super-efficient echocardiography video segmentation via proxy- and kernel-based semi-supervised learning"
(AAAI 2023), "Multi-scale region proxy" and eq. 5. Every fine pixel is a convex mix of the 3x3 coarse pixels around its parent.

Channels of a map of affinities: neighbour x s^2 + child, both row by row; neighbours outside the map have no share. The paper
writes a map as ``M x M x (H h) x (W w)`` although its H x W is the finer size already: ``M x M x H x W`` is meant.

Propagation is written by hand, forward and backward, neighbour by neighbour: nine shifted copies of the fine map are never there
at once. ``benchmarks/propagation.py`` compares it with the restatement by ``unfold`` (:func:`propagate_unfolded`).

Shape: logits ``(N, K, h, w)``, affinities ``(N, 9 s^2, h, w)`` -> logits ``(N, K, s h, s w)``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

#: Neighbours of a pixel, row by row: (row, column) in the map padded by one.
NEIGHBOURS = tuple(divmod(j, 3) for j in range(9))


class AffinityEstimator(nn.Module):
    """Which of the 3x3 pixels around it every fine pixel takes after: depth-wise 3x3, (batch norm), ReLU, convolution.

    Args:
        channels: of the encoder's map.
        factor: s, how many times finer the other map is.
        norm: batch norm after the depth-wise convolution (released; the paper names none).
        kernel: size of the second convolution: 3, or 1 for the vanilla region proxy, whose 9 x 32^2 outputs would otherwise take
            170 million weights.
    """

    def __init__(self, channels: int, factor: int, *, norm: bool = True, kernel: int = 3) -> None:
        super().__init__()
        self.factor = factor
        self.spread = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.norm = nn.BatchNorm2d(channels) if norm else nn.Identity()
        self.mix = nn.Conv2d(channels, 9 * factor * factor, kernel, padding=kernel // 2)
        for convolution in (self.spread, self.mix):
            nn.init.kaiming_normal_(convolution.weight)
        nn.init.zeros_(self.mix.bias)

    def forward(self, features: Tensor, chosen: Tensor | None = None) -> Tensor:
        """``(N, C, h, w)`` -> affinities before the softmax, ``(N or n, 9 s^2, h, w)``.

        Args:
            features: map of all frames; the batch norm sees them all.
            chosen: ``(n,)`` int64, frames whose affinities are wanted; None: all.
        """
        spread = F.relu(self.norm(self.spread(features)))
        return self.mix(spread if chosen is None else spread[chosen])


def propagate(logits: Tensor, affinities: Tensor, factor: int) -> Tensor:
    """Coarse logits on a finer map, each fine pixel a convex mix of its parent's neighbours (eq. 5).

    Args:
        logits: ``(N, K, h, w)``; all K maps of a frame take the same affinities.
        affinities: ``(N, 9 s^2, h, w)`` before the softmax over the neighbours inside the map.
        factor: s.

    Returns:
        ``(N, K, s h, s w)`` float32 (float64 where the logits are).
    """
    wide = logits if logits.dtype == torch.float64 else logits.float()
    if torch.is_grad_enabled() and (logits.requires_grad or affinities.requires_grad):
        fine = _Propagation.apply(wide, affinities.to(wide.dtype), factor)
    else:
        weights, total = _weights(affinities.to(wide.dtype), factor)
        fine = _mix(wide, weights).div_(total[:, None])
    return F.pixel_shuffle(fine.flatten(1, 2), factor)


def propagate_unfolded(logits: Tensor, affinities: Tensor, factor: int) -> Tensor:
    """:func:`propagate` as one would write it down: nine shifted copies, a masked softmax, a sum. For tests and comparison."""
    batch, maps, height, width = logits.shape
    inside = F.unfold(torch.ones_like(logits[:1, :1]), 3, padding=1).view(1, 9, 1, height, width) > 0
    weights = affinities.view(batch, 9, factor * factor, height, width).masked_fill(~inside, -torch.inf).softmax(1)
    copies = F.unfold(logits, 3, padding=1).view(batch, maps, 9, 1, height, width)
    fine = (weights[:, None] * copies).sum(2)                                      # (N, K, s^2, h, w)
    return F.pixel_shuffle(fine.flatten(1, 2), factor)


def shares(affinities: Tensor, factor: int) -> Tensor:
    """The mixing weights ``(N, 9, s^2, h, w)`` of affinities ``(N, 9 s^2, h, w)``; they sum to 1 over the neighbours."""
    weights, total = _weights(affinities, factor)
    return weights / total[:, None]


def _weights(affinities: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """exp of affinities minus their largest, 0 outside the map: ``(N, 9, s^2, h, w)``; and their sums ``(N, s^2, h, w)``."""
    batch, _, height, width = affinities.shape
    weights = affinities.reshape(batch, 9, factor * factor, height, width).clone()
    for j, (row, column) in enumerate(NEIGHBOURS):  # before the largest is taken: one outside would drown those inside
        if row != 1:
            weights[:, j, :, 0 if row == 0 else -1] = -torch.inf
        if column != 1:
            weights[:, j, :, :, 0 if column == 0 else -1] = -torch.inf
    weights.sub_(weights.amax(1, keepdim=True)).exp_()
    return weights, weights.sum(1)


def _mix(logits: Tensor, weights: Tensor) -> Tensor:
    """sum_j weights_j x (logits shifted to neighbour j): ``(N, K, s^2, h, w)``."""
    (batch, maps, height, width), children = logits.shape, weights.shape[2]
    padded = F.pad(logits, (1, 1, 1, 1))
    fine = logits.new_zeros(batch, maps, children, height, width)
    for j, (row, column) in enumerate(NEIGHBOURS):
        fine.addcmul_(weights[:, None, j], padded[:, :, None, row:row + height, column:column + width])
    return fine


class _Propagation(torch.autograd.Function):
    """Softmax and mixture in one, so that the backward pass keeps the shares and nothing else of their size."""

    @staticmethod
    def forward(ctx, logits: Tensor, affinities: Tensor, factor: int) -> Tensor:
        weights, total = _weights(affinities, factor)
        weights.div_(total[:, None])
        fine = _mix(logits, weights)
        ctx.save_for_backward(logits, weights, fine)
        return fine

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        logits, weights, fine = ctx.saved_tensors
        height, width = logits.shape[2:]
        padded = F.pad(logits, (1, 1, 1, 1))
        of_logits, of_affinities = torch.zeros_like(padded), torch.empty_like(weights)
        mean = (gradient * fine).sum(1)                                             # (N, s^2, h, w)
        for j, (row, column) in enumerate(NEIGHBOURS):
            window = (..., slice(row, row + height), slice(column, column + width))
            pull = (gradient * padded[window][:, :, None]).sum(1)
            of_affinities[:, j] = pull.sub_(mean).mul_(weights[:, j])               # of the softmax
            of_logits[window] += (gradient * weights[:, None, j]).sum(2)
        return of_logits[..., 1:-1, 1:-1], of_affinities.flatten(1, 2), None
