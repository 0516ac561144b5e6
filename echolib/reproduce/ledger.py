"""The book's accounts: one record per finished run, and the rule of what may be used again.

A run is a directory named by its specification's key. Its ``record.json`` is written last and atomically, so a directory
without one is not a run. A record is used again only while specification, code and data are what they were; otherwise
the run is computed anew and the reason is printed. Records worth keeping lie in ``results/<profile>/`` and are shown
beside this machine's own, never instead of them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from echolib import models
from echolib.config import DataSpec, RunSpec
from echolib.data.store import ClipStore
from echolib.errors import RecordError
from echolib.evaluation.bootstrap import legacy_frame_interval, patient_interval
from echolib.evaluation.inference import score_split
from echolib.files import locked, read_json, write_json
from echolib.reproduce.provenance import Provenance, code_fingerprint, collect
from echolib.reproduce.workspace import Workspace
from echolib.training.pretrain import train_reconstruct
from echolib.training.segment import train_segment

PHASES = ("overall", "ES", "ED")


class Score(BaseModel):
    """Dice (fraction) of one phase of the test split, with both intervals.

    ``mean`` is the mean over frames with its 95 % interval (patients resampled); ``pooled`` is the released program's
    2 sum(I) / sum(P + T) with its 5th and 95th percentile (frames resampled).
    """

    model_config = ConfigDict(extra="forbid")

    mean: float
    low: float
    high: float
    pooled: float
    pooled_low: float
    pooled_high: float
    frames: int
    patients: int


class Record(BaseModel):
    """What one run gave, and where it came from."""

    model_config = ConfigDict(extra="forbid")

    key: str
    spec: RunSpec
    parameters: int
    steps: int
    train_seconds: float
    best_epoch: int
    validation: float | None
    scores: dict[str, Score]
    provenance: Provenance

    @property
    def dice(self) -> Score:
        """The overall Dice."""
        return self.scores["overall"]


def read_record(path: Path) -> Record:
    """Read a ``record.json``.

    Raises:
        RecordError: the file is damaged, or the specification inside has another key than the record says.
    """
    try:
        record = Record.model_validate(read_json(path))
    except (ValueError, ValidationError) as error:
        raise RecordError(f"{path.parent.name}/{path.name}: not a run record: {error}") from None
    if record.spec.key != record.key:
        raise RecordError(f"{path.parent.name}/{path.name}: says key {record.key}, but its specification has {record.spec.key}; "
                          "delete the record and run again")
    return record


def summarise(scores: pd.DataFrame, resamples: int, seed: int = 0) -> dict[str, Score]:
    """Scores per phase of a table of frames (see ``evaluation.inference.score_split``)."""
    out = {}
    for phase in PHASES:
        part = scores if phase == "overall" else scores[scores.phase == phase]
        ours = patient_interval(part, value="dice", resamples=resamples, seed=seed)
        legacy = legacy_frame_interval(part, resamples=resamples, seed=seed)
        out[phase] = Score(mean=ours.mean, low=ours.low, high=ours.high, pooled=legacy.mean, pooled_low=legacy.low,
                           pooled_high=legacy.high, frames=len(part), patients=part.patient.nunique())
    return out


@dataclass
class Ledger:
    """Runs of one profile; computes what is missing.

    Attributes:
        workspace: the profile's folders.
        say: where a line of news goes (default: print).
        progress: show bars.
        computes: False: a run that has no usable record is an error, not a reason to compute.
        fingerprints: of cohorts that are known without opening a store, by the JSON of their DataSpec (a plan fills it).
    """

    workspace: Workspace
    say: Callable[[str], None] = partial(print, flush=True)
    progress: bool = True
    computes: bool = True
    fingerprints: dict[str, str] = field(default_factory=dict, repr=False)
    _store: ClipStore | None = field(default=None, repr=False)
    _others: dict[str, ClipStore] = field(default_factory=dict, repr=False)

    @property
    def store(self) -> ClipStore:
        """The packed EchoNet-style cohort of the profile."""
        if self._store is None:
            self._store = self.workspace.store("echonet", progress=self.progress)
        return self._store

    def store_of(self, data: DataSpec) -> ClipStore:
        """The packed clips of a cohort; of another one than the profile's own (a probed preset, say) made on demand."""
        if data == self.workspace.profile.echonet:
            return self.store
        name = data.model_dump_json()
        if name not in self._others:
            self._others[name] = self.workspace.store_of(data, progress=self.progress)
        return self._others[name]

    def fingerprint_of(self, data: DataSpec) -> str:
        """Fingerprint of a cohort."""
        return self.fingerprints.get(data.model_dump_json()) or self.store_of(data).fingerprint

    def state(self, spec: RunSpec) -> tuple[Record | None, str]:
        """The usable record of a run, or None and the reason why there is none."""
        path = self.workspace.run_dir(spec) / "record.json"
        if not path.is_file():
            return None, "not run yet"
        record = read_record(path)
        if record.key != spec.key:
            raise RecordError(f"{path.parent.name}/record.json belongs to another run, {record.key}; delete that directory")
        if record.provenance.data != self.fingerprint_of(spec.data):
            return None, "the data changed"
        if record.provenance.code != code_fingerprint():
            return None, "the code changed"
        return record, "finished"

    def require(self, specs: Iterable[RunSpec]) -> list[Record]:
        """Records of all runs, in order; missing or stale ones are computed, each after the run that it starts from."""
        return [self._one(spec) for spec in specs]

    def _one(self, spec: RunSpec) -> Record:
        with locked(self.workspace.build / "runs" / f".{spec.key}.lock"):
            record, why = self.state(spec)
            if record is not None:
                return record
            if not self.computes:
                raise RecordError(f"run {spec.key} ({spec.label}): {why}; make it with "
                                  f"`echolib run {spec.key} --profile {self.workspace.profile.name}`")
            if spec.init is not None:
                self._one(spec.init)
            self.say(f"run {spec.key}  {spec.label}: {why}")
            return self._compute(spec, fresh=why != "not run yet")

    def _compute(self, spec: RunSpec, fresh: bool) -> Record:
        folder, began = self.workspace.run_dir(spec), time.perf_counter()
        for part in folder.glob(".*.part"):  # of a process that was killed while it wrote; we hold the lock
            part.unlink()
        if fresh:  # a stale run must not be resumed: its checkpoints belong to other code or data
            for old in folder.glob("*"):
                old.unlink()
        # A checkpoint is resumed only by the code and data that wrote it.
        stamp = {"code": code_fingerprint(), "data": self.store.fingerprint}
        origin = folder / "origin.json"
        if origin.is_file() and json.loads(origin.read_text()) != stamp:
            for old in folder.glob("*"):
                old.unlink()
        write_json(origin, stamp)
        write_json(folder / "spec.json", spec.model_dump(mode="json"))
        if spec.task == "reconstruct":
            outcome, scores = train_reconstruct(spec, self.store, folder, progress=self.progress), {}
        else:
            init = self.workspace.run_dir(spec.init) / "weights.safetensors" if spec.init else None
            outcome = train_segment(spec, self.store, folder, init=init, progress=self.progress)
            table = score_split(self.model(spec), self.store, spec, split="test")
            part = folder / ".scores.parquet.part"
            table.to_parquet(part)
            part.replace(folder / "scores.parquet")
            scores = summarise(table, self.workspace.profile.bootstrap)
        record = Record(key=spec.key, spec=spec, parameters=models.count_parameters(self.model(spec)), steps=outcome.steps,
                        train_seconds=round(outcome.seconds, 1), best_epoch=outcome.best_epoch, validation=outcome.best_score,
                        scores=scores,
                        provenance=collect(self.workspace.root, stamp["data"], time.perf_counter() - began, stamp["code"]))
        write_json(folder / "record.json", record.model_dump(mode="json"))
        return record

    def model(self, spec: RunSpec):
        """The network of a run with its trained weights, in evaluation mode."""
        out = 3 if spec.masking is not None and spec.masking.target == "clip" else 1
        network = models.build(spec.model.name, width=spec.model.width, frames=spec.clip.frames, size=spec.data.size,
                               out_channels=out)
        network.load_state_dict(models.load_weights(self.workspace.run_dir(spec) / "weights.safetensors"))
        return network.eval()

    def scores(self, spec: RunSpec) -> pd.DataFrame:
        """Per-frame scores of a finished run on the test split."""
        self._one(spec)
        return pd.read_parquet(self.workspace.run_dir(spec) / "scores.parquet")

    def log(self, spec: RunSpec) -> pd.DataFrame:
        """Training log of a finished run."""
        self._one(spec)
        return pd.read_csv(self.workspace.run_dir(spec) / "log.csv")

    def committed(self) -> list[Record]:
        """Records kept in ``results/<profile>/``, profiles by name; other folders there hold measurements, not runs."""
        names = sorted(path.stem for path in (self.workspace.root / "profiles").glob("*.yml"))
        return [read_record(path) for name in names for path in sorted((self.workspace.root / "results" / name).glob("*.json"))]


def baseline_scores(ledger: Ledger) -> pd.DataFrame:
    """The threshold-and-fill baseline on the traced frames of the test split, in the columns of ``score_split``."""
    from echolib.evaluation.baseline import threshold_and_fill
    from echolib.evaluation.metrics import dice

    store, rows = ledger.store, []
    for study, frames in store.labels.groupby("study"):
        if store.studies.split[study] != "test":
            continue
        masks = threshold_and_fill(np.asarray(store.video(study)))
        for label in frames.itertuples():
            truth = store.mask(study, label.frame)
            both = int((masks[label.frame] & truth).sum())
            rows.append({"study": study, "patient": store.studies.patient[study], "frame": label.frame, "phase": label.phase,
                         "dice": dice(masks[label.frame], truth), "intersection": both,
                         "predicted_px": int(masks[label.frame].sum()), "traced_px": int(truth.sum())})
    return pd.DataFrame(rows)
