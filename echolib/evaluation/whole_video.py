"""A segmenter on every frame of a video, measured frame by frame, study by study and beat by beat.

Where the truth of a phantom is given, each frame is compared with its exact mask, area and volume; on real data only the
traced frames can be scored. Volumes are by the method of disks on the mask alone, in mL where the pixel spacing is known
and in px^3 of the original frame elsewhere (an ejection fraction is the same in both).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from torch import nn

from echolib.config.specs import ClipSpec
from echolib.data.store import ClipStore
from echolib.data.truth import Truth, read_truth
from echolib.errors import DataError
from echolib.evaluation.beats import BeatVolumes, exact_beats, match_beats, measure_beats
from echolib.evaluation.consistency import FLICKER_HZ, high_frequency_energy
from echolib.evaluation.ejection import disk_volumes
from echolib.evaluation.inference import segment_studies

FRAME_COLUMNS = ("study", "frame", "phase", "area_px", "volume", "traced_dice", "dice", "exact_area_px", "exact_volume",
                 "exact_phase")
_BEAT = ("ed", "es", "edv", "esv", "ef")


def frame_tables(store: ClipStore, studies: list[str], truth: Path | None, model: nn.Module | None, clip: ClipSpec | None, *,
                 overlap: bool, unit: str, device: str = "auto") -> Iterator[pd.DataFrame]:
    """Segment every frame of some studies; one table a study, in order.

    Args:
        store: the cohort.
        studies: their names.
        truth: folder of the simulated cohort; None: real data.
        model: a segmenter; None: the exact masks in its place.
        clip: frames and period of the model.
        overlap: see :func:`echolib.evaluation.inference.segment_video`.
        unit: ``mL`` or ``px3``, of the volumes.
        device: torch device.

    Yields:
        One row a frame with :data:`FRAME_COLUMNS`: ``phase`` ED, ES or empty; areas in px of the stored frames;
        ``traced_dice`` against the tracing where there is one; ``dice``, ``exact_area_px``, ``exact_volume`` (analytic) and
        ``exact_phase`` of the heart beat on phantoms; NaN elsewhere.

    Raises:
        DataError: neither a model nor a truth, or the truth is not that of the video.
    """
    if model is None and truth is None:
        raise DataError("real data has no exact masks; name a run")
    if model is None:
        found: Iterator[np.ndarray | None] = itertools.repeat(None, len(studies))
    else:
        found = segment_studies(model, store, studies, clip, overlap=overlap, device=device)
    for study, masks in zip(studies, found, strict=True):
        yield _frame_table(store, study, read_truth(truth, study) if truth is not None else None, masks, unit)


def _frame_table(store: ClipStore, study: str, true: Truth | None, masks: np.ndarray | None, unit: str) -> pd.DataFrame:
    video, exact = store.video(study), None if true is None else at_size(true.masks, store.size)
    if exact is not None and len(exact) != len(video):
        raise DataError("the truth has another number of frames than the video", file=study, value=len(exact),
                        expected=str(len(video)))
    masks = exact if masks is None else masks
    area = masks.sum((1, 2))
    table = pd.DataFrame({"study": study, "frame": np.arange(len(video)), "phase": "", "area_px": area,
                          "volume": _volumes(masks, store, study, true, unit), "traced_dice": np.nan, "dice": np.nan,
                          "exact_area_px": np.nan, "exact_volume": np.nan, "exact_phase": np.nan})
    for label in store.labels[store.labels.study == study].itertuples():
        table.loc[label.frame, "phase"] = label.phase
        table.loc[label.frame, "traced_dice"] = _dice(masks[label.frame], store.mask(study, label.frame))
    if true is not None:
        table["dice"] = _dice(masks, exact)
        table["exact_area_px"], table["exact_volume"] = exact.sum((1, 2)).astype(float), true.volumes_ml
        table["exact_phase"] = true.phase
    return table[list(FRAME_COLUMNS)]


def study_table(frames: pd.DataFrame, store: ClipStore) -> pd.DataFrame:
    """One row a study from the table of frames.

    Columns: ``study``, ``patient``, ``fps``, ``frames``, ``empty`` (frames on which nothing was found), ``dice`` (mean over
    all frames), ``worst_dice``, ``traced_dice``, ``untraced_dice`` (of neither ED nor ES); ``beats`` found, ``ef``, ``edv``,
    ``esv`` their means and ``ef_sd`` their
    spread; ``exact_ef``, ``exact_edv``, ``exact_esv`` of the traced beat as the data set gives them; ``exact_beats``,
    ``exact_ef_sd`` over all whole beats; ``flicker`` and ``exact_flicker``, see
    :func:`echolib.evaluation.consistency.high_frequency_energy`; ``area_error``, root mean square of the area's error in
    parts of the mean exact area.
    """
    rows = []
    for study, part in frames.groupby("study", sort=True):
        about = store.studies.loc[study]
        found, exact = _beats(part, float(about.fps))
        efs, exact_efs = [b.ef for b in found], [b.ef for b in exact]
        known = part.exact_area_px.notna().all()
        error = (part.area_px - part.exact_area_px) / part.exact_area_px.mean()
        rows.append({
            "study": study, "patient": about.patient, "fps": float(about.fps), "frames": len(part),
            "empty": int((part.area_px == 0).sum()), "dice": part.dice.mean(), "worst_dice": part.dice.min(),
            "traced_dice": part.traced_dice.mean(), "untraced_dice": part.dice[part.phase == ""].mean(), "beats": len(found),
            "ef": _mean(efs), "edv": _mean([b.edv for b in found]), "esv": _mean([b.esv for b in found]), "ef_sd": _sd(efs),
            "exact_ef": about.ef, "exact_edv": about.edv, "exact_esv": about.esv,
            "exact_beats": len(exact) if known else np.nan, "exact_ef_sd": _sd(exact_efs),
            "flicker": flicker(part.area_px.to_numpy(float), float(about.fps)),
            "exact_flicker": flicker(part.exact_area_px.to_numpy(float), float(about.fps)) if known else np.nan,
            "area_error": float(np.sqrt((error ** 2).mean())) if known else np.nan})
    return pd.DataFrame(rows)


def beat_table(frames: pd.DataFrame, store: ClipStore) -> pd.DataFrame:
    """One row a beat.

    Columns: ``study``, ``patient``, ``kind`` and, once with the prefix ``found_`` and once with ``exact_``: ``ed``, ``es``
    (frames), ``edv``, ``esv``, ``ef`` (%); NaN on the side that has no such beat. Kinds: ``matched``; ``missed``, an exact
    beat that was not found; ``extra``, a found one that is none; ``edge``, a found one before the first or after the last
    whole beat, of which the clip shows a part: no mistake; ``found``, on real data.
    """
    rows = []
    for study, part in frames.groupby("study", sort=True):
        fps = float(store.studies.fps[study])
        found, exact = _beats(part, fps)
        pairs = match_beats(found, exact, fps)
        known = part.exact_volume.notna().all()
        all_rows = [("matched", *pair) for pair in pairs]
        all_rows += [("missed", None, beat) for beat in exact if beat not in [p[1] for p in pairs]]
        for beat in (b for b in found if b not in [p[0] for p in pairs]):
            whole = exact and exact[0].ed <= beat.es <= exact[-1].es
            all_rows.append(("found" if not known else "extra" if whole else "edge", beat, None))
        for kind, ours, true in all_rows:
            row = {"study": study, "patient": store.studies.patient[study], "kind": kind}
            for side, beat in (("found", ours), ("exact", true)):
                row |= {f"{side}_{k}": np.nan if beat is None else getattr(beat, k) for k in _BEAT}
            rows.append(row)
    sides = [f"{side}_{k}" for side in ("found", "exact") for k in _BEAT]
    return pd.DataFrame(rows, columns=["study", "patient", "kind", *sides])


def unit_of(store: ClipStore, studies: list[str], truth: Path | None) -> str:
    """``mL`` where the pixel spacing of every study is known, else ``px3``."""
    return "mL" if truth is not None or np.isfinite(store.studies.spacing_mm[studies]).all() else "px3"


def _beats(part: pd.DataFrame, fps: float) -> tuple[list[BeatVolumes], list[BeatVolumes]]:
    found = measure_beats(part.area_px.to_numpy(), part.volume.to_numpy(), fps)
    if part.exact_volume.isna().any():
        return found, []
    return found, exact_beats(part.exact_volume.to_numpy(), part.exact_phase.to_numpy())


def _volumes(masks: np.ndarray, store: ClipStore, study: str, true: Truth | None, unit: str) -> np.ndarray:
    about = store.studies.loc[study]
    spacing = 10.0 if unit == "px3" else true.spacing_mm if true is not None else float(about.spacing_mm)
    return disk_volumes(true_aspect(masks, store, study), spacing * about.height / store.size)


def true_aspect(masks: np.ndarray, store: ClipStore, study: str) -> np.ndarray:
    """Masks ``(T, S, S)`` of the stored, square frames at the original frame's aspect, as high as before: disks need round
    circles."""
    about = store.studies.loc[study]
    if about.height == about.width:
        return masks
    return _resized(masks, (round(store.size * about.width / about.height), store.size))


def at_size(masks: np.ndarray, size: int) -> np.ndarray:
    """Masks ``(T, H, W)`` bool at the size of the stored frames."""
    return masks if masks.shape[1:] == (size, size) else _resized(masks, (size, size))


def _resized(masks: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Masks at another (width, height), as the store resizes tracings."""
    return np.stack([cv2.resize(m.astype(np.uint8), shape, interpolation=cv2.INTER_NEAREST_EXACT) for m in masks]).astype(bool)


def _dice(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Dice over the last two axes; two empty masks agree."""
    total = a.sum((-2, -1)) + b.sum((-2, -1))
    return np.where(total > 0, 2 * (a & b).sum((-2, -1)) / np.maximum(total, 1), 1.0)


def flicker(area: np.ndarray, fps: float, cutoff_hz: float = FLICKER_HZ) -> float:
    """:func:`~echolib.evaluation.consistency.high_frequency_energy`; NaN of a curve without area or too coarse for that."""
    usable = len(area) >= 4 and area.mean() > 0 and fps > 2 * cutoff_hz
    return high_frequency_energy(area, fps, cutoff_hz) if usable else np.nan


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else np.nan


def _sd(values: list[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else np.nan
