"""From probabilities to one ventricle per frame: what anatomy allows and a network does not know.

Three steps, in this order. The probability is averaged over about 0.06 s (one frame at 30 fps, three at 50, five at 80),
which removes flicker of single frames and, at a heart's speed, moves no border by more than a fraction of a pixel. On
each frame one part is kept: the one that most often is ventricle in the whole clip, so that an island in the right heart
that is large on a single frame does not win. Its holes are filled: a papillary muscle belongs to the cavity.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_fill_holes, label, uniform_filter1d

#: Time over which probabilities are averaged, s.
AVERAGED_S = 0.06
#: Parts smaller than this share of the frame are no ventricle (a fifth of the smallest seen in apical views).
SMALLEST = 0.008


def averaging_window(fps: float) -> int:
    """The odd number of frames nearest to :data:`AVERAGED_S`, at least 1."""
    return max(1, 2 * round((AVERAGED_S * fps - 1) / 2) + 1)


def clean(probabilities: np.ndarray, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """One ventricle per frame.

    Args:
        probabilities: (T, H, W) float in [0, 1].
        fps: frames per second.

    Returns:
        Averaged probabilities (T, H, W) float16 and masks (T, H, W) bool; a frame without a ventricle has an empty mask.
    """
    window = averaging_window(fps)
    if window > 1:
        averaged = np.empty(probabilities.shape, np.float16)
        for row in range(probabilities.shape[1]):  # row by row: the whole clip in float32 would be the largest array of all
            averaged[:, row] = uniform_filter1d(probabilities[:, row].astype(np.float32), window, axis=0, mode="nearest")
    else:
        averaged = probabilities.astype(np.float16)
    return averaged, keep_ventricle(averaged > 0.5)


def keep_ventricle(raw: np.ndarray, usual: np.ndarray | None = None) -> np.ndarray:
    """One part of every frame's mask, the one that most often is ventricle in all of them, with its holes filled.

    Args:
        raw: (T, H, W) bool.
        usual: (H, W) how often a pixel is ventricle; None: in these frames.

    Returns:
        (T, H, W) bool; empty where no part is large enough.
    """
    usual = raw.mean(0, dtype=np.float32) if usual is None else usual
    return np.stack([_ventricle(mask, usual) for mask in raw])


def _ventricle(mask: np.ndarray, usual: np.ndarray) -> np.ndarray:
    parts, count = label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    weight = np.bincount(parts.ravel(), usual.ravel(), minlength=count + 1)
    weight[0] = 0
    weight[sizes < SMALLEST * mask.size] = 0
    best = int(np.argmax(weight))
    return binary_fill_holes(parts == best) if weight[best] > 0 else np.zeros_like(mask)
