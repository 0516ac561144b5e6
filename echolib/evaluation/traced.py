"""The traced frames of a split measured as PKEcho-Net and SSCF measure them: overlap, distances, area under the curve, and the
ejection fraction of the two traced frames.

Two ways to take the clips, told apart as ``Clips``: ``centred``, each traced frame in the middle of a clip of its own (SimLVSeg,
SSCF); ``ends``, one clip a study from ED to ES (PKEcho-Net, Wu et al. 2023, "Implementation details"), where the labels choose
the frames. Which frames are ED and ES is given in both, not found.

Distances are given in px of the stored frame and in mm; volumes by the method of disks and by three sections on the enclosing
triangle (:mod:`echolib.evaluation.folland`), both on masks at the original frame's aspect. The ejection fraction is compared
with the data set's, which on phantoms is the exact one, and with that of the traced masks by the same method: what is left of
the error when the outline is right.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from torch import nn

from echolib.config.specs import ClipSpec, Split
from echolib.data.store import ClipStore
from echolib.data.truth import Truth, read_truth
from echolib.errors import DataError
from echolib.evaluation.ejection import disk_volume, ejection_fraction
from echolib.evaluation.folland import triangle_volume
from echolib.evaluation.metrics import all_surface_distances, area_under_roc, dice
from echolib.evaluation.whole_video import at_size, true_aspect
from echolib.training.phases import phase_logits, traced_pairs
from echolib.training.predict import centred_logits, resolve_device

Clips = Literal["centred", "ends"]
#: Methods of volume: column of the studies -> function of a mask and a spacing.
VOLUMES = {"disks": disk_volume, "triangle": triangle_volume}
#: What is measured of a frame beside its Dice; distances also in mm.
DISTANCES = ("hd", "hd95", "asd")
FRAME_COLUMNS = ("study", "patient", "frame", "phase", "dice", "intersection", "predicted_px", "traced_px", "auc",
                 *(f"{name}_{unit}" for unit in ("px", "mm") for name in DISTANCES))
STUDY_COLUMNS = ("study", "patient", "view", "quality", "dice", "dice_between", *(f"{name}_px" for name in DISTANCES), "auc",
                 "ef", *(f"{prefix}ef_{method}" for prefix in ("", "traced_") for method in VOLUMES), "ef_error", "edv", "esv",
                 "exact_edv", "exact_esv")


@dataclass(frozen=True)
class Found:
    """What a network gives for the traced frames of a study.

    Attributes:
        study: its name.
        frames: (n,) int, the traced frames, 0-based.
        phases: (n,) str, ED or ES.
        logits: (n, S, S) float32.
        between: (m,) int, the frames of the clip between the traced ones, each once; none of centred clips.
        between_masks: (m, S, S) bool, what the network gives for them.
    """

    study: str
    frames: np.ndarray
    phases: np.ndarray
    logits: np.ndarray
    between: np.ndarray
    between_masks: np.ndarray


def predicted(model: nn.Module, store: ClipStore, clip: ClipSpec, split: Split, clips: Clips, *, batch: int = 8,
              leave_out: bool = False, device: str = "auto") -> Iterator[Found]:
    """What a network gives for the traced frames of every study of a split, by name.

    Args:
        model: a segmenter; it is moved to ``device``, its training mode is restored.
        store: frames and tracings.
        clip: F, and for centred clips the period.
        split: whose studies.
        clips: how they are taken.
        batch: clips of a pass.
        leave_out: with ``ends``, leave out studies that have no such clip; else they are an error.
        device: torch device.

    Raises:
        DataError: as :func:`echolib.training.phases.traced_pairs`.
        TrainingError: the split holds no traced frame.
    """
    device = resolve_device(device)
    model.to(device)
    none = np.zeros((0, store.size, store.size), bool)
    if clips == "ends":
        pairs = traced_pairs(store, split, leave_out=leave_out)
        for pair, indices, logits in phase_logits(model, store, pairs, clip.frames, batch, device):
            inner, first = np.unique(indices, return_index=True)
            own = (inner != pair.ed) & (inner != pair.es)
            yield Found(pair.study, np.array([pair.ed, pair.es]), np.array(["ED", "ES"]), logits[[0, -1]], inner[own],
                        logits[first[own]] > 0)
        return
    study, rows = None, []
    for one in centred_logits(model, store, clip, split, batch, device):
        if rows and one[0] != study:
            yield _gathered(rows, none)
            rows = []
        study = one[0]
        rows.append(one)
    yield _gathered(rows, none)


def _gathered(rows: list[tuple[str, int, str, np.ndarray]], none: np.ndarray) -> Found:
    return Found(rows[0][0], np.array([r[1] for r in rows]), np.array([r[2] for r in rows]), np.stack([r[3] for r in rows]),
                 np.zeros(0, int), none)


def measured(store: ClipStore, truth: Path | None, one: Found) -> tuple[list[dict], dict]:
    """Rows of :data:`FRAME_COLUMNS`, one a traced frame, and the row of :data:`STUDY_COLUMNS` of a study.

    A value that is not defined is NaN: distances where one mask is empty, mm where the pixel spacing is unknown, an ejection
    fraction without a volume at ED or, by the triangle, where no triangle is found; ``dice_between`` where no frame between the
    traced ones has a label or an exact mask. ``ef_error`` is the absolute error by disks, points; ``edv`` and ``esv`` are by
    disks, mL, beside the data set's or the exact ones.
    """
    about, true = store.studies.loc[one.study], None if truth is None else read_truth(truth, one.study)
    spacing = mm_of(store, one.study, true)
    rows, volumes = [], {}
    for frame, phase, logits in zip(one.frames, one.phases, one.logits, strict=True):
        mask, traced = logits > 0, store.mask(one.study, int(frame))
        px = all_surface_distances(mask, traced)
        mm = all_surface_distances(mask, traced, spacing) if np.isfinite(spacing).all() else (np.nan,) * 3
        known = traced.any() and not traced.all()
        rows.append(dict(zip(FRAME_COLUMNS, (
            one.study, about.patient, int(frame), str(phase), dice(mask, traced), int((mask & traced).sum()), int(mask.sum()),
            int(traced.sum()), area_under_roc(logits, traced) if known else np.nan, *px, *mm), strict=True)))
        shown = true_aspect(np.stack([mask, traced]), store, one.study)
        for method, volume in VOLUMES.items():
            for prefix, which in zip(("", "traced_"), shown, strict=True):
                volumes.setdefault(f"{prefix}ef_{method}", {})[str(phase)] = _volume(volume, which)
    table = pd.DataFrame(rows)
    row = {"study": one.study, "patient": about.patient, "view": about["view"], "quality": about.quality,
           "dice_between": _between(store, one, true), "ef": float(about.ef) if true is None else true.ef}
    row |= {name: float(table[name].mean()) for name in ("dice", "auc", *(f"{d}_px" for d in DISTANCES))}
    row |= {name: _fraction(by) for name, by in volumes.items()}
    row["ef_error"] = abs(row["ef_disks"] - row["ef"])
    for name, phase in (("edv", "ED"), ("esv", "ES")):
        row[name] = volumes["ef_disks"].get(phase, np.nan) * spacing[0] ** 3
        row[f"exact_{name}"] = float(about[name]) if true is None else getattr(true, name)
    return rows, {name: row[name] for name in STUDY_COLUMNS}


def mm_of(store: ClipStore, study: str, true: Truth | None) -> tuple[float, float]:
    """Height and width of a pixel of the stored frame, mm; NaN where the spacing is unknown."""
    about = store.studies.loc[study]
    original = float(about.spacing_mm) if true is None else true.spacing_mm
    return original * float(about.height) / store.size, original * float(about.width) / store.size


def _between(store: ClipStore, one: Found, true: Truth | None) -> float:
    """Mean Dice of the clip's frames between the traced ones, against their labels or, on phantoms, exact masks."""
    labelled = set(store.labels.frame[store.labels.study == one.study])
    exact = None if true is None else at_size(true.masks, store.size)
    found = [dice(mask, store.mask(one.study, int(frame)) if frame in labelled else exact[frame])
             for frame, mask in zip(one.between, one.between_masks, strict=True) if frame in labelled or exact is not None]
    return float(np.mean(found)) if found else np.nan


def _volume(volume, mask: np.ndarray) -> float:
    try:
        return volume(mask, 1.0)
    except DataError:  # a mask of a few pixels has no axis
        return np.nan


def _fraction(by: dict[str, float]) -> float:
    ed, es = by.get("ED", np.nan), by.get("ES", np.nan)
    return ejection_fraction(ed, es) if np.isfinite(ed) and np.isfinite(es) and ed > 0 else np.nan
