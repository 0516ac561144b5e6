"""What spoils a clip, each with its knob: haze, clutter, reverberation, shadows, drop-out, gain errors, marks on the screen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.interpolate import CubicSpline, PchipInterpolator

from echolib.phantom.exact import rounded
from echolib.phantom.presets import ClipParameters
from echolib.phantom.ultrasound import PolarGrid

HAZE_FIELDS = 4


@dataclass(frozen=True)
class Haze:
    """Clutter that hardly moves: fixed complex fields ``(K, 2, R, A)`` with slowly turning coefficients ``(T, K, 2)``."""

    fields: np.ndarray
    coefficients: np.ndarray


def haze(p: ClipParameters, grid: PolarGrid, times: np.ndarray, density: float) -> Haze:
    """Reverberation and side-lobe haze over everything, near-field clutter, and bands of reverberation."""
    rng = np.random.default_rng([*p.seed, 31])
    r, angle = grid.range_cm[:, None], grid.angle_rad[None, :]
    level = np.full((grid.ranges, grid.angles), p.haze) + _patches(rng, grid, 5.0)
    level = level - 8.0 * np.clip(r / grid.depth - 0.45, 0, 1)
    power = 10 ** (level / 10)
    power += 10 ** ((p.near_clutter - (r / 0.75) ** 2 * 1.8) / 10)
    if p.reverberation > -50.0:
        spacing = rng.uniform(0.5, 1.1)
        bands = np.exp(-0.5 * (((r - 0.4) % spacing - spacing / 2) / 0.09) ** 2) * np.exp(-r / 1.6)
        power += 10 ** (p.reverberation / 10) * bands * np.exp(-0.5 * ((angle - rng.uniform(-.3, .3)) / 0.35) ** 2)
    fields = rng.standard_normal((HAZE_FIELDS, 2, grid.ranges, grid.angles)) * np.sqrt(power / 2)
    # one field stands still, the others come and go within a second or so
    rate = rng.uniform(0.15, 1.2, HAZE_FIELDS)
    turn = rng.uniform(0, 2 * np.pi, (3, HAZE_FIELDS))
    phase = turn[0] + 0.8 * np.sin(2 * np.pi * rate * times[:, None] + turn[1])
    size = np.sqrt(np.array([0.55, 0.15, 0.15, 0.15])) * (1.0 + 0.3 * np.sin(2 * np.pi * 0.7 * rate * times[:, None] + turn[2]))
    coefficients = np.stack([size * np.cos(phase), size * np.sin(phase)], axis=-1)
    # 14 and 7 bits: their products add up exactly in a float32
    return Haze(rounded(np.clip(fields, -15, 15), 10).astype(np.float32), rounded(coefficients, 6).astype(np.float32))


def _patches(rng: np.random.Generator, grid: PolarGrid, sd: float) -> np.ndarray:
    """Smooth random field (R, A) of standard deviation about ``sd`` dB."""
    coarse = rng.normal(0.0, sd, (6, 6))
    rows = CubicSpline(np.linspace(0, 1, 6), coarse)(np.linspace(0, 1, grid.ranges))
    return CubicSpline(np.linspace(0, 1, 6), rows, axis=1)(np.linspace(0, 1, grid.angles))


def gain(p: ClipParameters, grid: PolarGrid) -> np.ndarray:
    """Errors left by time gain compensation and by contact: smooth in depth and in angle, dB ``(R, A)``."""
    depth = PchipInterpolator(np.linspace(0, 1, 5), np.clip(p.depth_gain, -10, 10))(np.linspace(0, 1, grid.ranges))
    angle = PchipInterpolator(np.linspace(0, 1, 5), np.clip(p.angle_gain, -6, 6))(np.linspace(0, 1, grid.angles))
    edge = np.clip((np.abs(grid.angle_rad) / p.half_angle - 0.8) / 0.2, 0, 1) ** 2      # the array sees the edges worse
    return depth[:, None] + angle[None, :] - 6.0 * edge[None, :]


@dataclass(frozen=True)
class Shadow:
    """A rib or lung shadow: ``depth`` dB over ``width`` rad around ``angle (T,)`` rad, from range ``start`` cm."""

    angle: np.ndarray
    width: float
    depth: float
    start: float


def shadows(p: ClipParameters, times: np.ndarray) -> list[Shadow]:
    """Shadows 3-15 degrees wide that sway with respiration; mostly near the sector's edges, where ribs are."""
    rng = np.random.default_rng([*p.seed, 32])
    made = []
    for _ in range(p.shadows):
        side = rng.choice([-1.0, 1.0])
        centre = side * p.half_angle * rng.beta(4.0, 1.6)
        sway = np.deg2rad(rng.uniform(0.5, 3.0)) * np.sin(2 * np.pi * p.respiration_hz * times + rng.uniform(0, 6.28))
        width, loss = np.deg2rad(rng.uniform(3.0, 15.0)), p.shadow_depth * rng.uniform(0.7, 1.2)
        made.append(Shadow(centre + sway, width, loss, rng.uniform(0.3, 3.0)))
    return made


