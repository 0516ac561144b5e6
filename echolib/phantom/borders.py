"""How visible the ventricle's border is: grey along the outline's normals, wall by wall, as measured on real clips too.

The outline is that of a mask; grey levels are scaled so that a clip's 95th percentile of non-black pixels is 100. The outline
is divided by place on the long axis: apical is the first 20 %, septal and lateral are the two sides from there to 85 %. The
valve plane is left out. ``measured.csv`` holds the same numbers of nine real apical four-chamber clips (mean and sd over
clips; outlines by another network, edge error 1-2 px), so that a cohort can be held against them.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

import cv2
import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter1d, map_coordinates

from echolib.phantom import truth
from echolib.phantom.clip import SimulatedClip

WALLS = ("septal", "apical", "lateral")
#: px of a 112-px frame along the outward normal, the ones at which the real clips were measured
OFFSETS = (-5, -2, 0, 1, 2, 3, 4, 6, 8, 10, 12)
#: where the wall and where the cavity is read for the contrast, px
WALL_AT, CAVITY_AT = (1, 2, 3, 4), (-5, -4, -3)
#: scaled grey levels below which wall and cavity cannot be told apart
HIDDEN = 10.0
#: cycles per frame width
BANDS = ((1, 4), (4, 8), (8, 16), (16, 32), (32, 56))
_BLACK = 2                        # 8-bit level up to which a pixel is black
_APICAL, _BASAL = 0.20, 0.85      # of the long axis


def outline(mask: np.ndarray, long_axis: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points about 1 px apart on the border of a mask, their outward unit normals and their walls.

    Args:
        mask: ``(H, W)`` bool, one ventricle; of several parts the largest is taken.
        long_axis: ``(2, 2)`` px: apex (x, y), mid-annulus (x, y).

    Returns:
        points ``(P, 2)`` (x, y) px, normals ``(P, 2)``, and walls ``(P,)`` int8, an index into :data:`WALLS`, -1 at the base.
    """
    parts = cv2.findContours(np.ascontiguousarray(mask, np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    border = max(parts, key=cv2.contourArea)[:, 0].astype(float)
    border = gaussian_filter1d(border, 2.0, axis=0, mode="wrap")
    tangent = np.roll(border, -1, axis=0) - np.roll(border, 1, axis=0)
    normals = np.stack([tangent[:, 1], -tangent[:, 0]], axis=1)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    middle = border.mean(axis=0)
    if ((border - middle) * normals).sum() < 0:
        normals = -normals
    border = border + 0.5 * normals          # the chain runs through the outermost pixels' centres: the edge is half a px on
    apex, base = np.asarray(long_axis, float)
    axis = base - apex
    place = (border - apex) @ axis / (axis @ axis)
    right = (border - apex) @ np.array([axis[1], -axis[0]]) > 0        # the lateral wall is on the right of an upright view
    walls = np.where(place < _APICAL, 1, np.where(right, 2, 0))
    return border, normals, np.where(place > _BASAL, -1, walls).astype(np.int8)


def along_normals(frame: np.ndarray, points: np.ndarray, normals: np.ndarray, offsets: Sequence[float]) -> np.ndarray:
    """Grey levels ``(P, len(offsets))`` of a frame ``(H, W)``, bilinear, on normals of an outline; offsets in px."""
    where = points[:, None] + np.asarray(offsets, float)[None, :, None] * normals[:, None]
    return map_coordinates(np.asarray(frame, np.float64), [where[..., 1], where[..., 0]], order=1, mode="nearest")


def scale(frames: np.ndarray) -> float:
    """What a clip's grey levels ``(T, H, W)`` are multiplied with: its 95th percentile of non-black pixels becomes 100."""
    seen = frames[frames > _BLACK]
    return 100.0 / float(np.percentile(seen, 95)) if seen.size else 1.0


def border(clip: SimulatedClip) -> pd.DataFrame:
    """Profiles, contrast, hidden share and sd along the wall of a clip's traced frames.

    Returns:
        ``statistic`` (``grey`` at an ``offset`` in px, ``contrast``, ``hidden``, ``sd``), ``phase``, ``wall``, ``offset``,
        ``value``;
        offsets count px of a 112-px frame.
    """
    unit = clip.frames.shape[1] / 112.0
    factor = scale(clip.frames)
    asked = sorted({*OFFSETS, *WALL_AT, *CAVITY_AT})
    rows = []
    for phase, frame in (("ED", clip.ed_frame), ("ES", clip.es_frame)):
        points, normals, walls = outline(clip.labels[frame] == truth.CAVITY, clip.long_axis[frame])
        grey = pd.DataFrame(factor * along_normals(clip.frames[frame], points, normals, np.array(asked) * unit), columns=asked)
        contrast = grey[list(WALL_AT)].mean(axis=1) - grey[list(CAVITY_AT)].mean(axis=1)
        for index, wall in enumerate(WALLS):
            here = walls == index
            if not here.any():
                continue
            rows += [("grey", phase, wall, offset, grey.loc[here, offset].mean()) for offset in OFFSETS]
            rows += [("contrast", phase, wall, np.nan, contrast[here].mean()),
                     ("hidden", phase, wall, np.nan, (contrast[here] < HIDDEN).mean()),
                     ("sd", phase, wall, 2, grey.loc[here, 2].std(ddof=0))]
    return pd.DataFrame(rows, columns=["statistic", "phase", "wall", "offset", "value"])


def spectrum(clip: SimulatedClip, every: int = 8) -> np.ndarray:
    """``(len(BANDS),)`` share of the power of a frame, its mean taken off, in bands of spatial frequency."""
    frames = clip.frames[::every].astype(np.float64)
    power = np.abs(np.fft.fft2(frames - frames.mean(axis=(1, 2), keepdims=True))) ** 2
    height, width = frames.shape[1:]
    cycles = np.hypot(np.fft.fftfreq(height)[:, None] * height, np.fft.fftfreq(width)[None] * width)
    bands = np.array([power[:, (cycles >= low) & (cycles < high)].sum(axis=1) for low, high in BANDS])
    return (bands / power.sum(axis=(1, 2))).mean(axis=1)


def frame_change(clip: SimulatedClip) -> tuple[float, float]:
    """Mean and 95th percentile of the absolute change of a pixel (0-255) from a frame to the next."""
    change = np.abs(np.diff(clip.frames.astype(np.int16), axis=0))
    return float(change.mean()), float(np.percentile(change, 95))


def measure(clip: SimulatedClip) -> pd.DataFrame:
    """All of a clip in the form of :func:`border`; ``spectrum`` (``offset`` is a band's lower end, cycles per frame width) and
    ``change mean`` and ``change 95`` have no phase and no wall."""
    rows = [("spectrum", "", "", float(low), share) for (low, _), share in zip(BANDS, spectrum(clip), strict=True)]
    rows += [(name, "", "", np.nan, value) for name, value in zip(("change mean", "change 95"), frame_change(clip), strict=True)]
    found = pd.DataFrame(rows, columns=["statistic", "phase", "wall", "offset", "value"])
    return pd.concat([border(clip), found], ignore_index=True)


KEYS = ["statistic", "phase", "wall", "offset"]


def measured() -> pd.DataFrame:
    """The real clips' numbers: :data:`KEYS`, ``mean`` and ``sd`` over clips."""
    table = pd.read_csv(files("echolib.phantom").joinpath("measured.csv"), dtype={"phase": "string", "wall": "string"})
    return table.fillna({"phase": "", "wall": ""}).astype({"phase": object, "wall": object})


def compare(clips: Sequence[SimulatedClip]) -> pd.DataFrame:
    """A cohort beside the real clips: ``mean``, ``sd``, ``p10`` and ``p90`` over its clips, ``real mean``, ``real sd``."""
    cohort = pd.concat([measure(clip) for clip in clips]).groupby(KEYS, sort=False, dropna=False)["value"]
    here = cohort.agg(mean="mean", sd="std", p10=lambda v: v.quantile(0.1), p90=lambda v: v.quantile(0.9)).reset_index()
    return here.merge(measured().rename(columns={"mean": "real mean", "sd": "real sd"}), on=KEYS, how="left")


def bar(table: pd.DataFrame) -> pd.DataFrame:
    """The range that the mean of a cohort like the real one must lie in, from :func:`compare`.

    Grey levels: the real mean and sd. Contrast: 10 to 25 at the apex and the lateral wall, the real mean and sd at the septum.
    Hidden share: .25 to .55 there, below .08 at the septum. Sd along a wall at end-diastole: within 30 %. Spectrum: 2 sd. Change
    between frames: 1.7 to 3.3, its 95th percentile within 1 sd.

    Returns:
        the table with ``low``, ``high`` and ``ok``; numbers that were not measured on real clips are left out.
    """
    kept = table[table["real mean"].notna()].copy()
    mean, sd, septal = kept["real mean"], kept["real sd"], kept["wall"] == "septal"
    low, high = mean - sd, mean + sd
    for name, (least, most) in {"contrast": (10.0, 25.0), "hidden": (0.25, 0.55)}.items():
        here = kept["statistic"] == name
        low, high = low.mask(here & ~septal, least), high.mask(here & ~septal, most)
    low = low.mask((kept["statistic"] == "hidden") & septal, 0.0)
    high = high.mask((kept["statistic"] == "hidden") & septal, 0.08)
    along, spread = kept["statistic"] == "sd", kept["statistic"] == "spectrum"
    low, high = low.mask(along, 0.7 * mean), high.mask(along, 1.3 * mean)
    low, high = low.mask(spread, mean - 2 * sd), high.mask(spread, mean + 2 * sd)
    low, high = low.mask(kept["statistic"] == "change mean", 1.7), high.mask(kept["statistic"] == "change mean", 3.3)
    kept["low"], kept["high"] = low, high
    kept["ok"] = kept["mean"].between(low, high)
    return kept
