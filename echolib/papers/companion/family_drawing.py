"""Tables and figures of the pages on all methods."""

from __future__ import annotations

import html

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from echolib.pages.html import html_table
from echolib.pages.quantities import Estimate
from echolib.pages.scorecard import chip
from echolib.papers.companion.family import MEASURES, ORDINARY, PLACES, WORDS, Family, chance_of_best, comparisons
from echolib.papers.companion.methods import METHODS
from echolib.plots import label_apart

#: A colour for each paper.
PAPERS = dict(zip(dict.fromkeys(m.paper for m in METHODS), ("#999999", "#4d4d4d", "#0072B2", "#009E73", "#D55E00", "#CC79A7"),
                  strict=False))
OF = {m.name: m for m in METHODS}


def table_html(family: Family, found: pd.DataFrame) -> HTML:
    """Every method with every measure, as a table that sorts.

    Args:
        family: from :func:`~echolib.papers.companion.family.load`.
        found: from :func:`~echolib.papers.companion.family.table`.
    """
    wide, chance = found.set_index(["method", "measure"]).estimate, chance_of_best(family)
    columns = [*MEASURES, *(c for c in family.videos if c != ORDINARY)]
    head = ("Method", "Paper", *(MEASURES[c].heading if c in MEASURES else f"Dice, {WORDS[c]}, %" for c in columns), "Best in",
            "ms a frame", "GFLOPs a frame", "Parameters, M", "Training, core-s")
    rows = []
    for name in family.names:
        cells = [cell(wide[name, c], MEASURES[c].decimals if c in MEASURES else 2) for c in columns]
        rows.append((html.escape(name), html.escape(OF[name].paper), *cells,
                     f"{100 * chance[name]:.0f} %",
                     f"{family.times[name].mean:.3g}", f"{family.counts[name].gflops_per_frame:.2f}",
                     f"{family.counts[name].parameters / 1e6:.2f}", f"{np.mean(family.seconds[name]):.0f}"))
    caption = ("All methods on one cohort, one split, one budget: means over seeds, 95 % intervals over seeds and patients. "
               "Time, operations and parameters at full width; training at the profile's, with what a run builds on")
    return HTML(html_table(caption, head, rows, "echo-table echo-sortable"))


def cell(one: Estimate, decimals: int) -> str:
    """An estimate as HTML."""
    if not np.isfinite(one.value):
        return "–"
    value, low, high = (f"{v:.{decimals}f}" for v in (one.value, one.low, one.high))
    return f"{value} <small>({low}{' to ' if one.low < 0 else '–'}{high})</small>"


def cost_figure(family: Family, found: pd.DataFrame, data: str) -> Figure:
    """Dice over all frames against operations and against time a frame; the area of a bubble is the number of parameters."""
    dice = found[found.measure == "all"].set_index("method").estimate
    figure, axes = plt.subplots(1, 2, figsize=(9.0, 4.2), sharey=True, layout="constrained")
    for axis, cost, label in ((axes[0], {n: c.gflops_per_frame for n, c in family.counts.items()}, "GFLOPs a frame"),
                              (axes[1], {n: t.mean for n, t in family.times.items()}, "ms a frame, this machine")):
        for name in family.names:
            one, colour = dice[name], PAPERS[OF[name].paper]
            with_help = bool(OF[name].plain) or not any(m.plain == name for m in METHODS)
            axis.vlines(cost[name], one.low, one.high, color=colour, lw=1, alpha=0.7)
            axis.scatter(cost[name], one.value, s=6 * family.counts[name].parameters / 1e6 + 12, alpha=0.6, edgecolor=colour,
                         color=colour if with_help else "none")
        axis.set(xlabel=label, xscale="log")
        label_apart(axis, [(cost[n], dice[n].value) for n in family.names], [str(k + 1) for k in range(len(family.names))],
                    [PAPERS[OF[n].paper] for n in family.names])
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.grid(color="#eeeeee", lw=0.6)
    axes[0].set_ylabel("Dice, all frames of whole videos (%)")
    axes[0].set_title(f"this book, {data}; hollow: without its self- or semi-supervision", fontsize=9, loc="left")
    handles = [plt.Line2D([], [], marker=f"${k + 1}$", ls="", color=PAPERS[OF[name].paper], label=name)
               for k, name in enumerate(family.names)]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def robust_figure(family: Family, found: pd.DataFrame) -> Figure:
    """Dice on each cohort, a line a method: what hard videos cost."""
    shown, wide = list(family.videos), found.set_index(["method", "measure"]).estimate
    figure, axis = plt.subplots(figsize=(8.6, 3.6), layout="constrained")
    for name in family.names:
        values = [wide[name, "all" if c == ORDINARY else c].value for c in shown]
        plain = any(m.plain == name for m in METHODS)
        axis.plot(range(len(shown)), values, "o--" if plain else "o-", ms=4, lw=1.2, color=PAPERS[OF[name].paper], label=name)
    axis.set_xticks(range(len(shown)), [WORDS[c] for c in shown], fontsize=9)
    axis.set_ylabel("Dice, all frames (%)")
    axis.grid(axis="y", color="#eeeeee", lw=0.6)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return figure


def claims_html(found: pd.DataFrame, family: Family) -> HTML:
    """Every claim of every paper with its verdict on traced frames and on all.

    Args:
        found: from :func:`~echolib.papers.companion.family.judge`.
        family: that was judged.
    """
    rows = []
    for (paper, text), part in found.groupby(["paper", "claim"], sort=False):
        by = part.set_index("on")
        rows.append((html.escape(text), html.escape(paper), *(f"{chip(by.status[w], by.why[w])} <small>{html.escape(by.why[w])}"
                                                              "</small>" for w in PLACES)))
    caption = ("What one method is said to do better than another, here; each test at 0.05 divided by "
               f"{comparisons(family.names)} comparisons")
    return HTML(html_table(caption, ("Claim", "Paper", "Traced frames, as the papers score", "All frames of whole videos"), rows,
                           "echo-claims"))


def words(found: pd.DataFrame) -> str:
    """The table for a reader who cannot see the figures."""
    part = found[found.measure == "all"]
    return "; ".join(f"{r.method} {r.estimate.value:.1f}" for r in part.itertuples())


