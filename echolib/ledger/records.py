"""What one finished run gave, as a record: its scores with both intervals, and where they came from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from echolib.config.specs import RunSpec
from echolib.errors import RecordError
from echolib.evaluation.scores import AnyScore, Score
from echolib.files import parse_json
from echolib.ledger.provenance import Provenance

#: A record that carries ``spec`` and ``key``.
Keyed = TypeVar("Keyed", bound=BaseModel)


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
    scores: dict[str, AnyScore]
    provenance: Provenance

    @property
    def dice(self) -> Score:
        """The overall Dice of a segmenter."""
        return self.scores["overall"]


def read_keyed(path: Path, parse: Callable[[bytes, str], Keyed]) -> Keyed:
    """Read a ``record.json`` with ``parse``.

    Raises:
        RecordError: the file is damaged, or the specification inside has another key than the record says.
    """
    try:
        return parse(path.read_bytes(), f"{path.parent.name}/{path.name}")
    except RecordError as error:
        raise RecordError(f"{error}; delete the record and run again") from None


def parse_keyed(content: bytes, name: str, kind: type[Keyed], what: str) -> Keyed:
    """The record of a file's content, which carries a specification and that specification's key.

    Args:
        content: of the file.
        name: how the file is called in messages.
        kind: the record's class.
        what: the record in words.

    Raises:
        RecordError: as :func:`read_keyed`.
    """
    try:
        record = kind.model_validate(parse_json(content))
    except (ValueError, ValidationError) as error:
        raise RecordError(f"{name}: not a record of {what}: {error}") from None
    if record.spec.key != record.key:
        raise RecordError(f"{name}: says key {record.key}, but its specification has {record.spec.key}")
    return record


def read_record(path: Path) -> Record:
    """Read a run's ``record.json``; raises as :func:`read_keyed`."""
    return read_keyed(path, parse_record)


def parse_record(content: bytes, name: str) -> Record:
    """A run's record from a file's content; raises as :func:`parse_keyed`."""
    return parse_keyed(content, name, Record, "a run")
