"""Tables and figures of the page on Table 1: every network that is run, EF and volumes, comparison and failures."""

from __future__ import annotations

import html

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from echolib import plots
from echolib.evaluation.evaluation import Case, Picture
from echolib.ledger import examples
from echolib.ledger.evaluations import Evaluation
from echolib.ledger.ledger import Ledger
from echolib.pages.html import html_table
from echolib.pages.quantities import Quantity, estimate
from echolib.papers.pkecho.runs import DATASETS
from echolib.papers.pkecho.table1 import OURS, RESPLIT, on
from echolib.plots import COLOURS, intervals, overlay

Results = dict[str, list[Evaluation]]
#: Ejection fractions beyond these are drawn on the edge, %.
EF_SHOWN = (-20.0, 100.0)
#: What this book measures of every network beside the published columns.
MEASURED = (Quantity("Dice, %", "frames", "dice", factor=100), Quantity("HD95, px", "frames", "hd95_px"),
            Quantity("HD95, mm", "frames", "hd95_mm"), Quantity("ASD, px", "frames", "asd_px"),
            Quantity("ASD, mm", "frames", "asd_mm"),
            Quantity("Dice of the frames between, %", "studies", "dice_between", factor=100))
#: Agreement of the ejection fraction, by method of volume.
FRACTIONS = tuple(Quantity(heading, "studies", f"ef_{method}", "ef", statistic) for method in ("disks", "triangle")
                  for heading, statistic in ((f"r, {method}", "r"), (f"bias, {method}", "bias"), (f"sd, {method}", "sd")))


def datasets_of(results: Results) -> list[str]:
    """The data sets that were run, in the paper's order."""
    return [dataset for dataset in DATASETS if any(on("", dataset) in name for name in results)]


def here(results: Results, dataset: str) -> Results:
    """The networks of a data set by name, the other division of it last."""
    return {(name.replace(on("", dataset), "") if name != RESPLIT else f"{OURS[18]}, split 7 : 1 : 2"): group
            for name, group in results.items() if on("", dataset) in name}


def deepest(results: Results, dataset: str) -> str | None:
    """The group of PKEcho-Net's deepest network on a data set."""
    return next((on(OURS[depth], dataset) for depth in (50, 34, 18) if on(OURS[depth], dataset) in results), None)


def measured_html(results: Results, dataset: str, resamples: int, quantities: tuple[Quantity, ...] = MEASURED) -> HTML:
    """Every network that is run on a data set, with 95 % intervals."""
    rows, agreement = [], bool(quantities[-1].exact)
    for name, group in here(results, dataset).items():
        found = [number(estimate([e.tables for e in group], q, resamples), q.decimals) for q in quantities]
        studies = pd.concat([e.studies for e in group])
        lost = [str(int(studies[quantities[-1].value].isna().sum()))] if agreement else []
        rows.append((html.escape(name), *found, str(len(studies)), *lost))
    what = "Ejection fraction, points of % (r: correlation)" if agreement else "Traced test frames"
    caption = f"{what}, {dataset}: means over seeds, 95 % intervals over seeds and patients"
    head = ("Network", *(q.heading for q in quantities), "Studies tested", *(["No triangle found"] if agreement else []))
    return HTML(html_table(caption, head, rows, "echo-table echo-sortable"))


def number(found, decimals: int) -> str:
    """An estimate as HTML."""
    if not np.isfinite(found.value):
        return "–"
    value, low, high = (f"{v:.{decimals}f}" for v in (found.value, found.low, found.high))
    return f"{value} <small>({low}{' to ' if found.low < 0 else '–'}{high})</small>" if np.isfinite(found.low) else value


