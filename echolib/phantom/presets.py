"""The knobs of a clip and the distributions they are drawn from.

A preset is a set of distributions. ``echonet`` and ``camus`` match the two data sets; ``wide`` varies everything far
beyond them, for weights that must work on real clips; four presets are the challenging cases of SimLVSeg's Figure 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Literal

import numpy as np

from echolib.errors import ConfigError

PRESETS = ("echonet", "camus", "wide", "foreshortening", "poor_quality", "effusion", "arrhythmia")
LAYOUTS = ("echonet", "camus")
QUALITIES = {"Good": 260, "Medium": 148, "Poor": 42}   # of CAMUS' 450 labelled patients
RATE_RANGE = (44.0, 111.0)                             # bpm
#: weights, means and sd of the ejection-fraction mixture (%): 55.9 (12.2) against EchoNet-Dynamic's 55.75 (12.37)
EF_MIXTURE = ((0.78, 61.0, 6.0), (0.13, 45.0, 7.0), (0.09, 27.0, 7.0))
CAMUS_SIZE = (551, 669)
CAMUS_SPACING_CM = 0.0308


@dataclass(frozen=True)
class ClipParameters:
    """Every knob of one clip; lengths in cm, times in s, angles in rad, levels in dB unless the name says otherwise."""

    preset: str
    layout: str                      # 'echonet' | 'camus'
    view: str                        # '4CH' | '2CH'
    seed: tuple[int, ...]
    frames: int
    fps: float
    height: int
    width: int
    quality: str                     # 'Good' | 'Medium' | 'Poor' for camus, '' for echonet
    first: str                       # first frame of a camus half-cycle: 'ED' | 'ES'; '': the clip starts anywhere
    # rhythm
    heart_rate: float                # bpm, mean
    rhythm: str                      # 'sinus' | 'fibrillation' | 'ectopy'
    rr_variation: float              # sd of RR over its mean
    start: float                     # 0-1: where in the clip the traced end-diastole falls
    # pump
    ef: float                        # %, of the traced beat
    edv_ml: float
    length_share: float              # share of log(ESV/EDV) that long-axis shortening takes
    dyssynchrony: float              # s, delay of the lateral wall (negative: of the septum)
    hypokinesia: float               # 0-1: motion lost at the worst segment
    hypokinesia_at: float            # 0-1 along the endocardium, septal hinge to lateral hinge
    # left ventricle
    length_over_diameter: float      # at ED
    profile_wobble: tuple[float, ...]  # 4 relative deviations of the diameter profile, apex to base
    bend: float                      # sideways bow of the long axis over the diameter
    axis_tilt: float                 # apex to the left when positive
    annulus_tilt: float              # of the hinge line against the perpendicular to the long axis
    wall: float                      # thickness at ED
    papillary: tuple[float, float]   # (place along the endocardium, height in cm)
    foreshortening: float            # share of the length that an oblique cut loses
    effusion: float                  # thickness of the anechoic rim
    # other chambers, relative to the LV diameter
    rv_width: float
    la_width: float
    la_depth: float
    ra_width: float
    # framing, in frame heights / widths
    depth: float
    apex_depth: float                # from the probe to the endocardial apex
    apex_shift: float                # apex to the right of the beam axis
    tip: tuple[float, float]         # (column / width, row / height) of the sector's tip
    radius: float                    # of the sector over the frame height
    half_angle: float
    # scanner
    frequency_mhz: float
    axial_mm: float                  # amplitude FWHM of the PSF
    lateral_deg: float
    side_lobe_db: float
    side_lobe_width: float           # times the main lobe
    persistence: float               # 0-1, weight of the previous frame
    dynamic_range: float
    black: float                     # level shown as black, relative to the septum
    s_curve: float                   # 0-1: how much the display darkens the dark and brightens the bright
    gamma: float
    noise: float                     # receiver noise at mid depth, relative to the septum
    noise_slope: float               # dB from probe to full depth
    depth_gain: tuple[float, ...]    # 5 gain errors, probe to full depth
    angle_gain: tuple[float, ...]    # 5 gain errors, left to right
    # tissue levels; 0 dB lies near the middle of the display
    rim: float                       # cm between the line that a reader traces and the wall
    septum: float
    lateral: float                   # at the endocardium
    lateral_rise: float              # from there to the epicardium
    apex: float
    apex_rise: float
    fibre: float                     # lost at the endocardium where the wall runs along the beam
    annulus: float                   # of the hinges
    gaps: float                      # sd of what thin walls lose
    texture: float                   # sd of the patchiness of tissue
    blood: float
    valve: float
    pericardium: float
    pericardium_apex: float          # dB above the apex, added to that
    rv_wall: float
    la_wall: float
    background: float
    fuzz: float                      # cm that trabeculae and side lobes reach into the cavity
    veil_apex: float                 # dB that they lie below the apex's wall, and below the lateral wall
    veil_lateral: float
    veil_fall: float                 # dB that they lose over their reach
    # artefacts
    haze: float
    near_clutter: float
    reverberation: float             # of the near-field bands; very low: none
    dropouts: float                  # expected losses of a wall segment per second
    dropout_depth: float
    shadows: int
    shadow_depth: float
    gain_step: float                 # 0: none
    repeated: int                    # frames shown twice
    lost: int                        # frames missing
    marker: bool
    ruler: bool
    drift_px: float
    respiration: float
    respiration_hz: float

    def knobs(self) -> dict:
        """Every field as plain JSON types."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @property
    def spacing(self) -> float:
        """Pixel size, cm."""
        return self.depth / (self.radius * self.height)

    @property
    def rng_seed(self) -> list[int]:
        return list(self.seed)


