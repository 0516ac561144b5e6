"""How sure an ejection fraction is: doubts that can be measured on the clip itself, and the interval that they make.

Three doubts, each in points of EF. **Views**: the frames around end-diastole and end-systole are shown to the network again,
brighter and darker, shifted, turned, smaller and larger, and at another place of its window; the standard deviation of the
EF over those views. **Network**: how far the two volumes move between a probability of 0.75 and one of 0.25. **Beats**: the
standard error of the mean over the beats. None of them sees what the network always does wrong, so they are calibrated
on simulated clips that it has not learnt from (:mod:`echolib.clinic.calibrate`): the record beside the weights holds the
floor, the weights of the doubts, and how many times their sum lies between the EF and either end of the interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from scipy.ndimage import uniform_filter1d

from echolib.clinic.masks import averaging_window, keep_ventricle
from echolib.clinic.network import network_probabilities
from echolib.clinic.result import Doubts, HeartBeat
from echolib.clinic.weights import Segmenter
from echolib.evaluation.ejection import disk_volume, ejection_fraction

#: Beats that are looked at again, those whose EF is nearest to the mean.
MOST_BEATS = 2


@dataclass(frozen=True)
class View:
    """One way of showing frames again: a gain, a shift in px of 112, a turn in degrees, a zoom, and how far the window of
    a network that sees all of it is moved, as a share of its length."""

    gain: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    turn: float = 0.0
    zoom: float = 1.0
    offset: float = 0.0

    def matrix(self, size: int) -> np.ndarray:
        """The (2, 3) map about the middle of a ``size`` px frame."""
        middle = (size - 1) / 2
        matrix = cv2.getRotationMatrix2D((middle, middle), self.turn, self.zoom)
        matrix[:, 2] += np.array(self.shift) * size / 112
        return matrix


VIEWS = (View(gain=0.8), View(gain=1.25), View(shift=(3, -2), turn=4, offset=0.25), View(shift=(-3, 2), turn=-4, offset=-0.25),
         View(zoom=0.94, offset=-0.125), View(zoom=1.06, offset=0.125))


def measure_doubts(segmenter: Segmenter, frames: np.ndarray, gain: float, probabilities: np.ndarray, masks: np.ndarray,
                   beats: Sequence[HeartBeat], fps: float, place: torch.device) -> Doubts:
    """The doubts of a clip with at least one beat.

    Args:
        segmenter: the network.
        frames: (T, S, S) uint8, the cone in the network's frame.
        gain: factor on the grey levels.
        probabilities, masks: (T, S, S), cleaned.
        beats: the contractions, not empty.
        fps: frames per second.
        place: where the network runs.
    """
    fractions = [beat.ef for beat in beats]
    mean = float(np.mean(fractions))
    chosen = sorted(beats, key=lambda beat: abs(beat.ef - mean))[:MOST_BEATS]
    usual = masks.mean(0, dtype=np.float32)
    seen = [_fraction_of(chosen, {k: _volume(masks, k) for beat in chosen for k in (beat.ed, beat.es)})]
    for view in VIEWS:
        seen.append(_view_fraction(segmenter, frames, gain, usual, chosen, fps, place, view))
    views = float(np.std(seen, ddof=1)) if np.isfinite(seen).all() else math.inf
    doubt = float(np.mean([_network_doubt(probabilities, usual, beat) for beat in chosen]))
    error = float(np.std(fractions, ddof=1) / math.sqrt(len(fractions))) if len(fractions) > 1 else 0.0
    return Doubts(views, doubt, error)


def _view_fraction(segmenter: Segmenter, frames: np.ndarray, gain: float, usual: np.ndarray, beats: Sequence[HeartBeat],
                   fps: float, place: torch.device, view: View) -> float:
    """The mean EF of the beats in one view; NaN where a ventricle is lost."""
    size = frames.shape[1]
    matrix = view.matrix(size)
    moved = cv2.warpAffine(usual, matrix, (size, size), flags=cv2.INTER_LINEAR)
    volumes = {}
    for key in {k for beat in beats for k in (beat.ed, beat.es)}:
        numbers, middle = _window(len(frames), key, segmenter, fps, view.offset)
        part = np.stack([cv2.warpAffine(frames[n], matrix, (size, size), flags=cv2.INTER_LINEAR) for n in numbers])
        short = replace(segmenter, frames=len(numbers)) if _any_window(segmenter) else segmenter
        p = network_probabilities(short, part, gain * view.gain, place, overlap=False)
        window = averaging_window(fps)
        p = uniform_filter1d(p, window, axis=0, mode="nearest") if window > 1 else p
        volumes[key] = _volume(keep_ventricle(p > 0.5, moved), middle)
    return _fraction_of(beats, volumes)


def _any_window(segmenter: Segmenter) -> bool:
    """Whether a few frames around one give the same answer as the network's whole window."""
    return getattr(segmenter.model, "reach", None) is not None and segmenter.period == 1


def _window(count: int, key: int, segmenter: Segmenter, fps: float, offset: float) -> tuple[np.ndarray, int]:
    """Frame numbers around a key frame, mirrored at the clip's ends, and the key frame's place among them."""
    if _any_window(segmenter):
        half = segmenter.model.reach + 1 + averaging_window(fps) // 2
        length, before = 2 * half + 1, half
    else:
        length = segmenter.frames * segmenter.period
        before = int(np.clip(round(length / 2 + offset * length), 1, max(1, length - 2)))
    numbers = np.abs(np.arange(key - before, key - before + length))
    if count > 1:
        numbers = numbers % (2 * count - 2)
        numbers = np.where(numbers >= count, 2 * count - 2 - numbers, numbers)
    return numbers, before


def _volume(masks: np.ndarray, frame: int) -> float:
    """Median volume of a frame and its neighbours, px^3 / 1000: the same rule as for the EF itself."""
    return float(np.median([disk_volume(mask, 1.0) for mask in masks[max(0, frame - 1):frame + 2]]))


def _fraction_of(beats: Sequence[HeartBeat], volumes: Mapping[int, float]) -> float:
    if any(volumes[beat.ed] <= 0 or volumes[beat.es] <= 0 for beat in beats):
        return math.nan
    return float(np.mean([ejection_fraction(volumes[beat.ed], volumes[beat.es]) for beat in beats]))


def _network_doubt(probabilities: np.ndarray, usual: np.ndarray, beat: HeartBeat) -> float:
    """Points of EF by which the volumes' own doubts, taken as independent, move it; infinite where nothing is sure."""
    volumes, doubts = [], []
    for key in (beat.ed, beat.es):
        part = probabilities[max(0, key - 1):key + 2].astype(np.float32)
        low, usually, high = (float(np.median([disk_volume(mask, 1.0) for mask in keep_ventricle(part > cut, usual)]))
                              for cut in (0.75, 0.5, 0.25))
        volumes.append(usually)
        doubts.append((high - low) / 2)
    if min(volumes) <= 0:
        return math.inf
    share = volumes[1] / volumes[0]
    return 100 * share * math.hypot(doubts[0] / volumes[0], doubts[1] / volumes[1])
