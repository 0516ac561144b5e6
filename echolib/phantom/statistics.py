"""The acceptance statistics: does a simulated cohort look like the real one, in numbers?

Ranges marked *measured* come from real apical four-chamber clips, *derived* from theory (fully developed speckle has an
envelope SNR of at most 1.91 and 5.57 dB sd after log compression), *published* from the data sets' papers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.ndimage import binary_dilation

from echolib.phantom import truth
from echolib.phantom.clip import ANGLES, EDGE, RANGES, SimulatedClip, one_thread, simulate
from echolib.phantom.motion import AREA_CURVE
from echolib.phantom.presets import draw, draw_ef, draw_timing
from echolib.phantom.ultrasound import PER_CELL, PointSpread, PolarGrid, Splatter, power, seed_mesh
from echolib.phantom.ventricle import DISKS_ED, DISKS_ES

#: EchoNet-Dynamic: mean and sd of EF (%), frames, and fps; share of clips at exactly 50 fps
ECHONET = {"ef": (55.75, 12.37), "frames": (176.5, 57.0), "fps": (50.9, 6.8), "fps50": 0.794}


@dataclass(frozen=True)
class Speckle:
    """Speckle of uniform tissue before scan conversion: mean over sd of the envelope, sd in dB, and the full widths at half
    maximum of the envelope's autocovariance in degrees and mm."""

    snr: float
    log_sd_db: float
    lateral_deg: float
    axial_mm: float


def uniform_speckle(axial_mm: float, lateral_deg: float, *, frequency_mhz: float = 2.5, depth: float = 15.5, seed: int = 0,
                    per_cell: float = PER_CELL) -> Speckle:
    """Image a sector full of uniform tissue with the clip's own code and measure its speckle away from the borders."""
    grid = PolarGrid(RANGES, ANGLES, depth, 0.79 + EDGE)
    psf = PointSpread(axial_mm, lateral_deg)
    rows, columns = np.meshgrid([-8.0, RANGES + 8.0], [-8.0, ANGLES + 8.0], indexing="ij")
    nodes = np.stack([rows, columns], axis=-1)
    rng = np.random.default_rng([seed, 51])
    scatterers = seed_mesh(nodes, np.zeros((2, 2)), 0, per_cell / psf.cell(grid), rng, (RANGES, ANGLES))
    with one_thread():
        field = Splatter(scatterers, nodes.reshape(1, 4, 2), grid, frequency_mhz, "cpu")(0, 1)
        field = psf.axial(grid, "cpu") @ (field.double() @ psf.lateral(grid, "cpu").T)
    envelope = power(field[:, :, 20:-20, 16:-16])[0].sqrt().numpy()
    db = 20 * np.log10(envelope)
    return Speckle(float(envelope.mean() / envelope.std()), float(db.std()),
                   np.rad2deg(_width(envelope, 1) * grid.angle_step), 10 * _width(envelope, 0) * grid.range_step)


def _width(image: np.ndarray, axis: int) -> float:
    """Full width at half maximum of the autocovariance along an axis, in samples."""
    x = np.moveaxis(image - image.mean(), axis, 0)
    curve = np.array([(x[:len(x) - k] * x[k:]).mean() for k in range(24)])
    curve = curve / curve[0]
    below = int(np.argmax(curve < 0.5))
    return float(2 * (below - 1 + (curve[below - 1] - 0.5) / (curve[below - 1] - curve[below])))


def ring(mask: np.ndarray, width: int = 5) -> np.ndarray:
    """The ``width`` px around a mask ``(H, W)`` bool."""
    return binary_dilation(mask, iterations=width) & ~mask


def grey_levels(clip: SimulatedClip, every: int = 4) -> dict[str, float]:
    """Brightness of every ``every``-th frame: whole frame, cavity and 5-px ring around it."""
    frames = clip.frames[::every].astype(np.float64)
    masks = clip.labels[::every] == truth.CAVITY
    rings = np.array([ring(m) for m in masks])
    return {"frame mean": frames.mean(), "frame sd": frames.std(axis=(1, 2)).mean(), "dark share": (frames <= 2).mean(),
            "cavity mean": frames[masks].mean(), "ring mean": frames[rings].mean()}


