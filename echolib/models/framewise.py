"""A 2-D network that segments each frame by itself: how the frame-wise baselines take a clip.

Shape: clip ``(B, 3, F, H, W)`` -> logits ``(B, out, F, H, W)``, any F >= 1.
"""

from __future__ import annotations

from torch import Tensor, nn


class Wrapped2D(nn.Module):
    """A network of clips with a 2-D network inside; subclasses say how the clip becomes images.

    Args:
        network: 2-D network, ``(N, 3, Y, X)`` -> ``(N, out, Y, X)``, with attributes ``head`` and ``unused``.

    Attributes:
        reach: how many frames before and after a frame change its logits; None: all of the clip's.
    """

    reach: int | None = None

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.head = tuple(f"network.{name}" for name in network.head)
        self.unused = tuple(f"network.{name}" for name in network.unused)

    @property
    def encoder(self) -> nn.Module:
        """The part that ImageNet weights belong to."""
        return self.network.encoder


class FrameWise(Wrapped2D):
    """Fold the frames into the batch, segment, unfold. The inner network's ``deepest`` gives the encoder's last maps."""

    reach = 0

    def forward(self, clip: Tensor, *, features: bool = False) -> Tensor:
        """``(B, 3, F, H, W)`` normalised -> logits ``(B, out, F, H, W)``; with ``features`` the encoder's alone, the mean over
        the positions of its last maps: ``(B, d, F)``."""
        batch, channels, frames, height, width = map(int, clip.shape)
        images = clip.transpose(1, 2).reshape(batch * frames, channels, height, width)   # (B F, 3, H, W)
        if features:
            return self.network.deepest(images).mean((2, 3)).reshape(batch, frames, -1).transpose(1, 2)
        logits = self.network(images)
        return logits.reshape(batch, frames, -1, height, width).transpose(1, 2).contiguous()
