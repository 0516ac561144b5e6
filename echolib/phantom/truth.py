"""The truth of a clip: label maps rendered from the analytic contours, and volumes measured on them."""

from __future__ import annotations

import numpy as np
from skimage.draw import polygon

BACKGROUND, CAVITY, MYOCARDIUM, ATRIUM = 0, 1, 2, 3


def render(endocardium: np.ndarray, epicardium: np.ndarray, atrium: np.ndarray, height: int, width: int) -> np.ndarray:
    """Label maps ``(T, height, width)`` uint8 from contours ``(T, P, 2)`` (x, y) in px, pixel centres at integers.

    The cavity is closed by the hinge-to-hinge line and holds the papillary muscles; the myocardium is the ring between the
    two contours; the atrium ends at the same hinge line.
    """
    labels = np.zeros((len(endocardium), height, width), np.uint8)
    for frame, (inner, outer, left_atrium) in enumerate(zip(endocardium, epicardium, atrium, strict=True)):
        ring = np.concatenate([outer, inner[::-1]])
        for contour, label in ((left_atrium, ATRIUM), (ring, MYOCARDIUM), (inner, CAVITY)):
            rows, columns = polygon(contour[:, 1], contour[:, 0], (height, width))
            labels[frame, rows, columns] = label
    return labels


def chords(mask: np.ndarray, long_axis: np.ndarray, disks: int = 20, samples: int = 4) -> np.ndarray:
    """Diameters ``(disks,)`` px of a mask ``(H, W)`` bool perpendicular to its long axis, apex to base.

    Each is the mean over ``samples`` lines inside its disk of the mask's extent along the line, in steps of 0.1 px.

    Args:
        mask: the cavity.
        long_axis: ``(2, 2)`` px: apex (x, y), mid-annulus (x, y).
    """
    apex, base = long_axis
    axis = base - apex
    length = np.hypot(*axis)
    side = np.array([axis[1], -axis[0]]) / length
    level = (np.arange(disks * samples) + 0.5) / (disks * samples)
    reach = np.arange(-0.6 * length, 0.6 * length, 0.1)
    points = apex + level[:, None, None] * axis + reach[None, :, None] * side
    x, y = np.rint(points[..., 0]).astype(int), np.rint(points[..., 1]).astype(int)
    inside = (x >= 0) & (y >= 0) & (x < mask.shape[1]) & (y < mask.shape[0])
    hit = inside & mask[np.clip(y, 0, mask.shape[0] - 1), np.clip(x, 0, mask.shape[1] - 1)]
    return hit.sum(1).reshape(disks, samples).mean(1) * 0.1


def disk_volume(mask: np.ndarray, long_axis: np.ndarray, spacing_mm: float) -> float:
    """Single-plane method of disks, mL: V = (pi / 4) (L / 20) sum D^2."""
    length = float(np.hypot(*(long_axis[1] - long_axis[0])))
    return float(np.pi / 4 * length / 20 * (chords(mask, long_axis) ** 2).sum() * (spacing_mm / 10) ** 3)
