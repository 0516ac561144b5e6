"""Find the ultrasound cone in a screen recording and bring it into EchoNet-Dynamic's framing.

A clip from a scanner shows more than the cone: names, dates, scales, a button bar. None of it moves from frame to
frame, and much of it is coloured; the speckle inside the cone always changes. So the cone is the largest region whose
grey pixels vary over time, closed to its convex hull. Everything outside the hull is set to black, which also
removes burnt-in text.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from echolib.errors import DataError

#: EchoNet-Dynamic's framing of a 112 px frame: column and row of the cone's tip, and the cone's depth, in px.
TIP_COLUMN, TIP_ROW, DEPTH = 59.0, 7.0, 103.0


@dataclass(frozen=True)
class Sector:
    """The cone of a clip.

    Attributes:
        mask: (H, W) bool, the convex hull of the cone.
        top: first row of the cone, px.
        bottom: last row of the cone, px.
        tip: column of the cone's tip, px.
    """

    mask: np.ndarray
    top: int
    bottom: int
    tip: float


def find_sector(video: np.ndarray) -> Sector:
    """Locate the cone.

    Args:
        video: (T, H, W, 3) uint8, T >= 2.

    Raises:
        DataError: nothing in the clip moves, or the moving region is smaller than 2 % of the frame.
    """
    if video.ndim != 4 or video.shape[-1] != 3 or len(video) < 2:
        raise DataError("not a colour clip", value=video.shape, expected="(T >= 2, H, W, 3)")
    colour = (video.max(-1).astype(np.int16) - video.min(-1)).max(0)
    varying = video.mean(-1).std(0) * (colour < 40)
    dense = cv2.blur(np.clip(varying, 0, 4).astype(np.float32), (9, 9))
    count, parts, stats, _ = cv2.connectedComponentsWithStats((dense > 0.4).astype(np.uint8))
    if count < 2:
        raise DataError("no ultrasound cone: no pixel of the clip changes over time")
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    if stats[largest, cv2.CC_STAT_AREA] < 0.02 * parts.size:
        raise DataError("no ultrasound cone: the moving region is too small",
                        value=f"{stats[largest, cv2.CC_STAT_AREA]} px", expected="at least 2 % of the frame")
    outline = cv2.findContours((parts == largest).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0][0]
    hull = cv2.fillConvexPoly(np.zeros(parts.shape, np.uint8), cv2.convexHull(outline), 1)
    mask = cv2.erode(hull, np.ones((7, 7), np.uint8)).astype(bool)  # take back what the blur added at the border
    rows = np.flatnonzero(mask.any(1))
    columns = np.flatnonzero(mask[rows[0]:rows[0] + max(3, len(rows) // 20)].any(0))
    return Sector(mask=mask, top=int(rows[0]), bottom=int(rows[-1]), tip=float(columns.mean()))


def to_echonet_frame(video: np.ndarray, sector: Sector, size: int = 112) -> tuple[np.ndarray, float]:
    """Cut the cone out and resample it to EchoNet-Dynamic's framing, keeping the aspect ratio.

    Args:
        video: (T, H, W, 3) uint8.
        sector: the cone, from :func:`find_sector`.
        size: height and width of the result, px.

    Returns:
        ``(frames, scale)``: (T, size, size, 3) uint8 and the number of result px per source px.
    """
    scale = DEPTH * size / 112 / (sector.bottom - sector.top + 1)
    matrix = np.array([[scale, 0, TIP_COLUMN * size / 112 - scale * sector.tip],
                       [0, scale, TIP_ROW * size / 112 - scale * sector.top]], np.float32)
    # Smooth before shrinking: warpAffine samples points, so speckle finer than a result px would alias.
    sigma = max(0.0, 0.5 / scale - 0.5)
    frames = np.empty((len(video), size, size, 3), np.uint8)
    for t, frame in enumerate(video):
        inside = np.where(sector.mask[..., None], frame, 0).astype(np.uint8)
        if sigma > 0:
            inside = cv2.GaussianBlur(inside, (0, 0), sigma)
        frames[t] = cv2.warpAffine(inside, matrix, (size, size), flags=cv2.INTER_LINEAR)
    return frames, scale


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
