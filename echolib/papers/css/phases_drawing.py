"""Figures 5 and A2, and the error of the matched phase."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib.figure import Figure

from echolib.ledger.evaluations import Evaluation
from echolib.papers.css.drawing import LINES, measures_html
from echolib.papers.css.phases import PIXELS, QUANTITIES, RHYTHMS, of
from echolib.plots import COLOURS


def errors_html(found: dict[str, list[Evaluation]], resamples: int) -> HTML:
    """Every segmenter and rhythm: error of the match, its sharpness, and whether features follow the phase."""
    return measures_html({name: [e.tables for e in group] for name, group in found.items()}, QUANTITIES.values(), resamples,
                         "Matches of the first clip of each test video against the true phases, 95 % intervals over seeds and "
                         "patients; an error of 0.25 beats is that of a blind match", "Features of")


def methods_of(found: dict[str, list[Evaluation]]) -> list[str]:
    """The methods of the page, the pixels first."""
    return list(dict.fromkeys(name.rsplit(", ", 1)[0] for name in found))


def error_figure(found: dict[str, list[Evaluation]]) -> Figure:
    """Distribution of the error of single matches, a line a method, a panel a rhythm."""
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.0), layout="constrained", sharey=True)
    for axis, rhythm in zip(axes, RHYTHMS, strict=True):
        for method, colour in zip(methods_of(found), LINES, strict=False):
            table = pd.concat([e.tables["matches"] for e in found[of(method, rhythm)]])
            values = np.sort(table.error.to_numpy())
            axis.plot(values, np.linspace(0, 1, len(values)), color=colour, lw=1.5, label=method)
        axis.plot([0, 0.5], [0, 1], color="#999999", lw=1, ls=":", label="blind")
        axis.set(xlabel="error of the matched phase (beats)", xlim=(0, 0.5), ylim=(0, 1))
        axis.set_title("sinus rhythm" if rhythm == "sinus" else "irregular rhythm", fontsize=9, loc="left")
    axes[0].set_ylabel("share of the matches")
    axes[1].legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def embedding_figure(found: dict[str, list[Evaluation]]) -> Figure:
    """Figure 5: t-SNE of the features of some studies, above coloured by study, below by phase; first seed, sinus rhythm."""
    methods = methods_of(found)
    figure, axes = plt.subplots(2, len(methods), figsize=(max(8.6, 2.0 * len(methods)), 4.3), layout="constrained", squeeze=False)
    drawn = None
    for column, method in enumerate(methods):
        table = found[of(method, "sinus")][0].tables["embedding"]
        studies = table.study.astype("category").cat.codes
        axes[0, column].scatter(table.x, table.y, c=studies, cmap="tab10", s=7, lw=0)
        drawn = axes[1, column].scatter(table.x, table.y, c=table.phase, cmap="twilight", s=7, lw=0, vmin=0, vmax=1)
        axes[0, column].set_title(method.replace(", ", ",\n"), fontsize=8, loc="left", color=COLOURS["here"])
        for axis in axes[:, column]:
            axis.set_xticks([])
            axis.set_yticks([])
    axes[0, 0].set_ylabel("by study")
    axes[1, 0].set_ylabel("by phase")
    figure.colorbar(drawn, ax=axes[1, :], label="phase of the beat", fraction=0.03)
    return figure


def distance_figure(found: dict[str, list[Evaluation]], shown: int = 2) -> Figure:
    """Figure A2: normalised distance between the frames of a clip; a beating heart shows diagonals. First seed, sinus rhythm."""
    methods = methods_of(found)
    first = found[of(PIXELS, "sinus")][0].bulk("distances")
    studies = list(dict.fromkeys(first.study))[:shown]
    figure, axes = plt.subplots(len(studies), len(methods), figsize=(max(8.6, 2.0 * len(methods)), 2.1 * len(studies)),
                                layout="constrained", squeeze=False)
    picture = None
    for column, method in enumerate(methods):
        table = found[of(method, "sinus")][0].bulk("distances")
        for axis, study in zip(axes[:, column], studies, strict=True):
            part = table[table.study == study]
            side = int(part.i.max()) + 1
            picture = axis.imshow(part.distance.to_numpy().reshape(side, side), cmap="viridis", vmin=0, vmax=1, origin="lower")
            axis.set_xticks([])
            axis.set_yticks([])
        axes[0, column].set_title(method.replace(", ", ",\n"), fontsize=8, loc="left", color=COLOURS["here"])
    figure.colorbar(picture, ax=axes, label="distance / largest", fraction=0.03)
    return figure