def draw_ef(rng: np.random.Generator) -> float:
    """Ejection fraction in %, from :data:`EF_MIXTURE` cut to EchoNet-Dynamic's range 6.9-97 (above 85 never drawn)."""
    while True:
        _, mean, sd = EF_MIXTURE[rng.choice(len(EF_MIXTURE), p=[w for w, _, _ in EF_MIXTURE])]
        ef = rng.normal(mean, sd)
        if 8.0 <= ef <= 82.0:
            return float(ef)


def draw_edv(rng: np.random.Generator, ef: float) -> float:
    """End-diastolic volume, mL: log-normal, 91 (46) overall, negatively correlated with EF."""
    sigma = np.sqrt(np.log(1.0 + (46.0 / 91.0) ** 2))
    z = -0.45 * (ef - 55.9) / 12.2 + np.sqrt(1.0 - 0.45 ** 2) * rng.standard_normal()
    return float(np.clip(np.exp(np.log(91.0) - sigma ** 2 / 2 + sigma * z), 25.0, 330.0))


def draw_timing(rng: np.random.Generator) -> tuple[int, float]:
    """Frames and frames per second of EchoNet-Dynamic: 79 % at exactly 50 fps, 175 (57) frames, 28-1002."""
    fps = 50.0 if rng.random() < 0.794 else float(np.clip(rng.normal(54.4, 14.4), 18.0, 138.0))
    sigma = np.sqrt(np.log(1.0 + (57.0 / 176.0) ** 2))
    frames = np.exp(np.log(176.5) - sigma ** 2 / 2 + sigma * rng.standard_normal())
    return int(np.clip(round(frames), 28, 1002)), fps


def _truncated(rng: np.random.Generator, mean: float, sd: float, low: float, high: float) -> float:
    while True:
        value = rng.normal(mean, sd)
        if low <= value <= high:
            return float(value)


