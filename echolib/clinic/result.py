"""What a segmentation of a clip holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import cv2
import numpy as np

from echolib.clinic.orientation import Orientation


@dataclass(frozen=True)
class Flag:
    """A doubt about a result, for the reader of the report.

    Attributes:
        code: a fixed word for programs, such as ``no_full_beat``.
        text: one sentence for people.
        severity: ``warning`` (do not use the numbers without a look at the clip) or ``note``.
    """

    code: str
    text: str
    severity: Literal["warning", "note"] = "warning"


@dataclass(frozen=True)
class HeartBeat:
    """One contraction.

    Attributes:
        ed, es: frames of end-diastole and end-systole, 0-based.
        ed_s, es_s: the same in s from the first frame.
        rr_s: time from this end-diastole to the next beat's, s; NaN for the last beat.
        edv, esv: volumes at the two by the method of disks, mL; NaN without a pixel spacing.
        ed_area, es_area: LV areas at the two, cm2, or px2 of the clip without a pixel spacing.
        ef: ejection fraction, %; NaN where none is given.
    """

    ed: int
    es: int
    ed_s: float
    es_s: float
    rr_s: float
    edv: float
    esv: float
    ed_area: float
    es_area: float
    ef: float


@dataclass(frozen=True)
class Doubts:
    """What a clip tells of its own EF, in points (:mod:`echolib.clinic.interval`).

    Attributes:
        views: standard deviation of the EF over views of the clip; infinite where a view loses the ventricle.
        network: what the network's undecided pixels are worth; infinite where nothing is decided.
        beats: standard error of the mean over the beats; 0 for a single one.
    """

    views: float
    network: float
    beats: float


#: Widest interval with which an EF is given, points. 35 % is where a defibrillator is considered and 65 % is in the
#: middle of normal: an interval that holds both excludes nothing that matters.
MOST_WIDTH = 30.0


@dataclass(frozen=True)
class EfInterval:
    """Where the EF lies.

    Attributes:
        level: the share of simulated clips whose true EF lies in such an interval, %.
        low, high: its ends, %.
        doubts: what made it so wide.
        largest: which of them adds most: ``views``, ``network``, ``beats``, or ``floor``, what these weights miss anyhow.
    """

    level: float
    low: float
    high: float
    doubts: Doubts
    largest: Literal["floor", "views", "network", "beats"]

    @property
    def useful(self) -> bool:
        """Whether it is narrow enough for an EF to be given (:data:`MOST_WIDTH`)."""
        return self.high - self.low <= MOST_WIDTH

    @property
    def why(self) -> str:
        """What widens it most, as the end of a sentence."""
        if self.largest == "views" and np.isinf(self.doubts.views):
            return "the ventricle is lost when the picture is shown a little brighter, darker, turned or enlarged"
        return {"views": "the outline changes when the picture is shown a little brighter, darker, turned or enlarged",
                "network": "the network is unsure where the borders are at end-diastole and end-systole",
                "beats": "the beats differ from one another", "floor": "these weights miss the EF by much even where "
                "nothing speaks against the outline"}[self.largest]


@dataclass(frozen=True)
class RegressedEF:
    """The ejection fraction that a network gives as one number for a clip of the video (:mod:`echolib.clinic.ef_model`).

    Attributes:
        ef: mean over the clips, %.
        sd: standard deviation over them, points; NaN for a single one.
        clips: how many.
        words: one sentence for reports: what it learnt from.
        network: what gave it, for reports: origin, masks, architecture, trained_on, sha256.
    """

    ef: float
    sd: float
    clips: int
    words: str
    network: dict[str, str]


@dataclass(frozen=True)
class Segmentation:
    """A segmented clip. All pixels lie inside the ultrasound cone; nothing of the rest of the screen is kept.

    Attributes:
        name: what the clip is called in reports.
        fps: frames per second.
        spacing_mm: mm per px of the clip; NaN when unknown.
        source_shape: (height, width) of the clip's frames, px.
        frames: (T, S, S) uint8, the cone in the network's frame, grey.
        probabilities: (T, S, S) float16, what the network said.
        masks: (T, S, S) bool, the LV cavity in the network's frame.
        display: (T, h, w) uint8, the cone at the clip's own resolution (at most 400 px high), grey.
        to_frame, to_display: (2, 3) maps of the clip's px to px of ``frames`` and of ``display``.
        area: (T,) LV area, px2 of the clip; 0 where none was found.
        volumes: (T,) volume by the method of disks, mL, or 1000 px^3 of the clip when the spacing is unknown.
        beats: contractions in order; empty when the clip holds none.
        complete: False when no whole beat was found and ``beats`` holds the largest and smallest area instead.
        flags: doubts.
        frequency, magnitude: spectrum of the area curve, Hz and px2.
        network: what segmented it, for reports: origin, architecture, trained_on, sha256.
        orientation: how the file shows the heart. ``frames``, ``masks`` and ``display`` are upright; of a clip that was refused
            they are as the file shows them, unless the user gave the orientation.
        interval: where the EF lies; None without a beat, and for weights without a calibration. Where it is too wide to be
            useful there is no EF: that of the beats is NaN.
        regressed: the ejection fraction that a network gives as one number; None where none was given, and for a refused clip.
        refused: one sentence why the clip was not measured, "" if it was; there are no masks then and no beats.
    """

    name: str
    fps: float
    spacing_mm: float
    source_shape: tuple[int, int]
    frames: np.ndarray
    probabilities: np.ndarray
    masks: np.ndarray
    display: np.ndarray
    to_frame: np.ndarray
    to_display: np.ndarray
    area: np.ndarray
    volumes: np.ndarray
    beats: tuple[HeartBeat, ...]
    complete: bool
    flags: tuple[Flag, ...]
    frequency: np.ndarray
    magnitude: np.ndarray
    network: dict[str, str]
    orientation: Orientation = field(default_factory=Orientation)
    interval: EfInterval | None = None
    regressed: RegressedEF | None = None
    refused: str = ""

    @property
    def has_scale(self) -> bool:
        """Whether the pixel spacing is known, so that areas are cm2 and volumes mL."""
        return bool(np.isfinite(self.spacing_mm))

    @property
    def areas(self) -> tuple[np.ndarray, str]:
        """The area curve and its unit: cm2, or px2 of the clip."""
        return (self.area * (self.spacing_mm / 10) ** 2, "cm²") if self.has_scale else (self.area, "px²")

    @property
    def times(self) -> np.ndarray:
        """(T,) s from the first frame."""
        return np.arange(len(self.frames)) / self.fps

    @property
    def ef(self) -> float:
        """Mean ejection fraction over the beats, %; NaN without one, and where its interval is too wide."""
        return float(np.mean([beat.ef for beat in self.beats])) if self.beats else float("nan")

    @property
    def ef_spread(self) -> tuple[float, float, float]:
        """Standard deviation over the beats (NaN below two), smallest and largest, %."""
        values = [beat.ef for beat in self.beats]
        if not values:
            return (float("nan"),) * 3
        return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan"), min(values), max(values)

    @property
    def heart_rate(self) -> float:
        """Beats a minute from the mean time between end-diastoles; NaN below two beats."""
        intervals = [beat.rr_s for beat in self.beats if np.isfinite(beat.rr_s)]
        return 60.0 / float(np.mean(intervals)) if intervals else float("nan")

    @property
    def main_beat(self) -> HeartBeat | None:
        """The beat whose EF is nearest to the mean, or the first where no EF is given: the one to show."""
        return min(self.beats, key=lambda beat: abs(beat.ef - self.ef)) if self.beats else None

    def source_masks(self) -> Iterator[np.ndarray]:
        """The LV cavity in the clip's own frame, frame by frame: (H, W) bool."""
        return (self._mapped(t, np.eye(2, 3), self.source_shape) for t in range(len(self.masks)))

    def display_masks(self, zoom: int = 1) -> Iterator[np.ndarray]:
        """The LV cavity on ``display`` enlarged ``zoom`` times, frame by frame: (zoom*h, zoom*w) bool."""
        height, width = self.display.shape[1:]
        return (self.mask_in(t, zoom, (zoom * height, zoom * width)) for t in range(len(self.masks)))

    def mask_in(self, frame: int, zoom: float, shape: tuple[int, int]) -> np.ndarray:
        """The LV cavity of one frame on its ``display`` picture enlarged ``zoom`` times: ``shape`` bool."""
        enlarge = np.array([[zoom, 0, (zoom - 1) / 2], [0, zoom, (zoom - 1) / 2]])
        return self._mapped(frame, compose(enlarge, self.to_display), shape)

    def _mapped(self, frame: int, source_to_target: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """A mask in another frame: the probability is interpolated and cut at one half, so that contours stay smooth."""
        matrix = compose(source_to_target, invert(self.to_frame))
        p = self.probabilities[frame].astype(np.float32)
        # The cleaned mask decides, the probability shapes the edge.
        field = np.where(self.masks[frame], np.maximum(p, 0.55), np.minimum(p, 0.45))
        return cv2.warpAffine(field, matrix, (shape[1], shape[0]), flags=cv2.INTER_LINEAR) > 0.5


def compose(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """The (2, 3) map that does ``inner`` and then ``outer``."""
    full = np.vstack([outer, [0, 0, 1]]) @ np.vstack([inner, [0, 0, 1]])
    return full[:2]


def invert(matrix: np.ndarray) -> np.ndarray:
    """The inverse of a (2, 3) map."""
    return np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
