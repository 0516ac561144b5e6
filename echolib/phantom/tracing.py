"""A tracing as a cardiologist would leave it: the long axis and 20 chords, from the exact mask and a shaky hand.

The file format keeps no contour, only the chords of the method of disks. A reader rebuilds the mask as the polygon
through their ends, so whatever lies beyond the first and the last chord is lost; with the annulus tilted against the
chords that would be a corner of the ventricle. As in real tracings the chords therefore go on to the lowest corner of
the annulus, where they get short.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import map_coordinates

from echolib.errors import DataError

#: Chords of a frame in EchoNet-Dynamic's tracings.
CHORDS = 20
#: The hand: how far the traced edge strays from the true one. sd in share of the frame height (0.6 px of 112) of a slow
#: wander along the contour, and of an offset that one tracing keeps all around (0.3 px of 112).
WANDER, OFFSET = 0.6 / 112, 0.3 / 112
#: Chords over which the wander forgets itself.
MEMORY = 3.0
_STEP = 0.05


def trace(mask: np.ndarray, long_axis: np.ndarray, rng: np.random.Generator, steadiness: float = 1.0) -> np.ndarray:
    """Trace one frame.

    Args:
        mask: ``(H, W)`` bool, the exact cavity.
        long_axis: ``(2, 2)`` px, apex (x, y) and mid-annulus (x, y).
        rng: the hand.
        steadiness: multiplies how far the hand strays; 0 traces the mask itself.

    Returns:
        ``(21, 4)`` float px X1, Y1, X2, Y2: the long axis, apex first, then the chords from apex to annulus, the end on
        the left of the image first. All points lie in the frame.

    Raises:
        DataError: the mask is empty, or no chord meets it.
    """
    mask = np.asarray(mask, bool)
    height, width = mask.shape
    rows, columns = np.nonzero(mask)
    apex, annulus = np.asarray(long_axis, np.float64)
    if len(rows) == 0 or not np.hypot(*(annulus - apex)) > 0:
        raise DataError("nothing to trace: the mask is empty or the long axis has no length")
    down = (annulus - apex) / np.hypot(*(annulus - apex))
    across = np.array([down[1], -down[0]])  # to the right of the image for an axis that points down
    offsets = np.stack([columns, rows], 1) - apex
    along, reach = offsets @ down, np.abs(offsets @ across).max() + 2
    top, bottom = along.min() - 0.5, along.max() + 0.5
    levels = top + (np.arange(CHORDS) + 0.5) / CHORDS * (bottom - top)
    sides = np.arange(-reach, reach + _STEP, _STEP)
    points = apex + levels[:, None, None] * down + sides[None, :, None] * across
    padded = np.pad(mask.astype(np.float32), 1)
    inside = map_coordinates(padded, [points[..., 1] + 1, points[..., 0] + 1], order=1) >= 0.5
    met = inside.any(1)
    if not met.any():
        raise DataError("nothing to trace: no chord meets the mask")
    ends = np.stack([sides[inside.argmax(1)], sides[inside.shape[1] - 1 - inside[:, ::-1].argmax(1)]], 1)
    ends[~met] = np.stack([np.interp(levels[~met], levels[met], ends[met, k]) for k in (0, 1)], 1)
    stray = steadiness * height * (WANDER * _wander(rng) + OFFSET * rng.standard_normal())
    ends += stray * [-1, 1]  # outwards where positive
    ends = np.where((ends[:, 1] < ends[:, 0])[:, None], ends.mean(1, keepdims=True), ends)
    axis = apex + np.array([[top], [bottom]]) * down + steadiness * height * WANDER * rng.standard_normal((2, 2))
    chords = apex + levels[:, None, None] * down + ends[..., None] * across
    tracing = np.concatenate([axis[None], chords]).reshape(-1, 4)
    return np.clip(tracing, 0, [width - 1, height - 1] * 2)


def _wander(rng: np.random.Generator) -> np.ndarray:
    """``(CHORDS, 2)`` unit-variance walks along the two walls that forget themselves over :data:`MEMORY` chords."""
    keep = np.exp(-1 / MEMORY)
    steps = rng.standard_normal((CHORDS, 2))
    walk = np.empty_like(steps)
    walk[0] = steps[0]
    for k in range(1, CHORDS):
        walk[k] = keep * walk[k - 1] + np.sqrt(1 - keep ** 2) * steps[k]
    return walk
