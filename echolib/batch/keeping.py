"""Copies what a profile's build folder has finished, and the pages need, into ``results/``: the command ``echolib keep``.

Committed are times of a quiet machine, records and scores, and of the few runs and evaluations for which a page asks it
(:class:`echolib.pages.experiment.Needs`) the weights, the log and the large tables. :mod:`echolib.ledger.committed` says where
they are and when they are used.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pandas as pd

from echolib.config.specs import DataSpec, Keyed, RunSpec
from echolib.errors import ConfigError
from echolib.evaluation.evaluation import EvaluationSpec
from echolib.ledger import committed, evaluations, examples
from echolib.ledger.committed import RECORD, WEIGHTS, Found, Shelf
from echolib.ledger.ledger import Ledger
from echolib.ledger.records import read_record
from echolib.ledger.results import Results
from echolib.ledger.runs import Runs
from echolib.ledger.workspace import Workspace
from echolib.pages.catalogue import cohorts
from echolib.pages.experiment import Needs
from echolib.pages.timing import keep_times
from echolib.papers import book

#: Weights above this many bytes are not kept.
MOST_WEIGHTS = 8_000_000


@dataclass
class Kept:
    """What :func:`keep` did, a line each."""

    written: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def keep(workspace: Workspace, *, any_code: bool = False, say: Callable[[str], None] = print) -> Kept:
    """Copy finished runs, evaluations and times of a profile that its pages need to ``results/<profile>``. May be repeated.

    Args:
        workspace: the profile's folders.
        any_code: also what other code than today's computed, the simulator's included; the specification must be the same all
            the same, and the data those that lie in the build folder.
        say: takes a line about each.

    Raises:
        ConfigError: the profile's numbers may not be quoted.
        RecordError: a record in the build folder is damaged or belongs to another specification.
    """
    profile = workspace.profile
    if not profile.quotable:
        raise ConfigError(f"profile {profile.name!r} is not quotable: it {profile.purpose.split(';')[0]}, and its numbers are "
                          "never results, so they are not kept; expected a profile with `quotable: true`")
    ledger = Ledger(workspace, say=lambda text: None, progress=False, computes=False, anew=False)
    keeper, done = Keeper.of(ledger), Kept()
    older = {data: folder for data in cohorts(profile, keeper.parts) if data.phantom is not None
             and ledger.known(data) is None and (folder := workspace.older_cohort(data)) is not None}
    if any_code:
        ledger.fingerprints |= {d.model_dump_json(): workspace.read(d, folder).fingerprint for d, folder in older.items()}

    def note(what: str, changed: bool | None, why: str = "") -> None:
        kind = "skipped" if changed is None else "written" if changed else "unchanged"
        getattr(done, kind).append(what)
        say(f"  {kind:9} {what}{': ' if why else ''}{why}")

    for spec in {s.key: s for part in keeper.parts for s in part.runs}.values():
        why = _why_not(ledger, ledger.runs, spec, any_code)
        changed, said = (None, why) if why else keeper.run(spec)
        note(f"run {spec.key}  {spec.label}", changed, said)
    for spec in {s.key: s for part in keeper.parts for s in part.evaluations}.values():
        why = _why_not(ledger, ledger.evaluations, spec, any_code)
        changed, said = (None, why) if why else keeper.evaluation(spec)
        note(f"evaluation {spec.key}  {spec.label}", changed, said)
    measures = {page: partial(book.BOOK.take_times, page, ledger) for page in book.BOOK.timed}
    for page, (changed, why) in keep_times(workspace, measures).items():
        note(f"times of {page}", changed, why)
    say(f"results/{profile.name}: {len(done.written)} written, {len(done.unchanged)} as they were, {len(done.skipped)} skipped")
    return done


@dataclass(frozen=True)
class Keeper:
    """Copies single results of a profile to ``results/<profile>``.

    Attributes:
        ledger: whose results they are.
        parts: what each page needs.
        asked: keys of the runs and evaluations whose ``weights``, ``logs`` and large tables (``bulk``) pages ask for.
    """

    ledger: Ledger
    parts: tuple[Needs, ...]
    asked: dict[str, set[str]]

    @classmethod
    def of(cls, ledger: Ledger) -> Keeper:
        """For the pages of the book."""
        profile = ledger.workspace.profile
        parts = tuple(book.BOOK.needs(page, profile) for page in book.BOOK.notebooks)
        return cls(ledger, parts, {what: {spec.key for part in parts for spec in getattr(part, what)}
                                   for what in ("weights", "logs", "bulk")})

    @property
    def results(self) -> Path:
        """``results/<profile>``."""
        return self.ledger.workspace.root / "results" / self.ledger.workspace.profile.name

    def run(self, spec: RunSpec, *, weights: bool = False, most: int | None = None) -> tuple[bool, str]:
        """Copy a finished run of this machine.

        Args:
            spec: the run.
            weights: its weights too, whether or not a page draws its network.
            most: bytes above which they are left out; None: :data:`MOST_WEIGHTS`.

        Returns:
            was anything written?; what to say of it.

        Raises:
            RecordError: its record is damaged.
        """
        weights, log = weights or spec.key in self.asked["weights"], spec.key in self.asked["logs"]
        return _keep_run(self.ledger.runs, spec, self.results, weights, log, MOST_WEIGHTS if most is None else most)

    def evaluation(self, spec: EvaluationSpec) -> tuple[bool, str]:
        """Copy a finished evaluation of this machine, with all that pages had drawn of it or of the one that it replaces.

        Returns:
            was anything written?; what to say of it.

        Raises:
            RecordError: its record or a file of examples is damaged, or examples have to be drawn again and the run's weights
                are not here.
        """
        record = self.ledger.evaluations.read(self.ledger.evaluations.folder(spec) / "record.json")
        one = self.ledger.evaluations.value(spec, Found(record, "finished"))
        shelf = Shelf(self.results / "evaluations")
        drawn = shelf.holds(spec.key) and evaluations.EXAMPLES in shelf.sums(spec.key)
        if spec.data.phantom is None or self.ledger.workspace.is_simulated(spec.data):  # keeping simulates nothing
            examples.renew(self.ledger, one, shelf.read(spec.key, evaluations.EXAMPLES) if drawn else None)
        changed = evaluations.commit(one, self.results, bulk=spec.key in self.asked["bulk"])
        size = len(one.examples() or b"")
        return changed, f"without its examples: {size / 1e6:.1f} MB are more than {evaluations.EXAMPLES_BYTES / 1e6:.1f}" \
            if size > evaluations.EXAMPLES_BYTES else ""


def _why_not(ledger: Ledger, kind: Results, spec: Keyed, any_code: bool) -> str:
    """Why a result is not committed; "" when it is."""
    if not (kind.folder(spec) / "record.json").is_file():
        return "not run yet"
    if why := _no_data(ledger, spec.data):
        return why
    record, why = kind.own(spec)
    if record is None and not (any_code and why == "the code changed"):
        return why + ("; --any-code keeps it all the same" if why == "the code changed" else "")
    return ""


def _no_data(ledger: Ledger, data: DataSpec) -> str:
    """Why results on a cohort cannot be compared with it; "" when they can."""
    if data.phantom is None or ledger.known(data) is not None:
        return ""
    if ledger.workspace.older_cohort(data) is not None:
        return "the simulator's sources changed since its data were made; --any-code keeps it all the same"
    return "its data are not here, so it cannot be compared with them"


def _keep_run(runs: Runs, spec: Keyed, results: Path, weights: bool, log: bool, most: int) -> tuple[bool, str]:
    """Copy one run. Returns (was anything written?, what to say of it)."""
    folder = runs.folder(spec)
    read_record(folder / "record.json")
    parts, absent, said = {RECORD: (folder / "record.json").read_bytes()}, {}, []
    if runs.parts(spec):
        scores = pd.read_parquet(folder / "scores.parquet")
        parts["scores.csv"] = scores.to_csv(index=False, float_format="%.5g").encode()
    if log:
        parts["log.csv"] = _rounded(folder / "log.csv")
        said.append("log")
    content = (folder / WEIGHTS).read_bytes()
    if weights and len(content) <= most:
        parts[WEIGHTS] = content
        said.append(f"weights, {len(content) / 1e6:.1f} MB")
    else:
        absent[WEIGHTS] = hashlib.sha256(content).hexdigest()
        if weights:
            said.append(f"without its weights: {len(content) / 1e6:.1f} MB are more than {most / 1e6:.0f}")
    return committed.put(results / "runs", spec.key, parts, absent), "with " + ", ".join(said) if said else ""


def _rounded(path: Path) -> bytes:
    return pd.read_csv(io.BytesIO(path.read_bytes())).to_csv(index=False, float_format="%.5g").encode()