def draw(preset: str, seed: int | Sequence[int], *, frames: int | None = None, layout: Literal["echonet", "camus"] | None = None,
         view: Literal["4CH", "2CH"] = "4CH", quality: str | None = None, first: Literal["ED", "ES"] | None = None,
         size: tuple[int, int] | None = None) -> ClipParameters:
    """Draw the knobs of one clip.

    Args:
        preset: one of :data:`PRESETS`.
        seed: an integer or a sequence of integers; the same seed gives the same patient in both views.
        frames: clip length; None draws it (EchoNet's lengths, or a half-cycle's 10-42 for ``camus``). A clip holds one
            full beat where that many frames allow it at :data:`RATE_RANGE`, and always one ED and the ES next to it; very
            short clips get a lower frame rate for that.
        layout: framing and scanner; None: ``camus`` for the preset ``camus``, ``echonet`` otherwise.
            ``camus`` clips are half-cycles: from ED to ES or from ES to ED, first and last frame being the traced ones.
        view: ``2CH`` shows no right heart.
        quality: force CAMUS' image quality (Good, Medium or Poor); None draws it 260/148/42.
        first: force the first phase of a half-cycle; None draws it.
        size: (height, width) of the frames, px; None: 112 x 112, or 551 x 669 of about 0.308 mm for ``camus``.

    Raises:
        ConfigError: an unknown preset, layout, view, quality or first phase, or fewer than 8 frames.
    """
    layout = layout or ("camus" if preset == "camus" else "echonet")
    for value, known in ((preset, PRESETS), (layout, LAYOUTS), (view, ("4CH", "2CH")), (quality, (None, *QUALITIES)),
                         (first, (None, "ED", "ES"))):
        if value not in known:
            raise ConfigError(f"phantom: {value!r} is none of {', '.join(map(str, known))}")
    if frames is not None and frames < 8:
        raise ConfigError(f"phantom: {frames} frames are too few for a beat; expected 8 or more")
    seed = tuple(int(s) for s in np.atleast_1d(seed))
    parameters = _patient(seed, frames, layout, view, quality, first, size, wide=preset == "wide")
    rng = np.random.default_rng([*seed, 77])
    return _repeatable(_PRESET_CHANGES.get(preset, lambda p, r: p)(replace(parameters, preset=preset), rng))


def _repeatable(p: ClipParameters) -> ClipParameters:
    """Six digits of every number: what logarithms and powers leave in the last bits differs between processors."""
    def six(value: object) -> object:
        if isinstance(value, tuple):
            return tuple(six(v) for v in value)
        return float(f"{value:.6g}") if isinstance(value, float) else value

    return ClipParameters(**{field.name: six(getattr(p, field.name)) for field in fields(p)})


