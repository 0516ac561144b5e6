"""The scorecard: every published cell of a table beside ours, each with its status, as data and as a page element.

Published Dice was measured on EchoNet-Dynamic, ours on whatever the profile reads; on phantoms they are not the same
experiment, so they stand in separate lines and are never subtracted.
"""

from __future__ import annotations

import html
from dataclasses import asdict, dataclass, fields

import numpy as np
import pandas as pd

from echolib.errors import RecordError
from echolib.evaluation.scores import Score
from echolib.ledger.counts import count
from echolib.ledger.evaluations import Evaluation
from echolib.ledger.ledger import Ledger
from echolib.ledger.records import Record
from echolib.pages.experiment import Claim, Experiment, Measure, Printed, with_further
from echolib.pages.html import html_table
from echolib.pages.verdict import DICE, STATUSES, Scale, Verdict, all_verdict, count_verdict, value_verdict

#: Published column -> (heading, phase of a record's scores).
DICE_COLUMNS = {"dsc_overall": ("Dice, all", "overall"), "dsc_middle": ("Dice, middle", "middle"), "dsc_es": ("Dice, ES", "ES"),
                "dsc_ed": ("Dice, ED", "ED")}
#: Published column -> (heading, decimals printed in the paper).
COUNT_COLUMNS = {"gflops_per_frame": ("GFLOPs per frame", 2), "params_m": ("Parameters, M", 2),
                 "gflops_single_pass": ("GFLOPs per clip", 2)}


@dataclass(frozen=True)
class Cell:
    """One published cell and ours; NaN where there is no value. Dice in %."""

    row: str
    column: str
    published: float
    published_low: float
    published_high: float
    ours: float
    low: float
    high: float
    status: str
    why: str


def cells(experiment: Experiment, ledger: Ledger) -> pd.DataFrame:
    """All cells of a published table, in its order; columns as :class:`Cell`.

    Raises:
        RecordError: a cell would have no status.
    """
    if experiment.measure is not None:
        frame = experiment.measure(ledger, experiment.options)
    else:
        runs, records, out = experiment.runs(ledger.workspace.profile), {}, []
        for printed in experiment.printed(ledger.workspace.profile):
            if printed.group and printed.group not in records:
                records[printed.group] = ledger.require(runs[printed.group])
            out.append(_answer(printed, records.get(printed.group, []), ledger))
        frame = pd.DataFrame(out, columns=[f.name for f in fields(Cell)])
    unknown = frame[~frame.status.isin(STATUSES)]
    if len(unknown):
        raise RecordError(f"{experiment.id}: the published cell {unknown.row.iloc[0]}, {unknown.column.iloc[0]} has no status "
                          f"(found {unknown.status.iloc[0]!r}); expected one of {', '.join(STATUSES)}")
    return frame


def _answer(printed: Printed, records: list[Record], ledger: Ledger) -> Cell:
    """One cell with ours and its status."""
    shown = (printed.row, printed.column, printed.value, printed.low, printed.high)
    if records:
        ours = over_seeds([r.scores[printed.phase] for r in records])
        return Cell(*shown, *ours, **asdict(_dice_verdict(shown[2:], ours, ledger)))
    if printed.network is not None:
        found, decimals = count(ledger.workspace.build, printed.network), COUNT_COLUMNS[printed.column][1]
        value = {"params_m": lambda: found.parameters / 1e6, "gflops_per_frame": lambda: found.gflops_per_frame,
                 "gflops_single_pass": lambda: found.gflops}[printed.column]()
        verdict = count_verdict(printed.value, value, decimals)
        if verdict.status == "differs" and printed.note:
            verdict = Verdict("differs", f"{verdict.why}: {printed.note}")
        return Cell(*shown, value, np.nan, np.nan, **asdict(verdict))
    verdict = _not_run(printed.value) if printed.other else Verdict("not run", printed.absent)
    return Cell(*shown, np.nan, np.nan, np.nan, **asdict(verdict))


