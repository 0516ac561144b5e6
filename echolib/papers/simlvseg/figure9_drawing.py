"""Figures of the page on temporal consistency: one clip, its area curves and spectra, and the whole cohort."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from echolib.evaluation.consistency import area_spectrum
from echolib.evaluation.evaluation import Picture
from echolib.ledger.examples import Examples
from echolib.papers.simlvseg.figure9 import DRAWN, MEASURES, Groups, score, shown
from echolib.papers.simlvseg.tables import pooled
from echolib.plots import COLOURS, overlay

#: Okabe-Ito, by network; the exact curve is black.
LINES = dict(zip(DRAWN, (COLOURS["other"], COLOURS["committed"], COLOURS["here"]), strict=True))
EXACT = "black"
#: Okabe-Ito, in turn, of lines that are not networks.
IN_TURN = (COLOURS["here"], COLOURS["truth"], COLOURS["other"])


def outlined(picture: Picture, zoom: int = 3) -> np.ndarray:
    """(zoom*H, zoom*W, 3) uint8: the frame with the exact outline in orange and the predicted one in blue above it."""
    exact = None if picture.exact is None else picture.exact[None]
    return overlay(picture.picture[None, ..., None], picture.mask[None], exact, zoom=zoom)[0]


def frames_figure(examples: dict[str, Examples], fps: float) -> Figure:
    """Consecutive frames of one clip, a row for each network, with exact and predicted outlines."""
    cases = list(next(iter(examples.values())).pictures)
    figure, axes = plt.subplots(len(examples), len(cases), figsize=(1.72 * len(cases), 1.7 * len(examples) + 0.2), squeeze=False)
    for line, (name, one) in zip(axes, examples.items(), strict=True):
        for axis, case in zip(line, cases, strict=True):
            axis.imshow(outlined(one.pictures[case]))
            axis.set_xticks([])
            axis.set_yticks([])
            axis.spines[:].set_visible(False)
        line[0].set_ylabel(name.replace(", ", ",\n"), fontsize=8, color=LINES[name])
    for axis, (_, frame) in zip(axes[0], cases, strict=True):
        axis.set_title(f"{frame / fps:.2f} s", fontsize=8, pad=2)
    figure.subplots_adjust(wspace=0.03, hspace=0.03, left=0.05, right=1, bottom=0, top=0.95)
    return figure


def curve_figure(curves: dict[str, np.ndarray], fps: float, around: int, cutoff_hz: float) -> Figure:
    """Area over time, a second of it enlarged, and the magnitude of its spectrum.

    Args:
        curves: network -> (2, T) area in px, found and exact (NaN where it is unknown).
        fps: frames per second.
        around: frame in the middle of the enlarged second.
        cutoff_hz: the frequency above which the spectrum is flicker.
    """
    figure, (whole, part, spectrum) = plt.subplots(1, 3, figsize=(9.2, 3.0), width_ratios=(1.5, 1, 1.1), layout="constrained")
    exact = next(iter(curves.values()))[1]
    lines = {name: (curve[0], LINES[name]) for name, curve in curves.items()}
    if np.isfinite(exact).all():
        lines = {"exact": (exact, EXACT)} | lines
    frames = np.arange(len(exact))
    first = int(np.clip(around - fps / 2, 0, max(0, len(exact) - fps)))
    near = (frames >= first) & (frames <= first + fps)
    for name, (area, colour) in lines.items():
        true = name == "exact"
        style = {"color": colour, "lw": 1.2 if true else 1.5, "ls": "--" if true else "-", "zorder": 3 if true else 2}
        whole.plot(frames / fps, area, label=name, **style)
        part.plot(frames[near] / fps, area[near], marker=".", ms=3, **style)
        spectrum.plot(*area_spectrum(area, fps), **style)
    part.axvline(around / fps, color="#bbbbbb", lw=0.8, zorder=0)
    if fps / 2 > cutoff_hz:
        spectrum.axvspan(cutoff_hz, fps / 2, color="#eeeeee", zorder=0)
        spectrum.annotate("flicker", (cutoff_hz, 0.98), (3, 0), xycoords=("data", "axes fraction"), textcoords="offset points",
                          fontsize=8, color="#555555", va="top")
    whole.set(xlabel="time (s)", ylabel="LV area (px)")
    part.set(xlabel="time (s)", title="")
    spectrum.set(xlabel="frequency (Hz)", ylabel="magnitude (px)", yscale="log", xlim=(0, fps / 2))
    spectrum.set_ylim(bottom=1e-2)
    figure.legend(*whole.get_legend_handles_labels(), frameon=False, fontsize=8, loc="outside upper left", ncols=len(lines))
    return figure


def lines_figure(curves: dict[str, np.ndarray], fps: float, joins: Iterable[int] = ()) -> Figure:
    """One clip's area over time, a line for each way to find it, with the exact curve where it is known.

    Args:
        curves: label -> (2, T) area in px, found and exact (NaN where it is unknown).
        fps: frames per second.
        joins: frames before which a grey line is drawn.
    """
    figure, axis = plt.subplots(figsize=(9.2, 2.6), layout="constrained")
    exact = next(iter(curves.values()))[1]
    time = np.arange(len(exact)) / fps
    for join in joins:
        axis.axvline((join - 0.5) / fps, color="#bbbbbb", lw=0.8, zorder=0)
    for (label, curve), colour in zip(curves.items(), itertools.cycle(IN_TURN), strict=False):
        axis.plot(time, curve[0], color=colour, lw=1.5, label=label)
    if np.isfinite(exact).all():
        axis.plot(time, exact, color=EXACT, lw=1.2, ls="--", label="exact")
    axis.set(xlabel="time (s)", ylabel="LV area (px)", xlim=(0, time[-1]))
    axis.set_ylim(bottom=0)
    figure.legend(frameon=False, fontsize=8, loc="outside upper left", ncols=len(curves) + 1)
    return figure


def curve_data(curves: dict[str, np.ndarray], fps: float) -> pd.DataFrame:
    """What :func:`curve_figure` and :func:`lines_figure` draw: time in s and the areas in px."""
    exact = next(iter(curves.values()))[1]
    return pd.DataFrame({"time_s": np.arange(len(exact)) / fps, "exact": exact} | {n: c[0] for n, c in curves.items()}).round(4)


def cohort_figure(groups: Groups, table: pd.DataFrame) -> Figure:
    """Every test video's flicker and errors, a row for each network; black: the mean with its 95 % interval.

    Args:
        groups: evaluations by network.
        table: from :func:`echolib.papers.simlvseg.figure9.cohort_table`.
    """
    figure, axes = plt.subplots(1, len(MEASURES), figsize=(9.2, 0.46 * len(groups) + 1.2), sharey=True, layout="constrained")
    for axis, (measure, (heading, _)) in zip(axes, MEASURES.items(), strict=True):
        means = table[table.measure == measure].set_index("network")
        for place, (name, group) in enumerate(groups.items()):
            studies = pooled(group, "studies")
            values = shown(score(studies[measure], measure), measure)
            jitter = np.linspace(-0.28, 0.28, len(values)) if len(values) > 1 else np.zeros(1)
            axis.plot(values, place + jitter, "o", ms=2.5, alpha=0.45, color=LINES.get(name, COLOURS["published"]), mew=0)
            if np.isfinite(means.value[name]):
                axis.plot([means.low[name], means.high[name]], [place] * 2, color="black", lw=2)
                axis.plot(means.value[name], place, "|", color="black", ms=11, mew=2)
        if "exact masks" in means.index and np.isfinite(means.value["exact masks"]):
            axis.axvline(means.value["exact masks"], color="black", lw=1, ls="--")
            axis.annotate("exact masks", (means.value["exact masks"], 1), (3, 2), xycoords=("data", "axes fraction"), fontsize=8,
                          textcoords="offset points", va="bottom")
        axis.set_xlabel(heading.replace(", ", ",\n"), fontsize=8)
        if (table.value[table.measure == measure] > 0).any():  # no exact curve, no errors: nothing to scale
            axis.set_xscale("log")
            low, high = axis.get_xlim()
            axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 60 * low else (1,)))
            axis.xaxis.set_major_formatter("{x:g}")
            axis.xaxis.set_minor_formatter(NullFormatter())
        axis.grid(axis="x", color="#dddddd", lw=0.6)
    axes[0].set_yticks(range(len(groups)), list(groups))
    axes[0].set_ylim(len(groups) - 0.5, -0.5)
    return figure