def correlations(clip: SimulatedClip, every: int = 4) -> dict[str, float]:
    """Correlation of a frame with the next, over the pixels of the cavity and of the ring around it (NaN: all flat)."""
    cavity, around = [], []
    for t in range(0, len(clip.frames) - 1, every):
        mask = clip.labels[t] == truth.CAVITY
        a, b = clip.frames[t].astype(float), clip.frames[t + 1].astype(float)
        for where, values in ((mask, cavity), (ring(mask), around)):
            if a[where].std() > 0 and b[where].std() > 0:
                values.append(np.corrcoef(a[where], b[where])[0, 1])
    return {name: float(np.mean(values)) if values else np.nan
            for name, values in (("cavity correlation", cavity), ("ring correlation", around))}


def shape(clip: SimulatedClip) -> dict[str, float]:
    """Size and place of the ventricle at end-diastole, in px of a 112-px frame and degrees (tilt: apex to the left)."""
    scale = 112.0 / clip.frames.shape[1]
    apex, base = clip.long_axis[clip.ed_frame] * scale
    area = float((clip.labels[clip.ed_frame] == truth.CAVITY).sum()) * scale ** 2
    return {"length px": float(np.hypot(*(base - apex))), "area px": area, "area share": area / 112.0 ** 2,
            "apex row": float(apex[1]), "annulus row": float(base[1]),
            "tilt deg": float(np.rad2deg(np.arctan2(*(base - apex))))}


def profiles(clip: SimulatedClip) -> tuple[np.ndarray, np.ndarray]:
    """Disk diameters ``(20,)`` apex to base over the largest, at ED and at ES, from the rendered labels."""
    out = []
    for frame in (clip.ed_frame, clip.es_frame):
        d = truth.chords(clip.labels[frame] == truth.CAVITY, clip.long_axis[frame])
        out.append(d / d.max())
    return out[0], out[1]


def area_over_beat(clip: SimulatedClip) -> np.ndarray | None:
    """Area of the label over one RR interval from end-systole, 26 samples, 0 = smallest and 1 = largest of the beat;
    None when the clip holds no full interval between two end-systoles."""
    rr = 60.0 / clip.knobs["heart_rate"] * clip.fps
    area = (clip.labels == truth.CAVITY).sum((1, 2)).astype(float)
    start = clip.es_frame if clip.es_frame + rr <= len(area) - 1 else clip.es_frame - rr
    if start < 0:                          # the beat from ED to ED instead, turned round: the cycle repeats
        where = np.mod(clip.es_frame - clip.ed_frame + np.linspace(0, rr, 26), rr) + clip.ed_frame
        if where.max() > len(area) - 1:
            return None
    else:
        where = start + np.linspace(0, rr, 26)
    curve = np.interp(where, np.arange(len(area)), area)
    return (curve - curve.min()) / (curve.max() - curve.min())


def ratios(clip: SimulatedClip) -> dict[str, float]:
    """ES over ED of the long axis and of the largest diameter, and the EF of the rendered labels."""
    def length(frame: int) -> float:
        return float(np.hypot(*(clip.long_axis[frame][1] - clip.long_axis[frame][0])))

    widest = [truth.chords(clip.labels[f] == truth.CAVITY, clip.long_axis[f]).max() for f in (clip.ed_frame, clip.es_frame)]
    edv, esv = clip.disk_volumes_ml[clip.ed_frame], clip.disk_volumes_ml[clip.es_frame]
    return {"length ratio": length(clip.es_frame) / length(clip.ed_frame), "diameter ratio": widest[1] / widest[0],
            "ef error": abs(100 * (edv - esv) / edv - clip.ef)}


def drawn_distributions(count: int = 10_000, seed: int = 0) -> dict[str, float]:
    """EF, frames and fps of ``count`` draws, as means, sd and the share at exactly 50 fps."""
    rng = np.random.default_rng([seed, 61])
    ef = np.array([draw_ef(rng) for _ in range(count)])
    frames, fps = np.array([draw_timing(rng) for _ in range(count)]).T
    return {"ef mean": ef.mean(), "ef sd": ef.std(), "frames mean": frames.mean(), "frames sd": frames.std(),
            "fps mean": fps.mean(), "fps sd": fps.std(), "fps50": (fps == 50).mean()}


