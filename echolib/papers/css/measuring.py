"""What the tables of CSS measure: ejection fractions of runs, published cells beside them, and claims about an order.

The ejection fraction of a run is what its network gives for one clip of each test study, from the middle of the video. The paper
draws a random clip, five times; its program offers the mean over all clips as well (the audit compares the three).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from echolib.config.profile import Profile
from echolib.config.specs import RunSpec
from echolib.evaluation.evaluation import EvaluationSpec
from echolib.ledger.ledger import Ledger
from echolib.pages.experiment import Experiment, Further, Options, with_further
from echolib.pages.quantities import Asked, Quantity, Tables, cells
from echolib.pages.verdict import DICE, SMALL_EF, Scale, Verdict, all_verdict
from echolib.papers.css.runs import data_of

#: How an error of the ejection fraction is measured, by the published tables' name for it.
EF = {"mae": Quantity("MAE, points", "studies", "predicted_ef", "ef", "mae"),
      "r2": Quantity("R², %", "studies", "predicted_ef", "ef", "r2", factor=100, decimals=1)}
#: Beside them where a page shows more.
MORE = {"rmse": Quantity("RMSE, points", "studies", "predicted_ef", "ef", "rmse"),
        "bias": Quantity("Bias, points", "studies", "predicted_ef", "ef", "bias"),
        "sd": Quantity("sd of the error, points", "studies", "predicted_ef", "ef", "sd")}
#: Unit of a difference between two errors.
EF_SCALE = Scale("score", 1.0, "points of MAE", SMALL_EF)
#: Why no method of other groups is run that is not.
NOT_RUN = {
    "Dai et al.": "AdaCon: its contrastive loss is described in its own paper, not here",
    "CLAS": "motion fields and masks learnt together, by weights that neither this paper nor the one it follows gives",
    "Multi-frame": "its attention over neighbouring frames is described for 3-D echocardiograms and not here"}

#: Words of a column's name -> of its heading.
WORDS = {"mae": "MAE", "r2": "R²", "dice_ed": "Dice, ED", "dice_es": "Dice, ES", "dice_overall": "Dice, both", "dice": "Dice",
         "unlabeled": "others", "ed": "ED", "es": "ES"}

Runs = Mapping[str, list[RunSpec]]


def headings(columns: Iterable[str]) -> dict[str, tuple[str, int]]:
    """Heading and decimals as printed of a page's columns, in order: ``mae 3/32`` is "MAE, 3/32" with two decimals.

    Percentages have one decimal, points of MAE two.
    """
    return {column: (", ".join(WORDS.get(word, word) for word in column.split()), 2 if "mae" in column else 1)
            for column in dict.fromkeys(columns)}


@dataclass(frozen=True)
class Entry:
    """A published cell.

    Attributes:
        row, column: where it stands on the page.
        quantity: what answers it.
        value, spread: as printed, mean and standard deviation; NaN where nothing is.
        group: of runs or evaluations that answers it, "" for none.
        absent: why nothing does.
        other: the row is another group's program.
    """

    row: str
    column: str
    quantity: Quantity
    value: float
    spread: float = np.nan
    group: str = ""
    absent: str = ""
    other: bool = False


def ef_tables(ledger: Ledger, specs: Iterable[RunSpec]) -> Tables:
    """Ejection fractions of runs, one a seed: study, patient, ef, predicted_ef."""
    return [{"studies": ledger.scores(spec)} for spec in specs]


def answered(entries: Iterable[Entry], results: Mapping[str, Tables], profile: Profile) -> pd.DataFrame:
    """Published cells with ours and their status, in the columns of ``scorecard.Cell``.

    Args:
        entries: the cells.
        results: tables by group, one a seed.
        profile: of the results.
    """
    data = None if profile.css is None else data_of(profile)
    parts = []
    for e in entries:
        asked = Asked(e.row, {e.column: e.value}, e.group, other=e.other, absent=e.absent, data=data,
                      reason=e.absent if e.other else "", spread={e.column: e.spread})
        parts.append(cells([asked], results, {e.column: e.quantity}, profile))
    return pd.concat(parts, ignore_index=True)


def left_out(profile: Profile, what: str) -> str:
    """Why a cell of a run that the book could make has no value."""
    if profile.css is None:
        return f"profile {profile.name!r} runs no CSS"
    return f"profile {profile.name!r}, or a reader's values, leave out {what}"


@dataclass(frozen=True)
class Order:
    """A claim about an order of groups.

    Attributes:
        text: the claim.
        better: group that must have the smaller error, or score higher.
        worse: the other groups; it must hold against each.
        of: ``ef``: the error of one clip of each study, or of evaluations where there are no runs; ``dice``: of the traced
            frames; else the column of the studies of evaluations by the same name, of which more is better.
        unit: of a difference of such a column.
        factor: to that unit.
        margin: how far ``better`` may lie behind and the claim still holds.
        small: in the unit, the difference below which neither side is better; None: no such bound is set.
    """

    text: str
    better: str
    worse: tuple[str, ...]
    of: str = "ef"
    unit: str = ""
    factor: float = 1.0
    margin: float = 0.0
    small: float | None = None


def compared(orders: Iterable[Order]) -> list[frozenset[str]]:
    """The groups of each claim."""
    return [frozenset((order.better, *order.worse)) for order in orders]


def judged(orders: Iterable[Order], ledger: Ledger, runs: Runs,
           evaluations: Mapping[str, list[EvaluationSpec]] | None = None, further: Further | None = None) -> pd.DataFrame:
    """Claims with their verdicts: columns claim, status, why.

    Args:
        orders: the claims.
        ledger: gives runs and evaluations.
        runs: by group, one a seed.
        evaluations: by group, one a seed, for claims on their columns.
        further: more seeds, for the claims whose groups all have some.
    """
    profile, known, out, further = ledger.workspace.profile, {}, [], further or Further()
    for order in orders:
        source, more = (runs, further.runs) if order.of in ("ef", "dice") and runs else (evaluations or {}, further.evaluations)
        named = (order.better, *order.worse)
        missing = [name for name in named if name not in source]
        if missing:
            verdict = Verdict("not run", left_out(profile, missing[0]))
        else:
            tables = {}
            for name, specs in with_further(source, more, named).items():
                if (name, order.of, len(specs)) not in known:
                    known[name, order.of, len(specs)] = [_scores(ledger, spec, order) for spec in specs]
                tables[name] = known[name, order.of, len(specs)]
            scale = {"ef": EF_SCALE, "dice": DICE}.get(order.of) or Scale("score", order.factor, order.unit, order.small)
            verdict = _verdict(order, tables, scale, profile.quotable)
        out.append({"claim": order.text, "status": verdict.status, "why": verdict.why})
    return pd.DataFrame(out, columns=["claim", "status", "why"])


def judged_on(entry: Experiment, orders: Iterable[Order], ledger: Ledger, options: Options) -> pd.DataFrame:
    """:func:`judged` on the runs, evaluations and further seeds of an entry with the reader's values."""
    turned, profile = entry.turned(options.changed), ledger.workspace.profile
    return judged(orders, ledger, turned.runs(profile), turned.evaluations(profile), turned.further(profile))


