"""Find the ultrasound cone in a screen recording and bring it into EchoNet-Dynamic's framing.

A clip from a scanner shows more than the cone: names, dates, scales, a button bar, an ECG trace. None but the last moves
from frame to frame, and much of it is coloured; the speckle inside the cone always changes. So the cone is the largest
region whose grey pixels vary over time, closed to its convex hull. Everything outside the hull is set to black, which
also removes burnt-in text.

Every function takes a clip as an array or as anything that yields its frames one by one and can be walked through
again, so that a long clip need not be in memory as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from echolib.errors import DataError

#: EchoNet-Dynamic's framing of a 112 px frame: column and row of the cone's tip, and the cone's depth, in px.
TIP_COLUMN, TIP_ROW, DEPTH = 59.0, 7.0, 103.0
#: The cone of an EchoNet-Dynamic frame: half its opening angle (rad) and its radius, px of 112.
HALF_ANGLE, RADIUS = 0.79, 107.0
#: A pixel whose channels ever differ by more is coloured: a button, a marker, an ECG trace, Doppler.
COLOURED = 40
#: Smallest share of the frame that can be a cone.
SMALLEST = 0.02


@dataclass(frozen=True)
class Sector:
    """The cone of a clip.

    Attributes:
        mask: (H, W) bool, the convex hull of the cone.
        top: first row of the cone, px.
        bottom: last row of the cone, px.
        tip: column of the cone's tip, px.
        coloured: share of the cone's pixels that were ever coloured, 0-1 (colour Doppler, tinted greys).
    """

    mask: np.ndarray
    top: int
    bottom: int
    tip: float
    coloured: float = 0.0


def find_sector(video: np.ndarray | Iterable[np.ndarray]) -> Sector:
    """Locate the cone.

    Args:
        video: (T, H, W, 3) uint8, T >= 2, or its frames one by one.

    Raises:
        DataError: nothing in the clip moves, or the moving region is smaller than 2 % of the frame.
    """
    varying, colour = _variation(video)
    scale = _blur_size(varying.shape)
    # Video compression halves the resolution of colour: the rim of a moving coloured trace flickers in grey.
    fringe = cv2.dilate((colour >= COLOURED).astype(np.uint8), np.ones((scale, scale), np.uint8))
    grey = varying * (fringe == 0)
    count, parts, stats = _dense_parts(grey, scale)
    if count < 2 or stats[1:, cv2.CC_STAT_AREA].max() < SMALLEST * parts.size:
        # No grey region moves. A display map in sepia or blue colours every bright pixel of the cone: take what moves.
        count, parts, stats = _dense_parts(varying, scale)
    if count < 2:
        raise DataError("no ultrasound cone: no pixel of the clip changes over time")
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    if stats[largest, cv2.CC_STAT_AREA] < SMALLEST * parts.size:
        raise DataError("no ultrasound cone: the moving region is too small",
                        value=f"{stats[largest, cv2.CC_STAT_AREA]} px", expected="at least 2 % of the frame")
    outline = cv2.findContours((parts == largest).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0][0]
    hull = cv2.fillConvexPoly(np.zeros(parts.shape, np.uint8), cv2.convexHull(outline), 1)
    mask = cv2.erode(hull, np.ones((scale - 2, scale - 2), np.uint8)).astype(bool)  # take back what the blur added
    rows = np.flatnonzero(mask.any(1))
    if not len(rows):
        raise DataError("no ultrasound cone: the moving region is too thin")
    columns = np.flatnonzero(mask[rows[0]:rows[0] + max(3, len(rows) // 20)].any(0))
    sector = Sector(mask=mask, top=int(rows[0]), bottom=int(rows[-1]), tip=float(columns.mean()),
                    coloured=float((colour[mask] >= COLOURED).mean()))
    # In a frame cut as EchoNet-Dynamic's the cone's place is known: keep its dark or saturated, hence still, margins too.
    return replace(sector, mask=mask | _nominal_cone(len(mask))) if is_framed(sector) else sector


def _nominal_cone(size: int) -> np.ndarray:
    """The cone of EchoNet-Dynamic's framing in a ``size`` px frame: (size, size) bool."""
    rows, columns = np.mgrid[:size, :size] * (112 / size)
    down, aside = rows - TIP_ROW, columns - TIP_COLUMN
    return (np.hypot(down, aside) <= RADIUS) & (np.abs(np.arctan2(aside, down)) <= HALF_ANGLE)


