"""One simulated clip: knobs in, frames and exact truth out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from echolib.phantom import artefacts, truth
from echolib.phantom.anatomy import Heart, build
from echolib.phantom.exact import FIELD_BITS, Display, Gains, Normals, rounded
from echolib.phantom.motion import Timeline
from echolib.phantom.presets import ClipParameters
from echolib.phantom.scan_conversion import ScanConverter
from echolib.phantom.ultrasound import PER_CELL, Blur, PointSpread, PolarGrid, Scatterers, Splatter, power, seed_mesh
from echolib.phantom.ventricle import solve

#: the grid goes on a little beyond the displayed sector, so that its edges are not dimmer than they should be
EDGE = np.deg2rad(3.0)
RANGES, ANGLES = 320, 144
#: near the probe the beam is wider
NEAR_CM, NEAR_WIDER = 3.0, 1.8


@dataclass(frozen=True)
class SimulatedClip:
    """A clip with its truth on every frame.

    Attributes:
        frames: ``(T, H, W)`` uint8 B-mode frames.
        labels: ``(T, H, W)`` uint8: 0 background, 1 LV cavity, 2 myocardium, 3 left atrium.
        volumes_ml: ``(T,)`` analytic 3-D LV volume inside the line that a reader traces, mL.
        tissue_volumes_ml: ``(T,)`` the same inside the anatomical boundary, where the wall begins.
        tissue: ``(T, P, 2)`` float32 px, that boundary (x, y), septal hinge over the apex to lateral hinge.
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
    tissue_volumes_ml: np.ndarray
    tissue: np.ndarray
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
    segments = ventricle.segments(line)
    volumes = ventricle.volume(segments, line.contraction)
    outside = ventricle.volume(segments, line.contraction, rim=p.rim)
    axis = to_px(heart.long_axis)
    spacing_mm = 10.0 * p.spacing
    disks = np.array([truth.disk_volume(mask == truth.CAVITY, a, spacing_mm) for mask, a in zip(labels, axis, strict=True)])
    # three decimals: the last bits of what numpy sums and interpolates differ between processors
    volumes, outside, disks, axis, tissue = (x.round(3) for x in (volumes, outside, disks, axis, to_px(heart.tissue)))
    shown = line.copies
    frames, labels, volumes, outside, tissue, disks, axis = (
        x[shown] for x in (frames, labels, volumes, outside, tissue, disks, axis))
    ed, es = _traced(p, line, volumes)
    edv, esv = float(volumes[ed]), float(volumes[es])
    return SimulatedClip(frames=frames, labels=labels, volumes_ml=volumes, tissue_volumes_ml=outside,
                         tissue=tissue.astype(np.float32),
                         disk_volumes_ml=disks, phase=line.phase[shown].round(6), fps=p.fps, spacing_mm=spacing_mm,
                         ef=100.0 * (edv - esv) / edv, edv=edv, esv=esv, ed_frame=ed, es_frame=es, long_axis=axis,
                         knobs=p.knobs())


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
    blur = Blur(psf, grid, np.clip(1 - grid.range_cm / NEAR_CM, 0, 1), NEAR_WIDER, device)
    display, gains = Display(p.black, p.dynamic_range, p.s_curve, p.gamma, device), Gains(device)
    supersample = max(1, round(4 * 112 / p.height))
    to_screen = ScanConverter(grid, p.height, p.width, (p.tip[0] * p.width, p.tip[1] * p.height), p.radius * p.height,
                              p.half_angle, supersample, device)
    haze = artefacts.haze(p, grid, line.times, 1.0)
    fields = torch.as_tensor(haze.fields, device=device)
    turned = torch.stack([fields, torch.stack([-fields[:, 1], fields[:, 0]], dim=1)], dim=1)        # x 1 and x j: (K, 2, 2, R, A)
    turned = turned.reshape(-1, 2 * grid.ranges * grid.angles)
    coefficients = torch.as_tensor(haze.coefficients, device=device).reshape(p.frames, -1)
    steady = torch.as_tensor(rounded(artefacts.gain(p, grid), 8), dtype=torch.float32, device=device)
    shaded = artefacts.shadows(p, line.times)
    lost = artefacts.dropouts(p, 0.5 * (heart.endocardium + heart.epicardium))
    step = _gain_step(p)
    noise_level = p.noise + p.noise_slope * (grid.range_cm / p.depth - 0.5)
    noise_scale = torch.as_tensor(rounded(10 ** (noise_level / 20) / np.sqrt(2), 20), dtype=torch.float32, device=device)[:, None]
    blood_scale = rounded(10 ** (p.blood / 20) / 2.0, 20)          # two frames' worth of two parts
    persistence = rounded(p.persistence, 8)
    normals = Normals(int(np.random.default_rng([*p.seed, 42]).integers(2 ** 62)), device)
    shape = (2, grid.ranges, grid.angles)
    last_blood = normals(1, *shape)
    shown, before = [], None
    for start in range(0, p.frames, batch):
        stop = min(start + batch, p.frames)
        field = splat(start, stop)
        draws = normals(stop - start, 2, *shape)
        blood = torch.cat([last_blood, draws[:, 0]])
        last_blood = blood[-1:]
        field.add_((blood[1:] + blood[:-1]).mul_(blood_scale))
        field *= gains(artefacts.tissue_gain(grid, start, stop, shaded, lost, steady))[:, None]
        field += (coefficients[start:stop] @ turned).view(stop - start, *shape)
        field = blur.lateral(rounded(field, FIELD_BITS).double())
        field += rounded(draws[:, 1] * noise_scale, FIELD_BITS)
        echo = power(blur.axial(field))
        if step is not None:
            echo[max(step - start, 0):] *= rounded(10 ** (p.gain_step / 10), 16)
        level = display(echo)
        for k in range(stop - start):                              # the scanner's persistence
            if before is not None:
                level[k].mul_(1.0 - persistence).add_(before * persistence)
            before = level[k]
        before = before.clone()
        shown.append(to_screen(level).round_().clamp_(0, 255).to(torch.uint8).cpu().numpy())
    frames = np.concatenate(shown)
    artefacts.marks(p, frames)
    return frames


def _gain_step(p: ClipParameters) -> int | None:
    """Frame at which someone turns the gain knob."""
    return int(np.random.default_rng([*p.seed, 43]).integers(p.frames // 4, p.frames)) if p.gain_step else None
