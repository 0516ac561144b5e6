"""The truth of a clip: label maps rendered from the analytic contours, and volumes measured on them."""

from __future__ import annotations

import numpy as np

BACKGROUND, CAVITY, MYOCARDIUM, ATRIUM = 0, 1, 2, 3


def fill(contours: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pixels whose centre lies inside closed contours (even-odd rule), for all frames at once.

    Args:
        contours: ``(T, P, 2)`` (x, y) in px, pixel centres at integers; the last point joins the first.
        height, width: of the masks, px.

    Returns:
        ``(T, height, width)`` bool.
    """
    x0, y0 = contours[..., 0], contours[..., 1]
    x1, y1 = np.roll(x0, -1, axis=1), np.roll(y0, -1, axis=1)
    rows = np.arange(height)
    crosses = (y0[..., None] <= rows) != (y1[..., None] <= rows)                  # (T, P, height)
    frame, edge, row = np.nonzero(crosses)
    slope = (x1 - x0)[frame, edge] / (y1 - y0)[frame, edge]
    at = x0[frame, edge] + slope * (row - y0[frame, edge])
    column = np.clip(np.ceil(at).astype(np.int64), 0, width)                      # first pixel at or right of the crossing
    toggles = np.bincount((frame * height + row) * (width + 1) + column, minlength=len(contours) * height * (width + 1))
    return (np.cumsum(toggles.reshape(len(contours), height, width + 1)[..., :width], axis=-1) % 2).astype(bool)


def render(endocardium: np.ndarray, epicardium: np.ndarray, atrium: np.ndarray, height: int, width: int) -> np.ndarray:
    """Label maps ``(T, height, width)`` uint8 from contours ``(T, P, 2)`` (x, y) in px, pixel centres at integers.

    The cavity is closed by the hinge-to-hinge line and holds the papillary muscles; the myocardium is the ring between the
    two contours; the atrium ends at the same hinge line.
    """
    labels = np.zeros((len(endocardium), height, width), np.uint8)
    labels[fill(atrium, height, width)] = ATRIUM
    labels[fill(np.concatenate([epicardium, endocardium[:, ::-1]], axis=1), height, width)] = MYOCARDIUM
    labels[fill(endocardium, height, width)] = CAVITY
    return labels


def in_sector(height: int, width: int, tip: tuple[float, float], radius: float, half_angle: float) -> np.ndarray:
    """Pixels ``(height, width)`` bool whose centre lies in the displayed sector; tip (x, y) and radius in px, angle in rad."""
    y, x = np.mgrid[:height, :width]
    return (np.hypot(x - tip[0], y - tip[1]) <= radius) & (np.abs(np.arctan2(x - tip[0], y - tip[1])) <= half_angle)


def chords(mask: np.ndarray, long_axis: np.ndarray, disks: int = 20) -> np.ndarray:
    """Diameters ``(disks,)`` px of a mask ``(H, W)`` bool perpendicular to its long axis, apex to base.

    Each is the mean chord of its disk: the area of the mask inside the disk's slab over the slab's thickness. A pixel on
    the border of two slabs counts to both by its share.

    Args:
        mask: the cavity.
        long_axis: ``(2, 2)`` px: apex (x, y), mid-annulus (x, y).
        disks: how many.
    """
    apex, base = long_axis
    axis = base - apex
    length = np.hypot(*axis)
    y, x = np.nonzero(mask)
    place = ((x - apex[0]) * axis[0] + (y - apex[1]) * axis[1]) / length
    edges = np.linspace(0.0, length, disks + 1)
    before = np.clip(edges[:, None] - place + 0.5, 0.0, 1.0).sum(1)               # area on the apical side of each edge
    return np.diff(before) * disks / length


def disk_volume(mask: np.ndarray, long_axis: np.ndarray, spacing_mm: float) -> float:
    """Single-plane method of disks, mL: V = (pi / 4) (L / 20) sum D^2."""
    length = float(np.hypot(*(long_axis[1] - long_axis[0])))
    return float(np.pi / 4 * length / 20 * (chords(mask, long_axis) ** 2).sum() * (spacing_mm / 10) ** 3)
