"""Segment any echo clip: cone, network, clean masks, beats, volumes, doubts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.ndimage import median_filter

from echolib.clinic.clip_file import source_notes
from echolib.clinic.ef_model import EFModel, load_ef_model
from echolib.clinic.interval import measure_doubts
from echolib.clinic.masks import clean
from echolib.clinic.network import brightness_gain, network_probabilities
from echolib.clinic.orientation import (
    Orientation,
    find_orientation,
    given_orientation,
    sampled_frames,
    turned,
    turned_sector,
    turning,
)
from echolib.clinic.quality import cone_in_frame, find_flags, refuse
from echolib.clinic.reading import ASSUMED_FPS
from echolib.clinic.regions import region_notes
from echolib.clinic.result import MOST_WIDTH, Flag, HeartBeat, Segmentation, compose
from echolib.clinic.weights import Segmenter, load_segmenter
from echolib.data.sector import Sector, cut_frame, find_sector, framing
from echolib.errors import DataError
from echolib.evaluation.consistency import area_spectrum
from echolib.evaluation.ejection import Beat, disk_volumes, ejection_fraction, find_beats
from echolib.training.predict import resolve_device

#: Highest picture kept for looking at, px: enough for a contour to be judged, little enough for a thousand frames.
DISPLAY_HEIGHT = 400
#: Weights whose own record shows a larger mean EF error, in points, get a warning with every result.
MOST_EF_ERROR = 8.0
#: A clip without a whole beat still shows a contraction when its area changes by this share.
LEAST_CHANGE = 0.1


def segment(video: np.ndarray | Iterable[np.ndarray], fps: float = math.nan, spacing_mm: float = math.nan, *,
            weights: Segmenter | str | Path | None = None, name: str = "clip", device: str = "auto",
            batch: int | None = None, orientation: str = "auto", ef_model: EFModel | str | Path | None = None) -> Segmentation:
    """Find the left ventricle on every frame of an apical clip, and from it the beats and the ejection fraction.

    A clip without a ventricle that stays where it is is refused: the result has no masks, no beats, and the reason in
    ``refused``.

    Args:
        video: (T, H, W), (T, H, W, 1) or (T, H, W, 3) uint8, T >= 2; or frames that can be walked through more than once,
            such as an opened :class:`~echolib.clinic.reading.ClipFile`.
        fps: frames per second; NaN: 50 are assumed and the result says so.
        spacing_mm: mm per px; NaN: no volumes in mL, the EF needs none.
        weights: a loaded network, or what :func:`~echolib.clinic.weights.load_segmenter` takes.
        name: what reports call the clip.
        device: where the network runs.
        batch: clips of F frames per pass; None: as many as suit the device.
        orientation: how the clip shows the heart, see :mod:`echolib.clinic.orientation`; ``auto``: it is found.
        ef_model: a network that gives the ejection fraction as well, or the folder of its run
            (:func:`~echolib.clinic.ef_model.load_ef_model`).

    Raises:
        DataError: not a clip, a frame rate, spacing or orientation that cannot be, or no ultrasound cone in it.
        WeightsError: the weights cannot be loaded.
        RecordError: the record of ``ef_model`` is damaged.
    """
    _check(fps, spacing_mm)
    segmenter = weights if isinstance(weights, Segmenter) else load_segmenter(weights)
    given_orientation(orientation)
    if ef_model is not None and not isinstance(ef_model, EFModel):
        ef_model = load_ef_model(ef_model)
    source = _Colour(video, segmenter.period)
    notes = source_notes(video, fps)
    if math.isnan(fps):
        fps = ASSUMED_FPS
        notes.append(Flag("frame_rate_assumed", f"The file gives no frame rate that can be used; {fps:g} frames per second were "
                          "assumed. Times and heart rate depend on it, the EF hardly does.", "note"))
    elif fps < 20:
        notes.append(Flag("low_frame_rate", f"Only {fps:.3g} frames per second: end-systole may fall between two frames."))
    if math.isnan(spacing_mm):
        notes.append(Flag("no_scale", "The pixel spacing is unknown, so volumes are not in mL; the EF needs no scale.", "note"))

    if segmenter.ef_error is not None and segmenter.ef_error > MOST_EF_ERROR:
        notes.append(Flag("ef_not_reliable", f"These weights miss the EF by {segmenter.ef_error:.0f} points on average on "
                          "simulated clips that they have not seen: look at the outlines, do not use the EF."))
    elif segmenter.ef_error is not None:
        notes.append(Flag("simulated_clips_alone", "These weights have learnt from simulated clips alone and miss the EF of "
                          f"such by {segmenter.ef_error:.0f} points on average. How far they miss that of patients has not been "
                          "measured: look at the outlines.", "note"))

    place = resolve_device(device)
    sector = find_sector(source)
    notes += region_notes(source, sector)
    way = given_orientation(orientation) or _found(source, sector, segmenter, place, batch)
    if way.name != "upright":
        source.name = way.name
        sector = find_sector(source)
    to_frame, to_display, shape = framing(sector, segmenter.size), *_display(sector)
    frames, display = _cut(source, sector, to_frame, to_display, shape, segmenter.size)
    gain = brightness_gain(frames, name)
    probabilities = network_probabilities(segmenter, frames, gain, place, batch=batch)
    probabilities, masks = clean(probabilities, fps)

    scale = to_frame[0, 0]  # network px per px of the clip
    refusal = refuse(probabilities, masks)
    if refusal is not None:  # what is no ventricle has no outline, no area and no beat
        masks[:], probabilities[:], beats, complete, flags = False, 0, [], False, [refusal]
        if not way.given:  # nor has it an orientation: it is shown as it came
            frames, display = (np.stack([turned(one, way.name) for one in film]) for film in (frames, display))
            to_frame, to_display = (compose(turning(way.name, film.shape[1:]), matrix)
                                    for film, matrix in ((frames, to_frame), (display, to_display)))
    elif not way.certain:
        notes.append(Flag("orientation_unsure", way.words))
    elif way.name != "upright":
        notes.append(Flag("orientation", way.words, "note"))
    area = masks.sum((1, 2)).astype(float)
    volumes = disk_volumes(masks, (spacing_mm if math.isfinite(spacing_mm) else 10.0) / scale)
    if refusal is None:
        beats, complete = _beats(area, volumes, fps, spacing_mm, scale)
        cone = cone_in_frame(sector, to_frame, segmenter.size)
        flags = find_flags(frames, probabilities, masks, area, fps, sector, cone, beats, complete)
    interval = None
    if beats and segmenter.interval is not None:
        doubts = measure_doubts(segmenter, frames, gain, probabilities, masks, beats, fps, place)
        interval = segmenter.interval.interval(float(np.mean([beat.ef for beat in beats])), doubts)
        if not interval.useful:
            beats = [replace(beat, ef=math.nan) for beat in beats]
            flags.append(Flag("ef_withheld", f"No EF is given: it would lie anywhere from {interval.low:.0f} to "
                              f"{interval.high:.0f} %, more than {MOST_WIDTH:.0f} points, because {interval.why}."))
    elif beats:
        flags.append(Flag("ef_without_interval", "How sure the EF is, is not known: the record of these weights holds no "
                          "calibrated interval.", "note"))
    regressed = None
    if ef_model is not None and refusal is None:
        regressed, said = ef_model.measure(source, sector, place, name)
        flags += said
    curve = _bridged(area) / scale ** 2
    frequency, magnitude = area_spectrum(curve, fps) if len(curve) >= 4 and refusal is None else (np.zeros(1), np.zeros(1))
    turn = turning(way.name, sector.mask.shape)
    return Segmentation(name=name, fps=float(fps), spacing_mm=float(spacing_mm), source_shape=sector.mask.shape, frames=frames,
                        probabilities=probabilities, masks=masks, display=display, to_frame=compose(to_frame, turn),
                        to_display=compose(to_display, turn), area=area / scale ** 2, volumes=volumes, beats=tuple(beats),
                        complete=complete, flags=tuple(flags + notes), frequency=frequency, magnitude=magnitude,
                        network=segmenter.described(), orientation=way, interval=interval,
                        regressed=regressed, refused="" if refusal is None else refusal.text)


def _found(source: _Colour, sector: Sector, segmenter: Segmenter, place: torch.device, batch: int | None) -> Orientation:
    """The orientation of a clip whose cone was found: a few frames are shown to the network both ways."""
    sample = np.stack([cv2.cvtColor(source.kept[t], cv2.COLOR_RGB2GRAY) for t in sorted(source.kept)])

    def answer(name: str) -> tuple[np.ndarray, np.ndarray]:
        cone = turned_sector(sector, name)
        matrix, size = framing(cone, segmenter.size), (segmenter.size,) * 2
        frames = np.stack([cut_frame(np.ascontiguousarray(turned(one, name)), cone, matrix, size) for one in sample])
        return frames, network_probabilities(segmenter, frames, brightness_gain(frames), place, batch=batch)

    return find_orientation(sample, sector, answer)


def _check(fps: float, spacing_mm: float) -> None:
    if not math.isnan(fps) and not 1 <= fps <= 1000:
        raise DataError("not a frame rate of an echo clip", value=fps, expected="1 to 1000 frames per second")
    if not math.isnan(spacing_mm) and not 0.01 <= spacing_mm <= 10:
        raise DataError("not a pixel spacing of an echo clip", value=spacing_mm, expected="0.01 to 10 mm")


class _Colour:
    """Frames as (H, W, 3) uint8, walked through as often as needed.

    Attributes:
        name: the orientation from which they are turned upright on the way; set it before a walk.
        kept: the frames by which the orientation is found, by number, from the first walk; as the file shows them.
    """

    def __init__(self, video: np.ndarray | Iterable[np.ndarray], period: int) -> None:
        if isinstance(video, np.ndarray):
            plain = video.ndim == 3 or (video.ndim == 4 and video.shape[-1] in (1, 3))
            if video.dtype != np.uint8 or not plain or len(video) < 2 or not video.size:
                raise DataError("not a clip", value=f"{video.dtype} {video.shape}",
                                expected="uint8 (T, H, W), (T, H, W, 1) or (T, H, W, 3), T at least 2")
        elif not (hasattr(video, "__len__") and hasattr(video, "__iter__")):
            raise DataError("frames that can be walked through only once", expected="an array, a list or an opened clip")
        self.video, self.name = video, "upright"
        self.kept: dict[int, np.ndarray] = {}
        self._wanted = set(sampled_frames(len(video), period).tolist())

    def __len__(self) -> int:
        return len(self.video)

    def __iter__(self) -> Iterator[np.ndarray]:
        for t, frame in enumerate(self.video):
            if frame.ndim == 2:
                frame = frame[..., None]
            colour = np.ascontiguousarray(turned(np.broadcast_to(frame, (*frame.shape[:2], 3)), self.name))
            if self.name == "upright" and t in self._wanted:
                self.kept[t] = colour
            yield colour


def _display(sector: Sector) -> tuple[np.ndarray, tuple[int, int]]:
    """The map from the clip to the picture of its cone, and that picture's (height, width)."""
    rows, columns = np.flatnonzero(sector.mask.any(1)), np.flatnonzero(sector.mask.any(0))
    height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    scale = min(1.0, DISPLAY_HEIGHT / height)
    matrix = np.array([[scale, 0, -scale * columns[0]], [0, scale, -scale * rows[0]]])
    return matrix, (max(2, round(scale * height)), max(2, round(scale * width)))


