"""Segment any echo clip: cone, network, clean masks, beats, volumes, doubts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from echolib.clinic.clip_file import source_notes
from echolib.clinic.masks import clean
from echolib.clinic.quality import cone_in_frame, find_flags
from echolib.clinic.reading import ASSUMED_FPS
from echolib.clinic.regions import region_notes
from echolib.clinic.result import Flag, HeartBeat, Segmentation
from echolib.clinic.weights import Segmenter, load_segmenter
from echolib.data.sector import Sector, cut_frame, find_sector, framing
from echolib.errors import DataError
from echolib.evaluation.consistency import area_spectrum
from echolib.evaluation.ejection import Beat, disk_volumes, ejection_fraction, find_beats
from echolib.evaluation.inference import segment_video
from echolib.training.predict import resolve_device

#: Highest picture kept for looking at, px: enough for a contour to be judged, little enough for a thousand frames.
DISPLAY_HEIGHT = 400
#: Weights whose own record shows a larger mean EF error, in points, get a warning with every result.
MOST_EF_ERROR = 8.0
#: Grey level to which the 95th percentile of the cone's non-black pixels is brought: that of EchoNet-like clips.
BRIGHTNESS = 110.0
#: Clips of F frames per pass: a GPU likes many; on a processor every further one takes 100 MB and more.
PER_PASS, PER_PASS_GPU = 1, 8
#: A clip without a whole beat still shows a contraction when its area changes by this share.
LEAST_CHANGE = 0.1


def segment(video: np.ndarray | Iterable[np.ndarray], fps: float = math.nan, spacing_mm: float = math.nan, *,
            weights: Segmenter | str | Path | None = None, name: str = "clip", device: str = "auto",
            batch: int | None = None) -> Segmentation:
    """Find the left ventricle on every frame of an apical clip, and from it the beats and the ejection fraction.

    Args:
        video: (T, H, W), (T, H, W, 1) or (T, H, W, 3) uint8, T >= 2; or frames that can be walked through more than once,
            such as an opened :class:`~echolib.clinic.reading.ClipFile`.
        fps: frames per second; NaN: 50 are assumed and the result says so.
        spacing_mm: mm per px; NaN: no volumes in mL, the EF needs none.
        weights: a loaded network, or what :func:`~echolib.clinic.weights.load_segmenter` takes.
        name: what reports call the clip.
        device: where the network runs.
        batch: clips of F frames per pass; None: as many as suit the device.

    Raises:
        DataError: not a clip, a frame rate or spacing that cannot be, or no ultrasound cone in it.
        WeightsError: the weights cannot be loaded.
    """
    _check(fps, spacing_mm)
    segmenter = weights if isinstance(weights, Segmenter) else load_segmenter(weights)
    source = _Colour(video)
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

    sector = find_sector(source)
    notes += region_notes(source, sector)
    to_frame, to_display, shape = framing(sector, segmenter.size), *_display(sector)
    frames, display = _cut(source, sector, to_frame, to_display, shape, segmenter.size)
    lit = frames[frames > 2]
    if not lit.size:
        raise DataError("the clip is black", file=name)
    gain = BRIGHTNESS / np.percentile(lit, 95)
    seen = cv2.convertScaleAbs(frames.reshape(len(frames), -1), alpha=float(gain)).reshape(*frames.shape, 1)
    order = _there_and_back(len(seen), segmenter.frames * segmenter.period)
    place = resolve_device(device)
    probabilities = segment_video(segmenter.model, seen[order] if len(order) > len(seen) else seen, segmenter.frames,
                                  segmenter.period, batch=batch or (PER_PASS_GPU if place.type == "cuda" else PER_PASS),
                                  device=place, size=segmenter.size, overlap=True)[:len(seen)]
    probabilities, masks = clean(probabilities, fps)

    scale = to_frame[0, 0]  # network px per px of the clip
    area = masks.sum((1, 2)).astype(float)
    volumes = disk_volumes(masks, (spacing_mm if math.isfinite(spacing_mm) else 10.0) / scale)
    beats, complete = _beats(area, volumes, fps, spacing_mm, scale)
    cone = cone_in_frame(sector, to_frame, segmenter.size)
    flags = find_flags(frames, probabilities, masks, area, fps, sector, cone, beats, complete)
    curve = _bridged(area) / scale ** 2
    frequency, magnitude = area_spectrum(curve, fps) if len(curve) >= 4 else (np.zeros(1), np.zeros(1))
    return Segmentation(name=name, fps=float(fps), spacing_mm=float(spacing_mm), source_shape=sector.mask.shape, frames=frames,
                        probabilities=probabilities, masks=masks, display=display, to_frame=to_frame, to_display=to_display,
                        area=area / scale ** 2, volumes=volumes, beats=tuple(beats), complete=complete,
                        flags=tuple(flags + notes), frequency=frequency, magnitude=magnitude, network=segmenter.described())


def _check(fps: float, spacing_mm: float) -> None:
    if not math.isnan(fps) and not 1 <= fps <= 1000:
        raise DataError("not a frame rate of an echo clip", value=fps, expected="1 to 1000 frames per second")
    if not math.isnan(spacing_mm) and not 0.01 <= spacing_mm <= 10:
        raise DataError("not a pixel spacing of an echo clip", value=spacing_mm, expected="0.01 to 10 mm")


class _Colour:
    """Frames as (H, W, 3) uint8, walked through as often as needed."""

    def __init__(self, video: np.ndarray | Iterable[np.ndarray]) -> None:
        if isinstance(video, np.ndarray):
            plain = video.ndim == 3 or (video.ndim == 4 and video.shape[-1] in (1, 3))
            if video.dtype != np.uint8 or not plain or len(video) < 2 or not video.size:
                raise DataError("not a clip", value=f"{video.dtype} {video.shape}",
                                expected="uint8 (T, H, W), (T, H, W, 1) or (T, H, W, 3), T at least 2")
        elif not (hasattr(video, "__len__") and hasattr(video, "__iter__")):
            raise DataError("frames that can be walked through only once", expected="an array, a list or an opened clip")
        self.video = video

    def __len__(self) -> int:
        return len(self.video)

    def __iter__(self) -> Iterator[np.ndarray]:
        for frame in self.video:
            if frame.ndim == 2:
                frame = frame[..., None]
            yield np.ascontiguousarray(np.broadcast_to(frame, (*frame.shape[:2], 3)))


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


def _there_and_back(count: int, least: int) -> np.ndarray:
    """Frame numbers 0 .. count-1, and where that is fewer than ``least``, on backwards and forwards until it is.

    A half cycle played there and back looks like a heart; one followed by black frames does not.
    """
    period = np.concatenate([np.arange(count), np.arange(count - 2, 0, -1)])
    return np.resize(period, max(count, least))


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
    """The median of the frame and its two neighbours: one bad outline must not make an ejection fraction."""
    return float(np.median(volumes[max(0, frame - 1):frame + 2]))
