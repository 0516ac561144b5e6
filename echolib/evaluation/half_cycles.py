"""A network that was trained on whole videos at work on half cycles (SimLVSeg, "Out-of-distribution test"; Table 3).

CAMUS shows half a heart beat, labelled on every frame, end-diastole and end-systole at its ends. A half cycle becomes one clip:
more than F frames are thinned evenly, fewer are filled up at the end (:func:`echolib.data.clips.half_cycle_indices`). Every
frame that the clip holds is scored against its label, whatever the image quality; a reading of the paper chooses among the
frames afterwards. No patient of the cohort was trained on, so every split is used.

What text and released program leave open or do differently (row 11 of the audit) is an option of
:class:`echolib.evaluation.kinds.half_cycle.HalfCycleSpec`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import pandas as pd
import torch
from torch import nn

from echolib.data.augment import normalise, to_float
from echolib.data.clips import half_cycle_indices
from echolib.data.cohort import Cohort
from echolib.data.store import ClipStore
from echolib.models.single_clip import SingleClip
from echolib.training.predict import resolve_device

Padding = Literal["before", "after"]
Aspect = Literal["ignored", "kept"]
Phase = Literal["ED", "ES", "middle", "other"]

#: Tables of an evaluation, each a small CSV beside its record.
TABLES = ("studies", "frames")
STUDY_COLUMNS = ("study", "patient", "view", "quality", "split", "first", "frames", "scored")
FRAME_COLUMNS = ("study", "frame", "phase", "intersection", "predicted_px", "traced_px")
#: Frames that go through the network at once.
FRAMES_PER_PASS = 256


@dataclass(frozen=True)
class HalfCycle:
    """A half cycle fitted into a clip of F frames, of which it holds the first n.

    Attributes:
        study: its name.
        numbers: (n,) int, which frames of the half cycle, 0-based.
        phases: (n,) str, see :func:`phases_of`.
        clip: (F, S, S, C) uint8, black from frame n on.
        masks: (n, S, S) bool, the labelled ventricle.
    """

    study: str
    numbers: np.ndarray
    phases: np.ndarray
    clip: np.ndarray
    masks: np.ndarray


def phases_of(numbers: np.ndarray, ed: int, es: int) -> np.ndarray:
    """The phase of each frame of a clip: ED, ES, ``middle`` for the one in the middle of the clip, else ``other``.

    The paper scores "the middle frame" without a definition. Its interval is as wide as those of ED and ES, so there is one a
    half cycle: here position n // 2 of the n frames that the clip holds. Fewer than three frames have no middle.

    Args:
        numbers: (n,) which frames of the half cycle the clip holds.
        ed: the end-diastolic frame; it may be the first or the last.
        es: the end-systolic frame.
    """
    phases = np.full(len(numbers), "other", dtype="<U6")
    if len(numbers) >= 3:
        phases[len(numbers) // 2] = "middle"
    phases[numbers == ed], phases[numbers == es] = "ED", "ES"
    return phases


def half_cycles(store: ClipStore, frames: int, cohort: Cohort | None = None) -> Iterator[HalfCycle]:
    """Every half cycle of a packed cohort as a clip, by name.

    Args:
        store: the packed cohort; its frames are squares, whatever the aspect of the originals was.
        frames: F.
        cohort: the same cohort unpacked: its frames keep their aspect, the longer side fits the square.
    """
    for study in store.studies.index:
        about, indices = store.studies.loc[study], half_cycle_indices(int(store.studies.frames[study]), frames)
        numbers = indices[indices >= 0]
        if cohort is None:
            clip, masks = store.clip(study, indices), np.stack([store.mask(study, n) for n in numbers])
        else:
            clip = np.zeros((frames, store.size, store.size, store.channels), np.uint8)
            shown = letterbox(cohort.video(study)[numbers], store.size)
            clip[:len(numbers)] = shown[..., :store.channels]  # CAMUS is grey: its three channels are equal
            masks = letterbox(np.stack([cohort.mask(study, n) for n in numbers]), store.size)
        yield HalfCycle(study, numbers, phases_of(numbers, int(about.ed_frame), int(about.es_frame)), clip, masks)


def letterbox(frames: np.ndarray, size: int) -> np.ndarray:
    """Frames in a black square of ``size`` px with their aspect kept, centred: the longer side fits.

    Args:
        frames: (T, H, W, 3) uint8, resized by area when they shrink, linearly when they grow; or (T, H, W) bool, resized by
            nearest neighbour. Both as :mod:`echolib.data.store` resizes them.
        size: height and width of the square, px.
    """
    height, width = frames.shape[1:3]
    scale = size / max(height, width)
    shape = (max(1, round(width * scale)), max(1, round(height * scale)))
    if frames.dtype == bool:
        frames, way = frames.astype(np.uint8), cv2.INTER_NEAREST_EXACT
        return letterboxed(frames, shape, size, way).astype(bool)
    return letterboxed(frames, shape, size, cv2.INTER_AREA if scale <= 1 else cv2.INTER_LINEAR)


def letterboxed(frames: np.ndarray, shape: tuple[int, int], size: int, way: int) -> np.ndarray:
    """(T, H, W[, C]) uint8 resized to ``shape`` (width, height) px with OpenCV's ``way``, in black squares of ``size`` px."""
    out = np.zeros((len(frames), size, size, *frames.shape[3:]), np.uint8)
    left, top = (size - shape[0]) // 2, (size - shape[1]) // 2
    for square, frame in zip(out, frames, strict=True):
        square[top:top + shape[1], left:left + shape[0]] = cv2.resize(np.ascontiguousarray(frame), shape, interpolation=way)
    return out


