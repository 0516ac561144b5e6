"""The second product beside a run: its network at work on the videos of a cohort.

There are two kinds. ``video``: whole videos of a split; without a run, the exact masks take the network's place, and what is
left of the error is that of the beat finder and of the disks. ``half_cycle``: half heart beats of another data set
(:mod:`echolib.evaluation.half_cycles`).

An evaluation is fixed by its specification. Its folder is named by the hash of that and holds its tables (``studies.csv``;
``frames.parquet`` and ``beats.csv``, or ``frames.csv``) and, written last, ``record.json``. It is used again only while the
specification, the code, the data and the run's weights are what they were, as a run is.

Evaluations worth keeping lie in ``results/<profile>/evaluations/<key>.json``, their tables beside them as CSV; where this
machine has none of its own they take the place of computing, as kept runs do (:mod:`echolib.ledger.committed`).
"""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field
from rich.progress import track

from echolib.config import DataSpec, Keyed, RunSpec, Split
from echolib.data.store import ClipStore
from echolib.errors import DataError, RecordError
from echolib.evaluation import half_cycles
from echolib.evaluation.half_cycles import HalfCycleSpec
from echolib.evaluation.study_measures import study_measures
from echolib.evaluation.whole_video import beat_table, frame_tables, study_table, unit_of
from echolib.files import locked, write_atomic, write_json
from echolib.ledger import committed as kept
from echolib.ledger.committed import WEIGHTS, Found, Shelf
from echolib.ledger.ledger import Ledger
from echolib.ledger.provenance import RESULT_CODE, Provenance, code_fingerprint, collect
from echolib.ledger.records import parse_keyed, read_keyed

#: Parts of the package that decide an evaluation, and its small tables, by kind.
CODE = {"video": (*RESULT_CODE, "ledger/evaluations.py"),
        "half_cycle": (*RESULT_CODE, "ledger/evaluations.py")}
TABLES = {"video": ("studies", "beats"), "half_cycle": half_cycles.TABLES}
#: Pictures and curves that pages draw (see ``reproduce.examples``); kept with an evaluation if no larger than this.
EXAMPLES, EXAMPLES_BYTES = "examples.npz", 200_000
#: Table of frames; of a kept evaluation it may be missing.
FRAMES = "frames.parquet"


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


#: A specification of either kind.
AnySpec = EvaluationSpec | HalfCycleSpec
#: Small tables by name, number of frames, unit.
Computed = tuple[dict[str, pd.DataFrame], int, str]


class EvaluationRecord(BaseModel):
    """What an evaluation covers, and where it came from. ``unit`` is that of all volumes, or ``px`` where areas are all."""

    model_config = ConfigDict(extra="forbid")

    key: str
    spec: Annotated[AnySpec, Field(discriminator="kind")]
    weights: str | None
    studies: int
    frames: int
    unit: str
    provenance: Provenance


@dataclass(frozen=True)
class Evaluation:
    """A finished evaluation: its record and its small tables by name (see :data:`TABLES`, and for what they hold
    :mod:`echolib.evaluation.whole_video`, :mod:`echolib.evaluation.study_measures` and :mod:`echolib.evaluation.half_cycles`)."""

    record: EvaluationRecord
    tables: dict[str, pd.DataFrame]
    folder: Path
    kept: bool = False

    @property
    def studies(self) -> pd.DataFrame:
        """One row a study."""
        return self.tables["studies"]

    @property
    def beats(self) -> pd.DataFrame:
        """One row a beat of whole videos."""
        return self.tables["beats"]

    @property
    def frames(self) -> pd.DataFrame:
        """One row a frame. Of kept evaluations of whole videos only those have it whose frames a page draws.

        Raises:
            RecordError: the evaluation was kept without its frames.
        """
        if "frames" in self.tables:
            return self.tables["frames"]
        if not self.kept:
            return pd.read_parquet(self.folder / FRAMES)
        shelf = Shelf(self.folder)
        if FRAMES not in shelf.sums(self.record.key):
            raise RecordError(f"evaluation {self.record.key} was kept without its frames; compute it: "
                              f"{shelf.anew(self.record.key)}")
        return pd.read_parquet(io.BytesIO(shelf.read(self.record.key, FRAMES)))

    def examples(self) -> bytes | None:
        """The file of examples (see ``reproduce.examples``), or None where none was made or kept."""
        if self.kept:
            shelf = Shelf(self.folder)
            return shelf.read(self.record.key, EXAMPLES) if EXAMPLES in shelf.sums(self.record.key) else None
        path = self.folder / EXAMPLES
        return path.read_bytes() if path.is_file() else None


