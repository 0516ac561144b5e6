"""Runs laid out over folds of patients, and their results put together again: what SSCF's tables share.

Where a profile has several folds, a seed trains one network for each, tests it on the patients that it has not seen, and the
seed's result is that of all patients together. Where it has one, the data set's own split stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from echolib.config.profile import Profile
from echolib.config.specs import RunSpec
from echolib.evaluation.kinds.traced import TracedSpec
from echolib.ledger.evaluations import Evaluation
from echolib.ledger.ledger import Ledger
from echolib.pages.experiment import Claim, Experiment, Groups, Options, with_further
from echolib.pages.quantities import Asked, Quantity, Tables, cells
from echolib.pages.scorecard import claim_verdict
from echolib.pages.verdict import Verdict
from echolib.papers.sscf.runs import DATASETS, data_of, subsets

#: Columns of the published tables -> how they are measured.
QUANTITIES = {"dc": Quantity("Dice, %", "frames", "dice", factor=100), "hd": Quantity("HD (largest), px", "frames", "hd_px"),
              "auc": Quantity("AUC, %", "frames", "auc", factor=100)}
HEADINGS = {name: (q.heading, q.decimals) for name, q in QUANTITIES.items()}
#: (profile, name, data set, seed, subset) -> the run of one fold.
Layout = Callable[[Profile, str, str, int, object], RunSpec]


def on(name: str, dataset: str) -> str:
    """The group of a network on a data set."""
    return f"{name} on {dataset}"


def fold_name(group: str, subset) -> str:
    """The group of one fold's runs."""
    return group if subset.folds is None else f"{group}, fold {subset.fold + 1} of {subset.folds}"


def laid_out(profile: Profile, seed: int, names: Iterable[str], run: Layout, datasets: Iterable[str] = DATASETS) -> Groups:
    """One seed's runs: every name on every data set that is trained on, fold by fold."""
    if profile.sscf is None:
        return {}
    out: Groups = {}
    for dataset in datasets:
        if data_of(profile, dataset) is None:
            continue
        for name in names:
            for subset in subsets(profile, dataset, seed):
                out[fold_name(on(name, dataset), subset)] = run(profile, name, dataset, seed, subset)
    return out


def tested(groups: Callable[[Profile, int, Options], Groups]) -> Callable[[Profile, Options], dict[str, list[TracedSpec]]]:
    """The evaluations of a page: every fold's run on its test split, one a seed."""
    def evaluations(profile: Profile, options: Options) -> dict[str, list[TracedSpec]]:
        found: dict[str, list[TracedSpec]] = {}
        for seed in profile.seeds:
            for name, run in groups(profile, seed, options).items():
                found.setdefault(name, []).append(TracedSpec(run=run, data=run.data))
        return found
    return evaluations


def load(ledger: Ledger, specs: dict[str, list[TracedSpec]]) -> dict[str, list[list[Evaluation]]]:
    """Evaluations by group without the fold: for each seed those of its folds; computed where they are missing."""
    out: dict[str, list[list[Evaluation]]] = {}
    for name, each in specs.items():
        seeds = out.setdefault(name.partition(", fold ")[0], [[] for _ in each])
        for seed, one in zip(seeds, ledger.evaluate(each), strict=True):
            seed.append(one)
    return out


def joined(results: dict[str, list[list[Evaluation]]]) -> dict[str, Tables]:
    """The tables of every group, one for each seed: its folds one under the other, so that each patient stands there once."""
    return {name: [{table: pd.concat([one.tables[table] for one in folds], ignore_index=True) for table in ("frames", "studies")}
                   for folds in seeds] for name, seeds in results.items()}