def _patient(seed: tuple[int, ...], frames: int | None, layout: str, view: str, quality: str | None, first: str | None,
             size: tuple[int, int] | None, wide: bool) -> ClipParameters:
    """The matched distributions. The heart has its own stream, so that both views show the same patient."""
    heart = np.random.default_rng([*seed, 1])
    scan = np.random.default_rng([*seed, 2, view == "2CH"])
    faults = np.random.default_rng([*seed, 6])
    repeated, lost = (int(faults.random() < 0.1) * int(faults.integers(1, 4)) for _ in range(2))
    drawn_frames, fps = draw_timing(heart)
    drawn_first = "ES" if heart.random() < 0.15 else "ED"
    drawn_quality = str(heart.choice(list(QUALITIES), p=np.array(list(QUALITIES.values())) / 450.0))
    rate = _truncated(heart, 72.0, 13.0, *RATE_RANGE)
    half_cycle = layout == "camus"
    if half_cycle:
        first, quality = first or drawn_first, quality or drawn_quality
        part = (0.44 if first == "ED" else 0.56) * 60.0 / rate
        frames = frames or int(np.clip(round(heart.normal(20.0, 5.0)), 10, 42))
        fps = (frames - 1) / part
    else:
        first, quality, frames = "", "", frames or drawn_frames
        fps = min(fps, (frames - 1) / (1.05 * 0.44 * 60.0 / RATE_RANGE[1]))   # room for one systole at the fastest rate
        needed = 60.0 * 1.04 * fps / (frames - 1 - repeated)     # one full beat inside, where the rates allow it
        if rate < needed:
            rate = min(needed + abs(heart.normal(0.0, 4.0)), RATE_RANGE[1])
    ef = draw_ef(heart)
    edv = draw_edv(heart, ef)
    ratio = _truncated(heart, 1.66, 0.12, 1.43, 1.92)
    length = 1.62 * (edv * (ratio / 1.66) ** 2 / 91.0) ** (1 / 3) * 4.9      # about; the exact one comes from the volume
    if half_cycle:
        height, width = size or CAMUS_SIZE
        radius, half_angle, tip = 0.965, _truncated(scan, 0.66, 0.02, 0.62, 0.69), (0.5, 0.02)
        depth = CAMUS_SPACING_CM * CAMUS_SIZE[0] * radius
        depth *= max(1.0, length / (0.60 * depth))
    else:
        height, width = size or (112, 112)
        radius, half_angle, tip = 107 / 112, 0.79, (61 / 112, 7 / 112)
        for _ in range(50):                            # the sonographer fits the depth to the heart
            depth = scan.uniform(13.0, 18.0)
            if 45.0 <= length / depth * 107.0 <= 67.0:
                break
        else:
            depth = float(np.clip(depth, length * 107.0 / 67.0, length * 107.0 / 45.0))
    weak = ef < 50.0
    contrast = scan.uniform(50.0, 55.0)                # dB; the septum sits near the middle of the display
    regional = weak and heart.random() < 0.5
    poor = {"Good": 0.0, "Medium": 0.4, "Poor": 1.0, "": float(scan.beta(1.2, 3.0))}[quality]
    diameter = length / ratio
    for _ in range(100):                               # and turns the probe until the ventricle is in the sector
        tilt = np.deg2rad(_truncated(scan, 14.0, 6.0, 2.0, 34.0))
        apex = depth * np.array([-scan.uniform(0.0, 0.045), scan.uniform(0.125, 0.195)])
        if _widest_angle(tilt, apex, length, diameter) < half_angle - 0.05:
            break
    parameters = ClipParameters(
        preset="", layout=layout, view=view, seed=seed, frames=int(frames), fps=float(fps), height=height, width=width,
        quality=quality, first=first,
        heart_rate=rate, rhythm="sinus", rr_variation=heart.uniform(0.01, 0.03), start=heart.random(),
        ef=ef, edv_ml=edv, length_share=_truncated(heart, 0.27, 0.03, 0.2, 0.34),
        dyssynchrony=heart.uniform(-0.05, 0.05) if weak and heart.random() < 0.5 else 0.0,
        hypokinesia=heart.uniform(0.3, 0.8) if regional else 0.0, hypokinesia_at=heart.uniform(0.15, 0.85),
        length_over_diameter=ratio, profile_wobble=tuple(heart.normal(0.0, (0.06, 0.04, 0.03, 0.03))),
        bend=heart.normal(0.02, 0.03), axis_tilt=tilt,
        annulus_tilt=np.deg2rad(_truncated(heart, 19.0, 4.5, 7.0, 30.0)), wall=heart.uniform(0.65, 1.15),
        papillary=(heart.uniform(0.70, 0.80), heart.uniform(0.3, 0.65)), foreshortening=0.0, effusion=0.0,
        rv_width=heart.uniform(0.62, 0.92), la_width=heart.uniform(0.78, 1.0), la_depth=heart.uniform(0.65, 1.0),
        ra_width=heart.uniform(0.65, 0.95),
        depth=depth, apex_depth=apex[1], apex_shift=apex[0],
        tip=tip, radius=radius, half_angle=half_angle,
        frequency_mhz=scan.uniform(1.7, 3.4), axial_mm=scan.uniform(0.6, 1.4), lateral_deg=1.5 + 1.7 * scan.beta(1.2, 1.9),
        side_lobe_db=scan.uniform(-35.0, -25.0), side_lobe_width=scan.uniform(4.0, 6.0), persistence=scan.uniform(0.2, 0.5),
        dynamic_range=contrast, black=-contrast * scan.uniform(0.5, 0.6), s_curve=scan.uniform(0.75, 1.0),
        gamma=1.0 if scan.random() < 0.6 else scan.uniform(0.85, 1.15),
        noise=scan.uniform(-42.0, -30.0) + 8.0 * poor, noise_slope=scan.uniform(4.0, 12.0),
        depth_gain=tuple(scan.normal(0.0, 3.4, 5)), angle_gain=tuple(scan.normal(0.0, 2.6, 5)),
        rim=depth / 107.0 * scan.uniform(0.6, 1.1), septum=scan.uniform(0.3, 4.8),
        lateral=-scan.uniform(6.0, 11.4), lateral_rise=scan.uniform(3.0, 8.0), apex=-scan.uniform(10.5, 15.5),
        apex_rise=scan.uniform(0.0, 4.0), fibre=scan.uniform(0.5, 3.5), annulus=scan.uniform(6.0, 13.0),
        gaps=scan.uniform(5.0, 14.0),
        texture=scan.uniform(2.5, 4.5),
        blood=-scan.uniform(34.0, 41.0), valve=scan.uniform(-2.0, 7.0), pericardium=scan.uniform(11.0, 19.0),
        pericardium_apex=-scan.uniform(10.0, 18.0),
        rv_wall=-scan.uniform(0.0, 8.0), la_wall=scan.uniform(-5.0, 1.0), background=-scan.uniform(4.0, 14.0),
        fuzz=scan.uniform(0.8, 1.6), veil_apex=scan.uniform(-3.0, 2.0), veil_lateral=scan.uniform(4.0, 10.0),
        veil_fall=scan.uniform(6.0, 14.0),
        haze=-scan.uniform(24.0, 35.0) + 9.0 * poor, near_clutter=scan.uniform(-12.0, 2.0),
        reverberation=scan.uniform(-25.0, -8.0) if scan.random() < 0.4 else -60.0,
        dropouts=scan.uniform(1.3, 4.0) + 2.0 * poor, dropout_depth=-scan.uniform(14.0, 30.0),
        shadows=int(scan.choice([0, 1, 2], p=[0.4, 0.4, 0.2])), shadow_depth=-scan.uniform(8.0, 25.0),
        gain_step=scan.choice([-1.0, 1.0]) * scan.uniform(2.0, 5.0) if scan.random() < 0.05 else 0.0,
        repeated=repeated, lost=lost, marker=bool(scan.random() < 0.35), ruler=bool(scan.random() < 0.25),
        drift_px=scan.uniform(0.5, 3.0),
        respiration=scan.uniform(0.0, 0.2), respiration_hz=scan.uniform(0.2, 0.3))
    if half_cycle:
        parameters = replace(parameters, repeated=0, lost=0, gain_step=0.0, marker=False, ruler=False,
                             haze=parameters.haze + 8.0, blood=parameters.blood + 6.0, s_curve=scan.uniform(0.2, 0.7),
                             frequency_mhz=scan.uniform(1.5, 2.2))
    return _widen(parameters, scan) if wide else parameters


