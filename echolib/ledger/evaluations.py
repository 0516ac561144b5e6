"""Evaluations: a network, or none, at work on a cohort.

An evaluation's folder holds its tables and, written last, ``record.json``. It counts only while the run's weights are
unchanged as well. Committed evaluations lie in ``results/<profile>/evaluations/<key>.json``, their tables beside them as CSV.
"""

from __future__ import annotations

import hashlib
import io
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pandas as pd
from pydantic import BaseModel, BeforeValidator, ConfigDict, SerializeAsAny
from rich.progress import track

import echolib.evaluation.kinds  # noqa: F401  makes the kinds known
from echolib.config.specs import DataSpec, Keyed, RunSpec
from echolib.errors import RecordError
from echolib.evaluation.evaluation import EvaluationSpec, Inputs
from echolib.files import write_atomic, write_json
from echolib.ledger import committed
from echolib.ledger.code import modules_code
from echolib.ledger.committed import WEIGHTS, Found, Shelf
from echolib.ledger.context import Context
from echolib.ledger.provenance import Provenance, collect
from echolib.ledger.records import parse_keyed
from echolib.ledger.results import Results
from echolib.ledger.runs import Runs
from echolib.models.registry import module_of

#: Pictures and curves that pages draw (see ``ledger.examples``); committed with an evaluation if no larger than this.
EXAMPLES, EXAMPLES_BYTES = "examples.npz", 200_000
#: Those of the evaluation that this one replaced: what was drawn is drawn again, see ``ledger.examples``.
FORMER = "examples_before.npz"


class EvaluationRecord(BaseModel):
    """What an evaluation covers, and where it came from. ``unit`` is that of all volumes, or ``px`` where areas are all."""

    model_config = ConfigDict(extra="forbid")

    key: str
    spec: Annotated[SerializeAsAny[EvaluationSpec], BeforeValidator(EvaluationSpec.of_its_kind)]
    weights: str | None
    studies: int
    frames: int
    unit: str
    provenance: Provenance


@dataclass(frozen=True)
class Evaluation:
    """A finished evaluation: its record and its small tables by name; what they hold is said where the kind computes them."""

    record: EvaluationRecord
    tables: dict[str, pd.DataFrame]
    folder: Path
    committed: bool = False

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
        """One row a frame. Of committed evaluations of whole videos only those have it whose frames a page draws.

        Raises:
            RecordError: the evaluation was committed without its frames.
        """
        return self.tables["frames"] if "frames" in self.tables else self.bulk("frames")

    def bulk(self, name: str) -> pd.DataFrame:
        """A large table.

        Raises:
            RecordError: the evaluation was committed without it.
        """
        part = f"{name}.parquet"
        if not self.committed:
            return pd.read_parquet(self.folder / part)
        shelf = Shelf(self.folder)
        if part not in shelf.sums(self.record.key):
            raise RecordError(f"evaluation {self.record.key} was committed without its {name}; compute it: "
                              f"{shelf.anew(self.record.key)}")
        return pd.read_parquet(io.BytesIO(shelf.read(self.record.key, part)))

    def examples(self) -> bytes | None:
        """The file of examples (see ``ledger.examples``), or None where none was made or committed."""
        if self.committed:
            shelf = Shelf(self.folder)
            return shelf.read(self.record.key, EXAMPLES) if EXAMPLES in shelf.sums(self.record.key) else None
        path = self.folder / EXAMPLES
        return path.read_bytes() if path.is_file() else None


def kind_code(spec: Keyed, run: RunSpec | None) -> str:
    """Fingerprint of the code of an evaluation or product: its kind, and the network of its run."""
    return modules_code((type(spec).__module__, *((module_of(run.model.name),) if run is not None else ())))


def inputs_of(context: Context, runs: Runs, run: RunSpec | None, data: DataSpec, label: str) -> Inputs:
    """What an evaluation or product of these is computed from."""
    def shown(items, total: int):
        return track(items, label, total=total, disable=not context.progress, transient=True)

    return Inputs(store=context.store_of(data), truth=context.workspace.cohort_dir(data) if data.phantom is not None else None,
                  cohort=lambda: context.workspace.cohort(data, progress=context.progress),
                  model=lambda: runs.model(run), shown=shown, beside=lambda: None if run is None else runs.beside(run, data))


