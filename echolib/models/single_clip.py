"""Fast convolutions for one clip on the CPU.

For small inputs of one clip torch leaves oneDNN and takes a native 3-D convolution: one clip of 32 frames then costs a
narrow 3D U-Net (width 0.25) five times and the published one 1.6 times what it costs through oneDNN, more than two clips
together. Results differ by rounding.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.overrides import TorchFunctionMode


class SingleClip(TorchFunctionMode):
    """Inside this context 3-D convolutions of one clip go through oneDNN: CPU, float32, no gradient; all else is as ever."""

    def __torch_function__(self, function: Callable, types: object, args: tuple = (), kwargs: dict | None = None) -> object:
        if function is torch.nn.functional.conv3d and not kwargs and len(args) == 7 and _slow(args[0], args[4]):
            clip, weight, bias, stride, padding, dilation, groups = args  # as nn.Conv3d calls it
            return torch.mkldnn_convolution(clip, weight, bias, padding, stride, dilation, groups)
        return function(*args, **(kwargs or {}))


def _slow(clip: torch.Tensor, padding: object) -> bool:
    return (clip.ndim == 5 and clip.shape[0] == 1 and clip.device.type == "cpu" and clip.dtype == torch.float32
            and not isinstance(padding, str) and not torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")
            and torch.backends.mkldnn.is_available())
