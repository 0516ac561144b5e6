"""The ablation pages (Figures 5, 7, 8, Table 2): intervals over seeds and patients, which cell is best, and the figures.

A resample draws seeds and patients, the same ones for every group of runs, so that what two groups share cancels in their
difference; "how often is this the best one" is counted over such resamples. Published values were measured on
EchoNet-Dynamic; unless the profile reads it, ours are another experiment, so the two stand in separate panels.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from echolib import published
from echolib.ledger.ledger import Ledger
from echolib.pages.entries import Experiment
from echolib.pages.scorecard import cells, chip
from echolib.pages.static import html_table
from echolib.papers.simlvseg.ablations_registry import APPROACHES, RATIOS, grid_name, ratio_name
from echolib.plots import COLOURS, intervals

#: Okabe-Ito, ordered from light to dark in print as well.
LINES = ("#E69F00", "#D55E00", "#0072B2", "#000000")


@dataclass(frozen=True)
class Cube:
    """Dice of several groups of runs on the same patients.

    Attributes:
        names: the G groups.
        sums: (G, S, P) float64, sum of Dice (fraction) over a patient's frames, for each seed.
        frames: (P,) number of frames of each patient.
    """

    names: tuple[str, ...]
    sums: np.ndarray
    frames: np.ndarray


def cube(tables: Mapping[str, list[pd.DataFrame]]) -> Cube:
    """Arrange per-frame scores (columns patient, dice), one table a seed for each group.

    Raises:
        ValueError: the groups were not scored on the same frames of the same patients, or differ in their seeds.
    """
    sums, frames = [], None
    for name, seeds in tables.items():
        by = [table.groupby("patient").dice.agg(["sum", "count"]) for table in seeds]
        for one in by:
            frames = one["count"] if frames is None else frames
            if not one["count"].equals(frames):
                raise ValueError(f"{name}: not scored on the same frames of the same patients as {next(iter(tables))}")
        sums.append([one["sum"].to_numpy() for one in by])
        if len(sums[-1]) != len(sums[0]):
            raise ValueError(f"{name}: {len(sums[-1])} seeds; {next(iter(tables))} has {len(sums[0])}")
    return Cube(tuple(tables), np.array(sums, float), frames.to_numpy(float))


def resample(data: Cube, resamples: int, seed: int = 0) -> np.ndarray:
    """(G, resamples) mean Dice in %, seeds and patients drawn with replacement, the same draw for every group."""
    rng, (_, seeds, patients) = np.random.default_rng([seed, resamples]), data.sums.shape
    drawn = rng.multinomial(patients, np.full(patients, 1 / patients), resamples).T.astype(float)
    weight = rng.multinomial(seeds, np.full(seeds, 1 / seeds), resamples).T / seeds
    return 100 * ((data.sums @ drawn) * weight).sum(1) / (data.frames @ drawn)


def estimate(data: Cube, resamples: int, seed: int = 0) -> pd.DataFrame:
    """Mean, 95 % interval over seeds and patients, and how often a group is the best of all.

    Returns:
        Index: group; columns ``value``, ``low``, ``high`` (Dice, %), ``sd`` (of the seeds' means, Dice points; NaN for one
        seed) and ``best`` (share of the resamples in which it is the best; ties are shared out).
    """
    drawn = resample(data, resamples, seed)
    low, high = np.quantile(drawn, (0.025, 0.975), axis=1)
    top = drawn == drawn.max(0)
    means = 100 * data.sums.sum(2) / data.frames.sum()
    sd = means.std(1, ddof=1) if means.shape[1] > 1 else np.full(len(means), np.nan)
    return pd.DataFrame({"value": means.mean(1), "low": low, "high": high, "sd": sd, "best": (top / top.sum(0)).mean(1)},
                        index=list(data.names))


def best_set(table: pd.DataFrame, share: float = 0.95) -> list[str]:
    """The smallest set of groups that holds the best one in at least ``share`` of the resamples, likeliest first."""
    ordered = table.best.sort_values(ascending=False, kind="stable")
    return list(ordered.index[:int(np.searchsorted(ordered.cumsum().to_numpy(), share - 1e-9)) + 1])


def results(experiment: Experiment, ledger: Ledger, names: tuple[str, ...] | None = None) -> pd.DataFrame:
    """:func:`estimate` of the experiment's groups (or of ``names`` among them) from the ledger's scores; empty if none is run."""
    runs = experiment.runs(ledger.workspace.profile)
    chosen = [n for n in (names or runs) if n in runs]
    if not chosen:
        return pd.DataFrame(columns=["value", "low", "high", "sd", "best"], dtype=float)
    tables = {name: [ledger.scores(spec) for spec in runs[name]] for name in chosen}
    return estimate(cube(tables), ledger.workspace.profile.bootstrap)


def table_html(experiment: Experiment, ledger: Ledger, ours: pd.DataFrame, caption: str, *, column: str = "dsc_overall") -> str:
    """Published Dice, ours and the status of every printed cell, and of every group without one."""
    printed = cells(experiment, ledger).query("column == @column").set_index("row")
    rows = []
    for name in [*printed.index, *(n for n in ours.index if n not in printed.index)]:
        was = f"{printed.published[name]:.2f}" if name in printed.index else "–"
        status = chip(printed.status[name], printed.why[name]) + (
            f' <small>{html.escape(printed.why[name])}</small>' if printed.status[name] == "not run" else "") \
            if name in printed.index else "not printed"
        here = ["–", "–", "–"]
        if name in ours.index:
            one = ours.loc[name]
            here = [f'<span class="echo-ours">{one.value:.2f} <small>({one.low:.2f}–{one.high:.2f})</small></span>',
                    "–" if np.isnan(one.sd) else f"{one.sd:.2f}", f"{100 * one.best:.0f} %"]
        rows.append((html.escape(name), was, *here, status))
    return html_table(caption, ("Cell", "Published", "This machine, 95 % interval", "SD of seeds", "Best in", "Status"), rows,
                      "echo-table echo-sortable")


def tidy(experiment: Experiment, ledger: Ledger, ours: pd.DataFrame, column: str = "dsc_overall") -> pd.DataFrame:
    """What the figures draw, for download: group, published, ours with its interval."""
    printed = cells(experiment, ledger).query("column == @column").set_index("row")[["published", "status"]]
    order = pd.Index([*printed.index, *(n for n in ours.index if n not in printed.index)], name="group")
    return printed.reindex(order).join(ours).reset_index().round(4)


# -- Figure 7 ---------------------------------------------------------------------------------------------------------

def figure7_table() -> pd.DataFrame:
    """The published grid with the name of each cell."""
    table = published.load("simlvseg_figure7_frames_period")
    return table.assign(name=[grid_name(r.approach, r.frames, r.period) for r in table.itertuples()])


def heat_figure(ours: pd.DataFrame, data: str) -> Figure:
    """Figure 7 as heat maps: published above, ours below, each with its own scale of colours."""
    table = figure7_table()
    figure, axes = plt.subplots(2, 2, figsize=(8.6, 5.6), width_ratios=(4, 2.6), layout="constrained")
    values = {"published, EchoNet-Dynamic": table.set_index("name").dsc_overall, f"this book, {data}": ours.value}
    for line, (title, found) in zip(axes, values.items(), strict=True):
        known = found.reindex(table.name).dropna()
        low, high = (known.min(), known.max()) if len(known) else (0, 1)
        for axis, approach in zip(line, APPROACHES, strict=True):
            part = table[table.approach == approach]
            grid = part.assign(value=found.reindex(part.name).to_numpy()).pivot(index="period", columns="frames", values="value")
            _heat(axis, grid, low, high)
            axis.set_title(f"{approach}\n{title}", fontsize=9, loc="left",
                           color=COLOURS["published" if title.startswith("published") else "here"])
    return figure


def _heat(axis: plt.Axes, grid: pd.DataFrame, low: float, high: float) -> None:
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
            axis.text(column, row, "not run", ha="center", va="center", fontsize=8, color="#555555", backgroundcolor="white")
    axis.set_xticks(range(grid.shape[1]), grid.columns)
    axis.set_yticks(range(grid.shape[0]), grid.index)
    axis.set(xlabel="frames F", ylabel="period T")
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)


def period_figure(ours: pd.DataFrame, data: str) -> Figure:
    """Figure 7 as lines over the period, one for each number of frames; ours with 95 % intervals."""
    table = figure7_table()
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
        found, colour = values.reindex(cells_).dropna(subset="value"), LINES[place]
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


# -- Figure 8 ---------------------------------------------------------------------------------------------------------

def ratio_figure(ours: pd.DataFrame, data: str) -> Figure:
    """Figure 8: Dice over the mask ratio, published and ours, and how often each ratio is the best one."""
    table = published.load("simlvseg_figure8_mask_ratio").set_index("mask_ratio").dsc_overall
    places = {ratio_name(r): i for i, r in enumerate(RATIOS)}
    figure, (left, right, below) = plt.subplots(1, 3, figsize=(9.2, 3.0), width_ratios=(1, 1.2, 1), layout="constrained")
    left.plot([RATIOS.index(str(r)) for r in table.index], table, "o", color=COLOURS["published"], ms=6)
    for ratio, value in table.items():
        left.annotate(f"{value:.2f}", (RATIOS.index(str(ratio)), value), (0, 7), textcoords="offset points", ha="center",
                      fontsize=8)
    left.set_title("published, EchoNet-Dynamic\n(the two values in the text)", fontsize=9, loc="left", color=COLOURS["published"])
    x = [places[n] for n in ours.index]
    right.vlines(x, ours.low, ours.high, color=COLOURS["here"], lw=2)
    right.plot(x, ours.value, "o", color=COLOURS["here"], ms=5)
    right.set_title(f"this book, {data}\n95 % intervals", fontsize=9, loc="left", color=COLOURS["here"])
    below.bar(x, 100 * ours.best, color=COLOURS["here"], width=0.7)
    below.set_title("this book: the best ratio\nin so many resamples", fontsize=9, loc="left", color=COLOURS["here"])
    below.set(ylabel="%", ylim=(0, 100))
    for axis in (left, right, below):
        axis.set_xticks(range(len(RATIOS)), ["none", *(f"{10 * i}" for i in range(1, 10))], fontsize=7)
        axis.set(xlabel="frames masked (%)", xlim=(-1.2, 9.7))
    for axis in (left, right):
        axis.set_ylabel("Dice (%)")
        axis.margins(y=0.25)
    return figure


# -- Table 2 and Figure 5 ---------------------------------------------------------------------------------------------

def backbone_figure(printed: pd.Series, ours: pd.DataFrame, data: str) -> Figure:
    """Dice of each backbone, published (``printed``: name -> Dice, %) on the left and ours on the right."""
    order = pd.Index([*printed.index, *(n for n in ours.index if n not in printed.index)])
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 0.5 * len(order) + 1.0), sharey=True, layout="constrained")
    known = pd.DataFrame({"value": printed, "low": np.nan, "high": np.nan}).reindex(order)
    for axis, table, title, colour in ((left, known, "published, EchoNet-Dynamic", COLOURS["published"]),
                                       (right, ours.reindex(order), f"this book, {data}", COLOURS["here"])):
        intervals(axis, table, colour)
        axis.set_title(title, fontsize=10, color=colour, loc="left")
        axis.set_xlabel("Dice, ED and ES frames (%)")
        axis.margins(x=0.15)
    return figure


def cost_figure(table: pd.DataFrame, data: str) -> Figure:
    """Figure 5: Dice against GFLOPs per frame, the area of a bubble its parameters; published on the left, ours on the right.

    Args:
        table: from ``scorecard.cells`` of Table 1; ours at the count of the network as published.
        data: what ours was measured on.
    """
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 4.2), sharex=True, layout="constrained")
    for axis, column, title, colour in zip(axes, ("published", "ours"), ("published, EchoNet-Dynamic", f"this book, {data}"),
                                           (COLOURS["published"], COLOURS["here"]), strict=True):
        wide = table.pivot(index="row", columns="column", values=column).dropna(
            subset=["dsc_overall", "gflops_per_frame", "params_m"])
        axis.scatter(wide.gflops_per_frame, wide.dsc_overall, s=8 * wide.params_m, color=colour, alpha=0.45, edgecolor=colour)
        for rank, (name, row) in enumerate(wide.sort_values("dsc_overall").iterrows()):
            above = rank % 2 == 1
            lift = (7 if row.params_m < 30 else 11) * (1 if above else -1)
            axis.annotate(f"{name}, {row.params_m:.1f} M", (row.gflops_per_frame, row.dsc_overall), (0, lift),
                          textcoords="offset points", ha="left" if row.gflops_per_frame < 5 else "right",
                          va="bottom" if above else "top", fontsize=7.5)
        axis.set_title(title, fontsize=10, color=colour, loc="left")
        axis.set(xlabel="GFLOPs per frame", ylabel="Dice, ED and ES frames (%)", xlim=(0, 9.2))
        axis.margins(y=0.3)
    return figure
