"""What an entry of the registry is made of: a table or figure, its published cells, its runs, its claims.

An entry says which runs it needs (:meth:`Experiment.runs`, by a name of the run's own, one specification a seed) and what
answers each published cell (:meth:`Experiment.cells`): the Dice of a group of runs, a count of a network, or a reason why
nothing here does. Results of another kind (an evaluation, a benchmark) come from the entry's ``measure``, and claims about them
from its ``judge``. The entries themselves stand in :mod:`echolib.papers.simlvseg.experiments`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from echolib.config import ModelName, Profile, RunSpec

if TYPE_CHECKING:
    import pandas as pd

    from echolib.ledger.evaluations import EvaluationSpec
    from echolib.ledger.ledger import Ledger


@dataclass(frozen=True)
class Row:
    """One row of a published table that this repository can run.

    Attributes:
        published: the row's name in the published CSV.
        model: the network of ``models.build``.
        pretrained: with temporal masking first.
        exact: the published parameter and FLOP counts are those of this very network, so they can be checked exactly.
        note: what a reader must know to compare the two.
    """

    published: str
    model: ModelName
    pretrained: bool
    exact: bool
    note: str = ""


@dataclass(frozen=True)
class Measure:
    """What a claim compares, where that is not the Dice of a run's traced frames: a column of the studies of evaluations.

    Attributes:
        column: its name in an evaluation's ``studies``.
        unit: of a difference.
        factor: from the column to the unit.
        decibels: compare 10 log10 of the column (an energy that varies by orders of magnitude between studies).
        less: less of it is better.
    """

    column: str
    unit: str
    factor: float = 1.0
    decibels: bool = False
    less: bool = False


@dataclass(frozen=True)
class Claim:
    """A statement of the paper about an order.

    Attributes:
        text: the statement.
        better: name of the group of runs that scores above the others.
        worse: the other group, or several: then it must hold against each.
        margin: Dice points that ``better`` may lie below and the claim still holds ("loses less than").
        every: turns the claim around: each of ``worse`` scores above ``better`` ("helps at every ratio").
        measure: what is compared between groups of evaluations; None: the Dice of groups of runs.
    """

    text: str
    better: str
    worse: str | tuple[str, ...]
    margin: float = 0.0
    every: bool = False
    measure: Measure | None = None

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """(the side that must score higher, the other side) of every comparison."""
        others = (self.worse,) if isinstance(self.worse, str) else self.worse
        return tuple((other, self.better) if self.every else (self.better, other) for other in others)


@dataclass(frozen=True)
class Printed:
    """One published cell and what answers it here.

    Attributes:
        row, column: where it stands; the column's name in the published CSV.
        value, low, high: as printed, NaN where nothing is; Dice in %.
        group: group of runs whose Dice answers it, "" for none.
        phase: which Dice of those runs (``overall``, ``ES``, ``ED``).
        network: network whose count answers it, or None.
        note: what a reader must know to compare the two.
        absent: why nothing here answers it, when nothing does.
        other: the row is another group's program.
    """

    row: str
    column: str
    value: float
    low: float = np.nan
    high: float = np.nan
    group: str = ""
    phase: str = "overall"
    network: ModelName | None = None
    note: str = ""
    absent: str = ""
    other: bool = False


@dataclass(frozen=True)
class Experiment:
    """A table or figure of a paper.

    Attributes:
        id, paper, number, title: what it is.
        published: the CSV of ``echolib.published``; "" where the paper prints no number there.
        notebook: the page's notebook, without suffix.
        groups: profile and seed -> the runs of that seed by group name.
        cells: profile -> every published cell.
        claims: statements about an order of groups.
        rows: rows of a main table, where there are such.
        measure: results that are not the Dice of a run or a count: ledger -> a table with the columns of
            ``scorecard.Cell``, one row a published cell. Takes the place of ``cells``.
        judge: claims that are not about the Dice of runs: ledger -> a table with columns claim, status, why. Takes the place
            of ``claims``.
        evaluations: profile -> the evaluations that claims with a measure compare, by group name, one a seed.
        draws: id of the entry whose cells this one draws (a figure of a table's numbers has none of its own).
    """

    id: str
    paper: str
    number: str
    title: str
    published: str
    notebook: str
    groups: Callable[[Profile, int], dict[str, RunSpec]]
    cells: Callable[[Profile], list[Printed]]
    claims: tuple[Claim, ...] = ()
    rows: tuple[Row, ...] = ()
    measure: Callable[[Ledger], pd.DataFrame] | None = None
    judge: Callable[[Ledger], pd.DataFrame] | None = None
    evaluations: Callable[[Profile], dict[str, list[EvaluationSpec]]] = lambda profile: {}
    draws: str = ""

    def runs(self, profile: Profile) -> dict[str, list[RunSpec]]:
        """Runs by group name, one for each seed of the profile; without the groups that the profile does not run."""
        out: dict[str, list[RunSpec]] = {}
        for seed in profile.seeds:
            for name, spec in self.groups(profile, seed).items():
                out.setdefault(name, []).append(spec)
        return out
