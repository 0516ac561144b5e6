"""Grey levels of any depth as bytes: as they are, or through a window.

Numbers that all lie in 0-255 are grey levels as they are; numbers in 0-1 are shares of white. All others (12 bits of a scanner,
the signed 16 bits of a research file) need a window: the file's own where it has one, else the 0.5th to 99.5th percentile.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from echolib.clinic.result import Flag
from echolib.errors import DataError

#: Percentiles of a clip's pixels that become black and white.
WINDOW = (0.5, 99.5)
#: Pixels looked at for the percentiles, about.
_LOOKED_AT = 2_000_000


@dataclass(frozen=True)
class Levels:
    """``low`` becomes 0 and ``high`` 255; ``note`` says where the two come from, None where nothing had to be decided."""

    low: float = 0.0
    high: float = 255.0
    note: Flag | None = None

    @property
    def notes(self) -> list[Flag]:
        return [] if self.note is None else [self.note]

    def rgb(self, pixels: np.ndarray) -> np.ndarray:
        """(H, W), (H, W, 1) or (H, W, 3) numbers as (H, W, 3) uint8."""
        if pixels.dtype != np.uint8 or (self.low, self.high) != (0.0, 255.0):
            scaled = (np.asarray(pixels, np.float32) - np.float32(self.low)) * np.float32(255 / (self.high - self.low))
            pixels = np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)
        if pixels.ndim == 2:
            pixels = pixels[..., None]
        return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def window(centre: float, width: float) -> Levels:
    """The linear window of a DICOM file (PS3.3 C.11.2.1.2): grey levels in its own units."""
    low, high = centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2
    return Levels(low, high, Flag("grey_window", f"Grey levels deeper than 8 bits, seen through the file's own window ({low:g} "
                                  f"to {high:g}).", "note"))


def find_levels(frames: Iterable[np.ndarray], count: int, file: str) -> Levels:
    """The levels of a clip, from one walk through its frames.

    Args:
        frames: its ``count`` frames, numbers of any kind.
        count: how many there are, about; it sets how densely the pixels are looked at.
        file: name for error messages.

    Raises:
        DataError: no numbers, numbers that are not finite, or hardly two different ones.
    """
    low, high, sample = math.inf, -math.inf, []
    for number, pixels in enumerate(frames, start=1):
        if pixels.dtype.kind not in "iufb" or (pixels.dtype.kind == "f" and not np.isfinite(pixels).all()):
            raise DataError("not grey levels", file=file, row=number, value=str(pixels.dtype), expected="finite numbers")
        low, high = min(low, float(pixels.min())), max(high, float(pixels.max()))
        sample.append(pixels.reshape(-1)[::max(1, pixels.size * count // _LOOKED_AT) | 1].copy())
    if low >= 0 and high <= 255:
        return Levels() if high > 1 else Levels(0.0, 1.0)
    black, white = (float(v) for v in np.percentile(np.concatenate(sample), WINDOW))
    if not white > black or not math.isfinite(white - black):
        raise DataError("not grey levels: nearly all pixels are the same", file=file, value=f"{low:g} to {high:g}",
                        expected="an image")
    return Levels(black, white, Flag("grey_window", f"Grey levels from {low:g} to {high:g} and no window in the file: the "
                                     f"{WINDOW[0]:g}th to {WINDOW[1]:g}th percentile ({black:g} to {white:g}) became black to "
                                     "white.", "note"))
