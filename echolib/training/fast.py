"""What ``engine: fast`` does to a network for speed: memory layout, compilation, a fused optimiser. ``plain`` does nothing.

None of it changes what is computed, only how sums are ordered and rounded. On the CPU the 3D U-Nets and the super images'
UniFormer and ViT are laid out channels-last, where their convolutions are faster (``benchmarks/train_step.py`` measures the
whole step). Other networks of 2-D convolutions stay channels-first there: in torch 2.15 the backward pass of a strided 1x1
convolution with fewer than 16 channels in that layout writes outside its memory, and narrow ResNets have such convolutions.
With bfloat16 on a CPU, a 3-D convolution over fewer frames than its kernel is long stays in float32: there the gradient of its
weights, as torch 2.15 computes it on processors with AVX512-BF16, holds memory that nobody wrote. The lowest level of a 3D U-Net
on 32 frames has 2 of them under a kernel of 3.
Nothing is compiled on the CPU. On a GPU the network is compiled: without it, normalisation and activation are passes over
memory of their own. ``ECHOLIB_COMPILE=0`` switches that off.
"""

from __future__ import annotations

import importlib.util
import os
import shutil

import torch
from torch import Tensor, nn

from echolib.config.specs import OptimiserSpec, RunSpec

#: Networks that are channels-last on the CPU as well.
_ON_THE_CPU = ("unet3d", "unet3d_s", "si_uniformer_s", "si_vit_b16")


def build_optimiser(model: nn.Module, spec: OptimiserSpec, fast: bool = True) -> torch.optim.Optimizer:
    """AdamW, Adam or SGD over all parameters; ``fast``: one kernel for all of them (fused), else parameter by parameter."""
    how = {"fused": True} if fast else {"foreach": False}
    if spec.name == "sgd":
        return torch.optim.SGD(model.parameters(), lr=spec.lr, momentum=spec.momentum, weight_decay=spec.weight_decay, **how)
    kind = torch.optim.Adam if spec.name == "adam" else torch.optim.AdamW
    return kind(model.parameters(), lr=spec.lr, betas=spec.betas, weight_decay=spec.weight_decay, amsgrad=spec.amsgrad, **how)


def why_not_compiled(device: torch.device) -> str | None:
    """Why a network is not compiled, or None when it is."""
    if device.type != "cuda":
        return "only on a GPU"
    if os.environ.get("ECHOLIB_COMPILE", "1") == "0":
        return "switched off by ECHOLIB_COMPILE=0"
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed (pip install triton), so steps take longer"
    if not any(shutil.which(name) for name in (os.environ.get("CC") or "cc", "gcc", "clang")):
        return "there is no C compiler (install gcc, or name one in CC), so steps take longer"
    return None


class Fast:
    """How one run's network is laid out and called.

    Attributes:
        channels_last: convolution weights and clips lie channels-last.
        how: a line of news that says what was done, and what was not and why.
    """

    def __init__(self, spec: RunSpec, model: nn.Module, device: torch.device) -> None:
        fast = spec.engine == "fast"
        self.channels_last = fast and (device.type == "cuda" or spec.model.name in _ON_THE_CPU)
        if self.channels_last:
            lay_out(model)
        if device.type == "cpu" and spec.precision == "bf16-mixed":
            spare_short_clips(model)
        reason = why_not_compiled(device) if fast else "engine plain"
        self._compile = reason is None
        self.how = (f"{'channels-last' if self.channels_last else 'channels-first'}, "
                    f"{'compiled (the first step takes minutes)' if reason is None else f'not compiled: {reason}'}, "
                    f"{'fused' if fast else 'unfused'} optimiser")

    def compiled(self, network: nn.Module) -> nn.Module:
        """The network to train with; it shares all weights with ``network``."""
        return torch.compile(network, dynamic=False) if self._compile else network

    def laid_out(self, clip: Tensor) -> Tensor:
        """``clip (B, 3, F, H, W)`` in the layout of the weights."""
        return clip.contiguous(memory_format=torch.channels_last_3d) if self.channels_last else clip


class _Conv3d(nn.Conv3d):
    """A 3-D convolution in float32 where the clip is shorter than the kernel, see the head of this module."""

    def forward(self, clip: Tensor) -> Tensor:
        """``(B, C, F, H, W)`` as :class:`torch.nn.Conv3d`."""
        if clip.shape[2] >= self.kernel_size[0]:
            return super().forward(clip)
        with torch.autocast(clip.device.type, enabled=False):
            return super().forward(clip.float())


def spare_short_clips(model: nn.Module) -> None:
    """Let the 3-D convolutions of a network leave bfloat16 where it is wrong, in place."""
    for module in model.modules():
        if type(module) is nn.Conv3d:
            module.__class__ = _Conv3d  # not a wrapper: copies of the network keep their own weights


def lay_out(model: nn.Module) -> None:
    """Convolution weights channels-last, in place: 5-D for 3-D networks, 4-D for 2-D ones."""
    for parameter in model.parameters():
        if parameter.ndim in (4, 5):
            layout = torch.channels_last if parameter.ndim == 4 else torch.channels_last_3d
            parameter.data = parameter.data.contiguous(memory_format=layout)
