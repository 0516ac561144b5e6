"""Runs: trained networks with their scores."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from torch import nn

import echolib.training.recipes  # noqa: F401  makes the recipes known
from echolib import models
from echolib.config.specs import DataSpec, RunSpec, chain
from echolib.data.frame_masks import FrameMasks
from echolib.data.subsets import restricted
from echolib.evaluation.scores import score_table, summarise
from echolib.files import write_atomic, write_json
from echolib.ledger.code import run_code
from echolib.ledger.committed import WEIGHTS, Found
from echolib.ledger.context import Context, processes_asked
from echolib.ledger.provenance import collect
from echolib.ledger.records import Record, parse_record
from echolib.ledger.results import Results
from echolib.training import processes
from echolib.training.engine import fit
from echolib.training.recipe import Parent, load_trained, recipe_class

#: Gives the folder of a product of a run, by the product's kind, made where it is missing.
ProductOf = Callable[[str, RunSpec, RunSpec], Path]


class Runs(Results[RunSpec, Record, Record]):
    """The runs of one profile.

    Args:
        context: workspace and data.
        product_of: (kind of product, the parent run, the run that needs it) -> folder.
    """

    name, what = "runs", "run"

    def __init__(self, context: Context, product_of: ProductOf) -> None:
        super().__init__(context)
        self.product_of = product_of

    def parse(self, content: bytes, name: str) -> Record:
        """A run's record."""
        return parse_record(content, name)

    def code(self, spec: RunSpec) -> str:
        """Recipe, network, loop and scores."""
        return run_code(spec)

    def parts(self, spec: RunSpec) -> tuple[str, ...]:
        """The table of scores, where the recipe's networks are scored."""
        return () if spec.recipe.gives == "clip" else ("scores.csv",)

    def first(self, spec: RunSpec) -> None:
        """The runs that it builds on, and their products."""
        for parent in chain(spec)[:-1]:
            self.ensure(parent)
        self._parents(spec)

    def value(self, spec: RunSpec, found: Found) -> Record:
        """The record."""
        return found.record

    def compute(self, spec: RunSpec, folder: Path, *, fresh: bool) -> Record:
        """Train, score on the test split, record. A checkpoint is resumed only by the code and data that wrote it."""
        began, store = time.perf_counter(), self.context.store_of(spec.data)
        for part in folder.glob(".*.part"):  # of a process that was killed while it wrote; we hold the lock
            part.unlink()
        stamp, origin = {"code": run_code(spec), "data": store.fingerprint}, folder / "origin.json"
        if fresh or (origin.is_file() and json.loads(origin.read_text()) != stamp):
            for old in folder.glob("*"):
                old.unlink()
        write_json(origin, stamp)
        write_json(folder / "spec.json", spec.model_dump(mode="json"))
        parents, count = self._parents(spec), processes_asked()
        if count > 1:  # what they leave is a finished run to the lines below
            processes.train(spec, Path(store.path), folder, count, parents, progress=self.context.progress)
        seen = restricted(store, spec.subset)
        recipe = recipe_class(spec.recipe)(spec, seen, parents)
        outcome = fit(recipe, folder, progress=self.context.progress)
        network = load_trained(spec, folder / WEIGHTS)
        table, scores = score_table(network, seen, spec, beside=recipe.beside()), {}
        if table is not None:
            write_atomic(folder / "scores.parquet", table.to_parquet())
            scores = summarise(spec.recipe.gives, table, self.context.workspace.profile.bootstrap)
        record = Record(key=spec.key, spec=spec, parameters=models.count_parameters(network), steps=outcome.steps,
                        train_seconds=round(outcome.seconds, 1), best_epoch=outcome.best_epoch, validation=outcome.best_score,
                        scores=scores, provenance=collect(self.context.workspace.root, stamp["data"], time.perf_counter() - began,
                                                          stamp["code"], processes=count))
        write_json(folder / "record.json", record.model_dump(mode="json"))
        return record

    def _parents(self, spec: RunSpec) -> dict[str, Parent]:
        """The finished runs of a specification, by role, with the products that its roles ask for."""
        out = {}
        for role, parent in spec.parents.items():
            product = spec.recipe.roles[role].product
            out[role] = Parent(parent, self.weights_of(parent), self.product_of(product, parent, spec) if product else None)
        return out

    def beside(self, spec: RunSpec, data: DataSpec) -> FrameMasks | None:
        """The masks that a finished run's network takes as a further channel, of a cohort; None: it takes the frames alone."""
        for name, parent in spec.parents.items():
            role = spec.recipe.roles[name]
            if role.channel:
                folder = self.product_of(role.product, parent, spec.model_copy(update={"data": data}))
                return FrameMasks.open(folder, self.context.store_of(data))
        return None

    # -- what a finished run has ---------------------------------------------------------------------------------------

    def weights_of(self, spec: RunSpec) -> Path:
        """The file of a run's trained weights, this machine's own or the committed one.

        Where the record was committed without its weights, this machine's own file serves if it has their bytes.

        Raises:
            RecordError: the run's record was committed without its weights, or they are damaged.
        """
        own = self.folder(spec) / WEIGHTS
        if not self.find(spec).committed or self.shelf.left_out(spec.key, own):
            return own
        self.shelf.read(spec.key, WEIGHTS)
        return self.shelf.folder / f"{spec.key}.{WEIGHTS}"

    def model(self, spec: RunSpec) -> nn.Module:
        """The network of a run with its trained weights, in evaluation mode; raises as :meth:`weights_of`."""
        return load_trained(spec, self.weights_of(spec))

    def scores(self, spec: RunSpec) -> pd.DataFrame:
        """The table of scores of a finished run on the test split; of a committed one with five digits."""
        if self.ensure(spec).committed:
            return pd.read_csv(io.BytesIO(self.shelf.read(spec.key, "scores.csv")), dtype={"study": str, "patient": str})
        return pd.read_parquet(self.folder(spec) / "scores.parquet")

    def log(self, spec: RunSpec) -> pd.DataFrame:
        """Training log of a finished run.

        Raises:
            RecordError: the run's record was committed without its log.
        """
        if self.ensure(spec).committed:
            return pd.read_csv(io.BytesIO(self.shelf.read(spec.key, "log.csv")))
        return pd.read_csv(self.folder(spec) / "log.csv")

    def record_file(self, spec: RunSpec) -> Path:
        """The file of the record that is used."""
        if self.ensure(spec).committed:
            return self.shelf.folder / f"{spec.key}.json"
        return self.folder(spec) / "record.json"
