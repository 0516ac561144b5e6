"""When the heart does what: beats, contraction, valve opening, atrial kick, drift and respiration.

Contraction ``c`` is 0 at the reference end-diastole and 1 at the reference end-systole. Its course over one beat inverts
the measured course of the LV area (26 samples over one RR interval, from end-systole).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from echolib.phantom.presets import ClipParameters

#: LV area over one RR interval from end-systole, 26 samples, 0 = smallest; a mean over real clips, hence .92 and not 1.
AREA_CURVE = np.array([.05, .11, .21, .34, .50, .64, .73, .76, .76, .76, .78, .79, .83, .90, .92, .85, .79, .74, .63, .52, .42,
                       .32, .22, .14, .07, .02])
#: share of the RR interval that is systole: the area peaks at sample 14 of 0..25
SYSTOLE = 11 / 25
_UNIT = (AREA_CURVE - AREA_CURVE.min()) / 0.93            # single beats reach 1, their mean does not: hearts differ in timing
_UNIT[0], _UNIT[14] = 0.0, 1.0
_FILLING = PchipInterpolator(np.linspace(0, 1, 15), _UNIT[:15])
_EJECTION = PchipInterpolator(np.linspace(0, 1, 12), _UNIT[14:])
# Without an atrial kick the ventricle fills early and then waits.
_FILLING_NO_KICK = PchipInterpolator([0, .07, .14, .21, .29, .36, .43, .5, .6, 1.0],
                                     [0, .1, .24, .42, .62, .79, .90, .95, .98, 1.0])
_OPENING = PchipInterpolator([0, .06, .15, .27, .42, .58, .74, .85, .92, 1.0], [0, 0, .85, 1, .8, .45, .42, .8, .75, .2])
_OPENING_NO_KICK = PchipInterpolator([0, .06, .15, .27, .42, .58, .8, 1.0], [0, 0, .85, 1, .8, .5, .4, .3])


@dataclass(frozen=True)
class Beat:
    """From one end-diastole to the next: ``ed`` and ``es`` and ``end`` in s; contractions at each of the three."""

    ed: float
    es: float
    end: float
    c_ed: float
    c_es: float
    c_end: float
    kick: bool


@dataclass(frozen=True)
class Timeline:
    """What moves the heart in each frame.

    Attributes:
        times: ``(T,)`` s of each frame; jumps where frames were lost.
        copies: ``(T,)`` int, the frame whose image is shown (itself, or the one before for a repeated frame).
        phase: ``(T,)`` in [0, 1), 0 = end-diastole.
        contraction, opening, kick: ``(T,)`` in about [0, 1].
        offset: ``(T, 2)`` cm, probe drift and respiration.
        beats: the beats that cover the clip.
        traced: index into ``beats`` of the traced one (ED to ES of this beat; ES to next ED for an ES-first half-cycle).
        losses: relative loss of length and of diameter at end-systole.
    """

    times: np.ndarray
    copies: np.ndarray
    phase: np.ndarray
    contraction: np.ndarray
    opening: np.ndarray
    kick: np.ndarray
    offset: np.ndarray
    beats: tuple[Beat, ...]
    traced: int
    losses: tuple[float, float]

    def contraction_at(self, times: np.ndarray) -> np.ndarray:
        """Contraction at any time inside the beats (s), any shape."""
        return _evaluate(self.beats, times, self.losses)[0]


def relax(area_share: np.ndarray, length_loss: float, width_loss: float) -> np.ndarray:
    """Contraction at which the area, (1 - a c)(1 - b c), has fallen to ``area_share`` of its way from ES (0) to ED (1)."""
    a, b = length_loss, width_loss
    area = (1 - a) * (1 - b) + area_share * (1 - (1 - a) * (1 - b))
    return ((a + b) - np.sqrt(np.maximum((a + b) ** 2 - 4 * a * b * (1 - area), 0.0))) / (2 * a * b)


def _evaluate(beats: tuple[Beat, ...], times: np.ndarray, losses: tuple[float, float] = (0.18, 0.25)) -> tuple[np.ndarray, ...]:
    """Contraction, phase, opening and kick at ``times``; times before or after all beats hold the nearest end."""
    times = np.asarray(times, dtype=float)
    edges = np.array([b.ed for b in beats] + [beats[-1].end])
    which = np.clip(np.searchsorted(edges, times, side="right") - 1, 0, len(beats) - 1)
    contraction, phase, opening, kick = (np.zeros(times.shape) for _ in range(4))
    for index, beat in enumerate(beats):
        here = which == index
        if not here.any():
            continue
        t = np.clip(times[here], beat.ed, beat.end)
        systole = t < beat.es
        y = np.clip((t - beat.ed) / (beat.es - beat.ed), 0, 1)
        x = np.clip((t - beat.es) / (beat.end - beat.es), 0, 1)
        filling = relax(_FILLING(x) if beat.kick else _FILLING_NO_KICK(x), *losses)
        ejection = relax(_EJECTION(y), *losses)
        contraction[here] = np.where(systole, beat.c_ed + (beat.c_es - beat.c_ed) * ejection,
                                     beat.c_end + (beat.c_es - beat.c_end) * filling)
        phase[here] = np.minimum((t - beat.ed) / (beat.end - beat.ed), np.nextafter(1.0, 0.0))
        late = (_OPENING if beat.kick else _OPENING_NO_KICK)
        opening[here] = np.where(systole, float(late(1.0)) * np.clip(1 - y / 0.12, 0, 1), late(x))
        pushed = np.exp(-0.5 * ((x - 0.95) / 0.09) ** 2) * ~systole + np.exp(-0.5 * (y / 0.15) ** 2) * systole
        kick[here] = pushed if beat.kick else 0.0
    return contraction, phase, opening, kick


def make_beats(p: ClipParameters, rng: np.random.Generator, duration: float) -> tuple[tuple[Beat, ...], int]:
    """Beats that cover ``[-0.3, duration + 0.3]`` s, the traced one with contraction exactly 0 at ED and 1 at ES."""
    rr = 60.0 / p.heart_rate
    systole = SYSTOLE * rr
    if p.first:                                  # a half-cycle: the traced phases are the first and the last frame
        traced_ed = 0.0 if p.first == "ED" else -systole
    else:
        slack = max(duration - rr, 0.0) if duration >= rr else max(duration - systole, 0.0)
        traced_ed = p.start * slack

    def interval(previous: float) -> float:
        if p.rhythm == "fibrillation":
            return float(np.clip(rng.normal(rr, p.rr_variation * rr), 0.5 * rr, 1.9 * rr))
        # a slow wave (respiration) and beat-to-beat noise
        return rr * float(np.clip(1 + p.rr_variation * rng.standard_normal(), 0.85, 1.15)) if p.rr_variation < 0.1 else rr * 1.0

    def strength(before: float) -> float:
        """Contraction at ES after an interval of ``before`` mean RR: in fibrillation it follows the filling time."""
        if p.rhythm == "fibrillation":
            return float(np.clip(1.0 + 1.1 * (before / rr - 1.0) + 0.10 * rng.standard_normal(), 0.35, 1.15))
        return 1.0 + 0.015 * rng.standard_normal()

    kick = p.rhythm != "fibrillation"
    beats = [_beat(traced_ed, rr, rr, 0.0, 1.0, 0.0, kick)]
    while beats[-1].end < duration + 0.3:
        last = beats[-1]
        if p.rhythm == "ectopy" and len(beats) % 4 == 1:      # early, weak, followed by a pause and a strong beat
            early, pause = 0.62 * rr, 1.38 * rr
            beats[-1] = last
            beats.append(_beat(last.end, early, rr, last.c_end, float(np.clip(rng.normal(0.6, 0.08), 0.4, 0.75)), 0.12, False))
            beats.append(_beat(beats[-1].end, pause, rr, 0.12, 1.0, -0.03, kick))
            continue
        length = interval(last.end - last.ed)
        beats.append(_beat(last.end, length, rr, last.c_end, strength(last.end - last.ed), 0.012 * rng.standard_normal(), kick))
    traced = 0
    while beats[0].ed > -0.3:
        length = interval(rr)
        beats.insert(0, _beat(beats[0].ed - length, length, rr, 0.012 * rng.standard_normal(), strength(length), beats[0].c_ed,
                              kick))
        traced += 1
    return tuple(beats), traced


def _beat(ed: float, length: float, rr: float, c_ed: float, c_es: float, c_end: float, kick: bool) -> Beat:
    """Systole shortens with the square root of the interval (Bazett); diastole takes the rest."""
    systole = min(SYSTOLE * np.sqrt(rr * length), 0.8 * length)
    return Beat(ed, ed + systole, ed + length, c_ed, c_es, c_end, kick)


def timeline(p: ClipParameters, losses: tuple[float, float] = (0.18, 0.25)) -> Timeline:
    """All that moves, frame by frame.

    Args:
        p: the clip's knobs.
        losses: relative loss of length and of diameter at end-systole, to invert the area curve with.
    """
    rng = np.random.default_rng([*p.seed, 11])
    steps = np.ones(p.frames)
    steps[0] = 0.0
    copies = np.arange(p.frames)
    spots = rng.permutation(np.arange(2, p.frames))[:p.repeated + p.lost]
    repeated, lost = spots[:p.repeated], spots[p.repeated:]
    steps[lost] = 2.0
    steps[repeated] = 0.0
    for frame in np.sort(repeated):
        copies[frame] = copies[frame - 1]
    times = np.cumsum(steps) / p.fps
    beats, traced = make_beats(p, rng, float(times[-1]))
    contraction, phase, opening, kick = _evaluate(beats, times, losses)
    pixel = p.spacing * p.height / 112.0
    turn = rng.uniform(0, 2 * np.pi, 4)
    slow = np.sin(2 * np.pi * np.outer(times, (0.11, 0.07)) + turn[:2]) - np.sin(turn[:2])
    breath = np.sin(2 * np.pi * p.respiration_hz * times + turn[2])[:, None] * np.array([0.35, 1.0]) * p.respiration
    offset = 0.5 * p.drift_px * pixel * slow * np.array([1.0, 0.6]) + breath
    return Timeline(times, copies, phase, contraction, opening, kick, offset, beats, traced, losses)
