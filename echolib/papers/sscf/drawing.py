"""Tables and figures that SSCF's pages share: Dice published and ours, spread over folds, outlines chosen by a rule."""

from __future__ import annotations

import html

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib.figure import Figure

from echolib import plots
from echolib.evaluation.evaluation import Case, Picture
from echolib.ledger import examples
from echolib.ledger.evaluations import Evaluation
from echolib.ledger.ledger import Ledger
from echolib.pages.html import html_table
from echolib.pages.quantities import Quantity, estimate
from echolib.papers.sscf.folds import QUANTITIES, joined, on, over_folds
from echolib.papers.sscf.runs import DATASETS
from echolib.plots import COLOURS, intervals, overlay

Results = dict[str, list[list[Evaluation]]]


def datasets_of(results: Results) -> list[str]:
    """The data sets that were run."""
    return [dataset for dataset in DATASETS if any(name.endswith(on("", dataset)) for name in results)]


def names_of(results: Results, dataset: str) -> list[str]:
    """The networks of a data set."""
    return [name.removesuffix(on("", dataset)) for name in results if name.endswith(on("", dataset))]


def dice_figure(cells: pd.DataFrame, data: str, column: str = "dc") -> Figure:
    """Published values and ours, a row of panels for each data set."""
    table = cells[cells.column == column].assign(dataset=lambda t: t.row.str.rpartition(", ")[2],
                                                 name=lambda t: t.row.str.rpartition(", ")[0])
    sets = list(dict.fromkeys(table.dataset))
    heights = [int((table.dataset == dataset).sum()) for dataset in sets]
    figure, axes = plt.subplots(len(sets), 2, figsize=(8.6, 0.38 * sum(heights) + 0.8 * len(sets)), height_ratios=heights,
                                layout="constrained", squeeze=False, sharey="row")
    for (left, right), dataset in zip(axes, sets, strict=True):
        part = table[table.dataset == dataset].set_index("name")
        for axis, columns, title, colour in (
                (left, ["published", "published_low", "published_high"], f"published ± sd of folds, {dataset}",
                 COLOURS["published"]), (right, ["ours", "low", "high"], f"this book, {data}", COLOURS["here"])):
            intervals(axis, part[columns].set_axis(["value", "low", "high"], axis=1), colour)
            axis.set_title(title, fontsize=9, loc="left", color=colour)
            axis.margins(x=0.15)
    for axis in axes[-1]:
        axis.set_xlabel("Dice of the traced frames (%)")
    return figure


def measured_html(results: Results, resamples: int, quantities: dict[str, Quantity] = QUANTITIES) -> HTML:
    """Every network that is run: over seeds and patients, and mean and spread over folds as the paper prints."""
    tables, rows = joined(results), []
    folds = {column: over_folds(results, q) for column, q in quantities.items()}
    for name, seeds in tables.items():
        cells = []
        for column, q in quantities.items():
            one, spread = estimate(seeds, q, resamples), folds[column].loc[name]
            more = "" if np.isnan(spread.sd) else f"; trainings ± {spread.sd:.{q.decimals}f}"
            cells.append("–" if np.isnan(one.value) else f"{one.value:.{q.decimals}f} <small>({one.low:.{q.decimals}f}"
                         f"{' to ' if one.low < 0 else '–'}{one.high:.{q.decimals}f}{more})</small>")
        patients = pd.concat([t["frames"] for t in seeds]).patient.nunique()
        trainings = sum(map(len, results[name]))
        rows.append((html.escape(name), *cells, str(trainings), str(patients)))
    caption = "Traced test frames: mean over seeds, 95 % interval over seeds and patients; ± standard deviation over trainings"
    return HTML(html_table(caption, ("Network", *(q.heading for q in quantities.values()), "Trainings", "Patients"), rows,
                           "echo-table echo-sortable"))


def trainings_html(table: pd.DataFrame) -> HTML:
    """Trainings on CAMUS, and those among them that ended with empty masks.

    Args:
        table: from :func:`echolib.papers.sscf.table2.trainings_table`.
    """
    if table.empty:
        return HTML("<p>Nothing is trained on CAMUS here.</p>")
    rows = [(html.escape(r.row), f"{r.weight:g}", f"{r.emptied} of {r.trainings}",
             "–" if np.isnan(r.dice) else f"{r.dice:.2f}" + ("" if np.isnan(r.sd) else f" <small>± {r.sd:.2f}</small>"))
            for r in table.itertuples()]
    caption = ("Trainings on CAMUS, all seeds and folds, by network and weight of the consistency at the end of its ramp; 1 is "
               "printed")
    head = ("Network", "Weight", "Ended with empty masks", "Dice of the others, %, ± sd")
    return HTML(html_table(caption, head, rows, "echo-table"))


def telling_cases(results: Results, dataset: str, count: int) -> list[Case]:
    """The traced frames on which the networks differ most, best less worst Dice; first seed, first fold."""
    wide = pd.concat([results[on(name, dataset)][0][0].frames.set_index(["study", "frame"]).dice.rename(name)
                      for name in names_of(results, dataset)], axis=1)
    return [(study, int(frame)) for study, frame in (wide.max(axis=1) - wide.min(axis=1)).nlargest(count).index]


def shown_cases(ledger: Ledger, results: Results, dataset: str, count: int) -> HTML:
    """Figures 5 and 6: a row for each case, a column for each network."""
    cases, names = telling_cases(results, dataset, count), names_of(results, dataset)
    first = {name: results[on(name, dataset)][0][0] for name in names}
    found = {name: examples.require(ledger, one, cases).pictures for name, one in first.items()}
    scores = {name: one.frames.set_index(["study", "frame"]).dice for name, one in first.items()}
    words = "; ".join(f"{name} {', '.join(f'{scores[name][case]:.2f}' for case in cases)}" for name in names)
    return plots.show(case_figure(found, scores, cases), f"{dataset}: the {len(cases)} traced test frames on which the networks "
                      "differ most, first seed and fold. Blue: the network; orange: the tracing.",
                      f"Ultrasound frames with outlines; Dice of {words}")


def case_figure(found: dict[str, dict[Case, Picture]], scores: dict[str, pd.Series], cases: list[Case]) -> Figure:
    """Pictures in a grid, networks side by side."""
    figure, axes = plt.subplots(len(cases), len(found), figsize=(1.8 * len(found), 2.05 * len(cases)), squeeze=False)
    for column, (name, shown) in enumerate(found.items()):
        for line, case in zip(axes, cases, strict=True):
            one = shown[case]
            line[column].imshow(overlay(one.picture[None, ..., None], one.mask[None], one.exact[None])[0])
            line[column].axis("off")
            short = name.replace(" with ", "\nwith ").replace("Baseline+", "Baseline\n+")
            line[column].set_title(f"{short}\n" * (case == cases[0]) + f"Dice {scores[name][case]:.2f}", fontsize=7.5, pad=2)
    figure.subplots_adjust(wspace=0.03, hspace=0.16, left=0, right=1, bottom=0, top=0.9)
    return figure
