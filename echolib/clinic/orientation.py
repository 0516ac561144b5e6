"""Which way up a clip is: some laboratories show the apex at the bottom or the left heart on the left, and exports flip.

A network that has learnt from one way of showing the heart measures another wrongly, and does not say so. The tip of the
cone tells what is up. What is left is told by the network: it is shown a few frames of the clip as they are and mirrored, and
the way is taken in which its outline is drawn more firmly and holds less bright wall. A cone without a tip (a picture cropped
to a rectangle) leaves up and down to the network as well. The choice knows nothing of the file's own way, so a clip and
its mirrored copy are measured on the same pixels, whether the choice is certain or not; where it is not, the result says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.special import xlogy

from echolib.clinic.masks import keep_ventricle
from echolib.data.sector import Sector
from echolib.errors import DataError

Name = Literal["upright", "upside-down", "mirrored", "both"]
#: Names of the orientations: rows reversed, columns reversed. "both" is a half turn.
TURNS: dict[str, tuple[bool, bool]] = {"upright": (False, False), "upside-down": (True, False), "mirrored": (False, True),
                                       "both": (True, True)}
#: The lower third of the picture is so many times wider than the upper third, or the other way about, where a cone shows its tip:
#: 1.7 and more in 159 of 160 simulated clips, 0.8 in the last, of whose picture little can be seen.
TIP = 1.5
#: The choice is certain from this probability on.
CERTAIN = 0.9
#: Log-odds of an orientation: for every unit (nat per px of the area's root) by which its outline is less undecided, and for
#: every unit (mean grey of the frame) by which its cavity is darker. Logistic regression on 85 simulated clips, 60 of preset
#: wide and 25 of echonet, as they are against mirrored, with the default weights: `python -m echolib.clinic.fit_orientation`.
FIRMNESS, DARKNESS = 5.1, 0.0
#: Frames looked at: stretches of successive ones, spread over the clip.
STRETCHES, STRETCH = 4, 4
#: A pixel is picture when it is ever brighter than this share of the 95th percentile; what compression leaves outside is darker.
LIT = 0.05


@dataclass(frozen=True)
class Orientation:
    """How a clip's file shows the heart.

    Attributes:
        name: what was done to an upright picture (the cone's tip and the apex on top, left and right as in EchoNet-Dynamic) to
            get the file's; every one undoes itself.
        probability: that this is so, from the network; 1 where it was given by the user.
        given: by the user; False: found.
        tip: whether the cone's tip told what is up.
    """

    name: Name = "upright"
    probability: float = 1.0
    given: bool = True
    tip: bool = False

    @property
    def certain(self) -> bool:
        """Whether nobody need look."""
        return self.probability >= CERTAIN

    @property
    def words(self) -> str:
        """One or two sentences for reports."""
        shown = {"upright": "upright", "upside-down": "upside down", "mirrored": "mirrored left to right",
                 "both": "turned by 180°, that is upside down and mirrored"}[self.name]
        how = ("as the user says" if self.given else "up and down from the tip of the cone, left and right from the network"
               if self.tip else "by the network alone, as the cone has no tip that can be seen")
        text = f"The file shows the heart {shown} ({how})"
        if self.name != "upright":
            text += "; it was measured upright and is shown upright here, and masks.nii.gz is in the file's own frame"
        if not self.certain:
            other = "left and right" if self.tip else "this"
            text += (f". Of {other} the network is not certain ({100 * self.probability:.0f} %): look at the film, and name "
                     "another orientation if it is wrong")
        return text + "."


def turned(picture: np.ndarray, name: str) -> np.ndarray:
    """(H, W, ...) turned from the file's way to upright, or back: a view."""
    down, across = TURNS[name]
    return picture[::-1 if down else 1, ::-1 if across else 1]


def turning(name: str, shape: tuple[int, int]) -> np.ndarray:
    """The (2, 3) map of px of a (height, width) picture to px of the :func:`turned` one."""
    down, across = TURNS[name]
    height, width = shape
    return np.array([[-1.0, 0, width - 1] if across else [1.0, 0, 0], [0, -1.0, height - 1] if down else [0, 1.0, 0]])


def turned_sector(sector: Sector, name: str) -> Sector:
    """The cone of a turned clip from the cone of the clip."""
    mask = np.ascontiguousarray(turned(sector.mask, name))
    rows = np.flatnonzero(mask.any(1))
    columns = np.flatnonzero(mask[rows[0]:rows[0] + max(3, len(rows) // 20)].any(0))
    return replace(sector, mask=mask, top=int(rows[0]), bottom=int(rows[-1]), tip=float(columns.mean()))


def sampled_frames(count: int, period: int = 1) -> np.ndarray:
    """Numbers of the frames that are looked at, rising: stretches of frames ``period`` apart, each frame at most once."""
    reach = (STRETCH - 1) * period
    starts = np.linspace(0, max(0, count - 1 - reach), STRETCHES).round().astype(int)
    return np.unique(np.minimum(starts[:, None] + period * np.arange(STRETCH), count - 1))


def cone_widening(frames: np.ndarray, sector: Sector) -> float:
    """Mean width of the lit picture in the lower third of its rows over that in the upper third; NaN when nothing is lit.

    Args:
        frames: (N, H, W) uint8, grey.
        sector: the cone.
    """
    brightest = np.where(sector.mask, frames.max(0), 0)
    seen = brightest[brightest > 4]
    if not seen.size:
        return float("nan")
    lit = brightest > max(4.0, LIT * float(np.percentile(seen, 95)))
    rows = np.flatnonzero(lit.any(1))
    third = max(1, len(rows) // 3)
    widths = np.array([np.ptp(np.flatnonzero(lit[row])) + 1 for row in rows], float)
    return float(widths[-third:].mean() / widths[:third].mean())


def firmness(frames: np.ndarray, probabilities: np.ndarray) -> float:
    """How much an outline looks like that of a ventricle seen the right way, as log-odds that only differences mean.

    Args:
        frames: (N, S, S) uint8, what the network saw.
        probabilities: (N, S, S) in [0, 1], its answer.

    Returns:
        Minus infinity where there is a ventricle on fewer than half of the frames.
    """
    found = signs(frames, probabilities)
    return -math.inf if found is None else -FIRMNESS * found[0] - DARKNESS * found[1]


def signs(frames: np.ndarray, probabilities: np.ndarray) -> tuple[float, float] | None:
    """What :func:`firmness` weighs: how undecided the outline is, nat per px of the area's root, and the mean grey of the cavity
    in parts of the frame's. None where there is a ventricle on fewer than half of the frames."""
    p = probabilities.astype(np.float64)
    masks = keep_ventricle(p > 0.5)
    area = masks.sum((1, 2))
    if (area > 0).mean() < 0.5:
        return None
    undecided = -(xlogy(p, p) + xlogy(1 - p, 1 - p)).sum() / np.sqrt(area).sum()
    return float(undecided), float(frames[masks].mean() / max(1.0, frames[frames > 2].mean()))


def find_orientation(frames: np.ndarray, sector: Sector, answer: Callable[[str], tuple[np.ndarray, np.ndarray]]) -> Orientation:
    """The orientation of a clip.

    Args:
        frames: (N, H, W) uint8, grey, some frames of the clip as the file shows them.
        sector: the cone, likewise.
        answer: for an orientation, those frames turned upright from it as the network sees them (N, S, S) uint8, and its
            probabilities (N, S, S).
    """
    widening = cone_widening(frames, sector)
    tip = math.isfinite(widening) and not 1 / TIP < widening < TIP
    names = [name for name, (down, _) in TURNS.items() if not tip or down == (widening < 1)]
    odds = np.array([firmness(*answer(name)) for name in names])
    if np.isinf(odds).all():  # no ventricle any way round: the clip will be refused
        return Orientation(names[0], 1 / len(names), given=False, tip=tip)
    chance = np.exp(odds - odds.max())
    best = int(np.argmax(chance))
    return Orientation(names[best], float(chance[best] / chance.sum()), given=False, tip=tip)


def given_orientation(name: str) -> Orientation | None:
    """The orientation of a name, None for ``auto``.

    Raises:
        DataError: no such name.
    """
    if name == "auto":
        return None
    if name not in TURNS:
        raise DataError("not an orientation", value=name, expected=f"auto, {', '.join(TURNS)}")
    return Orientation(name)
