"""The second product beside a run: its network at work on the whole videos of a cohort.

An evaluation is fixed by a run, a cohort and a split. Its folder is named by the hash of that and holds ``frames.parquet``
(one row a frame), ``studies.csv``, ``beats.csv`` and, written last, ``record.json``. It is used again only while the
specification, the code, the data and the run's weights are what they were, as a run is. Without a run, the exact masks
take the network's place: what is left of the error is that of the beat finder and of the disks.

Evaluations worth keeping lie in ``results/<profile>/evaluations/<key>.json``, their tables beside them as CSV.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rich.progress import track

from echolib.config import DataSpec, Keyed, RunSpec, Split
from echolib.errors import DataError, RecordError
from echolib.evaluation.whole_video import beat_table, frame_tables, study_table, unit_of
from echolib.files import locked, read_json, write_atomic, write_json
from echolib.reproduce.ledger import Ledger
from echolib.reproduce.provenance import RESULT_CODE, Provenance, code_fingerprint, collect
from echolib.reproduce.study_measures import study_measures

#: Parts of the package that decide an evaluation.
CODE = (*RESULT_CODE, "reproduce/evaluations.py", "reproduce/study_measures.py")
TABLES = ("studies", "beats")
#: Pictures and curves that pages draw (see ``reproduce.examples``); kept with an evaluation if no larger than this.
EXAMPLES, EXAMPLES_BYTES = "examples.npz", 200_000


class EvaluationSpec(Keyed):
    """All that decides the result of an evaluation."""

    kind: Literal["video"] = "video"
    run: RunSpec | None = Field(None, description="the trained network; None: the exact masks of a phantom")
    data: DataSpec
    split: Split = "test"
    studies: int | None = Field(None, ge=1, description="the first so many studies by name; None: all")
    overlap: bool = Field(False, description="windows that overlap by half: smoother, for twice the work")

    @property
    def label(self) -> str:
        """A short name for logs, such as ``unet3d 32x1 seed0 on arrhythmia/test``."""
        cohort = self.data.layout if self.data.phantom is None else self.data.phantom.preset
        return f"{self.run.label if self.run else 'exact masks'} on {cohort}/{self.split}"


class EvaluationRecord(BaseModel):
    """What an evaluation covers, and where it came from. ``unit`` is that of all volumes."""

    model_config = ConfigDict(extra="forbid")

    key: str
    spec: EvaluationSpec
    weights: str | None
    studies: int
    frames: int
    unit: str
    provenance: Provenance


@dataclass(frozen=True)
class Evaluation:
    """A finished evaluation: its record and its tables (see :mod:`echolib.evaluation.whole_video`).

    ``studies`` has the columns of :func:`echolib.reproduce.study_measures.study_measures` as well.
    """

    record: EvaluationRecord
    studies: pd.DataFrame
    beats: pd.DataFrame
    folder: Path

    @property
    def frames(self) -> pd.DataFrame:
        """One row a frame; only this machine's own evaluations have it.

        Raises:
            RecordError: a kept evaluation, which has no table of frames.
        """
        path = self.folder / "frames.parquet"
        if not path.is_file():
            raise RecordError(f"evaluation {self.record.key} was kept without its frames; delete nothing, but compute it here")
        return pd.read_parquet(path)


def read_record(path: Path) -> EvaluationRecord:
    """Read an evaluation's record.

    Raises:
        RecordError: the file is damaged, or its specification has another key than the record says.
    """
    try:
        record = EvaluationRecord.model_validate(read_json(path))
    except (ValueError, ValidationError) as error:
        raise RecordError(f"{path.parent.name}/{path.name}: not a record of an evaluation: {error}") from None
    if record.spec.key != record.key:
        raise RecordError(f"{path.parent.name}/{path.name}: says key {record.key}, but its specification has {record.spec.key}; "
                          "delete the record and run again")
    return record


def folder_of(ledger: Ledger, spec: EvaluationSpec) -> Path:
    """The directory of an evaluation."""
    return ledger.workspace.build / "evaluations" / spec.key


def state(ledger: Ledger, spec: EvaluationSpec) -> tuple[EvaluationRecord | None, str]:
    """The usable record of an evaluation, or None and the reason why there is none.

    Raises:
        RecordError: the record is damaged or belongs to another evaluation.
    """
    path = folder_of(ledger, spec) / "record.json"
    if not path.is_file():
        return None, "not run yet"
    record = read_record(path)
    if record.key != spec.key:
        raise RecordError(f"{path.parent.name}/record.json belongs to another evaluation, {record.key}; delete that directory")
    if record.provenance.data != ledger.fingerprint_of(spec.data):
        return None, "the data changed"
    if record.provenance.code != code_fingerprint(CODE):
        return None, "the code changed"
    if record.weights != _weights(ledger, spec):
        return None, "the run's weights changed"
    return record, "finished"


def require(ledger: Ledger, specs: Iterable[EvaluationSpec]) -> list[Evaluation]:
    """Evaluations in order; missing or stale ones are computed, after the runs that they need."""
    return [_one(ledger, spec) for spec in specs]


def _one(ledger: Ledger, spec: EvaluationSpec) -> Evaluation:
    folder = folder_of(ledger, spec)
    with locked(folder.parent / f".{spec.key}.lock"):
        if spec.run is not None:
            ledger.require([spec.run])
        record, why = state(ledger, spec)
        if record is None:
            if not ledger.computes:
                raise RecordError(f"evaluation {spec.key} ({spec.label}): {why}; make it with "
                                  f"`echolib run {spec.key} --profile {ledger.workspace.profile.name}`")
            ledger.say(f"evaluation {spec.key}  {spec.label}: {why}")
            record = _compute(ledger, spec, folder)
        return Evaluation(record, *(pd.read_csv(folder / f"{name}.csv") for name in TABLES), folder)


def _compute(ledger: Ledger, spec: EvaluationSpec, folder: Path) -> EvaluationRecord:
    began, code = time.perf_counter(), code_fingerprint(CODE)
    for old in ("record.json", EXAMPLES):  # from here on there is no evaluation until the new record is written
        (folder / old).unlink(missing_ok=True)
    store, weights = ledger.store_of(spec.data), _weights(ledger, spec)
    names = sorted(store.studies.index[store.studies.split == spec.split])[:spec.studies]
    if not names:
        raise DataError(f"the {spec.split} split holds no study to evaluate", value=spec.label)
    truth = ledger.workspace.cohort_dir(spec.data) if spec.data.phantom is not None else None
    model = None if spec.run is None else ledger.model(spec.run)
    clip = None if spec.run is None else spec.run.clip
    unit = unit_of(store, names, truth)
    found = frame_tables(store, names, truth, model, clip, overlap=spec.overlap, unit=unit)
    frames = pd.concat(track(found, spec.label, total=len(names), disable=not ledger.progress, transient=True), ignore_index=True)
    studies = study_table(frames, store).merge(study_measures(frames, store), on="study", validate="one_to_one")
    tables = {"studies": studies, "beats": beat_table(frames, store)}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "spec.json", spec.model_dump(mode="json"))
    write_atomic(folder / "frames.parquet", frames.to_parquet())
    for name, table in tables.items():
        write_atomic(folder / f"{name}.csv", table.to_csv(index=False, float_format="%.6g"))
    record = EvaluationRecord(key=spec.key, spec=spec, weights=weights, studies=len(names), frames=len(frames), unit=unit,
                              provenance=collect(ledger.workspace.root, store.fingerprint, time.perf_counter() - began, code))
    write_json(folder / "record.json", record.model_dump(mode="json"))
    return record


def _weights(ledger: Ledger, spec: EvaluationSpec) -> str | None:
    """SHA-256 of the weights of the run, None without a run or before it has any."""
    path = None if spec.run is None else ledger.workspace.run_dir(spec.run) / "weights.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path is not None and path.is_file() else None


def keep(evaluation: Evaluation, results: Path) -> Path:
    """Copy an evaluation's record, tables and (small) examples to ``results``, a profile's folder there.

    Returns:
        The record's path.
    """
    folder, key = results / "evaluations", evaluation.record.key
    for name in TABLES:
        write_atomic(folder / f"{key}.{name}.csv", (evaluation.folder / f"{name}.csv").read_bytes())
    examples = evaluation.folder / EXAMPLES
    if examples.is_file() and examples.stat().st_size <= EXAMPLES_BYTES:
        write_atomic(folder / f"{key}.{EXAMPLES}", examples.read_bytes())
    write_json(folder / f"{key}.json", evaluation.record.model_dump(mode="json"))
    return folder / f"{key}.json"


def committed(root: Path) -> list[Evaluation]:
    """Evaluations kept in ``results/`` (every profile) of a checkout, oldest profile name first.

    Raises:
        RecordError: a record is damaged, or a table beside it is missing.
    """
    found = []
    for path in sorted((root / "results").glob("*/evaluations/*.json")):
        record = read_record(path)
        tables = [path.with_name(f"{record.key}.{name}.csv") for name in TABLES]
        for table in tables:
            if not table.is_file():
                raise RecordError(f"{path.parent.parent.name}/evaluations/{table.name} is missing beside {path.name}")
        found.append(Evaluation(record, *map(pd.read_csv, tables), path.parent))
    return found
