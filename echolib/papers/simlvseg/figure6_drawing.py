"""Figures of the page on challenging cases: Dice by preset and network, and the worst cases as pictures."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from echolib.evaluation.evaluation import Picture
from echolib.evaluation.metrics import dice
from echolib.papers.simlvseg.figure6 import OURS, Case, Presets, words
from echolib.papers.simlvseg.figure9_drawing import outlined
from echolib.plots import COLOURS


def dice_figure(presets: Presets, table: pd.DataFrame) -> Figure:
    """A panel for each preset, a row for each network: each video's Dice and the mean with its interval.

    Args:
        presets: evaluations by preset and network.
        table: from :func:`echolib.papers.simlvseg.figure6.dice_table`.
    """
    names = list(dict.fromkeys(table.network))
    figure, axes = plt.subplots(1, len(presets), figsize=(2.05 * len(presets), 0.62 * len(names) + 1.0), sharex=True, sharey=True,
                                layout="constrained", squeeze=False)
    for axis, (preset, groups) in zip(axes[0], presets.items(), strict=True):
        means = table[table.preset == preset].set_index("network")
        for place, name in enumerate(names):
            colour = COLOURS["here"] if name.startswith("SimLVSeg") else COLOURS["other"]
            values = 100 * np.concatenate([e.studies.dice.to_numpy() for e in groups[name]])
            axis.plot(values, place + 0.24 + np.linspace(-0.1, 0.1, len(values)), "o", ms=2.2, alpha=0.4, color=colour, mew=0)
            row = means.loc[name]
            axis.plot([row.low, row.high], [place] * 2, color=colour, lw=2.2, solid_capstyle="butt")
            axis.plot(row.value, place, "o", color=colour, ms=5)
            axis.annotate(f"{row.value:.1f}", (row.value, place), (0, 5), textcoords="offset points", ha="center", fontsize=8,
                          color=colour)
        axis.set_title(words(preset), fontsize=9, loc="left")
        axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axis.grid(axis="x", color="#dddddd", lw=0.6)
        axis.set_xlabel("Dice (%)", fontsize=8)
    axes[0, 0].set_yticks(range(len(names)), names)
    axes[0, 0].set_ylim(len(names) - 0.4, -0.55)
    return figure


def worst_figure(cases: list[Case], pictures: list[dict[str, Picture]]) -> Figure:
    """The worst cases, a row for each preset: left where SimLVSeg does worst, right where the frame-wise network does.

    Args:
        cases: from :func:`echolib.papers.simlvseg.figure6.worst_cases`, two a preset.
        pictures: the frame of each as each network outlines it.
    """
    presets, shown = list(dict.fromkeys(c.preset for c in cases)), list(pictures[0])
    columns = [(worst, name) for worst in dict.fromkeys(c.worst for c in cases) for name in shown]
    figure, axes = plt.subplots(len(presets), len(columns), squeeze=False,
                                figsize=(2.05 * len(columns), 2.3 * len(presets) + 0.3))
    by = {(case.preset, case.worst): found for case, found in zip(cases, pictures, strict=True)}
    for line, preset in zip(axes, presets, strict=True):
        for axis, (worst, name) in zip(line, columns, strict=True):
            one = by[preset, worst][name]
            axis.imshow(outlined(one))
            axis.set_xticks([])
            axis.set_yticks([])
            axis.spines[:].set_visible(False)
            axis.set_title(f"{name}: {100 * dice(one.mask, one.exact):.0f} %", fontsize=8, pad=2,
                           color=COLOURS["here" if name == OURS else "other"])
        line[0].set_ylabel(words(preset), fontsize=9)
    figure.subplots_adjust(wspace=0.03, hspace=0.1, left=0.04, right=1, bottom=0, top=0.94)
    for side, worst in enumerate(dict.fromkeys(c.worst for c in cases)):
        figure.text(0.04 + 0.96 * (side * len(shown) + len(shown) / 2) / len(columns), 0.975, f"where {worst} does worst",
                    ha="center", fontsize=9)
    return figure