class Evaluations(Results[EvaluationSpec, EvaluationRecord, Evaluation]):
    """The evaluations of one profile."""

    name, what = "evaluations", "evaluation"

    def __init__(self, context: Context, runs: Runs) -> None:
        super().__init__(context)
        self.runs = runs

    def parse(self, content: bytes, name: str) -> EvaluationRecord:
        """An evaluation's record."""
        return parse_record(content, name)

    def code(self, spec: EvaluationSpec) -> str:
        """Its kind and its network."""
        return kind_code(spec, spec.run)

    def parts(self, spec: EvaluationSpec) -> tuple[str, ...]:
        """Its small tables."""
        return tuple(f"{name}.csv" for name in spec.tables)

    def first(self, spec: EvaluationSpec) -> None:
        """Its run."""
        if spec.run is not None:
            self.runs.ensure(spec.run)

    def differs(self, spec: EvaluationSpec, record: EvaluationRecord) -> str:
        """Other weights than the run's make another evaluation."""
        return "" if record.weights == self.weights(spec.run) else "the run's weights changed"

    def weights(self, run: RunSpec | None) -> str | None:
        """SHA-256 of the weights of a run; None without a run or before it has any."""
        if run is None:
            return None
        if self.runs.find(run).committed:
            return self.runs.shelf.sums(run.key).get(WEIGHTS)
        path = self.runs.folder(run) / WEIGHTS
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None

    def value(self, spec: EvaluationSpec, found: Found) -> Evaluation:
        """The record with its small tables."""
        if found.committed:
            return read_committed(self.shelf, found.record)
        folder = self.folder(spec)
        return Evaluation(found.record, {name: _table((folder / f"{name}.csv").read_bytes()) for name in spec.tables}, folder)

    def compute(self, spec: EvaluationSpec, folder: Path, *, fresh: bool) -> EvaluationRecord:
        """Compute the tables; from here on there is no evaluation until the new record is written."""
        began, code = time.perf_counter(), self.code(spec)
        (folder / "record.json").unlink(missing_ok=True)
        if (folder / EXAMPLES).is_file():
            (folder / EXAMPLES).replace(folder / FORMER)
        inputs, weights = inputs_of(self.context, self.runs, spec.run, spec.data, spec.label), self.weights(spec.run)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "spec.json", spec.model_dump(mode="json"))
        found = spec.compute(inputs)
        for name, table in found.bulk.items():
            write_atomic(folder / f"{name}.parquet", table.to_parquet())
        for name, table in found.tables.items():
            write_atomic(folder / f"{name}.csv", table.to_csv(index=False, float_format="%.6g"))
        where = collect(self.context.workspace.root, inputs.store.fingerprint, time.perf_counter() - began, code)
        record = EvaluationRecord(key=spec.key, spec=spec, weights=weights, studies=found.studies, frames=found.frames,
                                  unit=found.unit, provenance=where)
        write_json(folder / "record.json", record.model_dump(mode="json"))
        return record


def _table(content: bytes) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(content), dtype={"study": str, "patient": str})


def read_committed(shelf: Shelf, record: EvaluationRecord) -> Evaluation:
    """A committed evaluation.

    Raises:
        RecordError: a table is damaged or missing.
    """
    tables = {name: _table(shelf.read(record.key, f"{name}.csv")) for name in record.spec.tables}
    return Evaluation(record, tables, shelf.folder, committed=True)


def commit(evaluation: Evaluation, results: Path, bulk: bool = False) -> bool:
    """Copy an evaluation's record, tables and (small) examples to ``results``, a profile's folder there.

    Args:
        evaluation: one of this machine's own.
        results: where to.
        bulk: all of its large tables as well.

    Returns:
        was anything written?
    """
    spec = evaluation.record.spec
    parts = {f"{name}.csv": (evaluation.folder / f"{name}.csv").read_bytes() for name in spec.tables}
    examples = evaluation.examples()
    if examples is not None and len(examples) <= EXAMPLES_BYTES:
        parts[EXAMPLES] = examples
    for name in spec.bulk if bulk else spec.compact:
        parts[f"{name}.parquet"] = (evaluation.folder / f"{name}.parquet").read_bytes()
    record = {committed.RECORD: committed.as_json(evaluation.record)}
    return committed.put(results / "evaluations", evaluation.record.key, record | parts)


def parse_record(content: bytes, name: str) -> EvaluationRecord:
    """An evaluation's record from a file's content; raises as :func:`echolib.ledger.records.parse_keyed`."""
    return parse_keyed(content, name, EvaluationRecord, "an evaluation")


def all_committed(root: Path) -> list[Evaluation]:
    """Evaluations in ``results/`` (every profile) of a checkout, profiles by name.

    Raises:
        RecordError: a record is damaged, or a table beside it is missing.
    """
    shelves: list[Shelf] = [Shelf(folder) for folder in sorted((root / "results").glob("*/evaluations"))]
    return [read_committed(shelf, shelf.record(key, parse_record)) for shelf in shelves for key in shelf.keys()]