def over_folds(results: dict[str, list[list[Evaluation]]], quantity: Quantity) -> pd.DataFrame:
    """Mean and standard deviation over all folds of all seeds, as the paper prints: index group, columns mean, sd, folds."""
    rows = {}
    for name, seeds in results.items():
        values = [quantity.factor * one.tables[quantity.table][quantity.value].mean() for folds in seeds for one in folds]
        rows[name] = (float(np.nanmean(values)) if np.isfinite(values).any() else np.nan,
                      float(np.nanstd(values, ddof=1)) if np.isfinite(values).sum() > 1 else np.nan, len(values))
    return pd.DataFrame(rows, index=["mean", "sd", "folds"]).T


def published_cells(ledger: Ledger, rows: Iterable[Asked], specs: dict[str, list[TracedSpec]],
                    quantities: dict[str, Quantity] = QUANTITIES) -> pd.DataFrame:
    """The cells of a table; the folds of all seeds count as replicates."""
    rows, found = list(rows), load(ledger, specs)
    tables, profile, parts = joined(found), ledger.workspace.profile, []
    for row in rows:
        replicates = sum(map(len, found[row.group])) if row.group in found else None
        parts.append(cells([row], tables, quantities, profile, replicates))
    return pd.concat(parts, ignore_index=True)


def compared(claims: Iterable[Claim], specs: Iterable[str]) -> list[frozenset[str]]:
    """The groups of each claim, fold by fold, as far as they are among some."""
    specs = list(specs)
    return [frozenset(one for one in specs if one.partition(", fold ")[0] in claim.named) for claim in claims
            if {one.partition(", fold ")[0] for one in specs} >= set(claim.named)]


def judged(ledger: Ledger, claims: Iterable[Claim], entry: Experiment) -> pd.DataFrame:
    """Claims about the Dice of groups, or with a measure about a column of their studies: columns claim, status, why.

    Args:
        claims: of the entry.
        entry: with the reader's values. A claim is tested on further seeds too, where there are some for each fold of its groups.
    """
    profile, rows = ledger.workspace.profile, []
    specs, further = entry.evaluations(profile), entry.further(profile).evaluations
    whole = {name for claim in compared(claims, specs) if claim <= further.keys() for name in claim}
    tables, more = (joined(load(ledger, found)) for found in (specs, {n: further[n] for n in further if n in whole}))
    for claim in claims:
        missing = [name for name in claim.named if name not in tables]
        if missing:
            verdict = Verdict("not run", f"profile {profile.name!r} does not run {missing[0]}")
        else:
            sides = with_further(tables, more, claim.named)
            verdict = claim_verdict(claim, {name: [_scores(claim, seed) for seed in seeds] for name, seeds in sides.items()},
                                    profile.quotable)
        rows.append({"claim": claim.text, "status": verdict.status, "why": verdict.why})
    return pd.DataFrame(rows, columns=["claim", "status", "why"])


def _scores(claim: Claim, tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    if claim.measure is None:
        return tables["frames"][["study", "patient", "frame", "phase", "dice"]]
    value = tables["studies"][claim.measure.column].astype(float)
    return tables["studies"][["study", "patient"]].assign(frame=0, phase="", score=-value if claim.measure.less else value)


def asked_row(profile: Profile, entry: dict, name: str, dataset: str, ran: Iterable[str], *, mine: bool, note: str = "",
              row: str = "", columns: Iterable[str] = QUANTITIES) -> Asked:
    """A published row: ``name`` is the network here that answers it."""
    data = None if profile.sscf is None else data_of(profile, dataset)
    group = on(name, dataset)
    found = any(one.partition(", fold ")[0] == group for one in ran)
    why = (f"profile {profile.name!r} runs no SSCF" if profile.sscf is None else
           f"profile {profile.name!r} does not train on {dataset}" if data is None else
           f"not among the networks that profile {profile.name!r} runs")
    spread = {column: entry.get(f"{column}_sd", np.nan) for column in columns}
    return Asked(row or f"{entry['method']}, {dataset}", entry, group if found else "", other=not mine, absent=why, data=data,
                 note=note, spread=spread)