@torch.no_grad()
def predict(model: nn.Module, cycles: Iterable[HalfCycle], padding: Padding = "before", *,
            device: str | torch.device = "auto") -> Iterator[tuple[HalfCycle, np.ndarray]]:
    """Segment half cycles, in order: each with its (n, S, S) bool masks (logit above 0: ventricle).

    Args:
        model: a segmenter; it is moved to ``device`` and stays there, its training mode is restored.
        cycles: what to segment.
        padding: what fills up a short clip: black frames before normalisation, or zeros ``after`` it.
        device: torch device; ``auto`` is the GPU where there is one.

    Raises:
        TrainingError: the device is not there.
    """
    device = resolve_device(device)
    was_training = model.training
    model.to(device).eval()
    try:
        for group in _batches(cycles, 1 if device.type == "cpu" else None):  # a CPU is faster clip by clip
            clips = normalise(to_float(torch.from_numpy(np.stack([one.clip for one in group])).to(device)))
            if padding == "after":
                for clip, one in zip(clips, group, strict=True):
                    clip[:, len(one.numbers):] = 0
            with SingleClip():
                found = (model(clips)[:, 0] > 0).cpu().numpy()
            yield from ((one, masks[:len(one.numbers)]) for one, masks in zip(group, found, strict=True))
    finally:
        model.train(was_training)


def _batches(cycles: Iterable[HalfCycle], batch: int | None) -> Iterator[list[HalfCycle]]:
    """Groups of ``batch`` half cycles; None: as many as make :data:`FRAMES_PER_PASS` frames."""
    group: list[HalfCycle] = []
    for one in cycles:
        group.append(one)
        if len(group) == (batch or max(1, FRAMES_PER_PASS // len(one.clip))):
            yield group
            group = []
    if group:
        yield group


def tables(store: ClipStore, predicted: Iterable[tuple[HalfCycle, np.ndarray]]) -> dict[str, pd.DataFrame]:
    """``studies`` (:data:`STUDY_COLUMNS`; ``first`` is the phase that comes first, ``scored`` the number of frames that the clip
    holds) and ``frames`` (:data:`FRAME_COLUMNS`; areas in px of the network's frame) of an evaluation."""
    studies, frames = [], []
    for one, masks in predicted:
        about = store.studies.loc[one.study]
        studies.append((one.study, about.patient, about["view"], about.quality, about.split,
                        "ED" if about.ed_frame < about.es_frame else "ES", int(about.frames), len(one.numbers)))
        frames.append(pd.DataFrame({
            "study": one.study, "frame": one.numbers, "phase": one.phases, "intersection": (masks & one.masks).sum((1, 2)),
            "predicted_px": masks.sum((1, 2)), "traced_px": one.masks.sum((1, 2))}))
    return {"studies": pd.DataFrame(studies, columns=list(STUDY_COLUMNS)),
            "frames": pd.concat(frames, ignore_index=True)[list(FRAME_COLUMNS)]}


def scores(studies: pd.DataFrame, frames: pd.DataFrame) -> pd.DataFrame:
    """One row a scored frame: :data:`FRAME_COLUMNS`, ``patient``, ``view``, ``quality`` and ``dice`` in [0, 1].

    Two empty masks agree: Dice 1 (as in :mod:`echolib.evaluation.metrics`).
    """
    table = frames.merge(studies[["study", "patient", "view", "quality"]], on="study", validate="many_to_one")
    total = table.predicted_px + table.traced_px
    return table.assign(dice=np.where(total > 0, 2 * table.intersection / np.maximum(total, 1), 1.0))
