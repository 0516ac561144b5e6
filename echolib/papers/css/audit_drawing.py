"""Tables and figures of the audit of CSS."""

from __future__ import annotations

import html

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib.figure import Figure

from echolib.ledger.ledger import Ledger
from echolib.pages.html import html_table
from echolib.pages.scorecard import chip
from echolib.papers.css.audit import AUDIT, of_segmenter
from echolib.papers.css.drawing import LINES

#: Steps over which a drawn line is averaged.
SMOOTHED = 9


def training_html(table: pd.DataFrame) -> HTML:
    """How each cyclical term behaved while it trained."""
    rows = [(html.escape(r.group), f"{r.supervised:.4g}", f"{r.cyclical:.3g}", f"{100 * r.share:.2g} %", f"{r.entropy:.3f}",
             f"{100 * r.came_round:.0f} %", f"{r.gradient_ratio:.2g}") for r in table.itertuples()]
    caption = ("What the logs say, medians over steps and seeds: both losses, the weighted cyclical one as a share of the "
               "other, the entropy of the match (0: one-hot, 1: uniform), how often it came round, and the ratio of "
               "the gradients' norms")
    head = ("Segmenter", "Cross-entropy, summed", "Cyclical loss", "Weighted share of the loss", "Entropy of the match",
            "Came round", "Gradient, cyclical over the other")
    return HTML(html_table(caption, head, rows, "echo-table echo-sortable"))


def training_figure(ledger: Ledger) -> Figure:
    """Entropy of the match, cyclical loss and ratio of the gradients over the steps of training, first seed."""
    runs = AUDIT.runs(ledger.workspace.profile)
    figure, axes = plt.subplots(1, 3, figsize=(9.2, 3.0), layout="constrained")
    names = [name for name in of_segmenter(ledger.workspace.profile) if name != "supervised"]
    for name, colour in zip(names, LINES, strict=False):
        log = ledger.log(runs[name][0]).reset_index(drop=True)
        for axis, column in zip(axes, ("entropy", "cyclical", "gradient_ratio"), strict=True):
            part = log[column].dropna()
            shown = part if column == "gradient_ratio" else part.rolling(SMOOTHED, min_periods=1, center=True).median()
            axis.plot(shown.index + 1, shown, color=colour, lw=1.4, marker="o" * (len(part) < 40), ms=3, label=name)
    for axis, words in zip(axes, ("entropy of the match", "cyclical loss", "gradient, cyclical over the other"), strict=True):
        axis.set(xlabel="step", ylabel=words)
    axes[0].set_ylim(-0.03, 1.03)
    axes[1].set_yscale("symlog", linthresh=1.0)
    axes[2].set_yscale("log")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure


def effects_html(table: pd.DataFrame) -> HTML:
    """Every switch against the base."""
    rows = [(html.escape(r.switch), str(r.row) if r.row else "–", html.escape(r.of), f"{r.base:.2f}", f"{r.switched:.2f}",
             chip(r.status, r.why), html.escape(r.why)) for r in table.itertuples()]
    caption = "One switch at a time: the base, the switched run, and whether the difference can be told from chance"
    head = ("Switch", "Row", "Measured by", "Base", "Switched", "The switch is", "Why")
    return HTML(html_table(caption, head, rows, "echo-claims"))


def five_html(table: pd.DataFrame) -> HTML:
    """"Mean ± sd of five runs" in two readings."""
    rows = [(html.escape(r.reading), f"{r.mean:.2f}", f"{r.sd:.2f}" if np.isfinite(r.sd) else "–",
             f"{r.low:.2f}–{r.high:.2f}" if np.isfinite(r.low) else "–") for r in table.itertuples()]
    caption = "MAE of the student in points: five test clips of one training, several trainings, and all clips"
    return HTML(html_table(caption, ("Reading", "Mean", "sd", "95 % interval, seeds and patients"), rows))
