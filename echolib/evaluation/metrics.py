"""Overlap and distance between a predicted mask and a traced one.

Empty masks, by definition here: two empty masks agree (Dice 1, distances 0); one empty mask against one that is not
has Dice 0 and no distance (NaN), since there is no surface to measure to. A table of distances therefore says how many
frames it could not measure.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from scipy.stats import rankdata

from echolib.errors import DataError


def dice(predicted: np.ndarray, traced: np.ndarray) -> float:
    """Dice similarity coefficient of two masks, 2 |A and B| / (|A| + |B|), in [0, 1].

    Args:
        predicted: bool mask of any shape.
        traced: bool mask of the same shape.

    Raises:
        DataError: shapes differ, or a mask is not boolean.
    """
    predicted, traced = _pair(predicted, traced)
    total = int(predicted.sum()) + int(traced.sum())
    return 2.0 * int((predicted & traced).sum()) / total if total else 1.0


def pooled_dice(intersection: np.ndarray, predicted_px: np.ndarray, traced_px: np.ndarray) -> float:
    """Dice of all frames taken as one image, 2 sum(I) / (sum(P) + sum(T)): large ventricles weigh more.

    Args:
        intersection: ``(n,)`` px common to both masks of each frame.
        predicted_px: ``(n,)`` px of the predicted masks.
        traced_px: ``(n,)`` px of the traced masks.
    """
    total = float(np.sum(predicted_px) + np.sum(traced_px))
    return 2.0 * float(np.sum(intersection)) / total if total else 1.0


def area_px(masks: np.ndarray) -> np.ndarray:
    """Area of each mask of ``(..., H, W)`` bool, in px: ``(...)`` int64."""
    masks = np.asarray(masks)
    if masks.dtype != bool or masks.ndim < 2:
        raise DataError("not a mask", value=f"{masks.dtype} {masks.shape}", expected="bool (..., H, W)")
    return masks.sum(axis=(-2, -1), dtype=np.int64)


def surface_distances(predicted: np.ndarray, traced: np.ndarray,
                      spacing: float | tuple[float, float] = 1.0) -> tuple[float, float]:
    """95th percentile Hausdorff distance and average symmetric surface distance (MONAI's).

    A surface is the mask's pixels that touch the outside. HD95 is the larger of the two directed 95th percentiles;
    the average pools the distances of both directions.

    Args:
        predicted: ``(H, W)`` bool.
        traced: ``(H, W)`` bool.
        spacing: size of a pixel, one number or (row, column); with 1 the result is in px, with mm in mm.

    Returns:
        ``(hd95, asd)``; ``(0, 0)`` when both masks are empty, ``(nan, nan)`` when one is.

    Raises:
        DataError: shapes differ, or a mask is not boolean and two-dimensional.
    """
    return all_surface_distances(predicted, traced, spacing)[1:]


def all_surface_distances(predicted: np.ndarray, traced: np.ndarray,
                          spacing: float | tuple[float, float] = 1.0) -> tuple[float, float, float]:
    """``(hd, hd95, asd)``: the Hausdorff distance, that is the largest of all, before what :func:`surface_distances` gives."""
    predicted, traced = _pair(predicted, traced)
    if predicted.ndim != 2:
        raise DataError("surface distances need single masks", value=predicted.shape, expected="(H, W)")
    if not predicted.any() and not traced.any():
        return 0.0, 0.0, 0.0
    if not predicted.any() or not traced.any():
        return (float("nan"),) * 3
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance  # monai takes seconds to load

    rows, columns = np.flatnonzero((predicted | traced).any(1)), np.flatnonzero((predicted | traced).any(0))
    box = np.s_[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]
    # A rim of background, so that a mask which touches the image border has its surface there too.
    one, two = (torch.from_numpy(np.pad(m[box], 1))[None, None] for m in (predicted, traced))
    options = {"include_background": True, "spacing": [float(s) for s in np.broadcast_to(spacing, 2)]}
    with warnings.catch_warnings():  # MONAI calls its own deprecated argument
        warnings.simplefilter("ignore", FutureWarning)
        hd, hd95 = (compute_hausdorff_distance(one, two, percentile=share, **options) for share in (None, 95))
        asd = compute_average_surface_distance(one, two, symmetric=True, **options)
    return float(hd), float(hd95), float(asd)


def area_under_roc(probabilities: np.ndarray, traced: np.ndarray) -> float:
    """Chance that a pixel of the ventricle scores above one of the background, ties counting half (Mann-Whitney).

    Args:
        probabilities: finite scores of any shape, higher = ventricle.
        traced: bool, same shape.

    Raises:
        DataError: shapes differ, or ``traced`` is all True or all False.
    """
    scores, traced = np.asarray(probabilities, np.float64).ravel(), np.asarray(traced)
    if traced.dtype != bool or traced.size != scores.size:
        raise DataError("scores and mask do not match", value=f"{traced.dtype} {traced.shape}",
                        expected=f"bool, {scores.size} px")
    inside = int(traced.sum())
    outside = traced.size - inside
    if not inside or not outside:
        raise DataError("the area under the ROC curve needs ventricle and background", value=f"{inside} px of ventricle",
                        expected=f"1 to {traced.size - 1}")
    ranks = rankdata(scores)[traced.ravel()].sum()
    return float((ranks - inside * (inside + 1) / 2) / (inside * outside))


def _pair(predicted: np.ndarray, traced: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    predicted, traced = np.asarray(predicted), np.asarray(traced)
    if predicted.dtype != bool or traced.dtype != bool:
        raise DataError("masks must be boolean", value=f"{predicted.dtype}, {traced.dtype}", expected="bool, bool")
    if predicted.shape != traced.shape:
        raise DataError("masks of different shapes", value=predicted.shape, expected=str(traced.shape))
    return predicted, traced
