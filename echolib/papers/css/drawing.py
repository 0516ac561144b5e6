"""What the pages of CSS share: headings of tables, errors over the number of labels, numbers with their intervals."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from dataclasses import replace
from fractions import Fraction

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from echolib.ledger.evaluations import Evaluation
from echolib.ledger.ledger import Ledger
from echolib.pages import footer
from echolib.pages.experiment import Experiment
from echolib.pages.html import html_table
from echolib.pages.quantities import Estimate, Quantity, Tables, estimate
from echolib.pages.reader import Page
from echolib.pages.scorecard import claims, claims_html, scorecard_html
from echolib.plots import COLOURS, intervals

#: Colours of the lines of a figure, in order.
LINES = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def scorecard_of(entry: Experiment, ledger: Ledger, cells: pd.DataFrame, source: str = "EchoNet-Dynamic") -> HTML:
    """A published table with ours beneath every cell, of which ``cells`` are those of ``scorecard.cells``."""
    shown = replace(entry, measure=lambda ledger, options: cells)
    return HTML(scorecard_html(shown, ledger, source, "seeds and patients", "mean ± sd of “five runs” as printed"))


def claims_of(entries: Iterable[Experiment], ledger: Ledger) -> HTML:
    """The claims of some tables with their verdicts."""
    return HTML(claims_html(pd.concat([claims(entry, ledger) for entry in entries], ignore_index=True)))


def footer_of(page: Page, entries: Iterable[Experiment], evaluations: Iterable[Evaluation] = ()) -> HTML:
    """Where the numbers of some tables come from."""
    runs = {spec.key: spec for entry in entries for group in entry.runs(page.profile).values() for spec in group}
    records, found = page.ledger.require(runs.values()), {e.record.key: e for e in evaluations}
    return HTML((footer.provenance_html(records, page.asked) if records else "")
                + (footer.evaluations_html(list(found.values()), page.asked) if found else ""))


def seeds_html(entry: Experiment, ledger: Ledger) -> HTML:
    """Error of the ejection fraction of every training of a table, a column a seed; further seeds are among them."""
    profile = ledger.workspace.profile
    more = entry.further(profile).runs
    errors = {name: {spec.seed: (table.predicted_ef - table.ef).abs().mean() for spec in (*specs, *more.get(name, ()))
                     for table in (ledger.scores(spec),)} for name, specs in entry.runs(profile).items()}
    seeds = sorted({seed for found in errors.values() for seed in found})
    rows = [(html.escape(name), *(f"{found[seed]:.2f}" if seed in found else "–" for seed in seeds))
            for name, found in errors.items()]
    truth = ledger.scores(next(iter(entry.runs(profile).values()))[0]).ef
    caption = (f"MAE of the ejection fraction of every training, points; always the mean of these studies would have "
               f"{(truth - truth.mean()).abs().mean():.2f}")
    return HTML(html_table(caption, ("Group", *(f"Seed {seed}" for seed in seeds)), rows, "echo-table echo-sortable"))


def shares_figure(cells: pd.DataFrame, where: str, metric: str = "mae") -> Figure:
    """Errors over the share of labels, published left and ours right, a line for each row.

    Args:
        cells: of a table whose columns are a metric and a share, such as ``mae 1/8``.
        where: what ours was measured on.
        metric: which of the columns.
    """
    table = cells[cells.column.str.startswith(f"{metric} ")]
    table = table.assign(share=[float(Fraction(c.split()[1])) for c in table.column]).sort_values("share", kind="stable")
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.4), layout="constrained")
    for (row, part), colour in zip(table.groupby("row", sort=False), LINES, strict=False):
        place = np.log2(part.share)
        axes[0].plot(place, part.published, "o-", color=colour, ms=4, lw=1.4, label=row)
        known = part.ours.notna()
        axes[1].plot(place[known], part.ours[known], "o-", color=colour, ms=4, lw=1.4)
        axes[1].vlines(place[known], part.low[known], part.high[known], color=colour, lw=1.4, alpha=0.5)
    for axis, title, colour in zip(axes, ("published, EchoNet-Dynamic", f"this book, {where}"),
                                   (COLOURS["published"], COLOURS["here"]), strict=True):
        shares = sorted(set(table.share))
        axis.set_xticks(np.log2(shares), [str(Fraction(s).limit_denominator(32)) for s in shares], fontsize=8)
        axis.set(xlabel="labelled share of the training studies", ylabel="MAE of the EF (points)" if metric == "mae" else
                 "R² (%)")
        axis.set_title(title, fontsize=10, loc="left", color=colour)
        axis.grid(axis="y", color="#dddddd", lw=0.6)
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def number(found: Estimate, places: int) -> str:
    """An estimate with its interval as HTML."""
    if not np.isfinite(found.value):
        return "–"
    value, low, high = (f"{v:.{places}f}" for v in (found.value, found.low, found.high))
    return f"{value} <small>({low}{' to ' if found.low < 0 else '–'}{high})</small>" if np.isfinite(found.low) else value


def measures_html(results: Mapping[str, Tables], quantities: Iterable[Quantity], resamples: int, caption: str,
                  first: str) -> HTML:
    """Quantities of several groups with 95 % intervals over seeds and patients.

    Args:
        results: tables by group, one a seed.
        quantities: the columns.
        resamples: of the bootstrap.
        caption: of the table.
        first: heading of the groups.
    """
    quantities = list(quantities)
    rows = [(html.escape(name), *(number(estimate(tables, q, resamples), q.decimals) for q in quantities))
            for name, tables in results.items()]
    return HTML(html_table(caption, (first, *(html.escape(q.heading) for q in quantities)), rows, "echo-table echo-sortable"))


def points_figure(axes: Iterable[Axes], printed: pd.DataFrame, ours: pd.DataFrame, where: str, unit: str) -> None:
    """Published points left and ours right, one row each.

    Args:
        axes: two.
        printed, ours: index = row; columns value, low, high.
        where: what ours was measured on.
        unit: of both.
    """
    order = printed.index.union(ours.index, sort=False)
    for axis, table, title, colour in zip(axes, (printed, ours), ("published, EchoNet-Dynamic", f"this book, {where}"),
                                          (COLOURS["published"], COLOURS["here"]), strict=True):
        intervals(axis, table.reindex(order), colour)
        axis.set_title(title, fontsize=9, loc="left", color=colour)
        axis.set_xlabel(unit)
        axis.margins(x=0.15)


def cells_as_points(cells: pd.DataFrame, column: str, side: str) -> pd.DataFrame:
    """One column of a table as ``value, low, high`` by row; ``side`` is ``published`` or ``ours``."""
    part = cells[cells.column == column].set_index("row")
    names = ["published", "published_low", "published_high"] if side == "published" else ["ours", "low", "high"]
    return part[names].set_axis(["value", "low", "high"], axis=1)
