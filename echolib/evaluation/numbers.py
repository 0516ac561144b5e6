"""A network that gives the ejection fraction at work on whole videos and on half cycles, clip by clip.

A video: every clip that begins at a multiple of the stride, and the last one that fits; EchoNet-Dynamic's test averages
them (Ouyang et al., Nature 2020). A half cycle: the half heart beat and then itself in reverse, a whole one, as CSS does with
CAMUS (Dai et al., IEEE TMI 2023, section IV-G). There 20 frames become 40, of which a clip of 32 at period 2 wants 64; what
fills the rest is not said: ``black`` frames, as short videos end in training, or the beat over again (``repeat``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from torch import nn

from echolib.config.specs import ClipSpec
from echolib.data.clips import BLACK
from echolib.data.frame_masks import FrameMasks
from echolib.data.store import ClipStore
from echolib.errors import DataError
from echolib.evaluation.bootstrap import Interval, resampled_patients
from echolib.evaluation.metrics import area_under_roc
from echolib.training.predict import numbers_of, resolve_device

Filled = Literal["black", "repeat"]
STUDY_COLUMNS = ("study", "patient", "view", "quality", "ef", "predicted_ef", "clips", "clip_sd")
CLIP_COLUMNS = ("study", "start", "predicted_ef")
#: Ejection fractions (%) below which a heart is called failing by one guideline or another; 50 is the clinical question.
THRESHOLDS = (35, 40, 45, 50)
#: Clips that go through the network at once.
BATCH = 8


def video_clips(length: int, clip: ClipSpec, stride: int) -> np.ndarray:
    """Every clip of a video at a multiple of ``stride``, and the last one that fits.

    Args:
        length: frames of the video.
        clip: frames and period.
        stride: frames of the video between two starts.

    Returns:
        Frame numbers ``(n, F)`` int64; a video that is too short gives one clip that ends in black (-1).
    """
    last = length - 1 - (clip.frames - 1) * clip.period
    starts = sorted({*range(0, last + 1, stride), last}) if last > 0 else [0]
    indices = np.array(starts, np.int64)[:, None] + clip.period * np.arange(clip.frames)
    return np.where(indices < length, indices, BLACK)


def mirrored_clip(length: int, clip: ClipSpec, filled: Filled = "black") -> np.ndarray:
    """The one clip of a half cycle: it and then its reverse, from its first frame on.

    Args:
        length: frames of the half cycle.
        clip: frames and period.
        filled: what follows the whole cycle.

    Returns:
        Frame numbers ``(1, F)`` int64.
    """
    cycle = np.concatenate([np.arange(length), np.arange(length)[::-1]])
    wanted = clip.period * np.arange(clip.frames)
    inside = cycle[wanted % len(cycle)]
    return (inside if filled == "repeat" else np.where(wanted < len(cycle), inside, BLACK))[None].astype(np.int64)


def predicted(model: nn.Module, store: ClipStore, clips: Sequence[tuple[str, np.ndarray]], beside: FrameMasks | None, *,
              device: str = "auto") -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """What a network gives for every clip of some studies: (study, frame numbers ``(n, F)``, ``(n,)`` float32), in order.

    Args:
        model: clip -> ejection fraction, %; it is moved to the device and stays there, its training mode is restored.
        store: the frames.
        clips: studies with the frame numbers of their clips.
        beside: masks that the network takes as a fourth channel.
        device: torch device.
    """
    place, was_training = resolve_device(device), model.training
    model.to(place).eval()
    try:
        for study, indices in clips:
            found = [numbers_of(model, store, [study] * len(part), list(part), place, beside)
                     for part in np.array_split(indices, -(-len(indices) // BATCH))]
            yield study, indices, np.concatenate(found)
    finally:
        model.train(was_training)


def tables(store: ClipStore, found: Iterator[tuple[str, np.ndarray, np.ndarray]]) -> dict[str, pd.DataFrame]:
    """``studies`` (:data:`STUDY_COLUMNS`; ``predicted_ef`` is the mean over the clips, ``clip_sd`` their standard deviation,
    NaN for one) and ``clips`` (:data:`CLIP_COLUMNS`)."""
    studies, clips = [], []
    for study, indices, values in found:
        about = store.studies.loc[study]
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else np.nan
        studies.append((study, about["patient"], about["view"], about["quality"], float(about["ef"]), float(values.mean()),
                        len(values), spread))
        clips.append(pd.DataFrame({"study": study, "start": indices[:, 0], "predicted_ef": values}))
    return {"studies": pd.DataFrame(studies, columns=list(STUDY_COLUMNS)),
            "clips": pd.concat(clips, ignore_index=True)[list(CLIP_COLUMNS)]}


def one_clip_runs(studies: pd.DataFrame, clips: pd.DataFrame, runs: int = 5, seed: int = 0) -> np.ndarray:
    """Mean absolute error of one random clip of each study, ``(runs,)``: what the released program of CSS reports as runs.

    Args:
        studies, clips: of :func:`tables`.
        runs: how many draws of a clip for each study.
        seed: of the draws.
    """
    rng, truth = np.random.default_rng([seed, runs]), studies.set_index("study")["ef"]
    by = [(truth[study], part["predicted_ef"].to_numpy()) for study, part in clips.groupby("study") if np.isfinite(truth[study])]
    return np.array([np.mean([abs(values[rng.integers(len(values))] - ef) for ef, values in by]) for _ in range(runs)])


def below(table: pd.DataFrame, found: str, exact: str, threshold: float, resamples: int = 1000, seed: int = 0) -> Interval:
    """Area under the ROC curve for an ejection fraction below a threshold, with its 95 % interval, patients resampled.

    A lower predicted value speaks for it. NaN where all patients are on one side; resamples in which they are do not enter.

    Args:
        table: one row a study, with ``patient`` and the two columns; rows without a value on either side do not enter.
        found: column of the prediction.
        exact: column of the truth.
        threshold: %.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        DataError: no row has both values.
    """
    pairs = table[["patient", found, exact]].dropna()
    if pairs.empty:
        raise DataError(f"no study has both {found!r} and {exact!r}")
    score, ill = -pairs[found].to_numpy(float), pairs[exact].to_numpy(float) < threshold
    whole = area_under_roc(score, ill) if 0 < ill.sum() < len(ill) else np.nan
    drawn = [area_under_roc(score[rows], ill[rows]) for rows in resampled_patients(pairs["patient"], resamples, seed)
             if 0 < ill[rows].sum() < len(rows)] if np.isfinite(whole) else []
    low, high = np.quantile(drawn, (0.025, 0.975)) if drawn else (np.nan, np.nan)
    return Interval(float(whole), float(low), float(high), len(pairs), pairs["patient"].nunique(), 0.95, "patients")
