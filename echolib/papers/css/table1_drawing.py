"""Tables and figures of the page on Table I: the ejection fraction in several ways, and who is labelled."""

from __future__ import annotations

import base64
import html
from fractions import Fraction

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib.figure import Figure

from echolib.config.profile import Profile
from echolib.data.subsets import labelled_studies
from echolib.evaluation.agreement import agreement
from echolib.evaluation.bootstrap import Interval
from echolib.evaluation.numbers import THRESHOLDS, below
from echolib.ledger.evaluations import Evaluation
from echolib.ledger.ledger import Ledger
from echolib.pages.html import html_table
from echolib.pages.quantities import Quantity, Tables, estimate
from echolib.papers.css.drawing import number
from echolib.papers.css.runs import data_of, subset_of
from echolib.papers.css.table1 import ways
from echolib.plots import COLOURS

#: Resamples of the area under a curve, which has to be ranked anew each time.
AUC_RESAMPLES = 1000
_QUANTITIES = tuple(Quantity(heading, "studies", "found", "exact", statistic, decimals=places) for heading, statistic, places in (
    ("MAE, points", "mae", 2), ("RMSE, points", "rmse", 2), ("R²", "r2", 2), ("Bias, points", "bias", 1)))


def load(ledger: Ledger) -> dict[str, list[Evaluation]]:
    """The ejection fraction in several ways, computed where it is missing; by name, one a seed."""
    numbers, masks = ways(ledger.workspace.profile)
    return {name: ledger.evaluate(specs) for name, specs in (masks | numbers).items()}


def as_pairs(group: list[Evaluation]) -> Tables:
    """Found and exact ejection fraction of every study, one table a seed."""
    out = []
    for one in group:
        found, exact = ("predicted_ef", "ef") if "predicted_ef" in one.studies else ("ef", "exact_ef")
        out.append({"studies": one.studies[["study", "patient"]].assign(found=one.studies[found].astype(float),
                                                                      exact=one.studies[exact].astype(float))})
    return out


def ways_html(found: dict[str, list[Evaluation]], resamples: int) -> HTML:
    """Error and agreement of every way with 95 % intervals over seeds and patients."""
    rows, first = [], as_pairs(next(iter(found.values())))[0]["studies"].exact.dropna()
    floor = (first - first.mean()).abs().mean(), first.std(ddof=0)
    rows.append(("always the mean EF", *(f"{v:.2f}" for v in floor), "0.00", "0.0", "–", str(len(first)), "0"))
    for name, group in found.items():
        tables = as_pairs(group)
        every = pd.concat([t["studies"] for t in tables], ignore_index=True)
        agreed = agreement(every, "found", "exact", 100)
        limits = "–" if agreed is None or not np.isfinite(agreed.sd) else "{:+.1f} to {:+.1f}".format(*agreed.limits)
        rows.append((html.escape(name), *(number(estimate(tables, q, resamples), q.decimals) for q in _QUANTITIES), limits,
                     str(len(tables[0]["studies"])), str(int(every.found.isna().sum()))))
    caption = ("The ejection fraction of the same test videos in several ways: 95 % intervals over seeds and patients; limits of "
               "agreement after Bland and Altman")
    head = ("From", *(q.heading for q in _QUANTITIES), "95 % limits of agreement, points", "Videos", "Without a value")
    return HTML(html_table(caption, head, rows, "echo-claims"))


def auc_table(found: dict[str, list[Evaluation]], resamples: int = AUC_RESAMPLES) -> pd.DataFrame:
    """Area under the ROC curve for an ejection fraction below each threshold, of the mean over the seeds.

    Returns:
        Columns ``way``, ``threshold``, ``auc``, ``low``, ``high``, ``below`` (studies below the threshold).
    """
    rows = []
    for name, group in found.items():
        every = pd.concat([t["studies"] for t in as_pairs(group)])
        table = every.groupby(["study", "patient"], as_index=False)[["found", "exact"]].mean()
        for threshold in THRESHOLDS:
            known = table.dropna()
            one: Interval = below(table, "found", "exact", threshold, resamples) if len(known) else Interval(
                np.nan, np.nan, np.nan, 0, 0, 0.95, "patients")
            rows.append((name, threshold, one.mean, one.low, one.high, int((known.exact < threshold).sum())))
    return pd.DataFrame(rows, columns=["way", "threshold", "auc", "low", "high", "below"])


