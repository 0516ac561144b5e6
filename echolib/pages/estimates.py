"""Intervals over seeds and patients, and which of several groups of runs is best.

A resample draws seeds and patients, the same ones for every group of runs, so that what two groups share cancels in their
difference; "how often is this the best one" is counted over such resamples. Published values were measured on
EchoNet-Dynamic; unless the profile reads it, ours are another experiment, so the two stand in separate panels.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from echolib.ledger.ledger import Ledger
from echolib.pages.experiment import Experiment
from echolib.pages.html import html_table
from echolib.pages.scorecard import cells, chip


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
