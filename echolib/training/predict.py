"""Segmenting the traced frames of a split, each at the centre of its own clip: for validation and for the scores.

SimLVSeg: "two clips from each video: one where the annotated ED frame was at the center and another where the annotated
ES frame was at the center". The clip's place does not depend on chance, so neither do the predictions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn

from echolib.config.specs import RunSpec
from echolib.data.augment import normalise, to_float
from echolib.data.clips import centred_indices
from echolib.data.store import ClipStore
from echolib.errors import TrainingError
from echolib.losses.simlvseg import select_traced
from echolib.models.single_clip import SingleClip


@dataclass(frozen=True)
class Prediction:
    """One traced frame: ``predicted`` and ``traced`` are ``(H, W)`` bool."""

    study: str
    frame: int
    phase: str
    predicted: np.ndarray
    traced: np.ndarray


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """"auto" is the GPU where there is one, else the CPU.

    Raises:
        TrainingError: a GPU was asked for and there is none.
    """
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise TrainingError(f"device {str(device)!r} was asked for, but no CUDA device is available; use 'cpu' or 'auto'")
    return device


def traced_frames(store: ClipStore, split: str, phases: tuple[str, ...] = ("ED", "ES")) -> pd.DataFrame:
    """The traced frames of a split, sorted by study and frame: columns study, frame, phase.

    Raises:
        TrainingError: the split has none.
    """
    in_split = store.studies.index[store.studies["split"] == split]
    labels = store.labels[store.labels["study"].isin(in_split) & store.labels["phase"].isin(phases)]
    if labels.empty:
        raise TrainingError(f"the {split!r} split holds no traced frame of phase {' or '.join(phases)}")
    return labels[["study", "frame", "phase"]].sort_values(["study", "frame"], kind="stable").reset_index(drop=True)


@torch.no_grad()
def centred_predictions(model: nn.Module, store: ClipStore, spec: RunSpec, split: str, batch: int = 8,
                        device: str | torch.device = "auto", *, phases: tuple[str, ...] = ("ED", "ES")) -> Iterator[Prediction]:
    """Predict every traced frame of a split from the clip centred on it (logit above 0: ventricle).

    Args:
        model: a segmenter on ``device``; put into evaluation mode while the iterator runs, restored after.
        store: the frames.
        spec: the run; only ``spec.clip`` is used.
        split: "train", "val" or "test".
        batch: clips per pass.
        device: where the clips go.
        phases: which traced frames.

    Raises:
        TrainingError: the split holds no such frame.
    """
    labels, device = traced_frames(store, split, phases), resolve_device(device)
    frames, period = spec.clip.frames, spec.clip.period
    lengths = store.studies["frames"]
    was_training = model.training
    model.eval()
    try:
        for first in range(0, len(labels), batch):
            rows = list(labels.iloc[first:first + batch].itertuples(index=False))
            chosen = [centred_indices(int(lengths[row.study]), int(row.frame), frames, period) for row in rows]
            clips = np.stack([store.clip(row.study, indices) for row, (indices, _) in zip(rows, chosen, strict=True)])
            position = torch.tensor([where for _, where in chosen], device=device)
            with SingleClip():
                logits = model(normalise(to_float(torch.from_numpy(clips).to(device))))
            predicted = (select_traced(logits, position) > 0).cpu().numpy()
            for row, mask in zip(rows, predicted, strict=True):
                yield Prediction(row.study, int(row.frame), row.phase, mask, store.mask(row.study, int(row.frame)))
    finally:
        model.train(was_training)


def mean_dice(model: nn.Module, store: ClipStore, spec: RunSpec, split: str, batch: int = 8,
              device: str | torch.device = "auto", *, pooled: bool = False) -> float:
    """Dice of a split's ED and ES frames (eq. 7), by which the best epoch is chosen.

    The mean over frames (paper), or with ``pooled`` 2 sum(I) / sum(P + T) over all frames (released program). A frame that is
    empty in both counts as 1.

    Raises:
        TrainingError: the split holds no traced frame.
    """
    overlap, total = [], []
    for one in centred_predictions(model, store, spec, split, batch, device):
        overlap.append(int((one.predicted & one.traced).sum()))
        total.append(int(one.predicted.sum() + one.traced.sum()))
    if pooled:
        return 2 * sum(overlap) / sum(total) if sum(total) else 1.0
    return float(np.mean([2 * i / t if t else 1.0 for i, t in zip(overlap, total, strict=True)]))


@torch.no_grad()
def predicted_numbers(model: nn.Module, store: ClipStore, spec: RunSpec, split: str, batch: int = 8,
                      device: str | torch.device = "auto") -> pd.DataFrame:
    """The number that a network gives for one clip of each study, the clip in the middle of its video.

    Args:
        model: clip ``(B, 3, F, H, W)`` -> ``(B,)``, the ejection fraction in %; its training mode is restored.
        store: frames and table of studies.
        spec: the run; its clip is used.
        split: "train", "val" or "test".
        batch: clips per pass.
        device: where the network is moved to.

    Returns:
        One row a study, by name: study, patient, ef (as labelled, NaN where it is not) and predicted_ef.

    Raises:
        TrainingError: the split is empty.
    """
    device, names = resolve_device(device), sorted(store.studies.index[store.studies["split"] == split])
    if not names:
        raise TrainingError(f"the {split!r} split is empty")
    was_training, found = model.training, []
    model.to(device).eval()
    try:
        for first in range(0, len(names), batch):
            part = names[first:first + batch]
            lengths = [int(store.studies["frames"][study]) for study in part]
            clips = np.stack([store.clip(study, centred_indices(n, n // 2, spec.clip.frames, spec.clip.period)[0])
                              for study, n in zip(part, lengths, strict=True)])
            with SingleClip():
                found += model(normalise(to_float(torch.from_numpy(clips).to(device)))).float().cpu().tolist()
    finally:
        model.train(was_training)
    about = store.studies.loc[names]
    return pd.DataFrame({"study": names, "patient": about["patient"].to_numpy(), "ef": about["ef"].to_numpy(float),
                         "predicted_ef": found})
