"""One switch at a time: what an option does to the Dice of the traced test frames, for the audits of several papers."""

from __future__ import annotations

import html

import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib.figure import Figure

from echolib.config.specs import RunSpec
from echolib.ledger.ledger import Ledger
from echolib.pages import effects as effects_of_switches
from echolib.pages.effects import differences, effect_verdict, signed
from echolib.pages.html import html_table
from echolib.pages.scorecard import chip

COLUMNS = ("value", "low", "high", "sd", "base", "dice", "status", "why")


def effects(ledger: Ledger, runs: dict[str, list[RunSpec]], base: str) -> pd.DataFrame:
    """Each group of runs against ``base``, paired over seeds and patients.

    Args:
        ledger: of the profile.
        runs: by group, one a seed; all scored on the same frames.
        base: the group with nothing switched.

    Returns:
        Index: the other groups; columns :data:`COLUMNS`: difference of Dice in points with its 95 % interval and the seeds'
        standard deviation, Dice of both in %, and the verdict. Empty where nothing is switched.
    """
    if len(runs) < 2 or base not in runs:
        return pd.DataFrame(columns=list(COLUMNS))
    profile = ledger.workspace.profile
    scores = {name: [ledger.scores(spec) for spec in specs] for name, specs in runs.items()}
    table = differences(scores, base, profile.bootstrap)
    mean = {name: 100 * float(np.mean([t.dice.mean() for t in each])) for name, each in scores.items()}
    verdicts = [effect_verdict(scores[name], scores[base], quotable=profile.quotable) for name in table.index]
    return table.assign(base=mean[base], dice=[mean[name] for name in table.index], status=[v.status for v in verdicts],
                        why=[v.why for v in verdicts])


def effects_html(found: pd.DataFrame, base: str) -> HTML:
    """The effects as a table."""
    rows = [(html.escape(name), f"{r.base:.2f}", f"{r.dice:.2f}",
             f"{signed(r.value)} <small>({signed(r.low)} to {signed(r.high)})</small>", "–" if np.isnan(r.sd) else f"{r.sd:.2f}",
             chip(r.status, r.why), html.escape(r.why)) for name, r in found.iterrows()]
    head = ("Switched", f"Dice, {html.escape(base)}, %", "Dice, switched, %", "Difference, points, 95 % interval",
            "SD of seeds", "The switch", "Why")
    caption = "One switch at a time: Dice of the traced test frames, the frame in the middle of its clip"
    return HTML(html_table(caption, head, rows))


def effects_figure(found: pd.DataFrame, data: str) -> Figure:
    """Differences with their intervals around a zero line."""
    return effects_of_switches.figure(found, found.index, f"lower ←  {data}  → higher", "Dice, switched less not (points)")


def words(found: pd.DataFrame) -> str:
    """The effects for a reader who cannot see them."""
    return "; ".join(f"{name}: {signed(r.value)} points ({signed(r.low)} to {signed(r.high)}), {r.status}"
                     for name, r in found.iterrows()) or "nothing is switched"
