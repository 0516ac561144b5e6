"""The catalogue of the book: its papers, their pages in reading order, and what each page needs.

Reading order, table of contents, plan, batch, scorecard and tests all follow from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import nbformat

from echolib import published
from echolib.config.profile import Profile, Wanted
from echolib.config.specs import DataSpec, RunSpec, chain
from echolib.errors import ConfigError, NotebookError
from echolib.evaluation.evaluation import EvaluationSpec
from echolib.ledger.ledger import Ledger
from echolib.pages.experiment import Experiment, Needs, once
from echolib.pages.notebooks import validate


@dataclass(frozen=True)
class Question:
    """A question that the front page answers by the verdict on a claim.

    Attributes:
        text: the question; "yes" means that the claim holds.
        entry: id of the entry that makes the claim.
        claim: its text.
    """

    text: str
    entry: str
    claim: str


@dataclass(frozen=True)
class Paper:
    """A part of the book.

    Attributes:
        id: prefix of its published CSVs, and the name of its folder.
        title: of the part.
        place: among the parts.
        lead: id of the entry whose table opens the scorecard; "" for none.
        questions: of the front page.
        after: Markdown pages that stand after its notebooks.
        generated: (folder of the profiles) -> parts of its Markdown pages by file name.
    """

    id: str
    title: str
    place: int
    lead: str = ""
    questions: tuple[Question, ...] = ()
    after: tuple[str, ...] = ()
    generated: Callable[[Path], dict[str, str]] = lambda profiles: {}


@dataclass(frozen=True)
class Catalogue:
    """Papers with their pages.

    Attributes:
        pages: the entries of every paper; sorted by place here.
        home: Markdown page that opens the book.
        closing: title and Markdown pages of the last part.

    Raises:
        ConfigError: two entries have one name, or two papers share a notebook.
    """

    pages: dict[Paper, tuple[Experiment, ...]]
    home: str = "book/index"
    closing: tuple[str, tuple[str, ...]] = ("", ())
    entries: dict[str, Experiment] = field(init=False)

    def __post_init__(self) -> None:
        ordered = {paper: tuple(sorted(self.pages[paper], key=lambda e: e.place))
                   for paper in sorted(self.pages, key=lambda p: (p.place, p.id))}
        entries, owner = {}, {}
        for paper, group in ordered.items():
            for entry in group:
                if entry.id in entries:
                    raise ConfigError(f"two pages are called {entry.id!r}; expected every id once")
                if owner.setdefault(entry.notebook, paper.id) != paper.id:
                    raise ConfigError(f"{entry.id}: notebook {entry.notebook!r} belongs to paper {owner[entry.notebook]!r} "
                                      f"already; expected another one for paper {paper.id!r}")
                entries[entry.id] = entry
        object.__setattr__(self, "pages", ordered)
        object.__setattr__(self, "entries", entries)

    @property
    def papers(self) -> tuple[Paper, ...]:
        """The parts in order."""
        return tuple(self.pages)

    @property
    def notebooks(self) -> tuple[str, ...]:
        """Notebooks in reading order."""
        return tuple(dict.fromkeys(entry.notebook for entry in self.entries.values()))

    @property
    def timed(self) -> tuple[str, ...]:
        """Notebooks that measure time."""
        return tuple(dict.fromkeys(entry.notebook for entry in self.entries.values() if entry.times is not None))

    def take_times(self, notebook: str, ledger: Ledger, values: dict[str, object] | None = None) -> None:
        """Take all the times that a notebook shows, with a reader's values: kept ones, or measured ones."""
        for entry in self.turned(notebook, values or {}):
            if entry.times is not None:
                entry.times(ledger, entry.options)

    def of_notebook(self, notebook: str) -> tuple[Experiment, ...]:
        """The entries of a notebook, the first one its main one.

        Raises:
            ConfigError: no entry names it.
        """
        found = tuple(entry for entry in self.entries.values() if entry.notebook == notebook)
        if not found:
            raise ConfigError(f"no page of the book has the notebook {notebook!r}; its notebooks: {', '.join(self.notebooks)}")
        return found

    def turned(self, notebook: str, values: dict[str, object]) -> tuple[Experiment, ...]:
        """The entries of a notebook with a reader's values.

        Raises:
            ConfigError: as :meth:`Experiment.turned`.
        """
        main, *others = self.of_notebook(notebook)
        return main.turned(values), *(entry.turned({name: value for name, value in values.items()
                                                    if name in type(entry.options).model_fields}) for entry in others)

    def needs(self, notebook: str, profile: Profile, values: dict[str, object] | None = None) -> Needs:
        """Everything that a notebook asks the ledger for, each run and evaluation once.

        Args:
            notebook: its name.
            profile: the profile.
            values: a reader's values.

        Raises:
            ConfigError: the profile gives further seeds to claims that there are not.
        """
        total = Needs()
        self._check_further(profile)
        for entry in self.turned(notebook, values or {}):
            total += entry.needs(entry.options.applied(profile))
        return total

    def select(self, name: str | None, profile: Profile) -> Needs:
        """The runs of an entry and the evaluations of its page, all that a page needs, a run or evaluation by key, or (None) all
        of the book.

        Raises:
            ConfigError: no entry, no page and no run or evaluation of the profile has that name.
        """
        if name in self.entries:
            entry = self.entries[name]
            return Needs(entry.needs(profile).runs, self.needs(entry.notebook, profile).evaluations)
        if name in self.notebooks:
            return self.needs(name, profile)
        parts = [self.needs(notebook, profile) for notebook in self.notebooks]
        everything = Needs(once(s for part in parts for run in part.runs for s in chain(run)),
                           once(s for part in parts for s in part.evaluations))
        if name is None:
            return everything
        found = Needs(tuple(s for s in everything.runs if s.key == name),
                      tuple(s for s in everything.evaluations if s.key == name))
        if found == Needs():
            pages = [notebook for notebook in self.notebooks if notebook not in self.entries]
            raise ConfigError(f"no entry, page, run or evaluation {name!r} in profile {profile.name!r}; entries: "
                              f"{', '.join(self.entries)}; pages: {', '.join(pages)}; "
                              f"keys: `echolib plan --profile {profile.name}`")
        return found

    def ordered(self, profile: Profile) -> tuple[RunSpec | EvaluationSpec, ...]:
        """Every run and evaluation of the book, in the order in which the profile wants them; each after what it builds on.

        An evaluation of a page that the profile's order names comes right after its run, whose weights may not be kept.

        Raises:
            ConfigError: the order names an entry or a group that there is not.
        """
        first: list[RunSpec] = []
        named = [self._wanted(one, profile) for one in profile.order]
        for entry, groups in named:
            for seed in profile.seeds:
                runs = entry.groups(profile, seed, entry.options)
                first += [spec for name in groups or runs for spec in chain(runs[name])]
        evaluations = [spec for entry, _ in named for spec in self.needs(entry.notebook, profile).evaluations if spec.run]
        found = [one for spec in once(first) for one in (spec, *(e for e in evaluations if e.run.key == spec.key))]
        everything = self.select(None, profile)
        return once((*found, *everything.runs, *everything.evaluations))

    def _wanted(self, one: Wanted, profile: Profile) -> tuple[Experiment, tuple[str, ...] | None]:
        """An item of a profile's order: the entry, and the groups that are asked for."""
        entry = self._named("order", one.entry, one.groups or (), profile)
        return entry, one.groups

    def _named(self, option: str, name: str, groups: Iterable[str], profile: Profile, *, evaluated: bool = False) -> Experiment:
        """The entry that an option of the profile names with some of its groups of runs; ``evaluated``: or of evaluations."""
        if name not in self.entries:
            raise ConfigError(f"profile {profile.name!r}: {option!r} names no entry {name!r}; entries: {', '.join(self.entries)}")
        entry = self.entries[name]
        have = dict.fromkeys([*entry.groups(profile, profile.seeds[0], entry.options),
                              *(entry.evaluations(profile) if evaluated else ())])
        unknown = [group for group in groups if group not in have]
        if unknown:
            raise ConfigError(f"profile {profile.name!r}: {option!r} names no group {unknown[0]!r} of {name}; its groups: "
                              f"{', '.join(have) or 'none in this profile'}")
        return entry

    def _check_further(self, profile: Profile) -> None:
        """Are there the claims that the profile gives further seeds to?"""
        for one in profile.further:
            entry = self._named("further", one.entry, one.groups, profile, evaluated=True)
            named = [*(frozenset(claim.named) for claim in entry.claims), *entry.compares(profile, entry.options)]
            if not any(groups <= set(one.groups) for groups in named):
                raise ConfigError(f"profile {profile.name!r}: 'further': no claim of {one.entry} that takes more seeds has all "
                                  f"its groups among {', '.join(map(repr, one.groups))}; expected those of a claim: "
                                  f"{'; '.join(', '.join(map(repr, sorted(groups))) for groups in named) or 'it has none'}")

    def check(self, notebook: str, root: Path, profile: Profile, values: dict[str, object] | None = None) -> None:
        """Can the page be made at all, whatever was computed?

        Raises:
            ConfigError: an entry's published table is missing, or a value does not suit the page.
            NotebookError: the notebook is missing or does not take its parameters.
        """
        for entry in self.of_notebook(notebook):
            if entry.published and entry.published not in published.names():
                raise ConfigError(f"{entry.id}: echolib/published/{entry.published}.csv is missing; transcribe {entry.number} "
                                  "there, or correct the page's declaration")
        file, given = source(notebook, root), self.parameters(notebook, profile)
        validate(file, given)
        if "profile" in (values or {}):
            raise ConfigError(f"{notebook}: the profile is not set among the parameters of the page (found "
                              f"{values['profile']!r}); expected --profile")
        self.turned(notebook, values or {})
        validate(file, given | (values or {}))
        self.needs(notebook, profile, values)

    def inspect(self, notebook: str, ledger: Ledger, values: dict[str, object]) -> None:
        """Hold a reader's values against the data, before anything is computed.

        Raises:
            ConfigError: a value names something that the data lack.
        """
        for entry in self.turned(notebook, values):
            entry.inspect(ledger, entry.options)

    def parameters(self, notebook: str, profile: Profile) -> dict[str, object]:
        """The parameters that the book gives to a notebook."""
        shows_smoke = self.of_notebook(notebook)[0].phantoms and profile.echonet.phantom is None
        return {"profile": "smoke" if shows_smoke else profile.name}

    def toc(self) -> dict:
        """The table of contents in Jupyter Book's form: a part for each paper, then the closing part."""
        parts = []
        for paper, group in self.pages.items():
            files: list[str] = []
            for entry in group:
                files += [*entry.prose, f"notebooks/{entry.notebook}"]
            parts.append((paper.title, [*dict.fromkeys(files), *paper.after]))
        parts.append((self.closing[0], list(self.closing[1])))
        return {"format": "jb-book", "root": self.home,
                "parts": [{"caption": title, "chapters": [{"file": f} for f in files]} for title, files in parts if files]}


def source(notebook: str, root: Path) -> Path:
    """The notebook's file in the checkout."""
    return root / "notebooks" / f"{notebook}.ipynb"


def title(notebook: str, root: Path) -> str:
    """The first heading of a notebook, or its name where it has none or cannot be read."""
    try:
        cells = nbformat.reads(source(notebook, root).read_text(encoding="utf-8"), as_version=4).cells
        return next(line[2:].strip() for cell in cells for line in cell.source.splitlines() if line.startswith("# "))
    except (OSError, ValueError, AttributeError, StopIteration, NotebookError):
        return notebook


def cohorts(profile: Profile, wanted: Iterable[Needs]) -> list[DataSpec]:
    """The cohorts that runs and evaluations read, the profile's own first."""
    found = [profile.echonet]
    for one in wanted:
        found += [spec.data for run in one.runs for spec in chain(run)] + [spec.data for spec in one.evaluations]
    return list(dict.fromkeys(found))
