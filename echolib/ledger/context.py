"""The book's accounts: one record per finished run, and the rule of what may be used again.

A run is a directory named by its specification's key. Its ``record.json`` is written last and atomically, so a directory
without one is not a run. A record of this machine is used again only while specification, code and data are what they
were. Where it has none, a record kept in ``results/<profile>/`` takes the place of training (:mod:`echolib.ledger.committed`
has the rule), unless ``ECHOLIB_ANEW=1`` asks to compute all the same. What is left is computed, and the reason is printed.
"""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pandas as pd

from echolib import models
from echolib.config import DataSpec, RunSpec
from echolib.data.store import ClipStore
from echolib.errors import ConfigError, RecordError
from echolib.evaluation.inference import score_split
from echolib.files import locked, write_json
from echolib.ledger import committed as kept
from echolib.ledger.committed import WEIGHTS, Found, Shelf, anew_asked
from echolib.ledger.provenance import Provenance, code_fingerprint, collect
from echolib.ledger.records import Record, parse_record, read_record, summarise
from echolib.ledger.workspace import Workspace
from echolib.training import processes
from echolib.training.pretrain import train_reconstruct
from echolib.training.segment import train_segment

#: Studies of a split that are simulated for a page that draws a few clips.
SAMPLE = 12


def processes_asked() -> int:
    """Processes that share a training: the variable ``ECHOLIB_PROCESSES``, 1 where it is not set.

    Raises:
        ConfigError: it is no whole number of at least 1.
    """
    text = os.environ.get("ECHOLIB_PROCESSES", "1")
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"ECHOLIB_PROCESSES is {text!r}; expected a whole number, 1 or more")
    return int(text)


