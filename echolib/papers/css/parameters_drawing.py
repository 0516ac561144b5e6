"""Figure 7: the error of the ejection fraction over each parameter of the match."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from echolib.ledger.ledger import Ledger
from echolib.pages.quantities import estimate
from echolib.papers.css.measuring import EF, ef_tables
from echolib.papers.css.parameters import CHOSEN, FIGURE7, grid, grid_group
from echolib.plots import COLOURS

WORDS = {"s": "s, frames of a phase", "c": "c, frames between the questions", "tau": "temperature τ"}


def grid_table(ledger: Ledger) -> pd.DataFrame:
    """Columns ``parameter``, ``number`` (its value), ``value``, ``low``, ``high`` (MAE, points, over seeds and patients)."""
    profile, rows = ledger.workspace.profile, []
    runs = FIGURE7.runs(profile)
    for name, values in grid(profile).items():
        for number in values:
            found = estimate(ef_tables(ledger, runs[grid_group(name, number)]), EF["mae"], profile.bootstrap)
            rows.append((name, number, found.value, found.low, found.high))
    return pd.DataFrame(rows, columns=["parameter", "number", "value", "low", "high"])


def grid_figure(table: pd.DataFrame) -> Figure:
    """A panel for each parameter; the value that the paper chose is filled."""
    figure, axes = plt.subplots(1, len(WORDS), figsize=(8.6, 2.8), layout="constrained", sharey=True)
    for axis, (name, words) in zip(axes, WORDS.items(), strict=True):
        part = table[table.parameter == name].sort_values("number")
        place = np.arange(len(part))
        axis.vlines(place, part.low, part.high, color=COLOURS["here"], lw=2, alpha=0.6)
        axis.plot(place, part.value, "-", color=COLOURS["here"], lw=1)
        chosen = part.number.to_numpy() == CHOSEN[name]
        axis.plot(place[chosen], part.value[chosen], "o", color=COLOURS["here"], ms=6)
        axis.plot(place[~chosen], part.value[~chosen], "o", color=COLOURS["here"], ms=6, mfc="white")
        axis.set_xticks(place, [f"{v:g}" for v in part.number])
        axis.set_xlabel(words)
        axis.margins(x=0.15)
        axis.grid(axis="y", color="#dddddd", lw=0.6)
    axes[0].set_ylabel("MAE of the EF (points)")
    return figure
