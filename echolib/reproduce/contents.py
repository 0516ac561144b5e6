"""The book's notebooks in reading order, and what each needs before it can be run: runs and evaluations.

A notebook that an entry of the registry names needs that entry's runs. Whatever else a notebook asks the ledger for is
declared here, so that a batch can compute it beforehand, each run in a job of its own, and a failure stops the pages that
need it and no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import nbformat

from echolib import published
from echolib.config import DataSpec, Profile, RunSpec
from echolib.errors import ConfigError, NotebookError
from echolib.reproduce import ejection
from echolib.reproduce.evaluations import EvaluationSpec
from echolib.reproduce.experiments import REGISTRY, TABLE1
from echolib.reproduce.notebooks import validate

#: Notebooks of the book in reading order.
NOTEBOOKS = ("simlvseg_method", "simlvseg_audit", "phantom_atlas", "simlvseg_table1", "simlvseg_figure7", "simlvseg_figure8",
             "simlvseg_table2", "simlvseg_runtime", "ejection_fraction", "real_clip")


@dataclass(frozen=True)
class Needs:
    """What a notebook asks the ledger for; a run that another one starts from is not listed by itself."""

    runs: tuple[RunSpec, ...] = ()
    evaluations: tuple[EvaluationSpec, ...] = ()


def _ejection(profile: Profile) -> Needs:
    specs = [s for cohort in ejection.needed(profile) for group in cohort.values() for s in group]
    return Needs(tuple(s.run for s in specs if s.run is not None), tuple(specs))


def _method(profile: Profile) -> Needs:
    runs = TABLE1.runs(profile)
    return Needs(runs=(runs["SimLVSeg-3D"][0], runs["SimLVSeg-SI"][0]))


def _table1(profile: Profile) -> Needs:
    return Needs(tuple(spec for group in TABLE1.runs(profile).values() for spec in group))


#: Notebook -> what it needs besides the runs of the registry's entries that name it.
BESIDES: dict[str, Callable[[Profile], Needs]] = {
    "phantom_atlas": lambda profile: Needs(),
    "simlvseg_method": _method,
    "simlvseg_audit": _table1,  # rows 1 and 2 re-read them
    "simlvseg_runtime": lambda profile: Needs(),
    "ejection_fraction": _ejection,
    "real_clip": lambda profile: Needs(runs=(TABLE1.runs(profile)["SimLVSeg-3D"][0],)),
}


def needs(notebook: str, profile: Profile) -> Needs:
    """What a notebook needs under a profile, each run and evaluation once, in the registry's order.

    Raises:
        ConfigError: neither the registry nor :data:`BESIDES` knows the notebook.
    """
    entries = [entry for entry in REGISTRY.values() if entry.notebook == notebook]
    if not entries and notebook not in BESIDES:
        raise ConfigError(f"{notebook}: no entry of the registry names this notebook; say in contents.BESIDES what it needs")
    more = BESIDES.get(notebook, lambda profile: Needs())(profile)
    runs = [spec for entry in entries for group in entry.runs(profile).values() for spec in group]
    return Needs(_once([*runs, *more.runs]), _once(more.evaluations))


def check(notebook: str, root: Path, profile: Profile) -> None:
    """Can the page be made at all, whatever was computed?

    Raises:
        ConfigError: an entry's published table is missing, or nothing says what the notebook needs.
        NotebookError: the notebook is missing or does not take its parameters.
    """
    for entry in REGISTRY.values():
        if entry.notebook == notebook and entry.published not in published.names():
            raise ConfigError(f"{entry.id}: echolib/published/{entry.published}.csv is missing; transcribe {entry.number} "
                              "there, or correct the entry in echolib/reproduce/experiments.py")
    needs(notebook, profile)
    validate(source(notebook, root), parameters(notebook, profile))


def source(notebook: str, root: Path) -> Path:
    """Where a notebook lies in the checkout."""
    return root / "notebooks" / f"{notebook}.ipynb"


def parameters(notebook: str, profile: Profile) -> dict[str, object]:
    """The parameters that the book gives to a notebook."""
    # The atlas shows phantoms with their truth, which real data has not: under a real profile it shows the smallest cohort.
    real = profile.echonet.phantom is None
    return {"profile": "smoke" if real and notebook == "phantom_atlas" else profile.name}


def title(notebook: str, root: Path) -> str:
    """The first heading of a notebook, or its name where it has none or cannot be read."""
    try:
        cells = nbformat.reads(source(notebook, root).read_text(encoding="utf-8"), as_version=4).cells
        return next(line[2:].strip() for cell in cells for line in cell.source.splitlines() if line.startswith("# "))
    except (OSError, ValueError, AttributeError, StopIteration, NotebookError):
        return notebook


def select(name: str | None, profile: Profile) -> Needs:
    """The runs and evaluations of a registry's entry, of one key, or (None) of all pages.

    Raises:
        ConfigError: no entry and no run or evaluation of the profile has that name.
    """
    if name in REGISTRY:
        return Needs(_once(spec for group in REGISTRY[name].runs(profile).values() for spec in group))
    parts = [needs(notebook, profile) for notebook in NOTEBOOKS]
    everything = Needs(_once(s for part in parts for run in part.runs for s in chain(run)),
                       _once(s for part in parts for s in part.evaluations))
    if name is None:
        return everything
    found = Needs(tuple(s for s in everything.runs if s.key == name), tuple(s for s in everything.evaluations if s.key == name))
    if found == Needs():
        raise ConfigError(f"no entry, run or evaluation {name!r} in profile {profile.name!r}; entries: {', '.join(REGISTRY)}; "
                          f"keys: `echolib plan --profile {profile.name}`")
    return found


def chain(spec: RunSpec) -> list[RunSpec]:
    """A run after the runs that it starts from."""
    return [*chain(spec.init), spec] if spec.init is not None else [spec]


def cohorts(profile: Profile, wanted: Iterable[Needs]) -> list[DataSpec]:
    """The cohorts that runs and evaluations read, the profile's own first."""
    found = [profile.echonet]
    for one in wanted:
        found += [spec.data for run in one.runs for spec in chain(run)] + [spec.data for spec in one.evaluations]
    return list(dict.fromkeys(found))


def _once(specs: Iterable) -> tuple:
    return tuple({spec.key: spec for spec in specs}.values())