def auc_html(table: pd.DataFrame) -> HTML:
    """:func:`auc_table` for the page."""
    rows = []
    for name, part in table.groupby("way", sort=False):
        rows.append((html.escape(name), *(f"{r.auc:.2f} <small>({r.low:.2f}–{r.high:.2f})</small>" if np.isfinite(r.auc) else "–"
                                          for r in part.itertuples())))
    counts = table.groupby("threshold").below.max()
    caption = "Area under the ROC curve for an ejection fraction below a threshold, seeds averaged, 95 % interval over patients"
    head = ("From", *(f"EF &lt; {t} % <small>({counts[t]} studies)</small>" for t in THRESHOLDS))
    return HTML(html_table(caption, head, rows, "echo-claims"))


def agreement_figure(found: dict[str, list[Evaluation]]) -> Figure:
    """Bland and Altman: difference from the exact ejection fraction against the mean of both, one panel a way, all seeds."""
    columns = min(3, len(found))
    lines = -(-len(found) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(8.6, 2.5 * lines), layout="constrained", squeeze=False, sharex=True,
                                sharey=True)
    for axis in axes.flat[len(found):]:
        axis.axis("off")
    for axis, (name, group) in zip(axes.flat, found.items(), strict=False):
        table = pd.concat([t["studies"] for t in as_pairs(group)]).dropna()
        colour = COLOURS["committed"] if "exact" in name else COLOURS["here"]
        axis.plot((table.found + table.exact) / 2, table.found - table.exact, "o", ms=3.5, alpha=0.6, mew=0, color=colour)
        axis.axhline(0, color="#bbbbbb", lw=0.8)
        axis.set_title(name, fontsize=9, loc="left", color=colour)
        agreed = agreement(table, "found", "exact", 100)
        if agreed is not None and np.isfinite(agreed.sd):
            for value, style in ((agreed.bias, "-"), *((limit, "--") for limit in agreed.limits)):
                axis.axhline(value, color="black", lw=1, ls=style)
    for axis in axes[-1]:
        axis.set_xlabel("mean of both (%)")
    for axis in axes[:, 0]:
        axis.set_ylabel("found − exact (points)")
    return figure


def list_table(ledger: Ledger, profile: Profile) -> pd.DataFrame:
    """Which training studies are labelled: study, and the smallest of the profile's shares in which it is, "" for none."""
    data = data_of(profile)
    names = ledger.workspace.names(data, "train")
    studies = pd.DataFrame({"split": "train"}, index=pd.Index(names, name="study"))
    first = dict.fromkeys(names, "")
    for share in reversed(_shares(profile)):
        subset = subset_of(share)
        for name in names if subset.labelled is None else labelled_studies(studies, subset.labelled, subset.seed):
            first[name] = share
    return pd.DataFrame({"study": names, "labelled_from": [first[name] for name in names]})


def lists_html(ledger: Ledger, profile: Profile) -> HTML:
    """How many studies each share labels, and the list of them to download."""
    table, rows = list_table(ledger, profile), []
    total = len(table)
    for share in _shares(profile):
        subset = subset_of(share)
        count = total if subset.labelled is None else round(total * subset.labelled[0] / subset.labelled[1])
        rows.append((share, str(count), str(total - count)))
    data = base64.b64encode(table.to_csv(index=False).encode()).decode()
    link = (f'<p><a class="echo-download" download="labelled_studies.csv" href="data:text/csv;base64,{data}">The list, CSV</a>: '
            "each training study with the smallest of these shares in which it is labelled; a smaller share is part of a larger "
            "one.</p>")
    caption = "Labelled and unlabelled training studies by share"
    return HTML(html_table(caption, ("Share", "Labelled", "Unlabelled"), rows) + link)


def _shares(profile: Profile) -> list[str]:
    """The profile's shares, the smallest first."""
    return sorted({*profile.css.labels, *profile.css.ablated}, key=Fraction)
