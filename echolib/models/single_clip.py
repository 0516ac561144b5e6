"""Fast layers for one clip on the CPU, without a gradient. Results differ from torch's own by rounding.

Convolution: for small inputs of one clip torch leaves oneDNN and takes a native 3-D convolution: one clip of 32 frames then
costs a narrow 3D U-Net (width 0.25) five times and the published one 1.6 times what it costs through oneDNN, more than two
clips together. Under bfloat16 autocast torch takes oneDNN by itself.

Instance norm: torch computes it as a batch norm of a copy in which every channel lies together. For one clip the two norms
are the same thing, and batch norm takes a clip laid out channels-last as it is: without the copies the published 3D U-Net
in bfloat16 takes 0.53 s instead of 0.70 s per clip on one core.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class SingleClip(TorchFunctionMode):
    """Inside this context 3-D layers of one clip on the CPU, without a gradient, take the fast way; all else is as ever.

    Convolutions in float32 go through oneDNN; instance norms of a channels-last clip, unless they keep running statistics,
    become batch norms.
    """

    def __torch_function__(self, function: Callable, types: object, args: tuple = (), kwargs: dict | None = None) -> object:
        if function is functional.conv3d and not kwargs and len(args) == 7 and _slow(args[0], args[4]):
            clip, weight, bias, stride, padding, dilation, groups = args  # as nn.Conv3d calls it
            return torch.mkldnn_convolution(clip, weight, bias, padding, stride, dilation, groups)
        if function is functional.instance_norm and len(args) == 1 and kwargs["running_mean"] is None and _copied(args[0]):
            # as functional.instance_norm hands its own arguments on
            weight, bias, momentum, eps = (kwargs[name] for name in ("weight", "bias", "momentum", "eps"))
            return functional.batch_norm(args[0], None, None, weight, bias, True, momentum, eps)
        return function(*args, **(kwargs or {}))


def _one_clip(clip: torch.Tensor) -> bool:
    return clip.ndim == 5 and clip.shape[0] == 1 and clip.device.type == "cpu" and not torch.is_grad_enabled()


def _slow(clip: torch.Tensor, padding: object) -> bool:
    return (_one_clip(clip) and clip.dtype == torch.float32 and not isinstance(padding, str)
            and not torch.is_autocast_enabled("cpu") and torch.backends.mkldnn.is_available())


def _copied(clip: torch.Tensor) -> bool:
    return (_one_clip(clip) and clip.shape[2:].numel() > 1 and not clip.is_contiguous()
            and clip.is_contiguous(memory_format=torch.channels_last_3d))