@dataclass(frozen=True)
class Dropout:
    """A wall segment lost for some frames: dB bump at (range cm, angle rad) with radii, over frames ``first <= t < stop``."""

    first: int
    stop: int
    along: np.ndarray          # (stop - first,) share of the loss in each frame
    centre: np.ndarray         # (stop - first, 2): range, angle
    radius: tuple[float, float]
    depth: float


def dropouts(p: ClipParameters, wall: np.ndarray) -> list[Dropout]:
    """Losses of wall segments: 4-14 frames each, most often of the lateral wall and of the apex.

    Args:
        p: knobs.
        wall: ``(T, P, 2)`` cm, the middle of the wall, septal hinge to lateral hinge.
    """
    rng = np.random.default_rng([*p.seed, 33])
    frames = len(wall)
    made = []
    for _ in range(rng.poisson(p.dropouts * frames / p.fps)):
        length = int(rng.integers(4, 15))
        first = int(rng.integers(-length + 2, frames - 1))
        first, stop = max(first, 0), min(first + length, frames)
        share = rng.choice([rng.uniform(0.02, 0.45), rng.uniform(0.45, 0.98)], p=[0.28, 0.72])
        where = min(int(share * wall.shape[1]), wall.shape[1] - 1)
        point = wall[first:stop, where]
        centre = np.stack([np.hypot(point[:, 0], point[:, 1]), np.arctan2(point[:, 0], point[:, 1])], axis=1)
        edge = np.minimum(np.arange(stop - first) + 1, np.arange(stop - first)[::-1] + 1)
        across = rng.uniform(0.9, 1.6)
        radius = (rng.uniform(1.2, 2.4), across / max(centre[0, 0], 2.0))
        made.append(Dropout(first, stop, np.minimum(edge / 2.0, 1.0), centre, radius,
                            p.dropout_depth * rng.uniform(0.8, 1.3)))
    return made


def tissue_gain(grid: PolarGrid, start: int, stop: int, shaded: list[Shadow], lost: list[Dropout],
                steady: torch.Tensor) -> torch.Tensor:
    """Change ``(stop - start or 1, R, A)`` in dB of the echoes of frames ``start <= t < stop``, before haze and noise come in.

    Args:
        grid: the polar grid.
        start, stop: frames.
        shaded, lost: what takes echoes away.
        steady: ``(R, A)`` dB that stay, from :func:`gain`.
    """
    events = [event for event in lost if event.first < stop and event.stop > start]
    if not shaded and not events:
        return steady[None]
    out = steady.expand(stop - start, -1, -1).clone()

    def put(values: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(rounded(values, 16), dtype=torch.float32, device=steady.device)

    for shadow in shaded:
        across = shadow.depth * np.exp(-(((grid.angle_rad - shadow.angle[start:stop, None]) / (shadow.width / 2)) ** 4))
        deep = np.clip((grid.range_cm - shadow.start) / 0.8, 0, 1)
        out += put(across)[:, None, :] * put(deep)[:, None]
    for event in events:
        for frame in range(max(event.first, start), min(event.stop, stop)):
            k = frame - event.first
            deep = event.depth * event.along[k] * np.exp(-(((grid.range_cm - event.centre[k, 0]) / event.radius[0]) ** 4))
            across = np.exp(-(((grid.angle_rad - event.centre[k, 1]) / event.radius[1]) ** 4))
            out[frame - start] += put(deep)[:, None] * put(across)
    return out


def marks(p: ClipParameters, frames: np.ndarray) -> None:
    """Draw what the vendor left in, in place: a probe marker near the tip, a ruler with ticks every centimetre."""
    rng = np.random.default_rng([*p.seed, 34])
    height, width = frames.shape[1:]
    unit = height / 112.0
    tip_x, tip_y = p.tip[0] * width, p.tip[1] * height
    if p.marker:
        x, y = int(tip_x + rng.uniform(8, 14) * unit), int(max(tip_y - rng.uniform(1, 4) * unit, 1))
        size = max(int(round(unit)), 1)
        frames[:, max(y - size, 0):y + size, x:x + 2 * size] = rng.integers(110, 230)
    if p.ruler:
        column = width - int(rng.integers(2, 5) * unit) - 1
        value, step = rng.integers(90, 200), 1.0 / p.spacing
        for tick in range(int((height - tip_y) / step) + 1):
            y = int(tip_y + tick * step)
            if 0 <= y < height:
                long = 2 if tick % 5 == 0 else 1
                frames[:, y, column:column + max(int(long * unit), 1)] = value
