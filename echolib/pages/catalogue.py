"""The book's notebooks in reading order, and what each needs before it can be run: runs and evaluations.

A notebook that an entry of the registry names needs that entry's runs. Whatever else a notebook asks the ledger for is
declared here, so that a batch can compute it beforehand, each run in a job of its own, and a failure stops the pages that
need it and no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import nbformat

from echolib import published
from echolib.config import DataSpec, Profile, RunSpec
from echolib.errors import ConfigError, NotebookError
from echolib.ledger.evaluations import AnySpec
from echolib.pages.entries import Experiment
from echolib.pages.notebooks import validate
from echolib.papers.companion import ejection
from echolib.papers.simlvseg import figure9_windows as windows
from echolib.papers.simlvseg import figures, table3
from echolib.papers.simlvseg import table3_drawing as table3_figures
from echolib.papers.simlvseg.experiments import REGISTRY, TABLE1

#: Notebooks of the book in reading order.
NOTEBOOKS = ("simlvseg_method", "simlvseg_audit", "phantom_atlas", "simlvseg_table1", "simlvseg_figure6", "simlvseg_figure7",
             "simlvseg_figure8", "simlvseg_figure9", "simlvseg_table2", "simlvseg_table3", "simlvseg_runtime",
             "ejection_fraction", "real_clip")
#: Those that measure time: no other one is executed beside them.
TIMED = ("simlvseg_runtime",)


@dataclass(frozen=True)
class Needs:
    """What a notebook asks the ledger for; a run that another one starts from is not listed by itself.

    Attributes:
        runs: whose records and scores it shows.
        evaluations: whose records and tables it shows.
        weights: those of ``runs`` whose networks it runs.
        logs: those of ``runs`` whose training it draws.
        frames: those of ``evaluations`` whose single frames it draws.
        baseline: it shows the threshold-and-fill baseline.
    """

    runs: tuple[RunSpec, ...] = ()
    evaluations: tuple[AnySpec, ...] = ()
    weights: tuple[RunSpec, ...] = ()
    logs: tuple[RunSpec, ...] = ()
    frames: tuple[AnySpec, ...] = ()
    baseline: bool = False


def _ejection(profile: Profile) -> Needs:
    main, arrhythmia = ejection.needed(profile)
    specs = [s for cohort in (main, arrhythmia) for group in cohort.values() for s in group]
    return Needs(tuple(s.run for s in specs if s.run is not None), tuple(specs), frames=(arrhythmia["SimLVSeg-3D"][0],))


def _method(profile: Profile) -> Needs:
    runs = TABLE1.runs(profile)
    video, image = runs["SimLVSeg-3D"][0], runs["SimLVSeg-SI"][0]
    return Needs(runs=(video.init, image.init, video, image), weights=(video.init, image.init, video, image))


def _table1(profile: Profile) -> Needs:
    runs = TABLE1.runs(profile)
    return Needs(evaluations=(figures.on_test_videos(profile, runs["SimLVSeg-3D"][0]),),
                 logs=tuple(specs[0] for specs in runs.values()), baseline=True)


def _real_clip(profile: Profile) -> Needs:
    run = TABLE1.runs(profile)["SimLVSeg-3D"][0]
    return Needs(runs=(run,), weights=(run,))


def _audit(profile: Profile) -> Needs:
    """Rows 1 and 2 read Table 1's records again."""
    return Needs(tuple(spec for group in TABLE1.runs(profile).values() for spec in group))


def _windows(profile: Profile) -> Needs:
    return Needs(evaluations=tuple(spec for group in windows.needed(profile).values() for spec in group))


def _table3(profile: Profile) -> Needs:
    if profile.camus is None:
        return Needs()
    return Needs(evaluations=(*table3.needed(profile), *table3_figures.shifted(profile)))


#: Notebook -> what it needs besides the runs of the registry's entries that name it.
BESIDES: dict[str, Callable[[Profile], Needs]] = {
    "phantom_atlas": lambda profile: Needs(baseline=True),
    "simlvseg_method": _method,
    "simlvseg_table1": _table1,
    "simlvseg_figure9": _windows,
    "simlvseg_table3": _table3,
    "simlvseg_audit": _audit,
    "simlvseg_runtime": lambda profile: Needs(),
    "ejection_fraction": _ejection,
    "real_clip": _real_clip,
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
    parts = [*(_of(entry, profile) for entry in entries), more]
    return replace(more, runs=_once(s for part in parts for s in part.runs),
                   evaluations=_once(s for part in parts for s in part.evaluations))


def _of(entry: Experiment, profile: Profile) -> Needs:
    """What an entry of the registry compares."""
    evaluations = [spec for group in entry.evaluations(profile).values() for spec in group]
    runs = [spec for group in entry.runs(profile).values() for spec in group]
    return Needs(_once([*runs, *(s.run for s in evaluations if s.run is not None)]), _once(evaluations))


def check(notebook: str, root: Path, profile: Profile) -> None:
    """Can the page be made at all, whatever was computed?

    Raises:
        ConfigError: an entry's published table is missing, or nothing says what the notebook needs.
        NotebookError: the notebook is missing or does not take its parameters.
    """
    for entry in REGISTRY.values():
        if entry.notebook == notebook and entry.published and entry.published not in published.names():
            raise ConfigError(f"{entry.id}: echolib/published/{entry.published}.csv is missing; transcribe {entry.number} "
                              "there, or correct the entry in echolib/papers/simlvseg/experiments.py")
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
    """The runs of a registry's entry and the evaluations of its page, a run or evaluation by key, or (None) those of all pages.

    Raises:
        ConfigError: no entry and no run or evaluation of the profile has that name.
    """
    if name in REGISTRY:
        return Needs(_of(REGISTRY[name], profile).runs, needs(REGISTRY[name].notebook, profile).evaluations)
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