def claims(experiment: Experiment, ledger: Ledger) -> pd.DataFrame:
    """Each claim of the experiment with its verdict: columns claim, status, why.

    A claim is tested on the profile's further seeds too, where it has some for each of its groups.
    """
    if experiment.judge is not None:
        return experiment.judge(ledger, experiment.options)
    profile, rows = ledger.workspace.profile, []
    runs, evaluations, known = experiment.runs(profile), experiment.evaluations(profile), {}
    further = experiment.further(profile)
    for claim in experiment.claims:
        groups, more = (evaluations, further.evaluations) if claim.measure else (runs, further.runs)
        missing = sorted(set(claim.named) - groups.keys())
        if missing:
            more_of_them = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            chosen = experiment.options.changed.keys() - {"seeds"}
            left_out = "a reader's values leave out" if chosen else f"profile {profile.name!r} does not run"
            verdict = Verdict("not run", f"{left_out} {missing[0]}{more_of_them}")
        else:
            tables = {}
            for name, specs in with_further(groups, more, claim.named).items():
                if (name, claim.measure, len(specs)) not in known:
                    known[name, claim.measure, len(specs)] = _scores(experiment, ledger, claim.measure, specs)
                tables[name] = known[name, claim.measure, len(specs)]
            verdict = claim_verdict(claim, tables, profile.quotable)
        rows.append({"claim": claim.text, "status": verdict.status, "why": verdict.why})
    return pd.DataFrame(rows, columns=["claim", "status", "why"])


def _scores(experiment: Experiment, ledger: Ledger, measure: Measure | None, specs: list) -> list[pd.DataFrame]:
    """What a claim compares, a table a seed: the Dice of runs, or a measure of evaluations."""
    if measure is None:
        return [ledger.scores(spec) for spec in specs]
    return study_scores(experiment.adjusted(ledger, ledger.evaluate(specs)), measure)


def study_scores(group: list[Evaluation], measure: Measure) -> list[pd.DataFrame]:
    """A measure of each study as a score of which more is better, in the columns that a verdict takes; one table a seed."""
    out = []
    for one in group:
        value = one.studies[measure.column].astype(float)
        value = 10 * np.log10(value.where(value > 0)) if measure.decibels else value
        out.append(one.studies[["study", "patient"]].assign(frame=0, phase="", score=-value if measure.less else value))
    return out


def claim_verdict(claim: Claim, tables: dict[str, list[pd.DataFrame]], quotable: bool) -> Verdict:
    """The verdict of a claim from the scores of its groups."""
    scale, told = DICE, ""
    if claim.measure is not None:  # a study on which nothing was outlined has no area curve, so no value on that side
        scale = Scale("score", claim.measure.factor, claim.measure.unit, claim.measure.small)
        lost = {study for group in tables.values() for table in group for study in table.study[table.score.isna()]}
        tables = {name: [table[~table.study.isin(lost)] for table in group] for name, group in tables.items()}
        told = f"; without {len(lost)} stud{'ies' if len(lost) > 1 else 'y'} that lack{'' if len(lost) > 1 else 's'} a value" \
            if lost else ""
        if not all(len(table) for group in tables.values() for table in group):
            return Verdict("undecided", "no study has a value on both sides")
    pairs = [(f"{b} against {w}", tables[b], tables[w]) for b, w in claim.pairs]
    found = all_verdict(pairs, quotable=quotable, margin=claim.margin, scale=scale)
    return Verdict(found.status, found.why + told)


def over_seeds(scores: list[Score]) -> tuple[float, float, float]:
    """Mean of the seeds' means, and the mean of the ends of their patient intervals, in %."""
    return tuple(100 * float(np.mean([getattr(s, k) for s in scores])) for k in ("mean", "low", "high"))


