"""The plain path: augmentation one clip after the other, frame by frame, with OpenCV, one operation per line.

``engine: plain`` trains through this file. It says what each operation *is*; :mod:`echolib.data.augment` (``engine: fast``)
does the same to a whole batch with look-up tables or on a GPU. Both take the same :class:`~echolib.data.draws.Draw`, and
the tests compare them number by number. Nothing here is clever: change it only where the operation itself changes.
"""

from __future__ import annotations

import cv2
import numpy as np

from echolib.data.augment import source_positions
from echolib.data.draws import Draw

_TILES = (8, 8)


def augment_clip(frames: np.ndarray, mask: np.ndarray | None, draw: Draw) -> tuple[np.ndarray, np.ndarray | None]:
    """Jitter, CLAHE, rotate, pad and crop one clip and its mask, each frame for itself.

    Args:
        frames: ``(F, H, W, C)`` uint8, C 1 (grey) or 3 (RGB).
        mask: ``(H, W)`` or ``(n, H, W)`` bool, or None.
        draw: what happens to the clip.

    Returns:
        ``(F, H, W, C)`` float32 in [0, 1], and the mask or masks.
    """
    out = []
    for frame in frames:
        colour = np.repeat(frame, 3 // frame.shape[2], axis=2).astype(np.float32) / 255
        colour = jitter(colour, draw)
        if draw.clahe is not None:
            colour = equalise(colour, draw.clahe)
        out.append(rotate_pad_crop(colour, draw)[..., :frame.shape[2]])
    clip = np.stack(out)
    if mask is not None:
        mask = turn_mask(mask, draw) if mask.ndim == 2 else np.stack([turn_mask(one, draw) for one in mask])
    if draw.flip:
        clip, mask = clip[:, :, ::-1], None if mask is None else mask[..., ::-1]
    return clip, mask


def jitter(frame: np.ndarray, draw: Draw) -> np.ndarray:
    """Brightness, contrast, saturation and hue of ``frame (H, W, 3)`` float32 in [0, 1], in the order drawn."""
    for operation in draw.order:
        grey = frame @ np.float32([0.299, 0.587, 0.114])
        if operation == 0:
            frame = frame * draw.brightness
        elif operation == 1:
            frame = frame * draw.contrast + grey.mean() * (1 - draw.contrast)
        elif operation == 2:
            frame = frame * draw.saturation + grey[..., None] * (1 - draw.saturation)
        elif draw.hue != 0:
            hsv = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV)
            hsv[..., 0] = (hsv[..., 0] + 360 * draw.hue) % 360
            frame = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
        frame = np.clip(frame, 0, 1).astype(np.float32)
    return frame


def equalise(frame: np.ndarray, limit: float) -> np.ndarray:
    """CLAHE of the lightness of ``frame (H, W, 3)`` float32 in [0, 1]; lightness has 256 levels.

    The sRGB curve is applied here: OpenCV's own (``COLOR_RGB2LAB``) is interpolated, and a level off for half of all colours.
    """
    linear = np.where(frame <= 0.04045, frame / 12.92, ((frame + 0.055) / 1.055) ** 2.4).astype(np.float32)
    lab = cv2.cvtColor(linear, cv2.COLOR_LRGB2LAB)
    lightness = np.rint(lab[..., 0] * 2.55).clip(0, 255).astype(np.uint8)
    lab[..., 0] = cv2.createCLAHE(limit, _TILES).apply(lightness) / 2.55
    linear = cv2.cvtColor(lab, cv2.COLOR_LAB2LRGB).clip(0, 1)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055).astype(np.float32)


def rotate_pad_crop(frame: np.ndarray, draw: Draw) -> np.ndarray:
    """Rotate ``frame (H, W, C)`` about its centre, pad with black, crop at the place drawn."""
    height, width = frame.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), draw.degrees, 1)
    turned = cv2.warpAffine(frame, matrix, (width, height), flags=cv2.INTER_LINEAR)
    down, right = draw.shift
    pad = max(abs(down), abs(right))
    padded = cv2.copyMakeBorder(turned, pad, pad, pad, pad, cv2.BORDER_CONSTANT)
    return padded[pad + down:pad + down + height, pad + right:pad + right + width]


def turn_mask(mask: np.ndarray, draw: Draw) -> np.ndarray:
    """The same for ``mask (H, W)`` bool: every pixel takes the nearest one of where it came from, or False."""
    height, width = mask.shape
    y, x, inside = (a.numpy()[0] for a in source_positions([draw], height, width))
    row, column = np.rint(y).astype(int), np.rint(x).astype(int)
    inside = inside & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return inside & mask[row.clip(0, height - 1), column.clip(0, width - 1)]
