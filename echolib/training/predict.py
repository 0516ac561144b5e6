"""Segmenting the traced frames of a split, each at the centre of its own clip: for validation and for the scores.

SimLVSeg: "two clips from each video: one where the annotated ED frame was at the center and another where the annotated
ES frame was at the center". The clip's place does not depend on chance, so neither do the predictions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from echolib.config.specs import ClipSpec, RunSpec
from echolib.data.augment import normalise, to_float
from echolib.data.clips import centred_indices
from echolib.data.frame_masks import FrameMasks
from echolib.data.store import ClipStore
from echolib.errors import TrainingError
from echolib.losses.simlvseg import bce_sum, select_traced
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
    for study, frame, phase, logits in centred_logits(model, store, spec.clip, split, batch, device, phases=phases):
        yield Prediction(study, frame, phase, logits > 0, store.mask(study, frame))


@torch.no_grad()
def centred_logits(model: nn.Module, store: ClipStore, clip: ClipSpec, split: str, batch: int = 8,
                   device: str | torch.device = "auto", *, phases: tuple[str, ...] = ("ED", "ES")
                   ) -> Iterator[tuple[str, int, str, np.ndarray]]:
    """(study, frame, phase, logits ``(H, W)`` float32) of every traced frame of a split, from the clip centred on it; arguments
    and errors as :func:`centred_predictions`."""
    labels, device = traced_frames(store, split, phases), resolve_device(device)
    lengths = store.studies["frames"]
    was_training = model.training
    model.eval()
    try:
        for first in range(0, len(labels), batch):
            rows = list(labels.iloc[first:first + batch].itertuples(index=False))
            chosen = [centred_indices(int(lengths[row.study]), int(row.frame), clip.frames, clip.period) for row in rows]
            clips = np.stack([store.clip(row.study, indices) for row, (indices, _) in zip(rows, chosen, strict=True)])
            position = torch.tensor([where for _, where in chosen], device=device)
            with SingleClip():
                logits = model(normalise(to_float(torch.from_numpy(clips).to(device))))
            found = select_traced(logits, position).float().cpu().numpy()
            for row, one in zip(rows, found, strict=True):
                yield row.study, int(row.frame), row.phase, one
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


def summed_entropy(model: nn.Module, store: ClipStore, spec: RunSpec, split: str, batch: int = 8,
                   device: str | torch.device = "auto") -> float:
    """Cross-entropy of a split's ED and ES frames, summed over pixels, the mean over frames; errors as :func:`mean_dice`."""
    total = [float(bce_sum(torch.from_numpy(logits), torch.from_numpy(store.mask(study, frame))))
             for study, frame, _, logits in centred_logits(model, store, spec.clip, split, batch, device)]
    return float(np.mean(total))


@torch.no_grad()
def predicted_numbers(model: nn.Module, store: ClipStore, spec: RunSpec, split: str, batch: int = 8,
                      device: str | torch.device = "auto", *, beside: FrameMasks | None = None) -> pd.DataFrame:
    """The number that a network gives for one clip of each study, the clip in the middle of its video.

    Args:
        model: clip ``(B, 3, F, H, W)``, or with ``beside`` ``(B, 4, F, H, W)``, -> ``(B,)``, the ejection fraction in %; its
            training mode is restored.
        store: frames and table of studies.
        spec: the run; its clip is used.
        split: "train", "val" or "test".
        batch: clips per pass.
        device: where the network is moved to.
        beside: masks that the network takes as a fourth channel.

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
            indices = [centred_indices(n, n // 2, spec.clip.frames, spec.clip.period)[0] for n in lengths]
            found += numbers_of(model, store, part, indices, device, beside).tolist()
    finally:
        model.train(was_training)
    about = store.studies.loc[names]
    return pd.DataFrame({"study": names, "patient": about["patient"].to_numpy(), "ef": about["ef"].to_numpy(float),
                         "predicted_ef": found})


@torch.no_grad()
def numbers_of(model: nn.Module, store: ClipStore, studies: Sequence[str], indices: Sequence[np.ndarray], device: torch.device,
               beside: FrameMasks | None = None) -> np.ndarray:
    """What a network on ``device`` gives for some clips, ``(B,)`` float32; arguments as :func:`predicted_numbers`.

    Args:
        model: in the mode that is wanted.
        store: the frames.
        studies: B names.
        indices: ``(F,)`` frame numbers of each clip, -1 for a black frame.
        device: where the network is.
        beside: masks that the network takes as a fourth channel.
    """
    frames = np.stack([store.clip(study, one) for study, one in zip(studies, indices, strict=True)])
    clip = normalise(to_float(torch.from_numpy(frames).to(device)))
    if beside is not None:
        masks = np.stack([beside.clip(study, one) for study, one in zip(studies, indices, strict=True)])
        clip = with_masks(clip, torch.from_numpy(masks).to(device))
    with SingleClip():
        return model(clip).float().cpu().numpy()


def with_masks(clip: Tensor, masks: Tensor) -> Tensor:
    """A clip ``(B, 3, F, H, W)`` with its masks ``(B, F, H, W)`` bool as a fourth channel: 1 inside, -1 outside."""
    return torch.cat([clip, (2 * masks.to(clip.dtype) - 1)[:, None]], 1)
