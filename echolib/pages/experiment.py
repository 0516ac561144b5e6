"""What a page of the book is made of: a table or figure, its published cells, its runs, its claims, what a reader may turn.

An :class:`Experiment` says which runs it needs (:meth:`Experiment.runs`, by a name of the run's own, one specification a seed)
and what answers each published cell (:meth:`Experiment.printed`): the Dice of a group of runs, a count of a network, or a reason
why nothing here does. Results of another kind (an evaluation, a benchmark) come from ``measure``, and claims about them from
``judge``. Pages that are no table of a paper are declared in the same way, with neither cells nor claims.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, TypeVar

import numpy as np
import pandas as pd
from pydantic import Field, ValidationError, field_validator

from echolib.config.profile import Profile
from echolib.config.specs import RunSpec, Strict
from echolib.errors import ConfigError
from echolib.evaluation.evaluation import EvaluationSpec
from echolib.ledger.evaluations import Evaluation
from echolib.ledger.ledger import Ledger

T = TypeVar("T")


class Options(Strict):
    """What a reader of a page may turn; pages add their own.

    A field's name is that of the notebook's parameter, and its default the notebook's; None means as the profile says. Its
    description completes the sentence "parameter X takes ...".
    """

    @field_validator("*")
    @classmethod
    def _distinct(cls, value: Any) -> Any:
        if isinstance(value, tuple) and (not value or len(set(value)) < len(value)):
            raise ValueError("an empty list, or a value twice")
        return value

    def applied(self, profile: Profile) -> Profile:
        """The profile with the reader's values in place of its own."""
        return profile

    @property
    def changed(self) -> dict[str, Any]:
        """The values that a reader gave in place of the page's own, by name."""
        return {name: value for name, value in self if value != type(self).model_fields[name].default}


class SeedOptions(Options):
    """The options of a page that shows runs: their seeds."""

    seeds: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(None, description="different whole numbers, 0 or more")

    def applied(self, profile: Profile) -> Profile:
        """The profile with other seeds."""
        return profile if self.seeds is None else profile.model_copy(update={"seeds": self.seeds, "further": ()})


def with_option(profile: Profile, option: str, what: str, changes: dict[str, Any]) -> Profile:
    """The profile with other values within one of its options; None leaves a value as it is.

    Args:
        profile: to change.
        option: name of the profile's option.
        what: the option lays out, in words.
        changes: values by name.

    Raises:
        ConfigError: the profile has no such option.
    """
    changes = {name: value for name, value in changes.items() if value is not None}
    if not changes:
        return profile
    size = getattr(profile, option)
    if size is None:
        raise ConfigError(f"profile {profile.name!r} runs no {what}, so {', '.join(changes)} cannot be set; expected a profile "
                          f"with the option {option!r}")
    return profile.model_copy(update={option: size.model_copy(update=changes)})


def with_ablation(profile: Profile, changes: dict[str, Any]) -> Profile:
    """The profile with other cells of its grids; see :func:`with_option`."""
    return with_option(profile, "ablation", "ablations", changes)


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
    model: str
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
        small: in the unit, the difference below which neither side is better; None: no such bound is set.
    """

    column: str
    unit: str
    factor: float = 1.0
    decibels: bool = False
    less: bool = False
    small: float | None = None


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

    @property
    def named(self) -> tuple[str, ...]:
        """The groups that it compares, each once."""
        return tuple(dict.fromkeys(name for pair in self.pairs for name in pair))


@dataclass(frozen=True)
class Further:
    """Runs and evaluations of more seeds than the profile's, by group name."""

    runs: dict[str, list[RunSpec]] = field(default_factory=dict)
    evaluations: dict[str, list[EvaluationSpec]] = field(default_factory=dict)


def with_further(groups: Mapping[str, list[T]], more: Mapping[str, list[T]], named: Iterable[str]) -> dict[str, list[T]]:
    """What some groups hold, one a seed, and after it what further seeds do, where there are some for each of these groups.

    Args:
        groups: of the profile's seeds, the named ones among them.
        more: of further seeds.
        named: the groups of one claim.
    """
    named = tuple(dict.fromkeys(named))
    each = more.keys() >= set(named)
    return {name: [*groups[name], *more[name]] if each else groups[name] for name in named}


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
    network: str | None = None
    note: str = ""
    absent: str = ""
    other: bool = False


def once(specs: Iterable) -> tuple:
    """Specifications in order, each key once."""
    return tuple({spec.key: spec for spec in specs}.values())


@dataclass(frozen=True)
class Needs:
    """What a page asks the ledger for; a run that another one builds on is not listed by itself.

    Attributes:
        runs: whose records and scores it shows.
        evaluations: whose records and tables it shows.
        weights: those of ``runs`` whose networks it runs.
        logs: those of ``runs`` whose training it draws.
        bulk: those of ``evaluations`` whose large tables it reads.
    """

    runs: tuple[RunSpec, ...] = ()
    evaluations: tuple[EvaluationSpec, ...] = ()
    weights: tuple[RunSpec, ...] = ()
    logs: tuple[RunSpec, ...] = ()
    bulk: tuple[EvaluationSpec, ...] = ()

    def __add__(self, other: Needs) -> Needs:
        return Needs(*(once((*getattr(self, f), *getattr(other, f))) for f in ("runs", "evaluations", "weights", "logs", "bulk")))


Groups = dict[str, RunSpec]