def _variation(video: np.ndarray | Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Per pixel: standard deviation of the grey level over time, and the largest spread between channels. One pass."""
    if isinstance(video, np.ndarray) and (video.ndim != 4 or video.shape[-1] != 3 or len(video) < 2):
        raise DataError("not a colour clip", value=video.shape, expected="(T >= 2, H, W, 3)")
    count, mean, square, colour = 0, None, None, None
    for frame in video:
        other_size = mean is not None and frame.shape[:2] != mean.shape
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[-1] != 3 or other_size:
            raise DataError("not a frame of a colour clip", row=count + 1, value=f"{frame.dtype} {frame.shape}",
                            expected="uint8 (H, W, 3), one size")
        first, second, third = cv2.split(np.ascontiguousarray(frame))
        spread = cv2.subtract(cv2.max(cv2.max(first, second), third), cv2.min(cv2.min(first, second), third))
        grey = (first.astype(np.float32) + second + third) / 3
        count += 1
        if mean is None:
            mean, square, colour = grey, np.zeros_like(grey), spread
            continue
        step = grey - mean  # Welford: stable in float32
        mean += step / count
        square += step * (grey - mean)
        colour = cv2.max(colour, spread)
    if count < 2:
        raise DataError("not a clip", value=f"{count} frames", expected="at least 2 frames")
    return np.sqrt(square / count), colour


def _blur_size(shape: tuple[int, ...]) -> int:
    """Side of the box over which variation must be dense: 9 px, on high-resolution screens 2.5 % of the height; odd."""
    return max(9, 2 * round(shape[0] * 0.0125) + 1)


def _dense_parts(varying: np.ndarray, side: int) -> tuple[int, np.ndarray, np.ndarray]:
    dense = cv2.blur(np.clip(varying, 0, 4).astype(np.float32), (side, side))
    count, parts, stats, _ = cv2.connectedComponentsWithStats((dense > 0.4).astype(np.uint8))
    return count, parts, stats


def is_framed(sector: Sector) -> bool:
    """Whether a clip already has EchoNet-Dynamic's framing, so that it must not be cut again.

    So it is when the frame has 112 x 112 px, which no scanner writes; or when it is square and the cone sits in it as
    EchoNet-Dynamic's do: its tip in the top sixth of the frame and within a tenth of the frame width of column 59/112,
    its lower end in the bottom twelfth. Cutting such a clip anew would move and stretch it by a few percent for nothing,
    or by much where the far field is dark.
    """
    height, width = sector.mask.shape
    return (height, width) == (112, 112) or (
        height == width and sector.top <= height / 6 and sector.bottom >= height * 11 / 12
        and abs(sector.tip - TIP_COLUMN / 112 * width) <= 0.1 * width)


def framing(sector: Sector, size: int = 112) -> np.ndarray:
    """The map from source px to px of a ``size`` px frame, ``(2, 3)`` float64: ``[x', y'] = M [x, y, 1]``, aspect kept.

    For a clip that is framed already (:func:`is_framed`) it only scales; pixel centres are whole numbers.
    """
    if is_framed(sector):
        scale = size / sector.mask.shape[0]
        return np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2]])
    scale = DEPTH * size / 112 / (sector.bottom - sector.top + 1)
    return np.array([[scale, 0, TIP_COLUMN * size / 112 - scale * sector.tip],
                     [0, scale, TIP_ROW * size / 112 - scale * sector.top]])


def cut_frame(frame: np.ndarray, sector: Sector, matrix: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The cone of one frame, everything outside it black, mapped by ``matrix``.

    Args:
        frame: (H, W) or (H, W, 3) uint8.
        sector: the cone.
        matrix: (2, 3) from source px to result px.
        shape: height and width of the result, px.
    """
    inside = np.where(sector.mask if frame.ndim == 2 else sector.mask[..., None], frame, 0).astype(np.uint8)
    # Smooth before shrinking: warpAffine samples points, so speckle finer than a result px would alias.
    sigma = max(0.0, 0.5 / matrix[0, 0] - 0.5)
    if sigma > 0:
        inside = cv2.GaussianBlur(inside, (0, 0), sigma)
    return cv2.warpAffine(inside, matrix, (shape[1], shape[0]), flags=cv2.INTER_LINEAR)


def to_echonet_frame(video: np.ndarray | Iterable[np.ndarray], sector: Sector, size: int = 112) -> tuple[np.ndarray, float]:
    """Cut the cone out and resample it to EchoNet-Dynamic's framing, keeping the aspect ratio.

    Args:
        video: (T, H, W, 3) uint8, or its frames one by one.
        sector: the cone, from :func:`find_sector`.
        size: height and width of the result, px.

    Returns:
        ``(frames, scale)``: (T, size, size, 3) uint8 and the number of result px per source px.
    """
    matrix = framing(sector, size)
    return np.stack([cut_frame(frame, sector, matrix, (size, size)) for frame in video]), float(matrix[0, 0])


def match_brightness(frames: np.ndarray, reference: np.ndarray, samples: int = 1000) -> tuple[np.ndarray, float]:
    """Bring a clip to the brightness of reference frames with one gain for the whole clip.

    The gain makes the 95th percentile of the non-black pixels (grey level > 2) equal on both sides; real clips differ in
    gain by the operator's choice, and a network must not be asked to extrapolate over that.

    Args:
        frames: (T, H, W, C) uint8.
        reference: (N, H, W, C') uint8, such as ``ClipStore.frames``.
        samples: reference frames looked at, evenly spaced.

    Returns:
        ``(frames, gain)``: uint8 of the same shape, clipped at 255, and the factor.

    Raises:
        DataError: one side is black.
    """
    chosen = reference[np.linspace(0, len(reference) - 1, min(samples, len(reference))).round().astype(int)]
    levels = []
    for name, pixels in (("the clip", frames), ("the reference", chosen)):
        lit = pixels[pixels > 2]
        if not lit.size:
            raise DataError(f"{name} is black")
        levels.append(float(np.percentile(lit, 95)))
    gain = levels[1] / levels[0]
    return np.clip(frames * gain, 0, 255).round().astype(np.uint8), gain
