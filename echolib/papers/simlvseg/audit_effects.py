"""What the differences between the paper and its program do to the Dice and to its interval (rows of ``book/audit.md``).

Rows 1 and 2 change how a finished run is scored: every record holds both readings, so they are re-read from the runs of
Table 1. Rows 3, 4, 6, 7 and 8 change the training: ``audit`` switches one at a time, and the effect is the difference of
Dice between the switched and the paper's run, paired over seeds and patients.
"""

from __future__ import annotations

import html
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from echolib.ledger.ledger import Ledger
from echolib.ledger.records import Record
from echolib.pages import effects as effects_of_switches
from echolib.pages.effects import differences, effect_verdict, signed
from echolib.pages.html import html_table
from echolib.pages.scorecard import chip
from echolib.pages.verdict import Verdict
from echolib.papers.simlvseg.audit import AUDIT, NETWORKS, changes, comparisons, paper_name
from echolib.papers.simlvseg.table1 import TABLE1
from echolib.plots import COLOURS

# -- Rows 1 and 2: one prediction, two readings -----------------------------------------------------------------------

def readings(records: Mapping[str, list[Record]]) -> pd.DataFrame:
    """Both readings of every run.

    Args:
        records: name -> records, one a seed.

    Returns:
        One row a run: ``run``, ``seed``; ``mean`` and ``pooled`` Dice and ``dice`` = pooled - mean (row 2), in %;
        ``paper_width`` (95 %, patients) and ``released_width`` (5th to 95th percentile, frames) in Dice points, and ``ratio``,
        the second over the first (row 1; NaN where the first is 0).
    """
    rows = []
    for name, group in records.items():
        for record in group:
            score = record.dice
            ours, theirs = 100 * (score.high - score.low), 100 * (score.pooled_high - score.pooled_low)
            rows.append({"run": name, "seed": record.spec.seed, "mean": 100 * score.mean, "pooled": 100 * score.pooled,
                         "dice": 100 * (score.pooled - score.mean), "paper_width": ours, "released_width": theirs,
                         "ratio": theirs / ours if ours > 0 else np.nan})
    return pd.DataFrame(rows, columns=["run", "seed", "mean", "pooled", "dice", "paper_width", "released_width", "ratio"])


def table1_readings(ledger: Ledger) -> pd.DataFrame:
    """:func:`readings` of every run of Table 1."""
    return readings({name: ledger.require(specs) for name, specs in TABLE1.runs(ledger.workspace.profile).items()})


def narrower(found: pd.DataFrame, quotable: bool = True) -> pd.DataFrame:
    """Is the released program's interval narrower than the one over patients in every run? One claim: claim, status, why.

    Nothing is decided by a profile whose numbers may not be quoted.
    """
    below = found.released_width < found.paper_width
    share = f"narrower in {int(below.sum())} of {len(found)} runs"
    if len(found) and np.isfinite(found.ratio).any():
        share += f", {found.ratio.min():.2f} to {found.ratio.max():.2f} times as wide"
    status = "holds" if len(found) and below.all() else "does not hold"
    verdict = Verdict(status, share) if quotable and len(found) else Verdict(
        "undecided", share if quotable else f"{share}; this profile only proves that the path works")
    text = "The released program's interval is narrower than the 95 % interval over patients, in every run"
    return pd.DataFrame([{"claim": text, "status": verdict.status, "why": verdict.why}])


def readings_html(found: pd.DataFrame) -> str:
    """Every run with both readings, as a table."""
    rows = [(html.escape(r.run), str(r.seed), f"{r.mean:.2f}", f"{r.pooled:.2f}", signed(r.dice), f"{r.paper_width:.2f}",
             f"{r.released_width:.2f}", "–" if np.isnan(r.ratio) else f"{r.ratio:.2f}") for r in found.itertuples()]
    head = ("Run", "Seed", "Mean over frames, %", "Pooled, %", "Row 2: pooled − mean, points", "95 %, patients: width, points",
            "5th–95th percentile, frames: width, points", "Row 1: width, times")
    return html_table("Rows 1 and 2 on every run of Table 1: the same predictions read in both ways", head, rows,
                      "echo-table echo-sortable")