def tests_html(table: pd.DataFrame, dataset: str) -> HTML:
    """:func:`table1.tests_table` for the page."""
    rows = [(html.escape(r.network), f"{r.difference:+.2f}", f"{r.signed_rank:.2g}", f"{r.rank_sum:.2g}", str(r.patients))
            for r in table.itertuples()]
    caption = f"Dice of PKEcho-Net's deepest network less that of each other one, {dataset}, and p by two tests of these scores"
    return HTML(html_table(caption, ("Against", "Difference, points", "Signed-rank, patients (paired)",
                                     "Rank-sum, frames (as in the paper)", "Patients"), rows, "echo-claims"))


def dice_figure(cells: pd.DataFrame, data: str) -> Figure:
    """Published Dice and ours, a row of panels for each data set."""
    table = cells[cells.column == "dsc"].assign(dataset=lambda t: t.row.str.rpartition(", ")[2],
                                                name=lambda t: t.row.str.rpartition(", ")[0])
    sets = list(dict.fromkeys(table.dataset))
    count = int(table.dataset.value_counts().max())
    figure, axes = plt.subplots(len(sets), 2, figsize=(8.6, len(sets) * (0.36 * count + 0.9)), layout="constrained",
                                squeeze=False, sharey="row")
    for (left, right), dataset in zip(axes, sets, strict=True):
        part = table[table.dataset == dataset].set_index("name")
        for axis, columns, title, colour in (
                (left, ["published", "published_low", "published_high"], f"published, {dataset}", COLOURS["published"]),
                (right, ["ours", "low", "high"], f"this book, {data}", COLOURS["here"])):
            intervals(axis, part[columns].set_axis(["value", "low", "high"], axis=1), colour)
            axis.set_title(title, fontsize=9, loc="left", color=colour)
            axis.margins(x=0.15)
            axis.set_xlabel("Dice (%)")
    return figure


def correlation_figure(results: Results) -> Figure:
    """Figure 6: EF of the deepest network against the exact one, by both methods, and volumes where they are known."""
    sets = datasets_of(results)
    figure, axes = plt.subplots(len(sets), 3, figsize=(8.6, 2.9 * len(sets)), layout="constrained", squeeze=False)
    for line, dataset in zip(axes, sets, strict=True):
        name = deepest(results, dataset)
        table = pd.concat([e.studies for e in results[name]])
        for axis, (column, words) in zip(line, (("ef_triangle", "EF by the triangle (%)"), ("ef_disks", "EF by 20 disks (%)")),
                                         strict=False):
            shown = table[column].clip(*EF_SHOWN)
            _against(axis, table.ef, shown, COLOURS["here"])
            beyond = int((shown != table[column])[table[column].notna()].sum())
            axis.annotate(f"{beyond} beyond" * (beyond > 0), (0.97, 0.04), xycoords="axes fraction", ha="right", fontsize=8,
                          color=COLOURS["other"])
            axis.set(xlabel="exact EF (%)", ylabel=words)
            axis.set_title(name.replace(" on ", ",\n"), fontsize=8, loc="left")
        for volume, colour in (("edv", COLOURS["here"]), ("esv", COLOURS["truth"])):
            _against(line[2], table[f"exact_{volume}"], table[volume], colour)
        line[2].set(xlabel="exact volume (mL)", ylabel="volume by disks (mL)")
        line[2].set_title("blue: ED, orange: ES" if table.exact_edv.notna().any() else "no volumes in this data set", fontsize=8,
                          loc="left")
    return figure


def _against(axis: Axes, exact: pd.Series, found: pd.Series, colour: str) -> None:
    known = exact.notna() & found.notna()
    if not known.any():
        return
    low, high = (float(f(np.concatenate([exact[known], found[known]]))) for f in (np.min, np.max))
    axis.plot([low, high], [low, high], color="#bbbbbb", lw=1, zorder=0)
    axis.plot(exact[known], found[known], "o", ms=3.5, alpha=0.6, color=colour, mew=0)
    if known.sum() > 2 and exact[known].nunique() > 1 and found[known].nunique() > 1:
        r = np.corrcoef(exact[known], found[known])[0, 1]
        lines = sum(isinstance(t.get_text(), str) for t in axis.texts)
        axis.annotate(f"r {r:.2f}", (0.04, 0.96 - 0.1 * lines), xycoords="axes fraction", va="top", fontsize=8, color=colour)


