"""Figures of the page on the ejection fraction: one panel for each network, the exact masks first."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from echolib.evaluation.agreement import agreement
from echolib.evaluation.beats import exact_beats, measure_beats
from echolib.papers.companion.ejection import CEILING, Results
from echolib.papers.simlvseg.tables import pooled
from echolib.plots import COLOURS


def ef_figure(results: Results) -> Figure:
    """EF of each video against its exact EF; a cross at the bottom is a video without a beat."""
    figure, axes = _panels(results.main)
    low, high = _range(results.main, ["ef", "exact_ef"])
    for axis, (name, group) in zip(axes, results.main.items(), strict=True):
        table = pooled(group, "studies")
        _identity(axis, low, high)
        axis.plot(table.exact_ef, table.ef, "o", ms=4, alpha=0.7, color=_colour(name))
        lost = table[table.beats == 0]
        axis.plot(lost.exact_ef, np.full(len(lost), low), "x", ms=5, color=COLOURS["other"], clip_on=False)
        if len(lost):
            axis.annotate(f"no beat: {len(lost)}", (0.97, 0.08), xycoords="axes fraction", ha="right", fontsize=8,
                          color=COLOURS["other"])
        _note(axis, table, "ef", "exact_ef")
        axis.set(xlim=(low, high), ylim=(low, high), xlabel="exact EF (%)", aspect="equal")
    axes[0].set_ylabel("EF from masks (%)")
    return figure


def bland_altman_figure(results: Results) -> Figure:
    """Difference from the exact EF against the mean of the two, with bias and 95 % limits of agreement."""
    figure, axes = _panels(results.main, height=2.5)
    reach = 1.0
    for axis, (name, group) in zip(axes, results.main.items(), strict=True):
        table = pooled(group, "studies").dropna(subset=["ef", "exact_ef"])
        gap, middle = table.ef - table.exact_ef, (table.ef + table.exact_ef) / 2
        axis.plot(middle, gap, "o", ms=4, alpha=0.7, color=_colour(name))
        axis.axhline(0, color="#bbbbbb", lw=0.8)
        result = agreement(table, "ef", "exact_ef", 100)
        axis.set_xlabel("mean of both (%)")
        if result is None:
            continue
        reach = max(reach, gap.abs().max(), *(abs(v) for v in result.limits if np.isfinite(v)))
        low, high = result.limits
        # The bias stands on the left, the limits outside their lines on the right, so that narrow limits stay readable.
        for value, style, side, up in ((result.bias, "-", "left", 2), (low, "--", "right", -9), (high, "--", "right", 2)):
            if np.isfinite(value):
                axis.axhline(value, color="black", lw=1, ls=style)
                axis.annotate(f"{value:+.1f}", (float(side == "right"), value), (-2 if side == "right" else 2, up), ha=side,
                              xycoords=("axes fraction", "data"), fontsize=8, textcoords="offset points")
    axes[0].set(ylabel="EF from masks − exact (points)", ylim=(-1.15 * reach, 1.15 * reach))
    return figure


def volume_figure(results: Results) -> Figure:
    """End-diastolic and end-systolic volume of each video against the exact ones."""
    figure, axes = _panels(results.main)
    low, high = _range(results.main, ["edv", "esv", "exact_edv", "exact_esv"])
    kinds = (("edv", COLOURS["here"], "o", "ED"), ("esv", COLOURS["truth"], "s", "ES"))
    for axis, group in zip(axes, results.main.values(), strict=True):
        table = pooled(group, "studies")
        _identity(axis, low, high)
        for column, colour, marker, name in kinds:
            axis.plot(table[f"exact_{column}"], table[column], marker, ms=4, alpha=0.7, color=colour, label=name)
        axis.set(xlim=(low, high), ylim=(low, high), xlabel="exact volume (mL)", aspect="equal")
    axes[0].set_ylabel("volume from masks (mL)")
    axes[0].legend(frameon=False, fontsize=8, loc="upper left", handletextpad=0.1)
    return figure


def beat_figure(results: Results) -> Figure:
    """Above: EF of each beat under arrhythmia against its exact EF. Below: how much EF varies between the beats of a study."""
    count = len(results.arrhythmia)
    figure, axes = plt.subplots(2, count, figsize=(8.6, 4.4), layout="constrained", sharex="row", sharey="row", squeeze=False)
    beats = pd.concat([pooled(g, "beats") for g in results.arrhythmia.values()])
    studies = pd.concat([pooled(g, "studies") for g in results.arrhythmia.values()])
    span = _ends(beats[["found_ef", "exact_ef"]].to_numpy(float))
    widest = max(1.0, 1.1 * np.nanmax(np.append(studies[["ef_sd", "exact_ef_sd"]].to_numpy(float), 0.0)))
    for column, (name, group) in enumerate(results.arrhythmia.items()):
        above, below = axes[:, column]
        table, colour = pooled(group, "beats"), _colour(name)
        _identity(above, *span)
        above.plot(table.exact_ef, table.found_ef, "o", ms=4, alpha=0.7, color=colour)
        missed = table[table.kind == "missed"]
        above.plot(missed.exact_ef, np.full(len(missed), span[0]), "x", ms=5, color=COLOURS["other"], clip_on=False)
        if len(missed):
            above.annotate(f"missed: {len(missed)}", (0.97, 0.08), xycoords="axes fraction", ha="right", fontsize=8,
                           color=COLOURS["other"])
        _note(above, table, "found_ef", "exact_ef")
        above.set(xlim=span, ylim=span, xlabel="exact EF (%)")
        above.set_title(name, fontsize=9, loc="left", color=colour)
        _identity(below, 0, widest)
        spread = pooled(group, "studies")
        below.plot(spread.exact_ef_sd, spread.ef_sd, "D", ms=4, alpha=0.7, color=colour)
        below.set(xlim=(0, widest), ylim=(0, widest), xlabel="exact spread")
    axes[0, 0].set_ylabel("EF of a beat (%)")
    axes[1, 0].set_ylabel("spread from masks\n(sd, points)")
    return figure


def curve_figure(results: Results, network: str) -> tuple[Figure, str]:
    """Volume over time, exact and found, of the arrhythmia study whose exact EF varies most; EF written at each end-systole.

    Returns:
        The figure and one sentence for a reader who cannot see it.
    """
    one = results.arrhythmia[network][0]
    study = one.studies.set_index("study").exact_ef_sd.fillna(-1).idxmax()
    fps, part = float(one.studies.set_index("study").fps[study]), one.frames[one.frames.study == study]
    volume, exact = part.volume.to_numpy(), part.exact_volume.to_numpy()
    times = np.arange(len(part)) / fps
    figure, axis = plt.subplots(figsize=(8.6, 3.0), layout="constrained")
    sides = (("exact", exact, exact_beats(exact, part.exact_phase.to_numpy()), COLOURS["truth"], -13),
             (network, volume, measure_beats(part.area_px.to_numpy(), volume, fps), COLOURS["here"], -24))
    for name, curve, beats, colour, down in sides:
        axis.plot(times, curve, color=colour, lw=1.8, label=name)
        for beat in beats:
            axis.plot(times[beat.es], beat.esv, "v", color=colour, ms=5)
            axis.annotate(f"{beat.ef:.0f} %", (times[beat.es], min(volume[beat.es], exact[beat.es])), (0, down),
                          textcoords="offset points", ha="center", fontsize=8, color=colour)
    axis.set(xlabel="time (s)", ylabel="volume (mL)")
    axis.margins(y=0.22)
    axis.legend(frameon=False, fontsize=8, ncols=2, loc="upper right")
    efs = ["; ".join(f"{b.ef:.0f} %" for b in beats) or "none" for _, _, beats, _, _ in sides]
    return figure, f"Two volume curves over {times[-1]:.1f} s. Exact EF of its beats: {efs[0]}. From the masks: {efs[1]}."


def _panels(groups: dict, height: float = 2.35) -> tuple[Figure, list[Axes]]:
    figure, axes = plt.subplots(1, len(groups), figsize=(8.6, height), layout="constrained", sharey=True, squeeze=False)
    for axis, name in zip(axes[0], groups, strict=True):
        axis.set_title(name, fontsize=9, loc="left", color=_colour(name))
    return figure, list(axes[0])


def _colour(name: str) -> str:
    return COLOURS["committed" if name == CEILING else "here"]


def _identity(axis: Axes, low: float, high: float) -> None:
    axis.plot([low, high], [low, high], color="#bbbbbb", lw=1, zorder=0)


def _range(groups: dict, columns: list[str]) -> tuple[float, float]:
    return _ends(pd.concat([pooled(g, "studies")[columns] for g in groups.values()]).to_numpy(float))


def _ends(values: np.ndarray) -> tuple[float, float]:
    """Limits of both axes that show every finite value."""
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    margin = 0.06 * max(high - low, 1.0)
    return low - margin, high + margin


def _note(axis: Axes, table: pd.DataFrame, found: str, exact: str) -> None:
    result = agreement(table, found, exact, 100)
    if result is not None:
        axis.annotate(f"MAE {result.mae:.1f}", (0.04, 0.96), xycoords="axes fraction", va="top", fontsize=8)
