"""Clips from end-diastole to end-systole, as PKEcho-Net is trained and tested: which frames these are is given, not found.

A clip holds F frames equally spaced from the ED frame to the ES frame, both included; where ES comes first in the video it runs
backwards. Studies whose two frames lie too close together are an error, or are left out where a run says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from echolib.data.augment import normalise, to_float
from echolib.data.clips import phase_indices
from echolib.data.store import ClipStore
from echolib.errors import DataError
from echolib.models.single_clip import SingleClip
from echolib.training.predict import Prediction, resolve_device, traced_frames

#: Fewest frames of the video between the two traced ones.
BETWEEN = 2


class Pair(NamedTuple):
    """The two traced frames of a study, 0-based."""

    study: str
    ed: int
    es: int


def traced_pairs(store: ClipStore, split: str, *, leave_out: bool = False) -> list[Pair]:
    """ED and ES frame of every traced study of a split, by name; the first of each phase.

    Args:
        store: the tracings.
        split: "train", "val" or "test".
        leave_out: leave out studies that cannot be taken instead of raising.

    Raises:
        TrainingError: the split holds no traced frame.
        DataError: a study lacks one of the phases, both are the same frame, or fewer than two frames lie between them; or no
            study is left.
    """
    found = []
    for study, rows in traced_frames(store, split).groupby("study", sort=True):
        first = rows.groupby("phase")["frame"].min()
        if len(first) < 2:
            problem, value = "only one of the two phases is traced", f"{first.index[0]}, frame {first.iloc[0]}"
        elif first["ED"] == first["ES"]:
            problem, value = "end-diastole and end-systole are the same frame", f"frame {first['ED']}"
        elif abs(int(first["ES"]) - int(first["ED"])) <= BETWEEN:
            problem, value = "too few frames between end-diastole and end-systole", f"ED {first['ED']}, ES {first['ES']}"
        else:
            found.append(Pair(str(study), int(first["ED"]), int(first["ES"])))
            continue
        if not leave_out:
            raise DataError(f"study {study}: {problem}", value=value,
                            expected=f"an ED and an ES frame with {BETWEEN} frames between them, or too_short='leave_out'")
    if not found:
        raise DataError(f"no study of the {split!r} split has an ED and an ES frame with {BETWEEN} frames between them")
    return found


def phase_predictions(model: nn.Module, store: ClipStore, frames: int, split: str, batch: int = 8,
                      device: str | torch.device = "auto", *, leave_out: bool = False) -> Iterator[Prediction]:
    """Predict the ED and the ES frame of every study of a split from one clip, whose ends they are (logit above 0: ventricle).

    Args:
        model: a segmenter on ``device``; put into evaluation mode while the iterator runs, restored after.
        store: frames and tracings.
        frames: F.
        split: "train", "val" or "test".
        batch: clips per pass.
        device: where the clips go.
        leave_out: see :func:`traced_pairs`, which says what is raised.
    """
    for one, _, logits in phase_logits(model, store, traced_pairs(store, split, leave_out=leave_out), frames, batch, device):
        for phase, frame, found in zip(("ED", "ES"), (one.ed, one.es), logits[[0, -1]], strict=True):
            yield Prediction(one.study, frame, phase, found > 0, store.mask(one.study, frame))


@torch.no_grad()
def phase_logits(model: nn.Module, store: ClipStore, pairs: Sequence[Pair], frames: int, batch: int = 8,
                 device: str | torch.device = "auto") -> Iterator[tuple[Pair, np.ndarray, np.ndarray]]:
    """The clips of some studies from ED to ES: (pair, frame numbers ``(F,)``, logits ``(F, H, W)`` float32), in order.

    Args:
        model: a segmenter on ``device``; put into evaluation mode while the iterator runs, restored after.
        store: the frames.
        pairs: which studies.
        frames: F.
        batch: clips per pass.
        device: where the clips go.
    """
    device, was_training = resolve_device(device), model.training
    model.eval()
    try:
        for first in range(0, len(pairs), batch):
            part = pairs[first:first + batch]
            indices = [phase_indices(one.ed, one.es, frames) for one in part]
            clips = np.stack([store.clip(one.study, which) for one, which in zip(part, indices, strict=True)])
            with SingleClip():
                logits = model(normalise(to_float(torch.from_numpy(clips).to(device))))
            yield from zip(part, indices, logits[:, 0].float().cpu().numpy(), strict=True)
    finally:
        model.train(was_training)


def phase_dice(model: nn.Module, store: ClipStore, frames: int, split: str, batch: int = 8, device: str | torch.device = "auto",
               *, leave_out: bool = False) -> float:
    """Mean Dice of :func:`phase_predictions`; a frame that is empty in both counts as 1."""
    scores = []
    for one in phase_predictions(model, store, frames, split, batch, device, leave_out=leave_out):
        total = int(one.predicted.sum() + one.traced.sum())
        scores.append(2 * int((one.predicted & one.traced).sum()) / total if total else 1.0)
    return float(np.mean(scores))
