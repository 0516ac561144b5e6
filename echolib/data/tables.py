"""The fast path's augmentation on the CPU (``engine: fast``): frame by frame, so that a frame stays in the cache.

A grey frame has 256 levels, so brightness, contrast and the lightness that CLAHE works on are one table of 256 entries per
frame, and what CLAHE gives back is another: pixels are looked up, not computed. Three equal channels are grey, too. A colour
frame goes through OpenCV, in place. Rotation, padding and cropping are one affine look-up. :mod:`echolib.data.plain` says what
each operation is.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import torch
from torch import Tensor

from echolib.data.clahe import BINS, grey_of_lightness, lightness_level, srgb_of_linear
from echolib.data.draws import LUMA, Draw


def augmented(frames: np.ndarray, draws: list[Draw]) -> Tensor:
    """``(B, F, H, W, C)`` uint8 -> ``(B, C, F, H, W)`` float32 in [0, 1], C 1 or 3."""
    batch, count, height, width, channels = frames.shape
    out = np.empty((batch, channels, count, height, width), np.float32)
    for clip, one, place in zip(frames, draws, out, strict=True):
        if channels == 1:
            _grey_clip(clip, one, place)
        elif _is_grey(clip):
            _grey_clip(np.ascontiguousarray(clip[..., :1]), one, place[:1])
            place[1:] = place[0]
        else:
            _colour_clip(clip, one, place)
    return torch.from_numpy(out)


def _is_grey(clip: np.ndarray) -> bool:
    """Are the channels of ``clip (F, H, W, 3)`` equal? The first frame nearly always tells."""
    return all(np.array_equal(part[..., 0], part[..., k]) for part in (clip[:1], clip) for k in (1, 2))


def _grey_clip(clip: np.ndarray, one: Draw, place: np.ndarray) -> None:
    """``clip (F, H, W, 1)`` into ``place (1, F, H, W)``."""
    values = _grey_values(clip, one)
    if one.clahe is not None:
        into = lightness_level(torch.from_numpy(values)).to(torch.uint8).numpy()
        back = _greys()
        engine = cv2.createCLAHE(one.clahe, (8, 8))
        seen = [cv2.LUT(engine.apply(cv2.LUT(frame, table)), back) for frame, table in zip(clip, into, strict=True)]
    else:
        seen = [cv2.LUT(frame, table) for frame, table in zip(clip, values, strict=True)]
    for frame, target in zip(seen, place[0], strict=True):
        _turned(frame, one, target)


def _grey_values(clip: np.ndarray, one: Draw) -> np.ndarray:
    """``(F, 256)`` float32: what brightness and contrast, in the order drawn, make of each level in each frame."""
    values = np.broadcast_to(np.arange(BINS, dtype=np.float32) / (BINS - 1), (len(clip), BINS))
    for operation in one.order:
        if operation == 0:
            values = (values * np.float32(one.brightness)).clip(0, 1)
        elif operation == 1 and one.contrast != 1:
            counts = np.stack([cv2.calcHist([frame], [0], None, [BINS], [0, BINS]).ravel() for frame in clip])
            mean = np.einsum("fl,fl->f", counts, values, dtype=np.float64)[:, None] / (clip.shape[1] * clip.shape[2])
            values = (values * np.float32(one.contrast) + np.float32(mean * (1 - one.contrast))).clip(0, 1)
    return np.ascontiguousarray(values)


def _colour_clip(clip: np.ndarray, one: Draw, place: np.ndarray) -> None:
    """``clip (F, H, W, 3)`` into ``place (3, F, H, W)``."""
    engine = None if one.clahe is None else cv2.createCLAHE(one.clahe, (8, 8))
    for k, frame in enumerate(clip):
        colour = _jittered(cv2.LUT(frame, _LEVELS), one)
        if engine is not None:
            lab = cv2.cvtColor(_linear(colour), cv2.COLOR_LRGB2LAB)
            lightness = engine.apply(cv2.convertScaleAbs(cv2.extractChannel(lab, 0), alpha=2.55))
            cv2.insertChannel(cv2.LUT(lightness, _LIGHTNESS), lab, 0)
            colour = _gamma(cv2.cvtColor(lab, cv2.COLOR_LAB2LRGB))
        turned = np.empty_like(colour)
        _turned(colour, one, turned)
        cv2.split(turned, list(place[:, k]))


_LEVELS = np.arange(BINS, dtype=np.float32) / (BINS - 1)
_LIGHTNESS = (np.arange(BINS) / 2.55).astype(np.float32)


def _jittered(frame: np.ndarray, one: Draw) -> np.ndarray:
    """Brightness, contrast, saturation and hue of ``frame (H, W, 3)`` float32, in the order drawn."""
    for operation in one.order:
        if operation == 0 and one.brightness != 1:
            frame *= np.float32(one.brightness)
        elif operation == 1 and one.contrast != 1:
            level = float(np.dot(cv2.mean(frame)[:3], LUMA))
            frame *= np.float32(one.contrast)
            frame += np.float32(level * (1 - one.contrast))
        elif operation == 2 and one.saturation != 1:
            frame = cv2.transform(frame, one.saturation * np.eye(3) + (1 - one.saturation) * np.tile(LUMA, (3, 1)))
        elif operation == 3 and one.hue != 0:
            hsv = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV)
            turned = cv2.add(hsv, (360 * (one.hue % 1), 0, 0, 0))  # 360 degrees and more are full turns to OpenCV
            frame = cv2.cvtColor(turned, cv2.COLOR_HSV2RGB)
        else:
            continue
        np.clip(frame, 0, 1, out=frame)
    return frame


def _linear(frame: np.ndarray) -> np.ndarray:
    """Linear light of sRGB values in [0, 1]. Computed, not looked up: CLAHE turns a rounded value into another level."""
    linear = cv2.pow((frame + np.float32(0.055)) * np.float32(1 / 1.055), 2.4)
    np.multiply(frame, np.float32(1 / 12.92), out=linear, where=frame <= 0.04045)
    return linear


def _gamma(linear: np.ndarray) -> np.ndarray:
    """sRGB values of linear light, which is clipped to [0, 1]; a table of 65,536 entries, within 0.03 grey levels."""
    return cv2.LUT(cv2.multiply(linear, (65535.0,) * 4, dtype=cv2.CV_16U), _gammas())


@cache
def _gammas() -> np.ndarray:
    return srgb_of_linear(torch.arange(65536, dtype=torch.float64) / 65535).float().numpy()


@cache
def _greys() -> np.ndarray:
    """(256,) float32: the grey of each lightness level."""
    return grey_of_lightness(torch.device("cpu")).numpy()


def _turned(frame: np.ndarray, one: Draw, place: np.ndarray) -> None:
    """Rotate, pad with black and crop ``frame (H, W)`` or ``(H, W, 3)`` float32 into ``place``."""
    down, right = one.shift
    if one.degrees == 0 and one.shift == (0, 0):
        place[...] = frame
        return
    height, width = frame.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), one.degrees, 1)
    matrix[:, 2] -= (right, down)  # the crop starts there
    cv2.warpAffine(frame, matrix, (width, height), dst=place, flags=cv2.INTER_LINEAR)
    place[max(0, height - down):] = 0  # beyond the rotated frame
    place[:max(0, -down)] = 0
    place[:, max(0, width - right):] = 0
    place[:, :max(0, -right)] = 0
