"""Finds out what making a book would do: asks the ledger about every run and evaluation, and the estimator what is left.

Nothing is computed or written. Of a cohort that is here the tables are read, for its fingerprint.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256

import torch

from echolib.batch.cost import Estimator, known_records, studies
from echolib.batch.make import notebook_inputs
from echolib.batch.plan import FINISHED, Plan, Step
from echolib.config.specs import DataSpec, RunSpec, chain
from echolib.errors import ConfigError, DataError, EcholibError, RecordError
from echolib.evaluation.evaluation import EvaluationSpec
from echolib.ledger import committed
from echolib.ledger.ledger import Ledger
from echolib.ledger.records import Record, read_record
from echolib.ledger.workspace import Workspace
from echolib.pages.catalogue import cohorts, source, title
from echolib.pages.experiment import Needs
from echolib.pages.notebooks import is_current
from echolib.papers import book


def cohort_name(data: DataSpec) -> str:
    """A name for a cohort, such as ``echonet-arrhythmia-1f2e3d4c``; ``echonet-real-...`` for a data set."""
    kind = "real" if data.phantom is None else data.phantom.preset
    return f"{data.layout}-{kind}-{sha256(data.model_dump_json().encode()).hexdigest()[:8]}"


def cohort_named(workspace: Workspace, name: str) -> DataSpec:
    """The cohort of a profile that :func:`cohort_name` gives this name.

    Raises:
        ConfigError: there is none.
    """
    found = {cohort_name(d): d for d in cohorts(workspace.profile, wanted(workspace)[0].values())}
    if name not in found:
        raise ConfigError(f"profile {workspace.profile.name!r} reads no cohort {name!r}; its cohorts: {', '.join(found)}")
    return found[name]


def wanted(workspace: Workspace) -> tuple[dict[str, Needs], dict[str, str]]:
    """What each page of the book needs, and the pages that cannot be made at all with the reason."""
    needs, problems = {}, {}
    for name in book.BOOK.notebooks:
        try:
            book.BOOK.check(name, workspace.root, workspace.profile)
            needs[name] = book.BOOK.needs(name, workspace.profile)
        except EcholibError as error:
            problems[name] = str(error)
    return needs, problems


def make_plan(workspace: Workspace, *, rate: float | None = None, share: float | None = None) -> Plan:
    """The plan of a profile.

    Args:
        workspace: the profile's folders.
        rate: operations per second of matrix products on the machine that will compute; None: this one, as measured.
        share: of that rate that training reaches; None: ``cost.SHARE``.
    """
    return _Planner(workspace, rate, share).plan()


class _Planner:
    """Collects the steps of one plan."""

    def __init__(self, workspace: Workspace, rate: float | None, share: float | None) -> None:
        self.workspace = workspace
        self.ledger = Ledger(workspace, say=lambda text: None, progress=False, computes=False)
        self.estimator = Estimator(known_records(workspace.root), rate, "cuda" if torch.cuda.is_available() else "cpu",
                                   share)
        self.needs, self.problems = wanted(workspace)
        self.steps: dict[str, Step] = {}

    def plan(self) -> Plan:
        """Data, runs, evaluations, notebooks, book."""
        for data in cohorts(self.workspace.profile, self.needs.values()):
            self._data(data)
        runs = {}
        for page, needs in self.needs.items():
            for spec in [s for run in (*needs.runs, *(e.run for e in needs.evaluations if e.run)) for s in chain(run)]:
                runs.setdefault(spec.key, (spec, []))[1].append(page)
        self.leftovers = self._leftovers(runs)
        for spec, pages in runs.values():
            self._add(self._run(spec), pages)
        for page, needs in self.needs.items():
            for one in needs.evaluations:
                self._add(self._evaluation(one), [page])
        self._drop_unneeded(runs)
        self._mark_unneeded()
        for page in book.BOOK.notebooks:
            self._notebook(page)
        last = tuple(s.id for s in self.steps.values() if s.kind == "notebook")
        self._add(Step("book", "book", "book", "pages", "to do", "rendered again where anything in them changed", needs=last))
        return Plan(self.workspace.profile.name, self.workspace.profile.purpose, tuple(self.steps.values()), self.problems,
                    _arithmetic(self.estimator))

    def _add(self, step: Step, pages: Iterable[str] = ()) -> None:
        known = self.steps.get(step.id, step)
        self.steps[step.id] = replace(known, pages=tuple(dict.fromkeys([*known.pages, *pages])))

    def _data(self, data: DataSpec) -> None:
        """Cohort and store; the fingerprint of a cohort that is here becomes known to the ledger."""
        name, counts = cohort_name(data), ", ".join(f"{n} {split}" for split, n in studies(data).items() if n)
        label, needs, why, state = f"{data.layout}: {counts}", (), "", "to do"
        if data.phantom is not None:
            needs = (f"cohort-{name}",)
            here = self.workspace.is_simulated(data)
            self._add(Step(needs[0], "cohort", name, f"simulate {label}", "done" if here else "to do",
                           "simulated" if here else "not simulated yet", cost=None if here else self.estimator.cohort(data)))
            why = "" if here else "the cohort is not simulated yet"
        if not why:
            state, why = self._store(data)
        self._add(Step(f"store-{name}", "store", name, f"pack {label}", state, why, needs=needs,
                       cost=None if state == "done" else self.estimator.store(data)))

    def _store(self, data: DataSpec) -> tuple[str, str]:
        try:
            cohort = self.workspace.read(data)
        except ConfigError as error:  # the folder of a real data set is not named
            return "to do", str(error)
        except DataError as error:
            return "broken", str(error)
        self.ledger.fingerprints[data.model_dump_json()] = cohort.fingerprint
        packed = (self.workspace.store_dir(data, cohort) / "manifest.json").is_file()
        return ("done", "packed") if packed else ("to do", "not packed yet")

    def _run(self, spec: RunSpec) -> Step:
        state, why = self._state(spec, self.ledger.runs.folder(spec), lambda: self.ledger.runs.find(spec))
        if why == "not run yet" and spec.label in self.leftovers:
            why = _spec_changed(spec, self.leftovers[spec.label])
        needs = (f"store-{cohort_name(spec.data)}", *(f"run-{parent.key}" for parent in spec.parents.values()))
        return Step(f"run-{spec.key}", "run", spec.key, spec.label, state, why, spec.seed, needs,
                    cost=None if state in FINISHED else self.estimator.run(spec))

    def _evaluation(self, spec: EvaluationSpec) -> Step:
        state, why = self._state(spec, self.ledger.evaluations.folder(spec),
                                  lambda: self.ledger.evaluations.find(spec))
        run = f"run-{spec.run.key}" if spec.run else None
        if state in FINISHED and run and self.steps[run].state not in FINISHED:
            state, why = "to do", "its run has to be made first"
        if state == "to do" and run and self.steps[run].state == "committed":
            try:
                self.ledger.runs.weights_of(spec.run)
            except RecordError as error:
                state, why = "broken", f"{why}, and {error}"
        needs = (f"store-{cohort_name(spec.data)}", *((run,) if run else ()))
        return Step(f"evaluation-{spec.key}", "evaluation", spec.key, spec.label, state, why, spec.run.seed if spec.run else None,
                    needs, cost=None if state in FINISHED else self.estimator.evaluation(spec))

    def _state(self, spec: RunSpec | EvaluationSpec, folder, ask) -> tuple[str, str]:
        """(state, why); ``ask`` asks the ledger."""
        here = (folder / "record.json").is_file()
        try:
            if spec.data.model_dump_json() not in self.ledger.fingerprints and not self._committed_data(spec.data):
                why = "its data are not here yet; if they come out the same, the record counts" if here else "not run yet"
                return ("check" if here else "to do"), why
            found = ask()
        except (RecordError, DataError) as error:
            return "broken", str(error)
        if found.record is None:
            return "to do", found.why
        return ("committed" if found.committed else "done"), found.why

    def _committed_data(self, data: DataSpec) -> bool:
        """Do committed records say what a phantom that is not simulated yet will be?"""
        return (data.phantom is not None and self.ledger.results is not None
                and committed.fingerprint_of(self.ledger.results, data) is not None)

    def _mark_unneeded(self) -> None:
        """Cohorts and stores of phantoms that nothing reads that is still to be computed. Pages simulate the clips they draw."""
        needed = {need for step in self.steps.values() if step.kind in ("run", "evaluation") and step.state not in FINISHED
                  for need in step.needs}
        for kind in ("store", "cohort"):  # a cohort is needed by its store
            for step in [s for s in self.steps.values() if s.kind == kind and s.state == "to do"]:
                if step.id in needed or "-real-" in step.id:
                    needed |= set(step.needs)
                else:
                    why = "every result on it is here or committed"
                    self.steps[step.id] = replace(step, state="unneeded", why=why, cost=None)

    def _drop_unneeded(self, runs: dict) -> None:
        """A first stage that is not there is not made for a second stage that is."""
        wanted_keys = {s.key for n in self.needs.values() for s in n.runs}
        for key in reversed(runs):
            users = [s for s in self.steps.values() if f"run-{key}" in s.needs]
            if key not in wanted_keys and users and all(s.state in FINISHED for s in users):
                if self.steps[f"run-{key}"].state not in FINISHED:
                    del self.steps[f"run-{key}"]
        for step in list(self.steps.values()):
            self.steps[step.id] = replace(step, needs=tuple(n for n in step.needs if n in self.steps))

    def _notebook(self, page: str) -> None:
        if page in self.problems:
            return
        needs = self.needs[page]
        before = [f"run-{s.key}" for s in needs.runs] + [f"evaluation-{s.key}" for s in needs.evaluations]
        before = (f"store-{cohort_name(self.workspace.profile.echonet)}", *before)
        open_ones = [i for i in before if self.steps[i].state not in FINISHED]
        state, why = "to do", f"waits for {len(open_ones)} of {len(before)} steps"
        if not open_ones:
            out, given = self.workspace.build / "notebooks" / f"{page}.ipynb", book.BOOK.parameters(page, self.workspace.profile)
            try:
                inputs = notebook_inputs(self.ledger, page)
                current, why = is_current(source(page, self.workspace.root), out, given, inputs)
                state = "done" if current else "to do"
            except RecordError as error:  # a record that changed while we looked
                why = str(error)
        self._add(Step(f"notebook-{page}", "notebook", page, title(page, self.workspace.root), state, why,
                       needs=before, pages=(page,)))

    def _leftovers(self, runs: dict) -> dict[str, list[Record]]:
        """Finished runs that no page asks for any more, by label: what a changed specification leaves behind."""
        found: dict[str, list[Record]] = {}
        for path in sorted((self.workspace.build / "runs").glob("*/record.json")):
            if path.parent.name not in runs:
                try:
                    record = read_record(path)
                except RecordError:  # nothing asks for it, so it stops nothing
                    continue
                found.setdefault(record.spec.label, []).append(record)
        return found


def _spec_changed(spec: RunSpec, leftovers: list[Record]) -> str:
    """In which options a run differs from the nearest one of the same label."""
    new = dict(_flat(spec.model_dump(mode="json")))
    olds = {record.key: dict(_flat(record.spec.model_dump(mode="json"))) for record in leftovers}
    differ = {key: sorted(k for k in new.keys() | old.keys() if new.get(k) != old.get(k)) for key, old in olds.items()}
    key = min(differ, key=lambda k: (len(differ[k]), k))
    names, old = differ[key], olds[key]
    shown = ", ".join(f"{n} {old.get(n)} -> {new.get(n)}" for n in names[:3]) + (", ..." if len(names) > 3 else "")
    return f"the specification changed since {key}: {shown}"


def _flat(value: object, prefix: str = "") -> Iterable[tuple[str, object]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(item, f"{prefix}.{key}" if prefix else key)
    else:
        yield prefix, str(value)


def _arithmetic(estimator: Estimator) -> str:
    rates = [f"{rate / 1e9:,.0f} GFLOP/s here in precision {name}" for name, rate in estimator.rates.items()]
    if estimator.rate is not None:
        rates = [f"{estimator.rate / 1e9:,.0f} GFLOP/s, as given"]
    if not rates:
        return ""
    return (f"3 x the operations of a forward pass, at {estimator.share_of():.0%} of the rate of matrix products, "
            f"{', '.join(rates)}; another machine: --rate and --share")
