"""The left ventricle: endocardium, incompressible wall and exact volume at any contraction.

The cavity is a stack of disks along the long axis, apex (s = 0) to mid-annulus (s = 1); in the image each disk is a chord
perpendicular to that axis, and the hinge-to-hinge line closes the contour. Local coordinates are (s, y): place along the
axis over the present length, and sideways distance in cm, positive towards the lateral wall.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.interpolate import PchipInterpolator

from echolib.phantom.motion import Timeline, timeline
from echolib.phantom.presets import ClipParameters

#: diameters of 20 disks, apex to base, over the largest: means measured on real clips
DISKS_ED = np.array([.27, .45, .56, .66, .70, .77, .79, .84, .86, .88, .90, .92, .95, .94, .97, .97, .96, .89, .73, .42])
DISKS_ES = np.array([.25, .42, .49, .57, .61, .66, .68, .72, .74, .76, .81, .82, .86, .88, .93, .94, .98, .96, .87, .55])
#: points along the endocardium, septal hinge (0) over the apex (the middle one) to lateral hinge
POINTS = 97


@dataclass(frozen=True)
class Ventricle:
    """Shape constants of one patient's ventricle, solved so that the traced beat has the wanted EDV and EF.

    Attributes:
        length, diameter: at the reference end-diastole, cm.
        length_loss, diameter_loss: relative, at contraction 1.
        p: the knobs.
    """

    length: float
    diameter: float
    length_loss: float
    diameter_loss: float
    p: ClipParameters

    @cached_property
    def along(self) -> np.ndarray:
        """``(POINTS,)`` u in [0, 1] along the endocardium."""
        return np.linspace(0.0, 1.0, POINTS)

    @cached_property
    def hinges(self) -> tuple[float, float]:
        """s of the septal and of the lateral hinge: the annulus is tilted against the perpendicular to the axis."""
        half = 0.5 * 0.86 / self.p.length_over_diameter * np.tan(self.p.annulus_tilt)
        return 0.978 - half, 0.978 + half

    @cached_property
    def s(self) -> np.ndarray:
        """``(POINTS,)`` place along the axis; denser near the apex, where the contour turns."""
        v = np.abs(1.0 - 2.0 * self.along)
        return np.where(self.along < 0.5, self.hinges[0], self.hinges[1]) * v ** 1.7

    def profile(self, s: np.ndarray, contraction: np.ndarray, imaged: bool = True) -> np.ndarray:
        """Diameter at ``s`` over the largest one; ``imaged`` applies the rounder apex of an oblique cut."""
        ed, es = self._profiles
        shape = (1.0 - contraction) * ed(np.sqrt(s)) + contraction * es(np.sqrt(s))
        if imaged and self.p.foreshortening > 0:
            blend = min(3.5 * self.p.foreshortening, 0.7) * np.clip(1.0 - s / 0.6, 0.0, 1.0)
            shape = shape + blend * (np.sqrt(np.clip(1.0 - (1.0 - s / 0.6) ** 2, 0.0, 1.0)) * 0.93 - shape)
        return shape

    @cached_property
    def _profiles(self) -> tuple[PchipInterpolator, PchipInterpolator]:
        """Smooth in the square root of s, as a blunt tip is. The walls go on to the hinges: the line between these cuts
        the last disks, as it does in tracings."""
        q = np.sqrt((np.arange(20) + 0.5) / 20)
        wobble = PchipInterpolator([0, 0.35, 0.65, 1.2], self.p.profile_wobble)
        sides = []
        for disks, base in ((DISKS_ED, (.88, .65, .42)), (DISKS_ES, (.94, .82, .62))):
            knots = np.concatenate([[0.0], q[:18], np.sqrt([.925, .99, 1.12])])
            values = np.concatenate([[0.0], disks[:18], base])
            values = values * (1.0 + wobble(knots ** 2))
            sides.append(PchipInterpolator(knots, values / values.max() * 0.985, extrapolate=True))
        return sides[0], sides[1]

    def segment_motion(self) -> np.ndarray:
        """``(POINTS,)`` share of the normal motion that each segment keeps."""
        gap = (self.along - self.p.hypokinesia_at) / 0.16
        return 1.0 - self.p.hypokinesia * np.exp(-0.5 * gap ** 2)

    def half_widths(self, contraction: np.ndarray, imaged: bool = True) -> np.ndarray:
        """Signed sideways distance of the endocardium, cm, for contractions ``(T, POINTS)`` of each segment."""
        side = np.where(self.along < 0.5, -0.5, 0.5)
        factor = 1.0 - self.diameter_loss * self.segment_motion() * contraction
        y = side * self.diameter * factor * self.profile(self.s, contraction, imaged)
        return y + self.p.bend * self.diameter * np.sin(np.pi * np.clip(self.s, 0, 1))

    def lengths(self, contraction: np.ndarray, imaged: bool = True) -> np.ndarray:
        """Long axis, cm, at contractions of any shape."""
        cut = 1.0 - self.p.foreshortening if imaged else 1.0
        return self.length * cut * (1.0 - self.length_loss * contraction)

    def volume(self, contraction: np.ndarray, mean_contraction: np.ndarray, rim: float = 0.0) -> np.ndarray:
        """True 3-D volume ``(T,)`` in mL: circular disks on the chords of the uncut shape (method of disks, to the limit).

        ``rim`` cm beyond the endocardial line gives the volume inside the anatomical boundary.
        """
        y, length = self.half_widths(contraction, imaged=False), self.lengths(mean_contraction, imaged=False)
        s = self.s
        if rim:
            line = np.stack([s * length[:, None], y], axis=-1)
            tangent = np.gradient(line, axis=1)
            tangent /= np.linalg.norm(tangent, axis=-1, keepdims=True)
            # septal hinge over the apex to lateral hinge: outside is on the left of the way, against (s, y)'s handedness
            line = line + rim * np.stack([-tangent[..., 1], tangent[..., 0]], axis=-1)
            s, y = line[..., 0] / length[:, None], line[..., 1]
        return disks_volume(s, y, length)

    def segments(self, line: Timeline) -> np.ndarray:
        """Contraction ``(T, POINTS)`` of every segment: dyssynchrony delays the lateral wall against the septum."""
        delay = self.p.dyssynchrony / (1.0 + np.exp(-(self.along - 0.5) / 0.08))
        return line.contraction_at(line.times[:, None] - delay)


def disks_volume(s: np.ndarray, y: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Volume in mL of disks on the chords of contours ``y (T, POINTS)`` over ``s``, of the same shape or ``(POINTS,)``,
    closed by the line between their ends; ``length (T,)`` cm is the long axis."""
    middle = POINTS // 2
    volumes = np.empty(len(y))
    for frame, (place, row) in enumerate(zip(np.broadcast_to(s, y.shape), y, strict=True)):
        left_s, right_s = np.maximum.accumulate(place[middle::-1]), np.maximum.accumulate(place[middle:])
        low, high = sorted((left_s[-1], right_s[-1]))
        levels = np.linspace(left_s[0], high, 240)
        left = np.interp(levels, left_s, row[middle::-1])
        right = np.interp(levels, right_s, row[middle:])
        if high > low:                                   # past the nearer hinge the chord ends on the hinge line
            line = row[0] + (row[-1] - row[0]) * (levels - left_s[-1]) / (right_s[-1] - left_s[-1])
            left = np.where(levels > left_s[-1], line, left)
            right = np.where(levels > right_s[-1], line, right)
        volumes[frame] = np.pi / 4 * np.trapezoid(np.maximum(right - left, 0.0) ** 2, levels) * length[frame]
    return volumes


