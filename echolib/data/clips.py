"""Which frames of a video make a clip. Pure functions on frame numbers; nothing here touches pixels.

A clip is ``frames`` (F) frame numbers, each ``period`` (T) frames of the video after the one before. Frame numbers are
0-based; :data:`BLACK` (-1) stands for a black frame. One rule holds everywhere: when a video is too short for F frames
at period T, the clip holds every frame that it can and is padded with black **at its end**.

Sources: SimLVSeg, "Weakly supervised LV segmentation" (training: a random clip around an annotated frame; evaluation:
the annotated frame at the centre) and "Out-of-distribution test" (half cycles); the authors' program for what the text
leaves open: F/2 frames before the traced one and F/2 - 1 after it, the clip shifted inside at either end of the video.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from echolib.errors import DataError

#: Frame number of a black frame.
BLACK = -1


def training_indices(length: int, traced: int, frames: int, period: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """A random clip that holds the traced frame, at any of its positions.

    The same distribution as drawing random starts until the clip hits the traced frame: every start inside the video
    that puts the traced frame on the clip's grid is equally likely. Where no start does (short videos, or a period
    whose grid through the traced frame does not fit), the clip starts as early as it can and is padded at its end.

    Args:
        length: frames of the video.
        traced: the traced frame, in ``[0, length)``.
        frames: F.
        period: T.
        rng: source of the draw; exactly one number is drawn.

    Returns:
        Frame numbers ``(F,)`` int64 and the position of ``traced`` among them.

    Raises:
        DataError: ``traced`` is outside the video, or a count is below 1.
    """
    before, after = _room(length, traced, frames, period)
    low, high = max(0, frames - 1 - after), min(frames - 1, before)
    draw = rng.random()  # drawn even when there is no choice, so that the next clip's draw does not depend on this one
    position = low + int(draw * (high - low + 1)) if low <= high else before
    return _grid(length, traced - position * period, frames, period), position


def centred_indices(length: int, traced: int, frames: int, period: int) -> tuple[np.ndarray, int]:
    """The evaluation clip: F//2 frames before the traced one, the rest after; shifted by whole periods at the ends.

    Same arguments, return values and errors as :func:`training_indices`, without the draw.
    """
    before, after = _room(length, traced, frames, period)
    position = min(max(frames // 2, frames - 1 - after), before)
    return _grid(length, traced - position * period, frames, period), position


def reconstruct_indices(length: int, frames: int, period: int, rng: np.random.Generator) -> np.ndarray:
    """Any random clip of the video (stage 1): every start that fits is equally likely; a short video starts at frame 0.

    Returns:
        Frame numbers ``(F,)`` int64.

    Raises:
        DataError: a count is below 1.
    """
    _room(length, 0, frames, period)
    starts = length - (frames - 1) * period
    draw = rng.random()
    return _grid(length, int(draw * starts) if starts > 0 else 0, frames, period)


def half_cycle_indices(length: int, frames: int) -> np.ndarray:
    """A half cycle fitted into F frames (SimLVSeg, out-of-distribution test).

    Up to F frames: all of them, then black. More: F equally spaced positions from the first to the last frame, rounded
    to frame numbers (ties to the even one).

    Returns:
        Frame numbers ``(F,)`` int64.

    Raises:
        DataError: a count is below 1.
    """
    _room(length, 0, frames, 1)
    if length <= frames:
        return _grid(length, 0, frames, 1)
    return np.rint(np.linspace(0, length - 1, frames)).astype(np.int64)


def phase_indices(first: int, last: int, frames: int) -> np.ndarray:
    """F equally spaced frames from one traced frame to the other, both ends included (PKEcho-Net, "Implementation details").

    Args:
        first, last: numbers of the two traced frames, in either order; the clip runs from ``first`` to ``last``.
        frames: F. Where fewer than F frames lie between them some occur twice, as rounding to the nearest frame gives.

    Returns:
        Frame numbers ``(F,)`` int64, rounded (ties to the even one).

    Raises:
        DataError: both are the same frame, or F is below 2.
    """
    if first == last or frames < 2:
        raise DataError("a clip from one traced frame to the other cannot be taken",
                        value=f"frames {first} and {last}, F = {frames}", expected="two different frames and F of at least 2")
    return np.rint(np.linspace(first, last, frames)).astype(np.int64)


def window_indices(length: int, frames: int, period: int) -> np.ndarray:
    """Windows that cover a whole video, every frame at least once.

    The video falls into T interleaved sequences (frames 0, T, 2T, ...; 1, T+1, ...). Each is cut into windows of F;
    the last window is shifted back to end with the sequence, so some frames occur twice; a sequence shorter than F is
    padded with black.

    Returns:
        Frame numbers ``(W, F)`` int64.

    Raises:
        DataError: a count is below 1.
    """
    _room(length, 0, frames, period)
    windows = []
    for offset in range(min(period, length)):
        held = -(-(length - offset) // period)  # frames of this interleaved sequence
        starts = range(0, held, frames) if held > frames else (0,)
        windows += [_grid(length, offset + min(start, max(held - frames, 0)) * period, frames, period) for start in starts]
    return np.stack(windows)


def overlapping_windows(length: int, frames: int, period: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows that overlap by half, so that every frame lies well inside at least one of them.

    As :func:`window_indices`, but windows begin every F/2 frames of a sequence, the first F/4 before its start, and
    frames beyond the ends are mirrored ones of the sequence itself. A network knows least at the ends of a clip, where
    the frames before or after are missing.

    Returns:
        ``(indices, weights)``, both ``(W, F)``: frame numbers, int64; and weights, float32, highest in the middle of a
        window and 0 for mirrored frames, with which predictions of one frame are averaged.

    Raises:
        DataError: a count is below 1.
    """
    _room(length, 0, frames, period)
    ramp = np.minimum(np.arange(1, frames + 1), np.arange(frames, 0, -1)).astype(np.float32)
    indices, weights = [], []
    for offset in range(min(period, length)):
        held = -(-(length - offset) // period)
        for start in range(-(frames // 4), held - frames // 4, max(1, frames // 2)):
            wanted = start + np.arange(frames)
            turn = max(1, 2 * (held - 1))
            mirrored = np.minimum(wanted % turn, turn - wanted % turn) if held > 1 else np.zeros(frames, np.int64)
            indices.append(offset + mirrored * period)
            weights.append(np.where((wanted >= 0) & (wanted < held), ramp, 0))
    return np.stack(indices).astype(np.int64), np.stack(weights).astype(np.float32)


def reaching_windows(length: int, frames: int, period: int, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """The fewest windows in which every frame has its ``reach`` neighbours on either side, for a network that sees no farther.

    As :func:`overlapping_windows`, but windows begin every F - 2 ``reach`` frames of a sequence, the first ``reach`` before
    its start, and beyond the ends the first and last frame are repeated.

    Returns:
        ``(indices, weights)``, both ``(W, F)``: frame numbers, int64; and weights, float32: 1 for frames that have their
        neighbours in the window, 0 for those that are only neighbours.

    Raises:
        DataError: a count is below 1, ``reach`` is negative, or a window is all neighbours.
    """
    _room(length, 0, frames, period)
    step = frames - 2 * reach
    if reach < 0 or step < 1:
        raise DataError("windows too short for what the network sees", value=f"{frames} frames, reach {reach}",
                        expected="more than twice the reach, which is 0 or more")
    place = np.arange(frames)
    own = (place >= reach) & (place < frames - reach)
    indices, weights = [], []
    for offset in range(min(period, length)):
        held = -(-(length - offset) // period)
        for start in range(-reach, held - reach, step):
            wanted = start + place
            indices.append(offset + np.clip(wanted, 0, held - 1) * period)
            weights.append(own & (wanted < held))
    return np.stack(indices).astype(np.int64), np.stack(weights).astype(np.float32)


def masked_positions(frames: int, ratio: float, rng: np.random.Generator,
                     counts: Literal["masked", "kept"] = "masked") -> np.ndarray:
    """Which frames of a clip are blanked (SimLVSeg, temporal masking).

    ``n = int(F * ratio + 0.5)`` frames are masked; with ``counts="kept"`` (the released super-image class) n frames are
    kept and F - n masked, so that "0.6" of 16 masks 6 and not 10.

    Returns:
        ``(F,)`` bool, True where a frame is masked.
    """
    n = int(frames * ratio + 0.5)
    if counts == "kept":
        n = frames - n
    masked = np.zeros(frames, dtype=bool)
    masked[rng.permutation(frames)[:n]] = True
    return masked


def _room(length: int, traced: int, frames: int, period: int) -> tuple[int, int]:
    """How many frames of the grid through ``traced`` lie before and after it in the video; checks the arguments."""
    for name, value in (("frames of the video", length), ("frames of the clip", frames), ("period", period)):
        if value < 1:
            raise DataError(f"a clip cannot be taken: {name}", value=value, expected="at least 1")
    if not 0 <= traced < length:
        raise DataError("the traced frame is outside the video", value=int(traced), expected=f"0 to {length - 1}")
    return traced // period, (length - 1 - traced) // period


def _grid(length: int, start: int, frames: int, period: int) -> np.ndarray:
    indices = start + period * np.arange(frames, dtype=np.int64)
    indices[indices >= length] = BLACK
    return indices