def _cut(source: _Colour, sector: Sector, to_frame: np.ndarray, to_display: np.ndarray, shape: tuple[int, int],
         size: int) -> tuple[np.ndarray, np.ndarray]:
    """The cone in the network's frame and at its own resolution, in grey; one walk through the clip."""
    frames = np.empty((len(source), size, size), np.uint8)
    display = np.empty((len(source), *shape), np.uint8)
    for t, frame in enumerate(source):
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        frames[t] = cut_frame(grey, sector, to_frame, (size, size))
        display[t] = cut_frame(grey, sector, to_display, shape)
    return frames, display


def _bridged(area: np.ndarray) -> np.ndarray:
    """The area curve with frames without a ventricle filled by a straight line between their neighbours."""
    found = area > 0
    if found.all() or not found.any():
        return area
    return np.interp(np.arange(len(area)), np.flatnonzero(found), area[found])


def _beats(area: np.ndarray, volumes: np.ndarray, fps: float, spacing_mm: float, scale: float) -> tuple[list[HeartBeat], bool]:
    """Contractions with their volumes; the flag tells whether they are whole beats."""
    if (area > 0).mean() < 0.5:
        return [], False
    curve, filled = _bridged(area), _bridged(volumes)
    found = find_beats(curve, fps)
    complete = bool(found)
    if not found:
        smooth = np.convolve(np.pad(curve, 1, mode="edge"), np.ones(3) / 3, mode="valid")
        if smooth.max() - smooth.min() < LEAST_CHANGE * smooth.max():
            return [], False
        found = [Beat(int(smooth.argmax()), int(smooth.argmin()))]  # a half cycle may run backwards, from ES to ED
    known = math.isfinite(spacing_mm)
    unit = (spacing_mm / 10 / scale) ** 2 if known else scale ** -2
    beats = []
    for number, beat in enumerate(found):
        edv, esv = (_near(filled, frame) for frame in (beat.ed, beat.es))
        if edv <= 0:
            continue
        following = found[number + 1].ed if number + 1 < len(found) else math.nan
        beats.append(HeartBeat(ed=beat.ed, es=beat.es, ed_s=beat.ed / fps, es_s=beat.es / fps, rr_s=(following - beat.ed) / fps,
                               edv=edv if known else math.nan, esv=esv if known else math.nan, ed_area=curve[beat.ed] * unit,
                               es_area=curve[beat.es] * unit, ef=ejection_fraction(edv, esv)))
    return beats, complete and bool(beats)


def _near(volumes: np.ndarray, frame: int) -> float:
    """The volume at a frame: of a parabola through it and two frames on either side.

    Volumes that are more than a tenth off the median of theirs and their neighbours' give way to it: one bad outline must not
    make an ejection fraction. The median itself would not do: at the largest and at the smallest volume both neighbours lie on
    one side, so that the ejection fraction even of exact outlines was too small. With fewer than four frames it is taken.
    """
    first = max(0, frame - 3)
    part = volumes[first:frame + 4]
    usual = median_filter(part, 3, mode="nearest")
    part = np.where(np.abs(part - usual) > 0.1 * usual, usual, part)
    place = np.arange(first, first + len(part)) - frame
    near = np.abs(place) <= 2
    if near.sum() < 4:
        return float(np.median(part[near]))
    return max(0.0, float(np.polyval(np.polyfit(place[near], part[near], 2), 0)))