def read_record(path: Path) -> EvaluationRecord:
    """Read an evaluation's ``record.json``; raises as :func:`echolib.ledger.records.read_keyed`."""
    return read_keyed(path, parse_record)


def parse_record(content: bytes, name: str) -> EvaluationRecord:
    """An evaluation's record from a file's content; raises as :func:`echolib.ledger.records.parse_keyed`."""
    return parse_keyed(content, name, EvaluationRecord, "an evaluation")


def folder_of(ledger: Ledger, spec: AnySpec) -> Path:
    """The directory of an evaluation."""
    return ledger.workspace.build / "evaluations" / spec.key


def find(ledger: Ledger, spec: AnySpec) -> Found:
    """The usable record of an evaluation: this machine's own, else a kept one.

    Raises:
        RecordError: the record that would be used is damaged or belongs to another evaluation.
    """
    mine, why = own(ledger, spec)
    shelf = ledger.shelf("evaluations")
    if mine is not None or shelf is None:
        return Found(mine, why)
    record = shelf.record(spec.key, parse_record, tuple(f"{name}.csv" for name in TABLES[spec.kind]))
    if record is None:
        return Found(None, why)
    usable, said = ledger.kept_why(record.provenance, spec.data, code_fingerprint(CODE[spec.kind]))
    if usable and record.weights != _weights(ledger, spec):
        usable, said = False, f"the record in results/{shelf.folder.parent.name} is of other weights than the run's"
    return Found(record, said, kept=True) if usable else Found(None, f"{why}; {said}")


def state(ledger: Ledger, spec: AnySpec) -> tuple[EvaluationRecord | None, str]:
    """The usable record of an evaluation, or None and the reason why there is none.

    Raises:
        RecordError: as :func:`find`.
    """
    found = find(ledger, spec)
    return found.record, found.why


def own(ledger: Ledger, spec: AnySpec) -> tuple[EvaluationRecord | None, str]:
    """This machine's own record of an evaluation, or None and the reason why it does not count."""
    path = folder_of(ledger, spec) / "record.json"
    if not path.is_file():
        return None, "not run yet"
    record = read_record(path)
    if record.key != spec.key:
        raise RecordError(f"{path.parent.name}/record.json belongs to another evaluation, {record.key}; delete that directory")
    if record.provenance.data != ledger.fingerprint_of(spec.data):
        return None, "the data changed"
    if record.provenance.code != code_fingerprint(CODE[spec.kind]):
        return None, "the code changed"
    if record.weights != _weights(ledger, spec):
        return None, "the run's weights changed"
    return record, "finished"


def require(ledger: Ledger, specs: Iterable[AnySpec]) -> list[Evaluation]:
    """Evaluations in order; missing or stale ones are computed, after the runs that they need."""
    return [_one(ledger, spec) for spec in specs]


def _one(ledger: Ledger, spec: AnySpec) -> Evaluation:
    folder = folder_of(ledger, spec)
    with locked(folder.parent / f".{spec.key}.lock"):
        if spec.run is not None:
            ledger.require([spec.run])
        found = find(ledger, spec)
        if found.kept:
            return _kept(ledger.shelf("evaluations"), found.record)
        record = found.record
        if record is None:
            if not ledger.computes:
                raise RecordError(f"evaluation {spec.key} ({spec.label}): {found.why}; make it with "
                                  f"`echolib run {spec.key} --profile {ledger.workspace.profile.name}`")
            ledger.say(f"evaluation {spec.key}  {spec.label}: {found.why}")
            record = _compute(ledger, spec, folder)
        return Evaluation(record, {name: pd.read_csv(folder / f"{name}.csv") for name in TABLES[spec.kind]}, folder)


def _kept(shelf: Shelf, record: EvaluationRecord) -> Evaluation:
    tables = {name: _table(shelf.read(record.key, f"{name}.csv")) for name in TABLES[record.spec.kind]}
    return Evaluation(record, tables, shelf.folder, kept=True)


def _table(content: bytes) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(content), dtype={"study": str, "patient": str})


