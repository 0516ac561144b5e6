"""A trained segmenter at work: scores on the traced frames of a split, and masks for every frame of a video."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import nn

from echolib.config import RunSpec
from echolib.data.augment import normalise, to_float
from echolib.data.clips import overlapping_windows, window_indices
from echolib.data.store import ClipStore
from echolib.errors import DataError
from echolib.evaluation.metrics import dice, surface_distances
from echolib.models.single_clip import SingleClip
from echolib.training.predict import centred_predictions, resolve_device

SCORE_COLUMNS = ("study", "patient", "frame", "phase", "dice", "intersection", "predicted_px", "traced_px", "hd95_px", "asd_px")


def score_split(model: nn.Module, store: ClipStore, spec: RunSpec, split: str = "test", batch: int = 8,
                device: str | torch.device = "auto") -> pd.DataFrame:
    """Score every traced frame of a split, each predicted from the clip centred on it.

    Args:
        model: a segmenter; it is moved to ``device`` and stays there.
        store: the frames and tracings.
        spec: the run; its clip (frames and period) is used.
        split: ``train``, ``val`` or ``test``.
        batch: clips per pass.
        device: torch device; ``auto`` is the GPU where there is one.

    Returns:
        One row a traced frame, sorted by study and frame, with :data:`SCORE_COLUMNS`: ``frame`` 0-based, ``phase`` ED or
        ES, ``dice`` in [0, 1], areas in px of the stored frames, HD95 and average surface distance in the same px, NaN
        where one of the masks is empty (see :mod:`echolib.evaluation.metrics`).

    Raises:
        TrainingError: the split holds no traced frame, or the device is not there.
    """
    device = resolve_device(device)
    rows = []
    for one in centred_predictions(model.to(device), store, spec, split, batch, device):
        hd95, asd = surface_distances(one.predicted, one.traced)
        rows.append((one.study, store.studies["patient"][one.study], one.frame, one.phase, dice(one.predicted, one.traced),
                     int((one.predicted & one.traced).sum()), int(one.predicted.sum()), int(one.traced.sum()), hd95, asd))
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS))


@torch.no_grad()
def segment_video(model: nn.Module, video: np.ndarray, frames: int, period: int, *, batch: int = 4,
                  device: str | torch.device = "auto", size: int = 112, overlap: bool = False) -> np.ndarray:
    """Probability of the left ventricle on every frame of a video.

    Windows of ``frames`` frames cover the video so that every frame is seen at least once; a frame seen twice gets the mean
    of its probabilities, and black frames that fill a short video are thrown away. Only ``batch`` windows are on the
    device at a time, so beside the result the memory does not grow with the video's length; ``video`` may be a memory map.

    Args:
        model: a segmenter; it is moved to ``device`` and stays there, its training mode is restored.
        video: ``(T, size, size, C)`` uint8, C 1 or 3, T >= 1.
        frames: F of the model's clips.
        period: every which frame of the video makes a clip.
        batch: windows per pass.
        device: torch device; ``auto`` is the GPU where there is one.
        size: height and width that the model takes, px.
        overlap: let windows overlap by half and mirror the ends, for twice the work: smoother, and surer at the ends.

    Returns:
        ``(T, size, size)`` float32 in [0, 1].

    Raises:
        DataError: not such a video.
        TrainingError: the device is not there.
    """
    shape = np.shape(video)
    if getattr(video, "dtype", None) != np.uint8 or len(shape) != 4 or shape[3] not in (1, 3) or shape[0] < 1:
        raise DataError("not a video", value=f"{getattr(video, 'dtype', type(video).__name__)} {shape}",
                        expected="uint8 (T, H, W, 1 or 3)")
    if shape[1:3] != (size, size):
        raise DataError("the frames are not of the network's size", value=shape[1:3], expected=f"{size} x {size} px")
    device = resolve_device(device)
    was_training = model.training
    model.to(device).eval()
    if overlap:
        windows, weights = overlapping_windows(len(video), frames, period)
    else:
        windows = window_indices(len(video), frames, period)
        weights = (windows >= 0).astype(np.float32)
    total = np.bincount(np.maximum(windows, 0).ravel(), weights.ravel(), minlength=len(video)).astype(np.float32)
    probabilities = np.zeros((len(video), size, size), np.float32)
    try:
        for first in range(0, len(windows), batch):
            chosen = windows[first:first + batch]
            clips = np.where((chosen >= 0)[..., None, None, None], video[np.maximum(chosen, 0)], np.uint8(0))
            with SingleClip():
                logits = model(normalise(to_float(torch.from_numpy(clips).to(device))))
            found = torch.sigmoid(logits[:, 0].float()).cpu().numpy()
            for window, share, maps in zip(chosen, weights[first:first + batch], found, strict=True):
                own = share > 0  # no frame counts twice in one window: black and mirrored ones weigh nothing
                probabilities[window[own]] += share[own, None, None] * maps[own]
    finally:
        model.train(was_training)
    probabilities /= total[:, None, None]
    return probabilities