def worst_cases(results: Results, dataset: str, count: int) -> list[Case]:
    """Figure 9: the traced frames with the lowest Dice of the deepest network, first seed."""
    table = results[deepest(results, dataset)][0].frames.nsmallest(count, "dice")
    return list(zip(table.study, table.frame.map(int), strict=True))


def telling_cases(results: Results, dataset: str, count: int) -> list[Case]:
    """Figure 5: the traced frames on which the networks differ most, best less worst Dice, first seed."""
    shown = {name: group for name, group in results.items() if name.endswith(on("", dataset))}
    wide = pd.concat([group[0].frames.set_index(["study", "frame"]).dice.rename(name) for name, group in shown.items()], axis=1)
    gap = (wide.max(axis=1) - wide.min(axis=1)).nlargest(count)
    return [(study, int(frame)) for study, frame in gap.index]


def pictures(ledger: Ledger, results: Results, dataset: str, cases: list[Case],
             names: list[str]) -> dict[str, dict[Case, Picture]]:
    """The frames of some cases as each network outlines them, first seed."""
    return {name: examples.require(ledger, results[on(name, dataset)][0], cases).pictures for name in names}


def case_figure(found: dict[str, dict[Case, Picture]], results: Results, dataset: str, cases: list[Case]) -> Figure:
    """A row for each case, a column for each network; blue: the network, orange: the tracing."""
    figure, axes = plt.subplots(len(cases), len(found), figsize=(1.7 * len(found), 1.95 * len(cases)), squeeze=False)
    for column, (name, shown) in enumerate(found.items()):
        score = results[on(name, dataset)][0].frames.set_index(["study", "frame"]).dice
        for line, case in zip(axes, cases, strict=True):
            one = shown[case]
            line[column].imshow(overlay(one.picture[None, ..., None], one.mask[None], one.exact[None])[0])
            line[column].axis("off")
            line[column].set_title(f"{name}\n" * (case == cases[0]) + f"Dice {score[case]:.2f}", fontsize=7.5, pad=2)
    figure.subplots_adjust(wspace=0.03, hspace=0.16, left=0, right=1, bottom=0, top=0.92)
    return figure


def shown_cases(ledger: Ledger, results: Results, dataset: str, count: int, failures: bool) -> HTML:
    """Figure 9 (``failures``: the worst frames of the deepest network) or Figure 5 (where the networks differ most)."""
    best = deepest(results, dataset)
    cases = worst_cases(results, dataset, count) if failures else telling_cases(results, dataset, count)
    names = [name for name in here(results, dataset) if on(name, dataset) in results]
    names = [best.removesuffix(on("", dataset))] if failures else names
    found = pictures(ledger, results, dataset, cases, names)
    score = results[best][0].frames.set_index(["study", "frame"]).dice
    words = ", ".join(f"{score[case]:.2f}" for case in cases)
    rule = f"with the lowest Dice of {names[0]}" if failures else "on which the networks differ most"
    figure = failure_figure(found[names[0]], score, cases) if failures else case_figure(found, results, dataset, cases)
    return plots.show(figure, f"{dataset}: the {len(cases)} traced test frames {rule}, first seed. Blue: the network; orange: "
                      "the tracing.", f"Ultrasound frames with outlines; Dice of {best.removesuffix(on('', dataset))}: {words}")


def failure_figure(found: dict[Case, Picture], score: pd.Series, cases: list[Case]) -> Figure:
    """The cases in a row."""
    shown = [overlay(found[c].picture[None, ..., None], found[c].mask[None], found[c].exact[None])[0] for c in cases]
    return plots.contact_sheet(np.stack(shown), [f"Dice {score[case]:.2f}" for case in cases], columns=min(len(cases), 6))
