"""One simulated clip: knobs in, frames and exact truth out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from echolib.phantom import artefacts, truth
from echolib.phantom.anatomy import Heart, build
from echolib.phantom.motion import Timeline
from echolib.phantom.presets import ClipParameters
from echolib.phantom.scan_conversion import ScanConverter
from echolib.phantom.ultrasound import (
    PER_CELL,
    PointSpread,
    PolarGrid,
    Scatterers,
    Splatter,
    blur,
    compress,
    intensity_db,
    seed_mesh,
)
from echolib.phantom.ventricle import solve

#: the grid goes on a little beyond the displayed sector, so that its edges are not dimmer than they should be
EDGE = np.deg2rad(3.0)
RANGES, ANGLES = 320, 144
NEAR_CM = 3.0


@dataclass(frozen=True)
class SimulatedClip:
    """A clip with its truth on every frame.

    Attributes:
        frames: ``(T, H, W)`` uint8 B-mode frames.
        labels: ``(T, H, W)`` uint8: 0 background, 1 LV cavity, 2 myocardium, 3 left atrium.
        volumes_ml: ``(T,)`` analytic 3-D LV volume, mL.
        disk_volumes_ml: ``(T,)`` method-of-disks volume of the rendered LV label, mL.
        phase: ``(T,)`` position in the heart beat, in [0, 1), 0 = end-diastole.
        fps: frames per second.
        spacing_mm: size of a (square) pixel, mm.
        ef, edv, esv: analytic, of the traced beat; %, mL, mL.
        ed_frame, es_frame: 0-based frames of one beat's end-diastole and end-systole, the traced ones.
        long_axis: ``(T, 2, 2)`` float px: (apex (x, y), mid-annulus (x, y)).
        knobs: every parameter of the clip, JSON-able.
    """

    frames: np.ndarray
    labels: np.ndarray
    volumes_ml: np.ndarray
    disk_volumes_ml: np.ndarray
    phase: np.ndarray
    fps: float
    spacing_mm: float
    ef: float
    edv: float
    esv: float
    ed_frame: int
    es_frame: int
    long_axis: np.ndarray
    knobs: dict


def simulate(parameters: ClipParameters, *, device: str = "cpu", batch: int = 4) -> SimulatedClip:
    """Simulate a clip. Same parameters, same device: same bytes, whatever the number of threads.

    Args:
        parameters: from :func:`echolib.phantom.presets.draw`.
        device: torch device that makes the images.
        batch: frames made at a time; 4 keep a CPU's caches warm, a GPU likes 64.
    """
    p = parameters
    ventricle, line = solve(p)
    heart = build(p, ventricle, line)
    with one_thread():
        frames = image(p, heart, line, device, batch)
    to_px = _to_pixels(p)
    labels = truth.render(to_px(heart.endocardium), to_px(heart.epicardium), to_px(heart.atrium), p.height, p.width)
    # who labels wall and atrium ends where the picture ends; the cavity is traced whole
    tip = (p.tip[0] * p.width, p.tip[1] * p.height)
    sector = truth.in_sector(p.height, p.width, tip, p.radius * p.height, p.half_angle)
    labels[(labels > truth.CAVITY) & ~sector] = truth.BACKGROUND
    volumes = ventricle.volume(ventricle.segments(line), line.contraction)
    axis = to_px(heart.long_axis)
    spacing_mm = 10.0 * p.spacing
    disks = np.array([truth.disk_volume(mask == truth.CAVITY, a, spacing_mm) for mask, a in zip(labels, axis, strict=True)])
    shown = line.copies
    frames, labels, volumes, disks, axis = (x[shown] for x in (frames, labels, volumes, disks, axis))
    ed, es = _traced(p, line, volumes)
    edv, esv = float(volumes[ed]), float(volumes[es])
    return SimulatedClip(frames, labels, volumes, disks, line.phase[shown], p.fps, spacing_mm, 100.0 * (edv - esv) / edv,
                         edv, esv, ed, es, axis, p.knobs())


def _to_pixels(p: ClipParameters):
    tip = np.array([p.tip[0] * p.width, p.tip[1] * p.height])
    return lambda points: points / p.spacing + tip


def _traced(p: ClipParameters, line: Timeline, volumes: np.ndarray) -> tuple[int, int]:
    """Frames of the traced beat's largest and smallest volume."""
    if p.first:
        return (0, p.frames - 1) if p.first == "ED" else (p.frames - 1, 0)
    beat = line.beats[line.traced]
    systole = beat.es - beat.ed
    near_ed = np.flatnonzero(np.abs(line.times - beat.ed) <= 0.4 * systole)
    near_es = np.flatnonzero(np.abs(line.times - beat.es) <= 0.4 * systole)
    return int(near_ed[np.argmax(volumes[near_ed])]), int(near_es[np.argmin(volumes[near_es])])


