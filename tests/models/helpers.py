"""Small versions of every network for the shared tests: width 1/8, 64x64 px frames, as few frames as each can take."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor, nn

from echolib import models

SIZE = 64
FRAMES = {"unet3d": 16, "unet3d_s": 16, "unet3d_frames": 16, "si_uniformer_s": 4, "si_resnet18": 4, "si_mobilenetv3": 4,
          "si_vit_b16": 4, "deeplabv3_r50": 2, "nnunet2d": 2, "nnunet25d": 3, "nnunet25d_far": 9,
          "pkecho_r18": 4, "pkecho_r34": 4, "pkecho_r50": 4, "sscf": 3, "sscf_base": 3, "sscf_tce": 3, "sscf_bssf": 3}
FRAME_WISE = ("deeplabv3_r50", "nnunet2d")


def small(name: str, *, width: float = 0.125, seed: int = 0, **options) -> nn.Module:
    return models.build(name, width=width, frames=FRAMES[name], size=SIZE, seed=seed, **options)


def clip(name: str, *, batch: int = 1, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, FRAMES[name], SIZE, SIZE, generator=generator)


class Planted:
    """Unpickling this makes a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)
