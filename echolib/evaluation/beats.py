"""Beats with their volumes: of a segmented clip, of a simulated one exactly, and which belongs to which."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from echolib.errors import DataError
from echolib.evaluation.ejection import SHORTEST_BEAT, ejection_fraction, find_beats


@dataclass(frozen=True)
class BeatVolumes:
    """A beat with its volumes (the unit of the curve they were taken from) and its ejection fraction, %."""

    ed: int
    es: int
    edv: float
    esv: float
    ef: float


def measure_beats(area: np.ndarray, volumes: np.ndarray, fps: float) -> list[BeatVolumes]:
    """Beats of a segmented clip with their ejection fractions, robust against single frames without a ventricle.

    Frames whose area is 0 get area and volume from their neighbours in time by a straight line; the volume at ED and ES is
    the median of that frame and the two beside it. Where no ventricle was found on half of the frames or more there are no
    beats.

    Args:
        area: ``(T,)`` LV area, any unit, 0 where none was found.
        volumes: ``(T,)`` volume of the same frames.
        fps: frames per second.

    Raises:
        DataError: the curves are not finite or of two lengths, or ``fps`` is not positive.
    """
    area, volumes = np.asarray(area, np.float64), np.asarray(volumes, np.float64)
    if area.shape != volumes.shape or not np.isfinite(volumes).all():
        raise DataError("not the volumes of this area curve", value=f"{volumes.shape}", expected=f"{area.shape} finite numbers")
    seen = np.flatnonzero(area > 0)
    if 2 * len(seen) <= len(area):
        return []
    frames = np.arange(len(area))
    area, volumes = np.interp(frames, seen, area[seen]), np.interp(frames, seen, volumes[seen])
    found = []
    for beat in find_beats(area, fps):
        edv, esv = (float(np.median(volumes[max(0, t - 1):t + 2])) for t in (beat.ed, beat.es))
        if edv > 0:
            found.append(BeatVolumes(beat.ed, beat.es, edv, esv, ejection_fraction(edv, esv)))
    return found


def exact_beats(volumes: np.ndarray, phase: np.ndarray) -> list[BeatVolumes]:
    """Beats of a simulated clip from its analytic volume and phase; only beats with both ED and ES inside the clip.

    Args:
        volumes: ``(T,)`` exact volume.
        phase: ``(T,)`` of the heart beat, 0 at ED, below 1; falls back to 0 at each end-diastole.

    Raises:
        DataError: the two are not finite curves of one length.
    """
    volumes, phase = np.asarray(volumes, np.float64), np.asarray(phase, np.float64)
    if volumes.shape != phase.shape or volumes.ndim != 1 or not np.isfinite(volumes + phase).all():
        raise DataError("not the volume and phase of a clip", value=f"{volumes.shape} {phase.shape}",
                        expected="(T,) twice, finite")
    starts = [int(t) for t in np.flatnonzero(np.diff(phase) < -0.5) + 1]
    if len(phase) and phase[0] < 0.03:
        starts.insert(0, 0)
    found = []
    for start, end in pairwise([*starts, len(volumes)]):
        first = max(0, start - 2)  # the frame of the largest volume may be the last before the phase falls back
        ed = first + int(np.argmax(volumes[first:start + 3]))
        es = ed + int(np.argmin(volumes[ed:end]))
        if ed < es < len(volumes) - 2:  # else the ventricle may go on emptying after the clip
            found.append(BeatVolumes(ed, es, float(volumes[ed]), float(volumes[es]), ejection_fraction(volumes[ed], volumes[es])))
    return found


def match_beats(found: list[BeatVolumes], exact: list[BeatVolumes], fps: float) -> list[tuple[BeatVolumes, BeatVolumes]]:
    """Pairs (found, exact) of beats whose end-systoles lie nearest to each other, at most half of :data:`SHORTEST_BEAT` apart."""
    pairs, left = [], list(found)
    for beat in exact:
        near = min(left, key=lambda other: abs(other.es - beat.es), default=None)
        if near is not None and abs(near.es - beat.es) <= SHORTEST_BEAT / 2 * fps:
            pairs.append((near, beat))
            left.remove(near)
    return pairs