def _widest_angle(tilt: float, apex: np.ndarray, length: float, diameter: float) -> float:
    """Largest angle off the beam axis at which the endocardium lies at end-diastole, rad."""
    s, half = np.array([.1, .2, .3, .45, .6, .75, .9]), 0.5 * diameter * np.array([.5, .67, .76, .86, .92, .95, .93])
    axis, side = np.array([np.sin(tilt), np.cos(tilt)]), np.array([np.cos(tilt), -np.sin(tilt)])
    points = apex + (s * length)[None, :, None] * axis + np.stack([half, -half])[..., None] * side
    return float(np.abs(np.arctan2(points[..., 0], points[..., 1])).max())


def _widen(p: ClipParameters, rng: np.random.Generator) -> ClipParameters:
    """Everything far beyond the data sets: what a network has seen vary, it learns to ignore."""
    contrast, half_angle = rng.uniform(32.0, 68.0), rng.uniform(0.55, 0.85)
    length = p.depth * 0.5
    for _ in range(100):
        tilt, ratio = np.deg2rad(rng.normal(12.0, 12.0)), _truncated(rng, 1.66, 0.2, 1.3, 2.1)
        apex = p.depth * np.array([rng.uniform(-0.07, 0.05), rng.uniform(0.09, 0.23)])
        if _widest_angle(tilt, apex, length, length / ratio) < half_angle + 0.02:
            break
    return replace(
        p, length_over_diameter=ratio, annulus_tilt=tilt + np.deg2rad(rng.normal(4.0, 6.0)),
        profile_wobble=tuple(rng.normal(0.0, (0.10, 0.07, 0.05, 0.05))),
        bend=rng.normal(0.02, 0.06), axis_tilt=tilt, wall=rng.uniform(0.35, 1.8),
        papillary=(rng.uniform(0.65, 0.85), rng.uniform(0.1, 1.1)), rv_width=rng.uniform(0.45, 1.2),
        la_width=rng.uniform(0.7, 1.35), la_depth=rng.uniform(0.6, 1.5), ra_width=rng.uniform(0.5, 1.2),
        foreshortening=rng.uniform(0.0, 0.2) if rng.random() < 0.25 else 0.0,
        effusion=rng.uniform(0.3, 1.2) if rng.random() < 0.1 else 0.0,
        radius=p.radius * rng.uniform(0.82, 1.15), tip=(p.tip[0] + rng.uniform(-0.1, 0.1), p.tip[1] + rng.uniform(-0.05, 0.12)),
        half_angle=half_angle, apex_depth=apex[1], apex_shift=apex[0],
        axial_mm=rng.uniform(0.35, 1.9), lateral_deg=rng.uniform(0.9, 4.2), persistence=rng.uniform(0.0, 0.6),
        dynamic_range=contrast, black=-contrast * rng.uniform(0.30, 0.70), s_curve=rng.uniform(0.0, 1.0),
        gamma=rng.uniform(0.6, 1.6),
        noise=-rng.uniform(13.0, 52.0), depth_gain=tuple(rng.normal(0.0, 5.0, 5)), angle_gain=tuple(rng.normal(0.0, 4.0, 5)),
        rim=p.depth / 107.0 * rng.uniform(0.4, 1.4), septum=rng.uniform(-3.0, 19.0), lateral=-rng.uniform(0.0, 18.0),
        lateral_rise=rng.uniform(-2.0, 14.0), apex=-rng.uniform(-4.0, 24.0), apex_rise=rng.uniform(-3.0, 19.0),
        fibre=rng.uniform(0.0, 6.0), annulus=rng.uniform(0.0, 18.0), gaps=rng.uniform(0.0, 14.0), texture=rng.uniform(1.0, 6.0),
        blood=-rng.uniform(22.0, 50.0), valve=rng.uniform(-2.0, 16.0), pericardium=rng.uniform(3.0, 28.0),
        pericardium_apex=rng.uniform(-14.0, 34.0),
        rv_wall=-rng.uniform(-2.0, 12.0), la_wall=rng.uniform(-6.0, 8.0), background=-rng.uniform(-20.0, 28.0),
        fuzz=rng.uniform(0.1, 2.2), veil_apex=rng.uniform(-3.0, 16.0), veil_lateral=rng.uniform(2.0, 20.0),
        veil_fall=rng.uniform(2.0, 20.0), haze=-rng.uniform(14.0, 54.0), near_clutter=rng.uniform(-20.0, 8.0),
        reverberation=rng.uniform(-20.0, -2.0) if rng.random() < 0.5 else -60.0, dropouts=rng.uniform(0.0, 6.0),
        dropout_depth=-rng.uniform(8.0, 40.0), shadows=int(rng.integers(0, 4)), shadow_depth=-rng.uniform(8.0, 40.0),
        marker=bool(rng.random() < 0.5), ruler=bool(rng.random() < 0.4), drift_px=rng.uniform(0.0, 4.0),
        rhythm=str(rng.choice(["sinus", "fibrillation", "ectopy"], p=[0.8, 0.12, 0.08])) if not p.first else "sinus")


