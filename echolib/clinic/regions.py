"""Which part of the screen was measured, where more than one part of it moves.

Scanners show two sectors side by side (grey and colour, two views), a spectral Doppler or M-mode strip below, an ECG. The cone is
the largest part that moves (:mod:`echolib.data.sector`); the reader of a report must know that there were others.
"""

from __future__ import annotations

import itertools

import cv2
import numpy as np

from echolib.clinic.result import Flag
from echolib.data.sector import COLOURED, Sector, _blur_size, _dense_parts, _variation, is_framed

#: Share of the cone's area from which another moving part is told, and from which it may well be the better one.
TOLD, RIVAL = 0.1, 0.5
#: Frames that are looked at, spread over the clip.
LOOKED_AT = 40
#: A sector of 100 degrees is 1.5 times as wide as high; two that touch are wider.
WIDEST = 1.75
#: A cone ends in an arc: its lowest rows are short. Share of the greatest width that they hardly reach.
FLAT = 0.85


def region_notes(source, sector: Sector) -> list[Flag]:
    """Notes on moving parts of the screen beside the cone, and on a cone that has not the shape of one.

    Args:
        source: the clip's frames, (H, W, 3) uint8.
        sector: the cone that is measured.
    """
    if is_framed(sector):
        return []
    rows, columns = np.flatnonzero(sector.mask.any(1)), np.flatnonzero(sector.mask.any(0))
    height, width = sector.mask.shape
    where = f"columns {columns[0]} to {columns[-1]} of {width}, rows {rows[0]} to {rows[-1]} of {height}"
    return _others(source, sector, where) + _shape(sector, where)


def _others(source, sector: Sector, where: str) -> list[Flag]:
    step = max(1, len(source) // LOOKED_AT)
    varying, colour = _variation(itertools.islice(source, 0, None, step))
    side = _blur_size(varying.shape)
    fringe = cv2.dilate((colour >= COLOURED).astype(np.uint8), np.ones((side, side), np.uint8))
    most = 0
    for picture in (varying, varying * (fringe == 0)):  # a coloured strip moves as well as a grey one
        count, parts, stats = _dense_parts(picture, side)
        inside = {int(k) for k in np.unique(parts[sector.mask])} if count > 1 else set()
        most = max([most, *(int(stats[k, cv2.CC_STAT_AREA]) for k in range(1, count) if k not in inside)])
    share = most / max(1, int(sector.mask.sum()))
    if share < TOLD:
        return []
    return [Flag("several_regions", f"Another part of the screen moves, of {100 * share:.0f} % of the cone's size (a second "
                 f"sector, a Doppler strip, an ECG). The largest was measured: {where}. If that is the wrong one, crop the clip.",
                 "warning" if share >= RIVAL else "note")]


def _shape(sector: Sector, where: str) -> list[Flag]:
    rows, widths = np.flatnonzero(sector.mask.any(1)), sector.mask.sum(1)
    height = rows[-1] - rows[0] + 1
    lowest = widths[rows[-max(1, height // 50)]]
    if widths.max() <= WIDEST * height and lowest <= FLAT * widths.max():
        return []
    return [Flag("not_a_cone", f"The part of the screen that moves has not the shape of one cone ({where}): two sectors that "
                 "touch, a strip or an ECG that runs into the cone, or a cropped clip. The network may see a wrong frame.")]