def solve(p: ClipParameters) -> tuple[Ventricle, Timeline]:
    """The ventricle whose traced beat has ``p.edv_ml`` and ``p.ef``, and the timeline that moves it.

    Length falls by ``(ESV/EDV) ** length_share``; the diameter's loss is found by bisection, with hypokinesia and
    dyssynchrony in place, so that the analytic EF comes out right in spite of them.
    """
    remaining = 1.0 - p.ef / 100.0
    length_loss = 1.0 - remaining ** p.length_share
    unit = Ventricle(p.length_over_diameter, 1.0, length_loss, 0.2, p)
    rest = np.zeros((1, POINTS))
    scale = (p.edv_ml / unit.volume(rest, rest[:, 0])[0]) ** (1 / 3)
    length, diameter = scale * p.length_over_diameter, scale
    low, high = 0.0, 0.75
    for _ in range(24):
        loss = 0.5 * (low + high)
        ventricle = Ventricle(length, diameter, length_loss, loss, p)
        if ventricle.volume(rest + 1.0, np.ones(1))[0] > p.edv_ml * remaining:
            low = loss
        else:
            high = loss
    return ventricle, timeline(p, (length_loss, ventricle.diameter_loss))


def thicken(endocardium: np.ndarray, radius: np.ndarray, at_rest: np.ndarray, rest_thickness: np.ndarray,
            rest_radius: np.ndarray) -> np.ndarray:
    """Wall thickness ``(T, POINTS)`` of an incompressible wall.

    A piece of wall of thickness h at distance r from the axis, with arc length l along the contour, keeps its volume:
    h (r + h / 2) l is constant.

    Args:
        endocardium: ``(T, POINTS, 2)`` cm.
        radius: ``(T, POINTS)`` distance from the axis, cm.
        at_rest: ``(POINTS, 2)`` the endocardium at reference end-diastole.
        rest_thickness, rest_radius: ``(POINTS,)`` there.
    """
    def stretch(line: np.ndarray) -> np.ndarray:
        return np.linalg.norm(np.gradient(line, axis=-2), axis=-1)

    r, r0 = np.hypot(radius, 0.35), np.hypot(rest_radius, 0.35)      # the apex lies on the axis: keep it off zero
    keep = rest_thickness * (r0 + rest_thickness / 2) * stretch(at_rest)
    return -r + np.sqrt(r ** 2 + 2 * keep / np.maximum(stretch(endocardium), 1e-6))
