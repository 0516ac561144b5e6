"""A 2-D network that sees each frame together with the one before and the one after: the small video network of the package.

Not from a paper: speckle changes from frame to frame and the endocardium does not, so three successive frames tell a border
from noise at the cost of one. The three colour channels of a 2-D network take the three frames; colour itself is not used.

Shape: clip ``(B, 3, F, H, W)`` -> logits ``(B, out, F, H, W)``, any F >= 1; the first and last frame stand in for the
neighbour that they lack.
"""

from __future__ import annotations

import torch
from torch import Tensor

from echolib.models.framewise import Wrapped2D


class WithNeighbours(Wrapped2D):
    """Stack every frame with its two neighbours, segment, unfold."""

    reach = 1

    def forward(self, clip: Tensor) -> Tensor:
        """``(B, 3, F, H, W)`` normalised, three equal channels -> logits ``(B, out, F, H, W)``."""
        batch, _, frames, height, width = map(int, clip.shape)
        grey = clip[:, 1]                                                               # (B, F, H, W)
        before = torch.cat([grey[:, :1], grey[:, :-1]], 1)
        after = torch.cat([grey[:, 1:], grey[:, -1:]], 1)
        images = torch.stack([before, grey, after], 2).reshape(batch * frames, 3, height, width)
        logits = self.network(images)                                                   # (B F, out, H, W)
        return logits.reshape(batch, frames, -1, height, width).transpose(1, 2).contiguous()
