"""What the pages on whole videos measure of each study beside ``evaluation.whole_video``: errors of its area curve, its worst
frames, and how clearly its mitral valve is seen.

A smooth area curve can be wrong, so the curve is also compared with the exact one: its values and its slope.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from echolib.data.store import ClipStore
from echolib.errors import DataError
from echolib.evaluation.ejection import find_long_axis


def study_measures(frames: pd.DataFrame, store: ClipStore) -> pd.DataFrame:
    """One row a study from the table of frames of ``evaluation.whole_video.frame_tables``.

    Columns: ``study``; ``area_rmse``, ``slope_rmse`` of :func:`curve_errors` (NaN without exact areas); ``worst_frame``, the
    frame with the lowest Dice (on real data, of the traced ones); ``jump_frame``, the frame at which the area's error jumps
    most from the frame before (on real data, the area itself); ``valve_contrast`` of :func:`valve_contrast`, the mean over the
    traced frames, NaN where none is traced.
    """
    rows = []
    for study, part in frames.groupby("study", sort=True):
        area, exact = part.area_px.to_numpy(float), part.exact_area_px.to_numpy(float)
        known = bool(np.isfinite(exact).all())
        errors = curve_errors(area, exact, float(store.studies.fps[study])) if known else (np.nan, np.nan)
        jumps = np.abs(np.diff(area - exact if known else area))
        score = part.dice if known else part.traced_dice
        video, traced = store.video(study), store.labels.frame[store.labels.study == study]
        contrast = [valve_contrast(np.asarray(video[frame]), store.mask(study, frame)) for frame in traced]
        rows.append({"study": study, "area_rmse": errors[0], "slope_rmse": errors[1],
                     "worst_frame": int(part.frame.loc[score.idxmin()]) if score.notna().any() else 0,
                     "jump_frame": int(part.frame.iloc[1 + jumps.argmax()]) if len(jumps) else 0,
                     "valve_contrast": float(np.mean(contrast)) if contrast else np.nan})
    return pd.DataFrame(rows)


def curve_errors(area: np.ndarray, exact: np.ndarray, fps: float) -> tuple[float, float]:
    """How far an area curve lies from the exact one.

    Args:
        area, exact: ``(T,)``, T >= 2, the same unit.
        fps: frames per second.

    Returns:
        Root mean square of the area's error in % of the end-diastolic (largest exact) area, and of the error of its time
        derivative (central differences) in % of that area per second.

    Raises:
        DataError: the curves differ in length, or the exact one holds no area.
    """
    if area.shape != exact.shape or area.ndim != 1 or len(area) < 2:
        raise DataError("not two curves over the same frames", value=(area.shape, exact.shape), expected="(T,) and (T,), T >= 2")
    if not exact.max() > 0:
        raise DataError("the exact curve holds no area", value=float(exact.max()), expected="a largest area above 0")
    error = 100 * (area - exact) / exact.max()
    return float(np.sqrt(np.mean(error ** 2))), float(np.sqrt(np.mean((np.gradient(error) * fps) ** 2)))


def valve_contrast(frame: np.ndarray, mask: np.ndarray) -> float:
    """How much brighter the mitral valve's plane is than the cavity, in grey levels: small or negative where it is unclear.

    The plane is a band across the lower end of the long axis, from 0.92 to 1.08 of its length and as wide as the tracing is
    near its base; the cavity is the tracing from 0.3 to 0.7 of that length.

    Args:
        frame: ``(H, W, C)`` uint8.
        mask: ``(H, W)`` bool, the tracing of that frame.

    Returns:
        Mean grey of the band less that of the cavity; NaN for an empty tracing.
    """
    if not mask.any():
        return np.nan
    apex, base = find_long_axis(mask)
    length = float(np.hypot(*(base - apex)))
    along, across = (base - apex) / length, np.array([-(base - apex)[1], (base - apex)[0]]) / length
    rows, columns = np.indices(mask.shape)
    offsets = np.stack([columns, rows], -1) - apex
    depth, side, grey = offsets @ along / length, offsets @ across, frame.mean(-1)
    near_base = side[mask & (depth > 0.8) & (depth < 0.95)]
    cavity = mask & (depth > 0.3) & (depth < 0.7)
    if not len(near_base) or not cavity.any():  # a tracing of a few pixels has no base
        return np.nan
    band = (depth >= 0.92) & (depth <= 1.08) & (side >= near_base.min()) & (side <= near_base.max())
    return float(grey[band].mean() - grey[cavity].mean()) if band.any() else np.nan