def _dice_verdict(printed: tuple[float, float, float], ours: tuple[float, float, float], ledger: Ledger) -> Verdict:
    profile = ledger.workspace.profile
    if profile.echonet.phantom is not None:
        return Verdict("awaiting data", "published on EchoNet-Dynamic, ours on phantoms: not the same experiment")
    return value_verdict(printed, ours, seeds=len(profile.seeds), quotable=profile.quotable)


def _not_run(value: float) -> Verdict:
    if np.isnan(value):
        return Verdict("as published", "the paper prints no value")
    return Verdict("as published", "another group's program, not run here")


def chip(status: str, why: str = "") -> str:
    """A status as a small coloured label; the reason is its tooltip and its accessible description."""
    kind = status.replace(" ", "-")
    return f'<span class="echo-chip echo-{kind}" title="{html.escape(why, quote=True)}">{html.escape(status)}</span>'


def scorecard_html(experiment: Experiment, ledger: Ledger, source: str = "EchoNet-Dynamic", resampled: str = "patients",
                   printed: str = "95 % interval as printed", legend: str | None = None) -> str:
    """The scorecard as an HTML table: published value, ours under it, status under that.

    Args:
        experiment: the table.
        ledger: of the profile.
        source: the data set that the published Dice was measured on.
        resampled: what our intervals resample.
        printed: what stands in brackets after a published value.
        legend: what the two lines of a cell are, where that is no Dice; plain text.
    """
    table, profile = cells(experiment, ledger), ledger.workspace.profile
    headings = {k: v[0] for k, v in (experiment.headings or DICE_COLUMNS | COUNT_COLUMNS).items()}
    columns = {k: headings[k] for k in headings if k in set(table.column)}
    rows, digits = [], {column: decimals for column, (_, decimals) in experiment.headings.items()}
    for method, part in table.groupby("row", sort=False):
        by = part.set_index("column")
        rows.append((html.escape(method), *(_cell(by.loc[c], digits.get(c, 2)) if c in by.index else "" for c in columns)))
    data = source if profile.echonet.phantom is None else f"phantoms, profile “{profile.name}”"
    seeds = f", mean over {len(profile.seeds)} seeds" if len(profile.seeds) > 1 else ""
    apart = ("" if profile.echonet.phantom is None else
             " The two lines are different experiments and are not to be subtracted.")
    counts = "; counts are of the full-width network" if set(COUNT_COLUMNS) & set(table.column) else ""
    told = f'<p class="echo-legend">{html.escape(legend)}</p>' if legend else (
        '<p class="echo-legend"><span class="echo-published">First line, bold:</span> published, on '
        f'{html.escape(source)}, {html.escape(printed)}. <span class="echo-ours">Second line, blue:</span> this book, '
        f"on {html.escape(data)}{seeds}, 95 % interval, {resampled} resampled{counts}.{apart}</p>")
    caption = f"{experiment.number} of the paper: every published cell, ours beneath it, and what may be said of it"
    return told + html_table(caption, ("Method", *columns.values()), rows, "echo-scorecard echo-sortable")


def claims_html(table: pd.DataFrame) -> str:
    """Claims with their verdicts as an HTML table."""
    rows = [(html.escape(r.claim), chip(r.status, r.why), html.escape(r.why)) for r in table.itertuples()]
    return html_table("Claims about an order, and whether this run can settle them", ("Claim", "Verdict", "Why"), rows,
                      "echo-claims")


def _cell(row: pd.Series, decimals: int = 2) -> str:
    first = "–" if np.isnan(row.published) else f"{row.published:.{decimals}f}"
    if np.isfinite(row.published_low):
        first += f' <small>({row.published_low:.{decimals}f}–{row.published_high:.{decimals}f})</small>'
    lines = [f'<span class="echo-published">{first}</span>']
    if np.isfinite(row.ours):
        second = f"{row.ours:.{decimals}f}"
        if np.isfinite(row.low):
            second += f' <small>({row.low:.{decimals}f}–{row.high:.{decimals}f})</small>'
        lines.append(f'<span class="echo-ours">{second}</span>')
    lines.append(chip(row.status, row.why))
    return "".join(lines)