def readings_figure(found: pd.DataFrame, data: str) -> Figure:
    """Left: what pooling does to the Dice. Right: width of the released program's interval against the paper's. A dot a run."""
    names = list(dict.fromkeys(found.run))
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 0.45 * len(names) + 1.3), sharey=True, layout="constrained")
    for axis, column, same, title, unit in (
            (left, "dice", 0.0, "row 2: pooled − mean over frames", "Dice points"),
            (right, "ratio", 1.0, "row 1: width of the released interval", "times the width of the 95 % interval over patients")):
        axis.axvline(same, color="#888888", lw=1, zorder=1)
        for place, name in enumerate(names):
            part = found.loc[found.run == name, column].to_numpy()
            axis.plot(part, np.full(len(part), place), "o", color=COLOURS["other"], ms=5, alpha=0.8, zorder=3)
            if np.isfinite(part).any():
                text = signed(np.nanmean(part)) if column == "dice" else f"{np.nanmean(part):.2f}"
                axis.annotate(text, (np.nanmean(part), place), (0, 6), textcoords="offset points", ha="center", fontsize=8,
                              color=COLOURS["other"])
        axis.set_title(f"{title}\n{data}", fontsize=9, loc="left")
        axis.set_xlabel(unit)
        axis.grid(axis="x", color="#dddddd", lw=0.6)
        axis.margins(x=0.18)
    left.set_yticks(range(len(names)), names)
    left.set_ylim(len(names) - 0.5, -0.7)
    return figure


# -- Rows 3 to 8: one switch at a time --------------------------------------------------------------------------------

def effects(ledger: Ledger) -> pd.DataFrame:
    """Every comparison of ``audit``: columns of :func:`differences` and ``network``, ``switched``, ``status``, ``why``."""
    profile = ledger.workspace.profile
    runs, wanted = AUDIT.runs(profile), comparisons(profile)
    parts = []
    for model, network in NETWORKS.items():
        names = [n for n, rows in wanted.items() if rows[0].model == model]
        if not names:
            continue
        base = paper_name(model)
        scores = {n: [ledger.scores(spec) for spec in runs[n]] for n in (base, *names)}
        table = differences(scores, base, profile.bootstrap)
        verdicts = [effect_verdict(scores[n], scores[base], quotable=profile.quotable) for n in names]
        parts.append(table.assign(network=network, status=[v.status for v in verdicts], why=[v.why for v in verdicts],
                                  switched=["; ".join(changes(runs[base][0], runs[n][0])) for n in names]))
    if not parts:
        return pd.DataFrame(columns=["value", "low", "high", "sd", "network", "status", "why", "switched"])
    return pd.concat(parts).loc[list(wanted)]


def effects_html(found: pd.DataFrame) -> str:
    """The effects as a table."""
    rows = [(html.escape(name), html.escape(r.network), html.escape(r.switched).replace("; ", "<br>"),
             f"{signed(r.value)} <small>({signed(r.low)} to {signed(r.high)})</small>",
             "–" if np.isnan(r.sd) else f"{r.sd:.2f}", chip(r.status, r.why), html.escape(r.why)) for name, r in found.iterrows()]
    head = ("Row of the audit", "Network", "Options that differ: paper → released", "Difference of Dice, points, 95 % interval",
            "SD of seeds", "The switch", "Why")
    return html_table("One switch at a time: Dice of the switched run minus Dice of the paper's run, test split", head, rows)


def effects_figure(found: pd.DataFrame, data: str) -> Figure:
    """Differences with their intervals around a zero line, one row a comparison."""
    names = [f"{name}\n{network}" for name, network in zip(found.index, found.network, strict=True)]
    return effects_of_switches.figure(found, names, f"lower ←  released program’s option on {data}  → higher",
                                      "Dice, switched run − paper's run (points)")
