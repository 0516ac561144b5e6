"""A 2-D network that sees each frame together with some before and after it: the small video networks of the package.

Not from a paper: speckle changes from frame to frame and the endocardium does not, so successive frames tell a border from noise
at the cost of one; and what moves is the wall. The input channels of a 2-D network take the frames; colour itself is not used.
``nnunet25d`` sees the frame before and the frame after. ``nnunet25d_far`` sees five, two frames apart: 0.16 s at 50 frames a
second; in a trial of ten minutes that was no better (``results/weights/trials.json``).

Shape: clip ``(B, 3, F, H, W)`` -> logits ``(B, out, F, H, W)``, any F >= 1; the first and last frame stand in for those that are
not there.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from echolib.errors import ConfigError
from echolib.models.framewise import Wrapped2D

#: Network -> places of the frames that it sees, from the frame that is segmented.
OFFSETS = {"nnunet25d": (-1, 0, 1), "nnunet25d_far": (-4, -2, 0, 2, 4)}


class WithNeighbours(Wrapped2D):
    """Stack every frame with its neighbours, segment, unfold.

    Args:
        network: 2-D network, ``(N, len(offsets), Y, X)`` -> ``(N, out, Y, X)``.
        offsets: places of the frames that it sees, from the frame that is segmented.
    """

    def __init__(self, network: nn.Module, offsets: tuple[int, ...] = OFFSETS["nnunet25d"]) -> None:
        super().__init__(network)
        self.offsets, self.reach = offsets, max(map(abs, offsets))

    def forward(self, clip: Tensor) -> Tensor:
        """``(B, 3, F, H, W)`` normalised, three equal channels -> logits ``(B, out, F, H, W)``."""
        batch, _, frames, height, width = map(int, clip.shape)
        grey = clip[:, 1]                                                               # (B, F, H, W)
        seen = (torch.arange(frames)[:, None] + torch.tensor(self.offsets)).clamp(0, frames - 1)
        images = grey[:, seen.to(grey.device)].flatten(0, 1)                            # (B F, offsets, H, W)
        logits = self.network(images)                                                   # (B F, out, H, W)
        return logits.reshape(batch, frames, -1, height, width).transpose(1, 2).contiguous()


def farther(state: Mapping[str, Tensor], of: str, to: str) -> dict[str, Tensor]:
    """Weights of a network with neighbours for one that sees more frames, to start from.

    The kernels of its first convolution keep their order about the middle frame; those of frames farther out are 0.

    Args:
        state: of the network ``of``.
        of, to: networks of :data:`OFFSETS`.

    Returns:
        A state dict that fits ``to``.

    Raises:
        ConfigError: ``to`` sees fewer frames.
    """
    more = len(OFFSETS[to]) - len(OFFSETS[of])
    if more < 0:
        raise ConfigError(f"{of} sees more frames than {to}; expected weights of a network that sees as many or fewer")
    out = dict(state)
    first = "network.input_block.conv1.conv.weight"
    out[first] = F.pad(out[first], (0, 0, 0, 0, more // 2, more // 2))                  # (filters, offsets, 3, 3)
    return out
