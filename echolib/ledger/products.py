"""Products: files of a finished run that other runs and pages read, such as its masks of all videos.

They are made on the machine that reads them and never committed. A product counts while its specification, the code, the data
and the run's weights are unchanged, as an evaluation does; its folder appears whole or not at all.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, SerializeAsAny

import echolib.evaluation.masks  # noqa: F401  makes the kind known
from echolib.config.specs import RunSpec
from echolib.errors import ConfigError
from echolib.evaluation.product import ProductSpec
from echolib.files import write_json
from echolib.ledger.committed import Found
from echolib.ledger.context import Context
from echolib.ledger.evaluations import Evaluations, inputs_of, kind_code
from echolib.ledger.provenance import Provenance, collect
from echolib.ledger.records import parse_keyed
from echolib.ledger.results import Results


class ProductRecord(BaseModel):
    """What a product covers, and where it came from."""

    model_config = ConfigDict(extra="forbid")

    key: str
    spec: Annotated[SerializeAsAny[ProductSpec], BeforeValidator(ProductSpec.of_its_kind)]
    weights: str | None
    studies: int
    frames: int
    provenance: Provenance


class Products(Results[ProductSpec, ProductRecord, Path]):
    """The products of one profile; :meth:`require` gives their folders."""

    name, what = "products", "product"

    def __init__(self, context: Context, evaluations: Evaluations) -> None:
        super().__init__(context)
        self.evaluations, self.runs = evaluations, evaluations.runs

    @property
    def shelf(self) -> None:
        """Products are not committed."""
        return None

    def of(self, kind: str, run: RunSpec, user: RunSpec) -> Path:
        """The folder of a product of ``run`` on the data that the run ``user`` reads, made where it is missing.

        Raises:
            ConfigError: no such kind of product.
        """
        try:
            of_kind = ProductSpec.named(kind)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        return self.require([of_kind(run=run, data=user.data)])[0]

    def parse(self, content: bytes, name: str) -> ProductRecord:
        """A product's record."""
        return parse_keyed(content, name, ProductRecord, "a product")

    def code(self, spec: ProductSpec) -> str:
        """Its kind and its network."""
        return kind_code(spec, spec.run)

    def parts(self, spec: ProductSpec) -> tuple[str, ...]:
        """Nothing is committed."""
        return ()

    def first(self, spec: ProductSpec) -> None:
        """Its run."""
        self.runs.ensure(spec.run)

    def differs(self, spec: ProductSpec, record: ProductRecord) -> str:
        """Other weights than the run's make another product."""
        return "" if record.weights == self.evaluations.weights(spec.run) else "the run's weights changed"

    def value(self, spec: ProductSpec, found: Found) -> Path:
        """The folder."""
        return self.folder(spec)

    def compute(self, spec: ProductSpec, folder: Path, *, fresh: bool) -> ProductRecord:
        """Make it in a folder beside, which then takes the place of what was there."""
        began, code = time.perf_counter(), self.code(spec)
        part = folder.with_name(f".{folder.name}.part")
        for old in (part, folder):
            shutil.rmtree(old, ignore_errors=True)
        part.mkdir(parents=True)
        inputs = inputs_of(self.context, self.runs, spec.run, spec.data, spec.label)
        made = spec.make(inputs, part)
        where = collect(self.context.workspace.root, inputs.store.fingerprint, time.perf_counter() - began, code)
        record = ProductRecord(key=spec.key, spec=spec, weights=self.evaluations.weights(spec.run), studies=made.studies,
                               frames=made.frames, provenance=where)
        write_json(part / "record.json", record.model_dump(mode="json"))
        part.rename(folder)
        return record
