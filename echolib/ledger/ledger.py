"""The ledger of a profile: what was computed, and what of it may be used again.

Three kinds of result, each named by its specification: runs (:mod:`echolib.ledger.runs`), evaluations
(:mod:`echolib.ledger.evaluations`) and products (:mod:`echolib.ledger.products`). They share one rule of use
(:mod:`echolib.ledger.results`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from torch import nn

from echolib.config.specs import RunSpec
from echolib.evaluation.evaluation import EvaluationSpec
from echolib.evaluation.product import ProductSpec
from echolib.ledger.committed import Shelf
from echolib.ledger.context import Context
from echolib.ledger.evaluations import Evaluation, Evaluations
from echolib.ledger.products import Products
from echolib.ledger.records import Record, parse_record
from echolib.ledger.runs import Runs


@dataclass
class Ledger(Context):
    """Runs, evaluations and products of one profile; computes what is missing. See :class:`~echolib.ledger.context.Context`."""

    runs: Runs = field(init=False, repr=False)
    evaluations: Evaluations = field(init=False, repr=False)
    products: Products = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.runs = Runs(self, lambda kind, run, user: self.products.of(kind, run, user))
        self.evaluations = Evaluations(self, self.runs)
        self.products = Products(self, self.evaluations)

    def require(self, specs: Iterable[RunSpec]) -> list[Record]:
        """Records of runs, in order; missing or stale ones are computed, each after the runs that it builds on."""
        return self.runs.require(specs)

    def evaluate(self, specs: Iterable[EvaluationSpec]) -> list[Evaluation]:
        """Evaluations in order; missing or stale ones are computed."""
        return self.evaluations.require(specs)

    def make(self, specs: Iterable[ProductSpec]) -> list[Path]:
        """Folders of products in order; missing or stale ones are made."""
        return self.products.require(specs)

    def model(self, spec: RunSpec) -> nn.Module:
        """The network of a run with its trained weights, see :meth:`Runs.model`."""
        return self.runs.model(spec)

    def scores(self, spec: RunSpec) -> pd.DataFrame:
        """The table of scores of a run, see :meth:`Runs.scores`."""
        return self.runs.scores(spec)

    def log(self, spec: RunSpec) -> pd.DataFrame:
        """The training log of a run, see :meth:`Runs.log`."""
        return self.runs.log(spec)

    def all_committed(self) -> list[Record]:
        """Records of runs in ``results/<profile>/runs/``, profiles by name; other folders there hold measurements, not runs."""
        names = sorted(path.stem for path in (self.workspace.root / "profiles").glob("*.yml"))
        shelves = [Shelf(self.workspace.root / "results" / name / "runs") for name in names]
        return [shelf.record(key, parse_record) for shelf in shelves for key in shelf.keys()]