@contextmanager
def one_thread() -> Iterator[None]:
    """Matrix products split over threads round differently: simulate on one, and run several clips at once instead."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def polar_grid(p: ClipParameters) -> PolarGrid:
    """The beam grid of a clip; it reaches 3 degrees beyond the displayed sector."""
    return PolarGrid(RANGES, ANGLES, p.depth, p.half_angle + EDGE)


def scatter(p: ClipParameters, heart: Heart, grid: PolarGrid) -> tuple[Scatterers, np.ndarray]:
    """Seed every strip; also the grid indices ``(T, nodes, 2)`` of all its nodes."""
    rng = np.random.default_rng([*p.seed, 41])
    psf = PointSpread(p.axial_mm, p.lateral_deg)
    density = PER_CELL / psf.cell(grid)
    parts, nodes, first = [], [], 0
    for strip in heart.strips:
        index = grid.index(strip.points)
        parts.append(seed_mesh(index[0], strip.level, first, density * strip.density, rng, (grid.ranges, grid.angles),
                               floor=p.black - 15.0))
        nodes.append(index.reshape(len(index), -1, 2))
        first += strip.level.size
    merged = Scatterers(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("corner", "weight", "amplitude")))
    return merged, np.concatenate(nodes, axis=1)


def image(p: ClipParameters, heart: Heart, line: Timeline, device: str, batch: int) -> np.ndarray:
    """B-mode frames ``(T, H, W)`` uint8."""
    grid = polar_grid(p)
    scatterers, nodes = scatter(p, heart, grid)
    splat = Splatter(scatterers, nodes, grid, p.frequency_mhz, device)
    psf = PointSpread(p.axial_mm, p.lateral_deg, p.side_lobe_db, p.side_lobe_width)
    axial, far, near = psf.axial(grid, device), psf.lateral(grid, device), psf.lateral(grid, device, 1.8)
    blend = torch.as_tensor(np.clip(1 - grid.range_cm / NEAR_CM, 0, 1), dtype=torch.float32, device=device)[:, None]
    supersample = max(1, round(4 * 112 / p.height))
    to_screen = ScanConverter(grid, p.height, p.width, (p.tip[0] * p.width, p.tip[1] * p.height), p.radius * p.height,
                              p.half_angle, supersample, device)
    haze = artefacts.haze(p, grid, line.times, 1.0)
    fields = torch.as_tensor(haze.fields, device=device)
    turned = torch.stack([fields, torch.stack([-fields[:, 1], fields[:, 0]], dim=1)], dim=1)        # x 1 and x j: (K, 2, 2, R, A)
    turned = turned.reshape(-1, 2 * grid.ranges * grid.angles)
    coefficients = torch.as_tensor(haze.coefficients, device=device).reshape(p.frames, -1)
    steady = torch.as_tensor(artefacts.gain(p, grid), dtype=torch.float32, device=device)
    shaded = artefacts.shadows(p, line.times)
    lost = artefacts.dropouts(p, 0.5 * (heart.endocardium + heart.epicardium))
    step = _gain_step(p)
    noise_level = p.noise + p.noise_slope * (grid.range_cm / p.depth - 0.5)
    noise_scale = torch.as_tensor(10 ** (noise_level / 20) / np.sqrt(2), dtype=torch.float32, device=device)[:, None]
    blood_scale = 10 ** (p.blood / 20) / 2.0                       # two frames' worth of two parts
    generator = torch.Generator(device).manual_seed(int(np.random.default_rng([*p.seed, 42]).integers(2 ** 62)))
    shape = (2, grid.ranges, grid.angles)
    last_blood = torch.randn(1, *shape, generator=generator, device=device)
    shown, before = [], None
    for start in range(0, p.frames, batch):
        stop = min(start + batch, p.frames)
        field = splat(start, stop)
        # per frame, so that the batch size does not change the numbers drawn
        draws = torch.stack([torch.randn(2, *shape, generator=generator, device=device) for _ in range(start, stop)])
        blood = torch.cat([last_blood, draws[:, 0]])
        last_blood = blood[-1:]
        field.add_(blood[1:], alpha=blood_scale).add_(blood[:-1], alpha=blood_scale)
        field *= artefacts.tissue_gain(grid, start, stop, shaded, lost, steady)[:, None]
        field += (coefficients[start:stop] @ turned).view(stop - start, *shape)
        field = blur(field, near, far, blend)
        field += draws[:, 1] * noise_scale
        db = intensity_db(axial @ field)
        if step is not None:
            db[max(step - start, 0):] += p.gain_step
        level = compress(db, p.black, p.dynamic_range, p.s_curve, p.gamma)
        for k in range(stop - start):                              # the scanner's persistence
            if before is not None:
                level[k].lerp_(before, p.persistence)
            before = level[k]
        before = before.clone()
        shown.append(to_screen(level).round_().clamp_(0, 255).to(torch.uint8).cpu().numpy())
    frames = np.concatenate(shown)
    artefacts.marks(p, frames)
    return frames


def _gain_step(p: ClipParameters) -> int | None:
    """Frame at which someone turns the gain knob."""
    return int(np.random.default_rng([*p.seed, 43]).integers(p.frames // 4, p.frames)) if p.gain_step else None
