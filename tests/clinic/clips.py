"""A made-up clip with a known ventricle, and a stand-in network that finds it."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from echolib.clinic.weights import Segmenter

FPS = 50.0


def beating(frames: int = 60, height: int = 180, width: int = 240, *, period: float = 40.0, ejected: float = 0.25,
            seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(video (T, H, W) uint8, masks (T, H, W) bool): a dark ellipse that beats in bright speckle, inside a 90 degree cone.

    The radii shrink by ``ejected`` at end-systole; end-diastole is at frame 0, ``period``, ...
    """
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    down, aside = rows - 0.08 * height, columns - width / 2
    cone = (np.hypot(down, aside) < 0.88 * height) & (np.abs(aside) < down)
    video, masks = np.empty((frames, height, width), np.uint8), np.empty((frames, height, width), bool)
    for t in range(frames):
        shrink = 1 - ejected * (0.5 - 0.5 * np.cos(2 * np.pi * t / period))
        mask = ((down - 0.42 * height) / (0.24 * height * shrink)) ** 2 + (aside / (0.13 * height * shrink)) ** 2 < 1
        speckle = rng.rayleigh(np.where(mask, 4, 70), (height, width))
        video[t] = np.where(cone, np.clip(speckle, 0, 255), 0)
        masks[t] = mask
    return video, masks


class DarkRegion(nn.Module):
    """Logits are high where the picture is dark and bright tissue lies around: enough for the made-up clips."""

    def forward(self, clip: Tensor) -> Tensor:
        grey = clip[:, :1] * 0.196 + 0.128  # undo the normalisation, roughly
        flat = grey.transpose(1, 2).flatten(0, 1)
        near = F.avg_pool2d(flat, 5, 1, 2)
        wide = F.interpolate(F.avg_pool2d(F.avg_pool2d(flat, 8, 8), 7, 1, 3, count_include_pad=False), size=flat.shape[-2:])
        height, width = flat.shape[-2:]
        rows, columns = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
        middle = ((rows - 0.5) / 0.33) ** 2 + ((columns - 0.527) / 0.25) ** 2 < 1
        logits = 60 * (0.5 * wide - near).clamp(-0.2, 0.2) - 30 * (~middle)
        return logits.view(clip.shape[0], clip.shape[2], 1, height, width).transpose(1, 2)


def stand_in() -> Segmenter:
    """A network that needs no training."""
    return Segmenter(DarkRegion().eval(), frames=16, period=1, size=112, origin="a stand-in for tests", architecture="threshold",
                     trained_on="nothing.", sha256="0" * 16)
