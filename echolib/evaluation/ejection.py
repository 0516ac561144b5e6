"""Volumes and ejection fraction from one apical plane, and the beats of an area curve.

Single-plane method of disks (modified Simpson): L runs from the middle of the mitral annulus to the apex, 20 chords
stand perpendicular to it at the middle of 20 equal steps, and ``V = (pi / 4) (L / 20) sum D_i^2``. The area-length
formula ``8 A^2 / (3 pi L)`` is the check. EF = 100 (EDV - ESV) / EDV needs no scale: a wrong spacing cancels.

Points are (x, y) in px with pixel centres at whole numbers; lengths are measured on the mask interpolated linearly
between pixel centres, its edge being where it crosses one half, so that turning a shape changes nothing but rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_fill_holes, gaussian_filter1d, label, map_coordinates
from scipy.signal import find_peaks

from echolib.errors import DataError

#: Distance between samples along the axis and along a chord, px.
STEP = 0.1
#: Shortest time between two end-systoles, s (150 beats a minute).
SHORTEST_BEAT = 0.4
#: A minimum counts as end-systole when it lies this share of the curve's 5-95 % range below its surroundings.
PROMINENCE = 0.3
#: Standard deviation of the Gaussian that smooths an area curve before its extrema are looked for, s.
SMOOTHING = 0.03


@dataclass(frozen=True)
class Beat:
    """One contraction: frames of end-diastole and of the end-systole that follows it, 0-based."""

    ed: int
    es: int


def find_long_axis(mask: np.ndarray) -> np.ndarray:
    """The long axis of a ventricle, from its mask alone.

    The largest 4-connected part of the mask, its holes filled, gives the axis: the line through its centroid along its
    longest principal direction, from edge to edge. Apical views show the apex on top, so the upper end is the apex;
    the lower end, where the axis leaves the mask at the annulus, is the mid-annulus. An axis that lies level starts left.
    The method of disks gives the same volume whichever end is the apex.

    Args:
        mask: ``(H, W)`` bool.

    Returns:
        ``(2, 2)`` float px: apex (x, y), mid-annulus (x, y).

    Raises:
        DataError: the mask is empty or not a boolean image.
    """
    part = _ventricle(mask)
    if part is None:
        raise DataError("an empty mask has no long axis")
    return _long_axis(part)


def _long_axis(part: np.ndarray) -> np.ndarray:
    rows, columns = np.nonzero(part)
    centre = np.array([columns.mean(), rows.mean()])
    offsets = np.stack([columns, rows], 1) - centre
    direction = np.linalg.eigh(offsets.T @ offsets)[1][:, 1]
    if direction[1] < -1e-12 or (abs(direction[1]) <= 1e-12 and direction[0] < 0):
        direction = -direction
    reach = np.abs(offsets @ direction).max() + 1.0
    steps = np.arange(-reach, reach + STEP, STEP)
    # The part is 4-connected and has pixels on both sides of the line, so the line meets it somewhere.
    profile = _sample(part, centre + steps[:, None] * direction)
    return np.stack([centre + _crossing(steps, profile) * direction, centre - _crossing(-steps[::-1], profile[::-1]) * direction])


def disk_diameters(mask: np.ndarray, long_axis: np.ndarray | None = None, n: int = 20) -> np.ndarray:
    """Lengths of ``n`` chords perpendicular to the long axis, apex first, in px: ``(n,)`` float.

    A chord's length is the length of mask under it, on the largest part of the mask with its holes filled.

    Args:
        mask: ``(H, W)`` bool, not empty.
        long_axis: ``(2, 2)`` px, apex (x, y) and mid-annulus (x, y); None: :func:`find_long_axis`.
        n: number of chords.

    Raises:
        DataError: the mask is empty, or the axis has no length.
    """
    part = _ventricle(mask)
    if part is None:
        raise DataError("an empty mask has no diameters")
    return _diameters(part, _long_axis(part) if long_axis is None else _axis(long_axis), n)


def _diameters(part: np.ndarray, axis: np.ndarray, n: int) -> np.ndarray:
    apex, annulus = axis
    along = annulus - apex
    across = np.array([-along[1], along[0]]) / np.hypot(*along)
    rows, columns = np.nonzero(part)
    reach = np.abs((np.stack([columns, rows], 1) - apex) @ across).max() + 1.5
    offsets = np.arange(-reach, reach + STEP, STEP)
    middles = apex + (np.arange(n)[:, None] + 0.5) / n * along
    return _sample(part, middles[:, None] + offsets[:, None] * across).sum(1) * STEP


def disk_volume(mask: np.ndarray, spacing_mm: float, long_axis: np.ndarray | None = None, n: int = 20) -> float:
    """Volume by the single-plane method of disks, mL; 0 for an empty mask.

    Args:
        mask: ``(H, W)`` bool.
        spacing_mm: size of a (square) pixel, mm.
        long_axis: ``(2, 2)`` px, apex (x, y) and mid-annulus (x, y); None: :func:`find_long_axis`.
        n: number of disks.

    Raises:
        DataError: the spacing is not positive, or an argument is not what it should be.
    """
    scale = _spacing(spacing_mm)
    part = _ventricle(mask)
    if part is None:
        return 0.0
    axis = _long_axis(part) if long_axis is None else _axis(long_axis)
    diameters = _diameters(part, axis, n)
    return float(np.pi / 4 * np.hypot(*(axis[1] - axis[0])) / n * (diameters ** 2).sum() * scale ** 3 / 1000)


def disk_volumes(masks: np.ndarray, spacing_mm: float, n: int = 20) -> np.ndarray:
    """:func:`disk_volume` of every frame of ``(T, H, W)`` bool masks: ``(T,)`` mL."""
    return np.array([disk_volume(mask, spacing_mm, n=n) for mask in masks])


def tracing_volume(tracing: np.ndarray, spacing_mm: float = 1.0) -> float:
    """Method of disks on a tracing as EchoNet-Dynamic stores it, mL.

    Args:
        tracing: ``(1 + n, 4)`` X1, Y1, X2, Y2 in px: the long axis, then ``n`` chords at equal steps along it.
        spacing_mm: size of a pixel, mm. The data set does not tell; with 1 the volume is in 1000 px^3, good for EF.

    Raises:
        DataError: not a tracing, or the long axis has no length.
    """
    tracing = np.asarray(tracing, np.float64)
    if tracing.ndim != 2 or tracing.shape[1] != 4 or len(tracing) < 2 or not np.isfinite(tracing).all():
        raise DataError("not a tracing", value=tracing.shape, expected="(1 + chords, 4) finite numbers")
    lengths = np.hypot(tracing[:, 2] - tracing[:, 0], tracing[:, 3] - tracing[:, 1])
    if lengths[0] == 0:
        raise DataError("the long axis of a tracing has no length", value=tuple(tracing[0]))
    return float(np.pi / 4 * lengths[0] / (len(tracing) - 1) * (lengths[1:] ** 2).sum() * _spacing(spacing_mm) ** 3 / 1000)


def area_length(mask: np.ndarray, spacing_mm: float, long_axis: np.ndarray | None = None) -> float:
    """Volume by the area-length formula ``8 A^2 / (3 pi L)``, mL; 0 for an empty mask. Arguments as :func:`disk_volume`."""
    scale = _spacing(spacing_mm)
    part = _ventricle(mask)
    if part is None:
        return 0.0
    axis = _axis(find_long_axis(mask) if long_axis is None else long_axis)
    return float(8 * int(part.sum()) ** 2 / (3 * np.pi * np.hypot(*(axis[1] - axis[0]))) * scale ** 3 / 1000)


def ejection_fraction(edv: float, esv: float) -> float:
    """EF = 100 (EDV - ESV) / EDV, %.

    Raises:
        DataError: a volume is not finite, EDV is not positive, or ESV is negative.
    """
    if not (np.isfinite(edv) and np.isfinite(esv)) or edv <= 0 or esv < 0:
        raise DataError("no ejection fraction from these volumes", value=f"EDV {edv}, ESV {esv}", expected="EDV > 0, ESV >= 0")
    return float(100 * (edv - esv) / edv)


def find_beats(area: np.ndarray, fps: float) -> list[Beat]:
    """Beats of an area (or volume) curve.

    End-systoles are the minima of the smoothed curve that lie at least :data:`SHORTEST_BEAT` apart and are
    prominent; each beat's end-diastole is the largest value between the end-systole before (or the start of the clip)
    and its own. A first beat whose diastole lies before the clip (the curve starts on its way down) is left out, and so
    is a minimum at the very edge: a clip without one whole contraction has no beats.

    Args:
        area: ``(T,)`` finite numbers, any unit.
        fps: frames per second.

    Raises:
        DataError: the curve is not finite or not one-dimensional, or ``fps`` is not positive.
    """
    area = np.asarray(area, np.float64)
    if area.ndim != 1 or not np.isfinite(area).all() or len(area) == 0 or not np.isfinite(fps) or fps <= 0:
        raise DataError("not an area curve", value=f"shape {area.shape}, {fps} fps", expected="(T,) finite numbers, fps > 0")
    smooth = gaussian_filter1d(area, SMOOTHING * fps, mode="nearest")
    low, high = np.percentile(smooth, [5, 95])
    if high - low <= 1e-9 * max(1.0, abs(high)):
        return []
    systoles, _ = find_peaks(-smooth, distance=max(1, SHORTEST_BEAT * fps), prominence=PROMINENCE * (high - low))
    beats, start = [], 0
    for es in systoles:
        ed = start + int(np.argmax(smooth[start:es]))
        if ed > 0 or smooth[0] >= low + 0.8 * (high - low):
            beats.append(Beat(ed, int(es)))
        start = int(es)
    return beats


def beat_fractions(volumes: np.ndarray, beats: list[Beat]) -> np.ndarray:
    """EF of each beat, %, from a volume on every frame ``(T,)``; their mean is the clip's EF.

    Raises:
        DataError: see :func:`ejection_fraction`.
    """
    return np.array([ejection_fraction(volumes[beat.ed], volumes[beat.es]) for beat in beats])


def _ventricle(mask: np.ndarray) -> np.ndarray | None:
    """The largest 4-connected part, holes filled (the first in reading order among equals); None when the mask is empty."""
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.ndim != 2:
        raise DataError("not a mask", value=f"{mask.dtype} {mask.shape}", expected="bool (H, W)")
    if not mask.any():
        return None
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = np.s_[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]  # nothing outside it can be part of it or a hole in it
    parts, _ = label(mask[box])
    found = np.zeros_like(mask)
    found[box] = binary_fill_holes(parts == 1 + np.argmax(np.bincount(parts.ravel())[1:]))
    return found


def _sample(mask: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The mask as numbers 0-1 at points ``(..., 2)`` (x, y), linear between pixel centres, 0 outside the image."""
    padded = np.pad(mask.astype(np.float32), 1)
    return map_coordinates(padded, [points[..., 1] + 1, points[..., 0] + 1], order=1, mode="constant")


def _crossing(steps: np.ndarray, profile: np.ndarray) -> float:
    """Where the profile first rises through one half (linear between samples); its first step if it starts inside."""
    first = int(np.argmax(profile >= 0.5))
    if first == 0:
        return float(steps[0])
    below, above = profile[first - 1], profile[first]
    return float(steps[first - 1] + (steps[first] - steps[first - 1]) * (0.5 - below) / (above - below))


def _axis(long_axis: np.ndarray) -> np.ndarray:
    axis = np.asarray(long_axis, np.float64)
    if axis.shape != (2, 2) or not np.isfinite(axis).all() or not np.hypot(*(axis[1] - axis[0])) > 0:
        raise DataError("not a long axis", value=axis.tolist(), expected="two different points (x, y): apex, mid-annulus")
    return axis


def _spacing(spacing_mm: float) -> float:
    if not np.isfinite(spacing_mm) or spacing_mm <= 0:
        raise DataError("not a pixel spacing", value=spacing_mm, expected="mm, above 0")
    return float(spacing_mm)
