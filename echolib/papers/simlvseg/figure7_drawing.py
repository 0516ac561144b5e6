"""Figures of the page on Figure 7: frames and period."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from echolib import published
from echolib.papers.simlvseg.figure7 import APPROACHES, grid_name
from echolib.plots import COLOURS

#: Okabe-Ito, ordered from light to dark in print as well.
LINES = ("#E69F00", "#D55E00", "#0072B2", "#000000")


def figure7_table() -> pd.DataFrame:
    """The published grid with the name of each cell."""
    table = published.load("simlvseg_figure7_frames_period")
    return table.assign(name=[grid_name(r.approach, r.frames, r.period) for r in table.itertuples()])


def grid_of(ours: pd.DataFrame) -> pd.DataFrame:
    """:func:`figure7_table` with the cells of ours that it does not print; their published Dice is NaN."""
    table, rows = figure7_table(), []
    for name in ours.index.difference(table.name):
        approach, _, cell = name.rpartition(" ")
        frames, period = map(int, cell.split("x"))
        rows.append({"approach": approach, "frames": frames, "period": period, "name": name})
    return pd.concat([table, pd.DataFrame(rows)], ignore_index=True) if rows else table


def heat_figure(ours: pd.DataFrame, data: str) -> Figure:
    """Figure 7 as heat maps: published above, ours below, each with its own scale of colours."""
    table = grid_of(ours)
    figure, axes = plt.subplots(2, 2, figsize=(8.6, 5.6), width_ratios=(4, 2.6), layout="constrained")
    values = {"published, EchoNet-Dynamic": table.set_index("name").dsc_overall, f"this book, {data}": ours.value}
    for line, (title, found) in zip(axes, values.items(), strict=True):
        known = found.reindex(table.name).dropna()
        low, high = (known.min(), known.max()) if len(known) else (0, 1)
        for axis, approach in zip(line, APPROACHES, strict=True):
            part = table[table.approach == approach]
            grid = part.assign(value=found.reindex(part.name).to_numpy()).pivot(index="period", columns="frames", values="value")
            _heat(axis, grid, low, high, "not printed" if title.startswith("published") else "not run")
            axis.set_title(f"{approach}\n{title}", fontsize=9, loc="left",
                           color=COLOURS["published" if title.startswith("published") else "here"])
    return figure


def _heat(axis: plt.Axes, grid: pd.DataFrame, low: float, high: float, lacking: str) -> None:
    cells_ = grid.to_numpy()
    axis.imshow(np.ma.masked_invalid(cells_), cmap="cividis", vmin=low, vmax=high, aspect="auto")
    best = np.nanmax(cells_) if np.isfinite(cells_).any() else np.nan
    for (row, column), value in np.ndenumerate(cells_):
        if np.isfinite(value):
            dark = high == low or (value - low) / (high - low) < 0.55
            axis.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=9, color="white" if dark else "black",
                      fontweight="bold" if value == best else "normal")
        else:
            axis.add_patch(plt.Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, hatch="////", ec="#bbbbbb", lw=0))
            axis.text(column, row, lacking, ha="center", va="center", fontsize=8, color="#555555", backgroundcolor="white")
    axis.set_xticks(range(grid.shape[1]), grid.columns)
    axis.set_yticks(range(grid.shape[0]), grid.index)
    axis.set(xlabel="frames F", ylabel="period T")
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)


def period_figure(ours: pd.DataFrame, data: str) -> Figure:
    """Figure 7 as lines over the period, one for each number of frames; ours with 95 % intervals."""
    table = grid_of(ours)
    figure, axes = plt.subplots(2, 2, figsize=(8.6, 5.2), sharex=True, sharey="col", layout="constrained")
    for line, (approach, _) in zip(axes, APPROACHES.items(), strict=True):
        part = table[table.approach == approach]
        names = part.groupby("frames").name.agg(list)
        _lines(line[0], names, part.set_index("name").dsc_overall.rename("value").to_frame(), table)
        _lines(line[1], names, ours, table)
        for axis, title in zip(line, ("published, EchoNet-Dynamic", f"this book, {data}"), strict=True):
            axis.set_title(f"{approach}: {title}", fontsize=9, loc="left",
                           color=COLOURS["published" if title.startswith("published") else "here"])
            axis.set_ylabel("Dice (%)")
    for axis in axes[1]:
        axis.set_xlabel("period T (every how many-th frame)")
        axis.set_xticks(sorted(table.period.unique()))
    return figure


def _lines(axis: plt.Axes, names: pd.Series, values: pd.DataFrame, table: pd.DataFrame) -> None:
    """One line for each number of frames, with its name at its end; ``names`` is frames -> cells."""
    period, ends = table.set_index("name").period, []
    for place, (frames, cells_) in enumerate(names.items()):
        found, colour = values.reindex(cells_).dropna(subset="value"), LINES[place % len(LINES)]
        if found.empty:
            continue
        x = period[found.index].to_numpy() + 0.07 * (place - (len(names) - 1) / 2)  # side by side, so that intervals are seen
        axis.plot(x, found.value, "o-", color=colour, lw=1.5, ms=4)
        if "low" in found:
            axis.vlines(x, found.low, found.high, color=colour, lw=1.2, alpha=0.7)
        ends.append((found.value.iloc[-1], x[-1], f"{frames} frames", colour))
    axis.margins(x=0.22)
    for rank, (value, x, text, colour) in enumerate(sorted(ends)):
        lift = 9 * (rank - (len(ends) - 1) / 2)  # points; keeps the names apart where lines end together
        axis.annotate(text, (x, value), (9, lift), textcoords="offset points", color=colour, fontsize=8, va="center")
