"""What one clip is put through: the one definition that the fast and the plain path share."""

from __future__ import annotations

from dataclasses import dataclass

#: Weights of red, green and blue in a grey (ITU-R BT.601).
LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Draw:
    """What happens to one clip. Factors are torchvision's; 1 (hue: 0) changes nothing."""

    brightness: float
    contrast: float
    saturation: float
    hue: float  # turns of the colour circle
    order: tuple[int, ...]  # 0 brightness, 1 contrast, 2 saturation, 3 hue
    clahe: float | None  # clip limit
    degrees: float  # counter-clockwise as seen on the screen
    shift: tuple[int, int]  # px (down, right): where the crop starts, counted from the unpadded frame
    flip: bool = False  # left and right exchanged, last of all
