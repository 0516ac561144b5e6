"""The authors' checkpoints of the 3D U-Net, brought to our layout.

A released checkpoint is a PyTorch Lightning file: entry ``state_dict``, keys ``model.<name>``. Its network sees a clip as
(H, W, T), ours as (T, H, W), so each 3-D kernel is permuted; all other tensors are the same. Only plain tensors are
accepted: a checkpoint that carries pickled objects is refused before any of it runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from echolib.errors import WeightsError
from echolib.models.unet3d import UNITS, UNet3D
from echolib.models.weights import load_plain, misfit

PREFIX = "model."


def load_released(path: str | Path, name: str = "unet3d") -> dict[str, Tensor]:
    """Read a released checkpoint.

    Args:
        path: Lightning checkpoint (``.ckpt``).
        name: ``unet3d`` or ``unet3d_s``.

    Returns:
        state dict for ``build(name)``, width 1, one output channel, float32 on the CPU.

    Raises:
        WeightsError: the file is missing, is no Lightning checkpoint, holds anything but plain tensors, or its names or
            shapes are not those of the network (they are named).
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"no checkpoint {path.name!r}")
    content = load_plain(path)
    state = content.get("state_dict") if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping):
        raise WeightsError(f"{path.name}: no entry 'state_dict'; expected a Lightning checkpoint")
    ours = {}
    for key, tensor in state.items():
        if not isinstance(tensor, Tensor) or not isinstance(key, str):
            raise WeightsError(f"{path.name}: state_dict[{key!r}] is a {type(tensor).__name__}; expected a tensor")
        if not tensor.is_floating_point() or tensor.layout != torch.strided:
            raise WeightsError(f"{path.name}: state_dict[{key!r}] is {tensor.dtype}; expected a dense float tensor")
        if not key.startswith(PREFIX):
            raise WeightsError(f"{path.name}: unexpected key {key!r}; expected '{PREFIX}<name>'")
        ours[key.removeprefix(PREFIX)] = to_time_first(tensor).float()
    with torch.device("meta"):  # names and shapes without the memory
        expected = UNet3D(UNITS[name]).state_dict()
    complaint = misfit(expected, ours)
    if complaint:
        raise WeightsError(f"{path.name}: not a checkpoint of {name}: {complaint}")
    return ours


def to_time_first(tensor: Tensor) -> Tensor:
    """Kernels ``(a, b, H, W, T)`` -> ``(a, b, T, H, W)``; tensors of any other rank are returned as they are."""
    return tensor.permute(0, 1, 4, 2, 3).contiguous() if tensor.ndim == 5 else tensor


def to_time_last(tensor: Tensor) -> Tensor:
    """The inverse of :func:`to_time_first`: ``(a, b, T, H, W)`` -> ``(a, b, H, W, T)``."""
    return tensor.permute(0, 1, 3, 4, 2).contiguous() if tensor.ndim == 5 else tensor