def acceptance(clips: Sequence[SimulatedClip], *, draws: int = 10_000) -> pd.DataFrame:
    """Every acceptance statistic of a cohort beside its range.

    Args:
        clips: at least 40 of the preset ``echonet`` for the ranges to be meant.
        draws: parameter draws behind the distributions of EF, frames and fps.

    Returns:
        Columns ``statistic, value, low, high, ok, source``; values are cohort means unless the name says otherwise.
    """
    rows: list[tuple[str, float, float, float, str]] = []
    speckle = [uniform_speckle(c.knobs["axial_mm"], c.knobs["lateral_deg"], frequency_mhz=c.knobs["frequency_mhz"],
                               depth=c.knobs["depth"], seed=k) for k, c in enumerate(clips)]
    for name, low, high, source in (("snr", 1.80, 1.95, "derived"), ("log_sd_db", 5.2, 5.8, "derived"),
                                    ("lateral_deg", 2.0, 2.5, "measured"), ("axial_mm", 0.7, 1.2, "measured")):
        rows.append((f"speckle {name}", float(np.mean([getattr(s, name) for s in speckle])), low, high, source))
    table = pd.DataFrame([{**grey_levels(c), **correlations(c), **shape(c), **ratios(c)} for c in clips])
    for name, low, high in (("frame mean", 20, 46), ("frame sd", 45, 68), ("dark share", .37, .61), ("cavity mean", 4, 22),
                            ("ring mean", 43, 109), ("ring correlation", .94, .98), ("cavity correlation", .84, .97),
                            ("length px", 43, 69), ("area px", 860, 2350), ("area share", .07, .19), ("apex row", 18, 30),
                            ("annulus row", 59, 89), ("tilt deg", 5, 21)):
        rows.append((name, float(table[name].mean()), low, high, "measured"))
    inside = (table["length px"].between(43, 69) & table["area px"].between(860, 2350) & table["apex row"].between(18, 30)
              & table["annulus row"].between(59, 89))
    rows.append(("share of clips with size and place in range", float(inside.mean()), 0.8, 1.0, "measured"))
    pairs = [profiles(c) for c in clips]
    for name, side, target in (("ED", 0, DISKS_ED), ("ES", 1, DISKS_ES)):
        gap = np.abs(np.mean([pair[side] for pair in pairs], axis=0) - target).max()
        rows.append((f"largest deviation of the mean {name} diameter profile", float(gap), 0.0, 0.10, "measured"))
    curves = [curve for curve in map(area_over_beat, clips) if curve is not None]
    gap = np.abs(np.mean(curves, axis=0) - AREA_CURVE).max() if curves else np.nan
    rows.append(("largest deviation of the mean area curve", float(gap), 0.0, 0.10, "measured"))
    healthy = table[np.array([c.ef >= 50 for c in clips])]
    rows.append(("length ratio ES/ED, EF of 50 % or more", float(healthy["length ratio"].mean()), .75, .89, "measured"))
    rows.append(("diameter ratio ES/ED, EF of 50 % or more", float(healthy["diameter ratio"].mean()), .66, .90, "measured"))
    rows.append(("largest difference of EF, labels against analytic", float(table["ef error"].max()), 0.0, 2.0, "derived"))
    got = drawn_distributions(draws)
    for key in ("ef", "frames", "fps"):
        for moment, target in zip(("mean", "sd"), ECHONET[key], strict=True):
            rows.append((f"{key} {moment}, {draws} draws", float(got[f"{key} {moment}"]), 0.95 * target, 1.05 * target,
                         "published"))
    target = ECHONET["fps50"]
    rows.append((f"share at 50 fps, {draws} draws", float(got["fps50"]), 0.95 * target, 1.05 * target, "published"))
    frame = pd.DataFrame(rows, columns=["statistic", "value", "low", "high", "source"])
    frame.insert(4, "ok", frame["value"].between(frame["low"], frame["high"]))
    return frame


def cohort(count: int, *, preset: str = "echonet", frames: int = 40, seed: int = 0) -> list[SimulatedClip]:
    """``count`` short clips of a preset, for the statistics above."""
    return [simulate(draw(preset, [seed, k], frames=frames)) for k in range(count)]