def _compute(ledger: Ledger, spec: AnySpec, folder: Path) -> EvaluationRecord:
    began, code = time.perf_counter(), code_fingerprint(CODE[spec.kind])
    for old in ("record.json", EXAMPLES):  # from here on there is no evaluation until the new record is written
        (folder / old).unlink(missing_ok=True)
    store, weights = ledger.store_of(spec.data), _weights(ledger, spec)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "spec.json", spec.model_dump(mode="json"))
    of_kind = _half_cycles if isinstance(spec, HalfCycleSpec) else _whole_videos
    tables, frames, unit = of_kind(ledger, spec, store, folder)
    for name, table in tables.items():
        write_atomic(folder / f"{name}.csv", table.to_csv(index=False, float_format="%.6g"))
    record = EvaluationRecord(key=spec.key, spec=spec, weights=weights, studies=len(tables["studies"]), frames=frames, unit=unit,
                              provenance=collect(ledger.workspace.root, store.fingerprint, time.perf_counter() - began, code))
    write_json(folder / "record.json", record.model_dump(mode="json"))
    return record


def _half_cycles(ledger: Ledger, spec: HalfCycleSpec, store: ClipStore, folder: Path) -> Computed:
    """The half cycles of every study, whatever its split and quality."""
    cohort = ledger.workspace.cohort(spec.data, progress=ledger.progress) if spec.aspect == "kept" else None
    cycles = half_cycles.half_cycles(store, spec.run.clip.frames, cohort)
    found = half_cycles.predict(ledger.model(spec.run), cycles, spec.padding)
    tables = half_cycles.tables(store, track(found, spec.label, total=len(store.studies), disable=not ledger.progress,
                                             transient=True))
    return tables, len(tables["frames"]), "px"


def _whole_videos(ledger: Ledger, spec: EvaluationSpec, store: ClipStore, folder: Path) -> Computed:
    """Whole videos; the table of frames is too large to be kept and goes into a file of its own."""
    names = sorted(store.studies.index[store.studies.split == spec.split])[:spec.studies]
    if not names:
        raise DataError(f"the {spec.split} split holds no study to evaluate", value=spec.label)
    truth = ledger.workspace.cohort_dir(spec.data) if spec.data.phantom is not None else None
    model = None if spec.run is None else ledger.model(spec.run)
    clip = None if spec.run is None else spec.run.clip
    unit = unit_of(store, names, truth)
    found = frame_tables(store, names, truth, model, clip, overlap=spec.overlap, unit=unit)
    frames = pd.concat(track(found, spec.label, total=len(names), disable=not ledger.progress, transient=True), ignore_index=True)
    write_atomic(folder / FRAMES, frames.to_parquet())
    studies = study_table(frames, store).merge(study_measures(frames, store), on="study", validate="one_to_one")
    return {"studies": studies, "beats": beat_table(frames, store)}, len(frames), unit


def _weights(ledger: Ledger, spec: AnySpec) -> str | None:
    """SHA-256 of the weights of the run, None without a run or before it has any."""
    if spec.run is None:
        return None
    if ledger.find(spec.run).kept:
        return ledger.shelf("runs").sums(spec.run.key).get(WEIGHTS)
    path = ledger.workspace.run_dir(spec.run) / WEIGHTS
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def keep(evaluation: Evaluation, results: Path, frames: bool = False) -> bool:
    """Copy an evaluation's record, tables and (small) examples to ``results``, a profile's folder there.

    Args:
        evaluation: one of this machine's own.
        results: where to.
        frames: its table of frames as well.

    Returns:
        was anything written?
    """
    parts = {f"{name}.csv": (evaluation.folder / f"{name}.csv").read_bytes() for name in TABLES[evaluation.record.spec.kind]}
    examples = evaluation.examples()
    if examples is not None and len(examples) <= EXAMPLES_BYTES:
        parts[EXAMPLES] = examples
    if frames and evaluation.record.spec.kind == "video":
        parts[FRAMES] = (evaluation.folder / FRAMES).read_bytes()
    return kept.put(results / "evaluations", evaluation.record.key, {kept.RECORD: kept.as_json(evaluation.record), **parts})


def committed(root: Path) -> list[Evaluation]:
    """Evaluations kept in ``results/`` (every profile) of a checkout, profiles by name.

    Raises:
        RecordError: a record is damaged, or a table beside it is missing.
    """
    shelves = [Shelf(folder) for folder in sorted((root / "results").glob("*/evaluations"))]
    return [_kept(shelf, shelf.record(key, parse_record)) for shelf in shelves for key in shelf.keys()]
