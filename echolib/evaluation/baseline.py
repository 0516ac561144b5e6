"""Threshold and fill: the classical baseline that a network must beat.

Blood is dark, walls are bright, and the left ventricle is the dark chamber at the upper middle of an apical view. No
training, no fitted number: grey levels are split by Otsu's method inside the cone, frame by frame; the rest are
lengths in shares of the frame, chosen once from how the views are framed.
"""

from __future__ import annotations

import cv2
import numpy as np

from echolib.errors import DataError

#: Standard deviation of the smoothing, share of the frame height (2 px of 112): wider than speckle, narrower than walls.
SMOOTHING = 2 / 112
#: Radii of the opening that cuts leaks through gaps in the wall, share of the frame height; the first that leaves a part
#: of credible size is used.
OPENINGS = (3 / 112, 5 / 112, 7 / 112)
#: Where the ventricle is expected: row and column as shares of the frame.
SEED = (0.42, 0.52)
#: A ventricle takes no less and no more than these shares of the frame (7-19 % is seen in apical views at end-diastole).
SMALLEST, LARGEST = 0.01, 0.22


def threshold_and_fill(video: np.ndarray) -> np.ndarray:
    """Segment every frame of a clip by itself.

    1. The cone: the convex hull of all pixels that are ever brighter than 12 % of the clip's 99.5th percentile.
    2. Each frame is smoothed; Otsu's threshold inside the cone splits dark from bright.
    3. The dark pixels inside the cone, away from its rim, are opened to cut leaks; of the parts larger than
       :data:`SMALLEST` the one nearest to :data:`SEED` is kept, grown back over what the opening took, its holes filled.
       Where it comes out larger than :data:`LARGEST`, it has leaked, and the next wider opening is tried.

    Args:
        video: ``(T, H, W)`` or ``(T, H, W, C)`` uint8, C 1 or 3.

    Returns:
        ``(T, H, W)`` bool; a frame on which nothing dark is found has an empty mask.

    Raises:
        DataError: not such a video.
    """
    video = np.asarray(video)
    shaped = video.ndim == 3 or (video.ndim == 4 and video.shape[-1] in (1, 3))
    if video.dtype != np.uint8 or not shaped or not video.size:
        raise DataError("not a video", value=f"{video.dtype} {video.shape}", expected="uint8 (T, H, W) or (T, H, W, 1 or 3)")
    if video.ndim == 4:  # grey stored as three nearly equal channels
        video = video[..., 0] if video.shape[-1] == 1 else video[..., 1]
    height = video.shape[1]
    brightest = video.max(0)
    cone = _hull(brightest > 0.12 * np.percentile(brightest, 99.5))
    inside = cv2.erode(cone.astype(np.uint8), _disk(2 * OPENINGS[0] * height), borderValue=0).astype(bool)
    return np.stack([_frame(frame, cone, inside) for frame in video])


def _frame(frame: np.ndarray, cone: np.ndarray, inside: np.ndarray) -> np.ndarray:
    empty = np.zeros(frame.shape, bool)
    if not inside.any():
        return empty
    height = len(frame)
    smooth = cv2.GaussianBlur(frame, (0, 0), SMOOTHING * height)
    threshold, _ = cv2.threshold(smooth[cone].reshape(1, -1), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    dark = ((smooth <= threshold) & inside).astype(np.uint8)
    mask = empty
    for opening in OPENINGS:
        wider = _nearest_part(dark, _disk(opening * height))
        if not wider.any():
            break  # so wide an opening takes the ventricle too: the part found before stands
        mask = wider
        if mask.sum() <= LARGEST * mask.size:
            break
    return mask


def _nearest_part(dark: np.ndarray, disk: np.ndarray) -> np.ndarray:
    height, width = dark.shape
    count, parts, stats, _ = cv2.connectedComponentsWithStats(cv2.erode(dark, disk, borderValue=0), connectivity=4)
    large = [k for k in range(1, count) if stats[k, cv2.CC_STAT_AREA] >= SMALLEST * dark.size / 2]
    if not large:
        return np.zeros(dark.shape, bool)
    rows, columns = np.mgrid[:height, :width]
    distance = np.hypot(rows - SEED[0] * height, columns - SEED[1] * width)
    nearest = min(large, key=lambda k: (distance[parts == k].min(), k))
    grown = cv2.dilate((parts == nearest).astype(np.uint8), disk) & dark
    outlines, _ = cv2.findContours(grown, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    largest = max(outlines, key=cv2.contourArea)
    return cv2.drawContours(np.zeros(dark.shape, np.uint8), [largest], -1, 1, cv2.FILLED).astype(bool)


def _hull(mask: np.ndarray) -> np.ndarray:
    points = cv2.findNonZero(mask.astype(np.uint8))
    if points is None:
        return mask
    return cv2.fillConvexPoly(np.zeros(mask.shape, np.uint8), cv2.convexHull(points), 1).astype(bool)


def _disk(radius: float) -> np.ndarray:
    size = 2 * max(1, round(radius)) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