@dataclass(frozen=True)
class Experiment:
    """A page of the book, or one table or figure on it.

    Attributes:
        id, number, title: what it is.
        notebook: its notebook, without suffix; two entries may share one.
        place: where it stands among the pages of its paper.
        published: the CSV of ``echolib.published``; "" where the paper prints no number there.
        groups: (profile, seed, options) -> the runs of that seed by group name.
        evaluations_of: (profile, options) -> the evaluations that claims with a measure compare, by group name, one a seed.
        cells: (profile, options) -> every published cell.
        claims: statements about an order of groups.
        rows: rows of a main table, where there are such.
        measure: results that are not the Dice of a run or a count: (ledger, options) -> a table with the columns of
            ``scorecard.Cell``, one row a published cell. Takes the place of ``cells``.
        judge: claims that are not about the Dice of runs: (ledger, options) -> a table with columns claim, status, why. Takes
            the place of ``claims``.
        compares: the groups of each claim that ``judge`` tests on :meth:`further` seeds too.
        adjust: (ledger, evaluation, options) -> the evaluation that claims compare, where a reader's value changes what is
            measured on it.
        inspect: (ledger, options) -> nothing; raises a ConfigError where a value names something that the data lack. Asked before
            anything is computed.
        more: (profile, options) -> what the notebook asks the ledger for besides.
        headings: heading and decimals by column of the published table, where they are not those of Dice and of counts.
        quote: (ledger, options) -> HTML that the front page shows of it.
        draws: id of the entry whose cells this one draws (a figure of a table's numbers has none of its own).
        times: (ledger, options) -> nothing that is used; takes the times that the page shows, as the page does. While one of them
            has to be measured, no other notebook is executed beside it.
        phantoms: it shows phantoms with their truth, which real data has not: under a profile of real data it shows those of
            the profile ``smoke``.
        prose: Markdown pages that stand before it in the table of contents.
        options: what a reader may turn, and was turned.
    """

    id: str
    number: str
    title: str
    notebook: str
    place: int
    published: str = ""
    groups: Callable[[Profile, int, Options], Groups] = lambda profile, seed, options: {}
    evaluations_of: Callable[[Profile, Options], dict[str, list[EvaluationSpec]]] = lambda profile, options: {}
    cells: Callable[[Profile, Options], list[Printed]] = lambda profile, options: []
    claims: tuple[Claim, ...] = ()
    rows: tuple[Row, ...] = ()
    measure: Callable[[Ledger, Options], pd.DataFrame] | None = None
    judge: Callable[[Ledger, Options], pd.DataFrame] | None = None
    compares: Callable[[Profile, Options], Iterable[frozenset[str]]] = lambda profile, options: ()
    adjust: Callable[[Ledger, Evaluation, Options], Evaluation] = lambda ledger, evaluation, options: evaluation
    inspect: Callable[[Ledger, Options], None] = lambda ledger, options: None
    more: Callable[[Profile, Options], Needs] = lambda profile, options: Needs()
    headings: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    quote: Callable[[Ledger, Options], str] | None = None
    draws: str = ""
    times: Callable[[Ledger, Options], object] | None = None
    phantoms: bool = False
    prose: tuple[str, ...] = ()
    options: Options = Options()

    def turned(self, values: dict[str, Any]) -> Experiment:
        """The same page with the reader's values.

        Raises:
            ConfigError: an unknown name, a wrong type or a value out of range, in one sentence.
        """
        known = type(self.options).model_fields
        try:
            return replace(self, options=type(self.options).model_validate(values))
        except ValidationError as error:
            name = str(error.errors()[0]["loc"][0])
            if name not in known:
                raise ConfigError(f"{self.notebook}: the page has no parameter {name!r}; its parameters: "
                                  f"{', '.join(('profile', *known))}") from None
            raise ConfigError(f"{self.notebook}: parameter {name!r} takes {known[name].description}; not "
                              f"{values[name]!r}") from None

    def adjusted(self, ledger: Ledger, evaluations: Iterable[Evaluation]) -> list[Evaluation]:
        """Evaluations as the reader's values ask for them."""
        return [self.adjust(ledger, one, self.options) for one in evaluations]

    def runs(self, profile: Profile) -> dict[str, list[RunSpec]]:
        """Runs by group name, one for each seed of the profile; without the groups that the profile does not run."""
        out: dict[str, list[RunSpec]] = {}
        for seed in profile.seeds:
            for name, spec in self.groups(profile, seed, self.options).items():
                out.setdefault(name, []).append(spec)
        return out

    def further(self, profile: Profile) -> Further:
        """Runs and evaluations of seeds beyond the profile's, for the claims that hang on them; none on a reader's own page.

        That the profile names groups which the entry has is checked by :meth:`Catalogue.needs`.
        """
        out = Further()
        for one in profile.further if not self.options.changed else ():
            if one.entry == self.id:
                of_seeds = profile.model_copy(update={"seeds": one.seeds, "further": ()})
                for into, groups in ((out.runs, self.runs(of_seeds)), (out.evaluations, self.evaluations(of_seeds))):
                    for name in groups.keys() & set(one.groups):
                        into.setdefault(name, []).extend(groups[name])
        return out

    def evaluations(self, profile: Profile) -> dict[str, list[EvaluationSpec]]:
        """The evaluations that claims compare, by group name."""
        return self.evaluations_of(profile, self.options)

    def printed(self, profile: Profile) -> list[Printed]:
        """Every published cell and what answers it."""
        return self.cells(profile, self.options)

    def needs(self, profile: Profile) -> Needs:
        """Everything that the page asks the ledger for."""
        more = self.further(profile)
        evaluations = [s for groups in (self.evaluations(profile), more.evaluations) for group in groups.values() for s in group]
        runs = [spec for groups in (self.runs(profile), more.runs) for group in groups.values() for spec in group]
        own = Needs(once([*runs, *(s.run for s in evaluations if s.run is not None)]), once(evaluations))
        return own + self.more(profile, self.options)
