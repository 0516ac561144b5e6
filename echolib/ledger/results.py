"""One kind of result: named by specification, computed once, used again by one rule.

A result is a directory named by its specification's key. Its ``record.json`` is written last and atomically, so a directory
without one is no result. A record of this machine is used while specification, code and data are unchanged. Where there is
none, a committed record in ``results/<profile>/`` takes the place of computing (:mod:`echolib.ledger.committed` has the rule),
unless ``ECHOLIB_ANEW=1`` asks to compute all the same. What is left is computed, and the reason is printed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from pydantic import BaseModel

from echolib.config.specs import Keyed
from echolib.errors import RecordError
from echolib.files import locked
from echolib.ledger.committed import Found, Shelf
from echolib.ledger.context import Context
from echolib.ledger.records import read_keyed

Spec = TypeVar("Spec", bound=Keyed)
Rec = TypeVar("Rec", bound=BaseModel)
Value = TypeVar("Value")


class Results(ABC, Generic[Spec, Rec, Value]):
    """The results of one kind; a subclass says what is particular about it.

    Attributes:
        name: of its folder in ``build/<profile>/`` and ``results/<profile>/``.
        what: one of them in words.
    """

    name: ClassVar[str]
    what: ClassVar[str]

    def __init__(self, context: Context) -> None:
        self.context = context

    # -- what is particular ------------------------------------------------------------------------------------------

    @abstractmethod
    def parse(self, content: bytes, name: str) -> Rec:
        """The record of a file's content; raises RecordError as :func:`echolib.ledger.records.parse_keyed`."""

    @abstractmethod
    def code(self, spec: Spec) -> str:
        """Today's fingerprint of the code that computes it."""

    @abstractmethod
    def parts(self, spec: Spec) -> tuple[str, ...]:
        """Files that a committed record must have beside it."""

    @abstractmethod
    def first(self, spec: Spec) -> None:
        """Make what it is computed from."""

    @abstractmethod
    def compute(self, spec: Spec, folder: Path, *, fresh: bool) -> Rec:
        """Compute it in ``folder`` and write the record last. ``fresh``: what an earlier state of code or data left is no use."""

    @abstractmethod
    def value(self, spec: Spec, found: Found) -> Value:
        """What :meth:`require` gives for a usable record."""

    def differs(self, spec: Spec, record: Rec) -> str:
        """A further reason why a record does not count; "" for none."""
        return ""

    # -- what is common ----------------------------------------------------------------------------------------------

    def folder(self, spec: Spec) -> Path:
        """The directory of a result."""
        return self.context.workspace.build / self.name / spec.key

    @property
    def shelf(self) -> Shelf | None:
        """The committed results; None where committed records do not count."""
        return self.context.shelf(self.name)

    def read(self, path: Path) -> Rec:
        """Read a ``record.json``.

        Raises:
            RecordError: it is damaged, or its specification has another key than it says.
        """
        return read_keyed(path, self.parse)

    def own(self, spec: Spec) -> tuple[Rec | None, str]:
        """This machine's own record, or None, and why."""
        path = self.folder(spec) / "record.json"
        if not path.is_file():
            return None, "not run yet"
        record = self.read(path)
        if record.key != spec.key:
            raise RecordError(f"{path.parent.name}/record.json belongs to another {self.what}, {record.key}; "
                              "delete that directory")
        if record.provenance.data != self.context.fingerprint_of(spec.data):
            return None, "the data changed"
        if record.provenance.code != self.code(spec):
            return None, "the code changed"
        changed = self.differs(spec, record)
        return (None, changed) if changed else (record, "finished")

    def find(self, spec: Spec) -> Found:
        """The usable record: this machine's own, else a committed one.

        Raises:
            RecordError: the record that would be used is damaged or belongs to another specification.
        """
        mine, why = self.own(spec)
        shelf = self.shelf
        if mine is not None or shelf is None:
            return Found(mine, why)
        record = shelf.record(spec.key, self.parse, self.parts(spec))
        if record is None:
            return Found(None, why)
        usable, said = self.context.usable(record.provenance, spec.data, self.code(spec))
        if usable and self.differs(spec, record):
            usable, said = False, f"the record in results/{shelf.folder.parent.name} does not count: {self.differs(spec, record)}"
        return Found(record, said, committed=True) if usable else Found(None, f"{why}; {said}")

    def require(self, specs: Iterable[Spec]) -> list[Value]:
        """Results in order; missing or stale ones are computed, after whatever they are computed from."""
        return [self.value(spec, self.ensure(spec)) for spec in specs]

    def ensure(self, spec: Spec) -> Found:
        """A usable record, computed where there is none.

        Raises:
            RecordError: there is none and the ledger computes nothing.
        """
        with locked(self.folder(spec).parent / f".{spec.key}.lock"):
            found = self.find(spec)
            if found.record is not None:
                return found
            profile = self.context.workspace.profile.name
            if not self.context.computes:
                raise RecordError(f"{self.what} {spec.key} ({spec.label}): {found.why}; make it with "
                                  f"`echolib run {spec.key} --profile {profile}`")
            self.first(spec)
            found = self.find(spec)  # what it is computed from may have been all that was missing
            if found.record is not None:
                return found
            self.context.say(f"{self.what} {spec.key}  {spec.label}: {found.why}")
            fresh = not found.why.startswith("not run yet")
            return Found(self.compute(spec, self.folder(spec), fresh=fresh), "finished")