@dataclass
class Ledger:
    """Runs of one profile; computes what is missing.

    Attributes:
        workspace: the profile's folders.
        say: where a line of news goes (default: print).
        progress: show bars.
        computes: False: a run that has no usable record is an error, not a reason to compute.
        anew: records in ``results/`` do not count.
        fingerprints: of cohorts that are known without opening a store, by the JSON of their DataSpec (a plan fills it).
    """

    workspace: Workspace
    say: Callable[[str], None] = partial(print, flush=True)
    progress: bool = True
    computes: bool = True
    anew: bool = field(default_factory=anew_asked)
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

    def sample(self, *, train: int = SAMPLE, test: int = SAMPLE) -> tuple[ClipStore, Path]:
        """The first so many studies of two splits of the profile's cohort, and their folder: for pages that draw a few clips.

        Of a phantom no other study is simulated; what is drawn is the same whether the whole cohort is here or not. Pages that
        ask for the same number share one sample, which is simulated once.
        """
        return self.workspace.sample(self.workspace.profile.echonet, train=train, test=test, progress=self.progress)

    @property
    def results(self) -> Path | None:
        """The profile's folder in ``results/``; None where kept records do not count."""
        if self.anew or not self.workspace.profile.quotable:
            return None
        return self.workspace.root / "results" / self.workspace.profile.name

    def shelf(self, kind: str) -> Shelf | None:
        """The kept results of a kind; None where kept records do not count."""
        return None if self.results is None else Shelf(self.results / kind)

    def known(self, data: DataSpec) -> str | None:
        """Fingerprint of a cohort that is here; None of a phantom that is not simulated yet. Nothing is simulated."""
        name = data.model_dump_json()
        if name not in self.fingerprints:
            loaded = self._others.get(name) or (self._store if data == self.workspace.profile.echonet else None)
            if loaded is not None:
                return loaded.fingerprint
            if data.phantom is None:
                return self.store_of(data).fingerprint
            if not self.workspace.is_simulated(data):
                return None
            self.fingerprints[name] = self.workspace.read(data).fingerprint
        return self.fingerprints[name]

    def knows(self, data: DataSpec) -> bool:
        """Can :meth:`fingerprint_of` tell without simulating? True as well where kept records contradict each other."""
        if self.results is None or self.known(data) is not None:
            return self.known(data) is not None
        try:
            return kept.fingerprint_of(self.results, data) is not None
        except RecordError:
            return True

    def fingerprint_of(self, data: DataSpec) -> str:
        """Fingerprint of a cohort; of a phantom that is not simulated yet the one on which all kept records agree."""
        name = data.model_dump_json()
        if name not in self.fingerprints and self.results is not None and self.known(data) is None:
            agreed = kept.fingerprint_of(self.results, data)
            if agreed is not None:
                return agreed
        return self.fingerprints.get(name) or self.store_of(data).fingerprint

    def kept_why(self, provenance: Provenance, data: DataSpec, code: str) -> tuple[bool, str]:
        """May a kept result be used, and what has to be said of it?

        Args:
            provenance: of the kept result.
            data: the cohort it was computed on.
            code: today's fingerprint of the code that computes such results.

        Raises:
            RecordError: the kept results of the cohort do not agree on its data.
        """
        here = self.known(data)
        if here is None:
            kept.fingerprint_of(self.results, data)  # they must agree
        elif here != provenance.data:
            return False, (f"data differ: the record in results/{self.workspace.profile.name} comes from {provenance.data[:16]}, "
                           f"here are {here[:16]}")
        changed = kept.code_changed(provenance, code)
        return True, f"results/{self.workspace.profile.name}" + (f"; {changed}" if changed else "")

    def find(self, spec: RunSpec) -> Found:
        """The usable record of a run: this machine's own, else a kept one.

        Raises:
            RecordError: the record that would be used is damaged or belongs to another run.
        """
        own, why = self.own(spec)
        if own is not None:
            return Found(own, why)
        shelf = self.shelf("runs")
        record = None if shelf is None else shelf.record(spec.key, parse_record,
                                                         ("scores.csv",) if spec.task == "segment" else ())
        if record is None:
            return Found(None, why)
        usable, said = self.kept_why(record.provenance, spec.data, code_fingerprint())
        return Found(record, said, kept=True) if usable else Found(None, f"{why}; {said}")

    def state(self, spec: RunSpec) -> tuple[Record | None, str]:
        """The usable record of a run, or None and the reason why there is none."""
        found = self.find(spec)
        return found.record, found.why

    def own(self, spec: RunSpec) -> tuple[Record | None, str]:
        """This machine's own record of a run, or None and the reason why it does not count."""
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
        return [self._one(spec).record for spec in specs]

    def _one(self, spec: RunSpec) -> Found:
        with locked(self.workspace.build / "runs" / f".{spec.key}.lock"):
            found = self.find(spec)
            if found.record is not None:
                return found
            if not self.computes:
                raise RecordError(f"run {spec.key} ({spec.label}): {found.why}; make it with "
                                  f"`echolib run {spec.key} --profile {self.workspace.profile.name}`")
            if spec.init is not None:
                self._one(spec.init)
            self.say(f"run {spec.key}  {spec.label}: {found.why}")
            return Found(self._compute(spec, fresh=not found.why.startswith("not run yet")), "finished")

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
        init = self.weights_of(spec.init) if spec.init else None
        count = processes_asked()
        if count > 1:  # what they leave is a finished run to the lines below
            processes.train(spec, Path(self.store.path), folder, count, init, progress=self.progress)
        if spec.task == "reconstruct":
            outcome, scores = train_reconstruct(spec, self.store, folder, progress=self.progress), {}
        else:
            outcome = train_segment(spec, self.store, folder, init=init, progress=self.progress)
            table = score_split(self._network(spec, folder / WEIGHTS), self.store, spec, split="test")
            part = folder / ".scores.parquet.part"
            table.to_parquet(part)
            part.replace(folder / "scores.parquet")
            scores = summarise(table, self.workspace.profile.bootstrap)
        network = self._network(spec, folder / WEIGHTS)
        record = Record(key=spec.key, spec=spec, parameters=models.count_parameters(network), steps=outcome.steps,
                        train_seconds=round(outcome.seconds, 1), best_epoch=outcome.best_epoch, validation=outcome.best_score,
                        scores=scores,
                        provenance=collect(self.workspace.root, stamp["data"], time.perf_counter() - began, stamp["code"],
                                           processes=count))
        write_json(folder / "record.json", record.model_dump(mode="json"))
        return record

    def weights_of(self, spec: RunSpec) -> Path:
        """The file of a run's trained weights, this machine's own or the kept one.

        Raises:
            RecordError: the run's record was kept without its weights, or they are damaged.
        """
        if self.find(spec).kept:
            shelf = self.shelf("runs")
            shelf.read(spec.key, WEIGHTS)
            return shelf.folder / f"{spec.key}.{WEIGHTS}"
        return self.workspace.run_dir(spec) / WEIGHTS

    def model(self, spec: RunSpec):
        """The network of a run with its trained weights, in evaluation mode.

        Raises:
            RecordError: as :meth:`weights_of`.
        """
        return self._network(spec, self.weights_of(spec))

    def _network(self, spec: RunSpec, weights: Path):
        out = 3 if spec.masking is not None and spec.masking.target == "clip" else 1
        network = models.build(spec.model.name, width=spec.model.width, frames=spec.clip.frames, size=spec.data.size,
                               out_channels=out)
        network.load_state_dict(models.load_weights(weights))
        return network.eval()

    def scores(self, spec: RunSpec) -> pd.DataFrame:
        """Per-frame scores of a finished run on the test split; of a kept one with five digits."""
        if self._one(spec).kept:
            return pd.read_csv(io.BytesIO(self.shelf("runs").read(spec.key, "scores.csv")), dtype={"study": str, "patient": str})
        return pd.read_parquet(self.workspace.run_dir(spec) / "scores.parquet")

    def log(self, spec: RunSpec) -> pd.DataFrame:
        """Training log of a finished run.

        Raises:
            RecordError: the run's record was kept without its log.
        """
        if self._one(spec).kept:
            return pd.read_csv(io.BytesIO(self.shelf("runs").read(spec.key, "log.csv")))
        return pd.read_csv(self.workspace.run_dir(spec) / "log.csv")

    def record_file(self, spec: RunSpec) -> Path:
        """The file of the record that is used."""
        if self._one(spec).kept:
            return self.shelf("runs").folder / f"{spec.key}.json"
        return self.workspace.run_dir(spec) / "record.json"

    def committed(self) -> list[Record]:
        """Records kept in ``results/<profile>/runs/``, profiles by name; other folders there hold measurements, not runs."""
        names = sorted(path.stem for path in (self.workspace.root / "profiles").glob("*.yml"))
        shelves = [Shelf(self.workspace.root / "results" / name / "runs") for name in names]
        return [shelf.record(key, parse_record) for shelf in shelves for key in shelf.keys()]