def _scores(ledger: Ledger, spec: RunSpec | EvaluationSpec, order: Order) -> pd.DataFrame:
    """Scores, of which more is better, in the columns that a verdict takes."""
    if order.of == "dice":
        return ledger.scores(spec)
    if order.of == "ef":
        table = ledger.scores(spec) if isinstance(spec, RunSpec) else ledger.evaluate([spec])[0].studies
        return table[["study", "patient"]].assign(frame=0, phase="", score=-(table.predicted_ef - table.ef).abs())
    table = ledger.evaluate([spec])[0].studies
    return table[["study", "patient"]].assign(frame=0, phase="", score=table[order.of].astype(float))


def _verdict(order: Order, tables: dict[str, list[pd.DataFrame]], scale: Scale, quotable: bool) -> Verdict:
    lost = {s for group in tables.values() for t in group for s in t.study[t[scale.column].isna()]}
    tables = {name: [t[~t.study.isin(lost)] for t in group] for name, group in tables.items()}
    if not all(len(t) for group in tables.values() for t in group):
        return Verdict("undecided", "no study has a value on both sides")
    pairs = [(f"{order.better} against {name}", tables[order.better], tables[name]) for name in order.worse]
    found = all_verdict(pairs, quotable=quotable, margin=order.margin, scale=scale)
    return Verdict(found.status, found.why + (f"; without {len(lost)} studies that lack a value" if lost else ""))
