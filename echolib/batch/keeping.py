"""Copies what a profile's build folder has finished, and the pages need, into ``results/``: the command ``echolib keep``.

Kept are records, scores, and of the few runs and evaluations for which :class:`echolib.batch.contents.Needs` asks it the
weights, the log and the table of frames. :mod:`echolib.ledger.committed` says what lies where and when it is used.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from echolib.batch import contents
from echolib.config import DataSpec, RunSpec
from echolib.data.store import ClipStore
from echolib.errors import ConfigError
from echolib.ledger import baseline, evaluations
from echolib.ledger import committed as kept
from echolib.ledger.committed import RECORD, WEIGHTS
from echolib.ledger.evaluations import AnySpec, Evaluation
from echolib.ledger.ledger import Ledger
from echolib.ledger.records import read_record
from echolib.ledger.workspace import Workspace

#: Weights above this many bytes are not kept.
MOST_WEIGHTS = 8_000_000


@dataclass
class Kept:
    """What :func:`keep` did, a line each."""

    written: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def keep(workspace: Workspace, *, any_code: bool = False, say: Callable[[str], None] = print) -> Kept:
    """Copy finished runs and evaluations of a profile that its pages need to ``results/<profile>``. May be repeated.

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
    ledger = Ledger(workspace, say=lambda text: None, progress=False, computes=False, anew=True)
    results, done = workspace.root / "results" / profile.name, Kept()
    parts = [contents.needs(page, profile) for page in contents.NOTEBOOKS]
    older = {data: folder for data in contents.cohorts(profile, parts) if data.phantom is not None
             and ledger.known(data) is None and (folder := workspace.older_cohort(data)) is not None}
    if any_code:
        ledger.fingerprints |= {d.model_dump_json(): workspace.read(d, folder).fingerprint for d, folder in older.items()}
    runs = {s.key: s for part in parts for s in part.runs}
    wanted = {kind: {s.key for part in parts for s in getattr(part, kind)} for kind in ("weights", "logs", "frames")}

    def note(what: str, changed: bool | None, why: str = "") -> None:
        kind = "skipped" if changed is None else "written" if changed else "unchanged"
        getattr(done, kind).append(what)
        say(f"  {kind:9} {what}{': ' if why else ''}{why}")

    for spec in runs.values():
        why = _why_not(ledger, spec, workspace.run_dir(spec), any_code, ledger.own)
        if why:
            note(f"run {spec.key}  {spec.label}", None, why)
            continue
        changed, said = _keep_run(spec, workspace.run_dir(spec), results, spec.key in wanted["weights"],
                                  spec.key in wanted["logs"])
        note(f"run {spec.key}  {spec.label}", changed, said)
    for spec in {s.key: s for part in parts for s in part.evaluations}.values():
        folder, what = evaluations.folder_of(ledger, spec), f"evaluation {spec.key}  {spec.label}"
        why = _why_not(ledger, spec, folder, any_code, lambda s: evaluations.own(ledger, s))
        if why:
            note(what, None, why)
            continue
        tables = {name: pd.read_csv(folder / f"{name}.csv") for name in evaluations.TABLES[spec.kind]}
        one = Evaluation(evaluations.read_record(folder / "record.json"), tables, folder)
        note(what, evaluations.keep(one, results, frames=spec.key in wanted["frames"]))
    if any(part.baseline for part in parts):
        why = _no_data(ledger, profile.echonet)
        note("the threshold-and-fill baseline", None if why else baseline.keep_baseline(ledger, _store(
            ledger, profile.echonet, older), results), why)
    say(f"results/{profile.name}: {len(done.written)} written, {len(done.unchanged)} as they were, {len(done.skipped)} skipped")
    return done


def _why_not(ledger: Ledger, spec: RunSpec | AnySpec, folder: Path, any_code: bool, own) -> str:
    """Why a result is not kept; "" when it is."""
    if not (folder / "record.json").is_file():
        return "not run yet"
    if why := _no_data(ledger, spec.data):
        return why
    record, why = own(spec)
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


def _store(ledger: Ledger, data: DataSpec, older: dict[DataSpec, Path]) -> ClipStore:
    if data not in older:
        return ledger.store_of(data)
    return ledger.workspace.packed(data, ledger.workspace.read(data, older[data]), progress=ledger.progress)


def _keep_run(spec: RunSpec, folder: Path, results: Path, weights: bool, log: bool) -> tuple[bool, str]:
    """Copy one run. Returns (was anything written?, what to say of it)."""
    read_record(folder / "record.json")
    parts, absent, said = {RECORD: (folder / "record.json").read_bytes()}, {}, []
    if spec.task == "segment":
        scores = pd.read_parquet(folder / "scores.parquet")
        parts["scores.csv"] = scores.to_csv(index=False, float_format="%.5g").encode()
    if log:
        parts["log.csv"] = _rounded(folder / "log.csv")
        said.append("log")
    content = (folder / WEIGHTS).read_bytes()
    if weights and len(content) <= MOST_WEIGHTS:
        parts[WEIGHTS] = content
        said.append(f"weights, {len(content) / 1e6:.1f} MB")
    else:
        absent[WEIGHTS] = hashlib.sha256(content).hexdigest()
        if weights:
            said.append(f"without its weights: {len(content) / 1e6:.1f} MB are more than {MOST_WEIGHTS / 1e6:.0f}")
    return kept.put(results / "runs", spec.key, parts, absent), "with " + ", ".join(said) if said else ""


def _rounded(path: Path) -> bytes:
    return pd.read_csv(io.BytesIO(path.read_bytes())).to_csv(index=False, float_format="%.5g").encode()
