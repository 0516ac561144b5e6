"""A training clip read and augmented as a good engineer writes it: OpenCV on bytes, the operations that albumentations uses.

The reference of ``read_augment``. Of an AVI no frame is decoded but those of the clip: Motion-JPEG frames stand alone, so the
ones before are skipped. Every operation is the one that albumentations 1.3.1 calls for 8-bit colour frames (look-up tables for
brightness, contrast and hue, ``addWeighted`` for saturation, OpenCV's own L*a*b* for CLAHE, an affine warp, a copy onto black);
called directly they give its pixels, brightness to within a level, without its checks and copies. ``pip install
albumentations`` gives version 2 by now, which takes three times as long as version 1.3.1 for the same clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from echolib.config import ECHONET_MEAN, ECHONET_STD
from echolib.data.draws import Draw

_LEVELS = np.arange(256, dtype=np.float32)
_TILES = (8, 8)


def read(path: Path, start: int, count: int) -> list[np.ndarray]:
    """``count`` frames of a Motion-JPEG AVI from ``start`` on, each ``(H, W, 3)`` uint8, RGB."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_OPENCV_MJPEG)
    for _ in range(start):
        capture.grab()
    frames = [capture.read()[1] for _ in range(count)]
    return [cv2.cvtColor(frame, cv2.COLOR_BGR2RGB) for frame in frames]


def augment(frames: Sequence[np.ndarray], mask: np.ndarray, draw: Draw) -> tuple[np.ndarray, np.ndarray]:
    """Jitter, CLAHE, rotation, padding and crop, each frame for itself, and the mask.

    Args:
        frames: each ``(H, W, 3)`` uint8, RGB.
        mask: ``(H, W)`` bool.
        draw: what happens to the clip.

    Returns:
        ``(F, H, W, 3)`` uint8, and the mask, ``(H, W)`` bool.
    """
    height, width = frames[0].shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), draw.degrees, 1)
    clahe = None if draw.clahe is None else cv2.createCLAHE(draw.clahe, _TILES)
    down, right = draw.shift
    to = np.s_[max(0, -down):height - max(0, down), max(0, -right):width - max(0, right)]
    of = np.s_[max(0, down):height - max(0, -down), max(0, right):width - max(0, -right)]
    out = np.zeros((len(frames), height, width, 3), np.uint8)
    for frame, room in zip(frames, out, strict=True):
        frame = _jitter(frame, draw)
        if clahe is not None:
            lab = cv2.cvtColor(frame, cv2.COLOR_RGB2LAB)
            cv2.insertChannel(clahe.apply(cv2.extractChannel(lab, 0)), lab, 0)
            frame = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
        room[to] = cv2.warpAffine(frame, matrix, (width, height), flags=cv2.INTER_LINEAR)[of]
    turned = np.zeros((height, width), bool)
    turned[to] = cv2.warpAffine(mask.view(np.uint8), matrix, (width, height), flags=cv2.INTER_NEAREST)[of]
    return out, turned


def normalise(clip: np.ndarray) -> Tensor:
    """``(F, H, W, 3)`` uint8 -> ``(3, F, H, W)`` float32, zero mean and unit deviation for each colour."""
    out = np.ascontiguousarray(clip.transpose(3, 0, 1, 2)).astype(np.float32)
    out -= 255 * np.float32(ECHONET_MEAN)[:, None, None, None]
    out *= 1 / (255 * np.float32(ECHONET_STD)[:, None, None, None])
    return torch.from_numpy(out)


def _jitter(frame: np.ndarray, draw: Draw) -> np.ndarray:
    """Brightness, contrast, saturation and hue in the order drawn; what changes nothing is left out."""
    for operation in draw.order:
        if operation == 0 and draw.brightness != 1:
            frame = cv2.LUT(frame, _table(_LEVELS * draw.brightness))
        elif operation == 1 and draw.contrast != 1:
            mean = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).mean()
            frame = cv2.LUT(frame, _table(_LEVELS * draw.contrast + mean * (1 - draw.contrast)))
        elif operation == 2 and draw.saturation != 1:
            grey = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
            frame = cv2.addWeighted(frame, draw.saturation, grey, 1 - draw.saturation, 0)
        elif operation == 3 and draw.hue != 0:
            hsv = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV)
            turned = cv2.LUT(cv2.extractChannel(hsv, 0), np.mod(_LEVELS + 180 * draw.hue, 180).astype(np.uint8))
            cv2.insertChannel(turned, hsv, 0)
            frame = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return frame


def _table(levels: np.ndarray) -> np.ndarray:
    return np.clip(levels, 0, 255).astype(np.uint8)
