"""An opened clip, and what every reader asks of one: a size and a frame rate that an echo can have."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from echolib.clinic.result import Flag
from echolib.errors import DataError

#: Above these a header is taken for damaged rather than believed.
MOST_FRAMES, LARGEST_SIDE = 20_000, 4096
#: Frames per second at which hearts are filmed; a file that says another number counts something else (its clock's ticks, the
#: speed of a slow-motion replay), and everything that smooths in time would go wrong with it.
SLOWEST_FPS, FASTEST_FPS = 8.0, 300.0


@dataclass(frozen=True)
class ClipFile:
    """An opened clip. Iterate over it for its frames; ``video`` holds them all.

    Attributes:
        name: the file's name without folder and ending, or what the user chose to show in its stead.
        frames: number of frames.
        height, width: px.
        fps: frames per second; NaN when the file does not say, or says what cannot be.
        spacing_mm: mm per px, the same both ways; NaN when unknown.
        kind: ``video``, ``pictures``, ``dicom``, ``nifti``, ``npy``, ``npz`` or ``raw`` (MetaImage, NRRD).
        notes: what the reader had to decide, for the report: a window, a file cut short, a frame rate not believed.
    """

    name: str
    frames: int
    height: int
    width: int
    fps: float
    spacing_mm: float
    kind: str
    _open: Callable[[], Iterator[np.ndarray]] = field(repr=False, compare=False)
    notes: tuple[Flag, ...] = ()

    def __len__(self) -> int:
        return self.frames

    def __iter__(self) -> Iterator[np.ndarray]:
        """(H, W, 3) uint8 frames. Raises DataError where a frame does not decode or frames are missing."""
        return self._open()

    @property
    def video(self) -> np.ndarray:
        """(T, H, W, 3) uint8, RGB."""
        return np.stack(list(self))


def plausible(file: str, frames: int, height: int, width: int) -> None:
    """Refuse what cannot be an echo clip.

    Raises:
        DataError: a still image, too many frames, or frames that are too small or too large.
    """
    if frames < 2:
        raise DataError("a still image", file=file, value=frames, expected="a clip of at least 2 frames")
    if frames > MOST_FRAMES or not 16 <= height <= LARGEST_SIDE or not 16 <= width <= LARGEST_SIDE:
        raise DataError("not the size of an echo clip", file=file, value=f"{frames} frames of {height} x {width} px",
                        expected=f"at most {MOST_FRAMES} frames of 16 to {LARGEST_SIDE} px")


def believed(fps: float) -> tuple[float, list[Flag]]:
    """The frame rate, and where it cannot be a heart's NaN and a note that says so."""
    if math.isnan(fps) or SLOWEST_FPS <= fps <= FASTEST_FPS:
        return fps, []
    return math.nan, [Flag("frame_rate_not_believed", f"The file says {fps:.4g} frames per second; hearts are filmed at "
                           f"{SLOWEST_FPS:g} to {FASTEST_FPS:g}, so that was not believed. Give the true rate with --fps.")]


def cut_short(there: int, promised: int | None) -> Flag:
    """The note on a file that ends too early."""
    of = "" if promised is None or promised <= there else f" of {promised}"
    return Flag("cut_short", f"The file is cut short, or damaged at an end: the {there}{of} frames that are whole were used. "
                "Copy the file again from its source for the rest.")


def source_notes(video: object, fps: float) -> list[Flag]:
    """What the reader of a clip noted; not on its frame rate where the user gave another one."""
    notes = getattr(video, "notes", ())
    own = math.isnan(fps) or fps == getattr(video, "fps", math.nan)
    return [note for note in notes if own or not note.code.startswith("frame_rate")]