def _foreshortened(p: ClipParameters, rng: np.random.Generator) -> ClipParameters:
    return replace(p, foreshortening=rng.uniform(0.05, 0.20))


def _poor_quality(p: ClipParameters, rng: np.random.Generator) -> ClipParameters:
    return replace(p, noise=-rng.uniform(20.0, 26.0), haze=-rng.uniform(11.0, 16.0), dropouts=rng.uniform(4.0, 8.0),
                   dropout_depth=-rng.uniform(20.0, 40.0), shadows=int(rng.integers(1, 4)), shadow_depth=-rng.uniform(15.0, 40.0),
                   lateral=-rng.uniform(12.0, 18.0), apex=-rng.uniform(9.0, 15.0), near_clutter=rng.uniform(0.0, 8.0),
                   reverberation=rng.uniform(-12.0, -3.0))


def _effusion(p: ClipParameters, rng: np.random.Generator) -> ClipParameters:
    return replace(p, effusion=rng.uniform(0.3, 1.5))


def _arrhythmia(p: ClipParameters, rng: np.random.Generator) -> ClipParameters:
    return replace(p, rhythm="ectopy" if rng.random() < 0.25 else "fibrillation", rr_variation=rng.uniform(0.23, 0.36))


_PRESET_CHANGES = {"foreshortening": _foreshortened,
                   "poor_quality": _poor_quality, "effusion": _effusion, "arrhythmia": _arrhythmia}
