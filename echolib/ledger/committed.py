"""Committed records: what a profile's folder in ``results/`` holds, and when it takes the place of computing.

``results/<profile>/<kind>/`` has, for every committed result of a kind (``runs``, ``evaluations``),

- ``<key>.json``: the record as it was written, with its specification and provenance;
- ``<key>.<part>``: its tables as CSV; of the few runs whose networks draw pictures also ``weights.safetensors``;
- ``<key>.sha256``: the SHA-256 of each of these, as ``sha256sum`` prints them, written last. It names the weights of a run
  even where they are left out, so that an evaluation can be told to be of this very network.

A committed result has the key, so the specification, of what is asked for. Its data must be those that are here; where a phantom
cohort is not simulated yet, all committed results of that cohort must agree on their data. Its code need not be today's: what
differs is said in the plan and under the figures. A file that is damaged or missing is an error, never a reason to compute.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel

from echolib.config.specs import DataSpec
from echolib.errors import ConfigError, RecordError
from echolib.files import write_atomic
from echolib.ledger.provenance import Provenance, short

KINDS = ("runs", "evaluations")
RECORD, SUMS, WEIGHTS = "json", "sha256", "weights.safetensors"
_LINE = re.compile(r"([0-9a-f]{64})  ([0-9a-f]{16})\.([a-z.]+)")


def anew_asked() -> bool:
    """Does ``ECHOLIB_ANEW`` ask to compute whatever is committed? A variable, so that notebooks, which run in processes of their
    own, do the same.

    Raises:
        ConfigError: it is neither 0 nor 1.
    """
    asked = os.environ.get("ECHOLIB_ANEW", "")
    if asked not in ("", "0", "1"):
        raise ConfigError(f"ECHOLIB_ANEW = {asked!r}; expected 1 (compute whatever is committed in results/), 0 or nothing")
    return asked == "1"


@dataclass(frozen=True)
class Found:
    """The usable record of a result, if there is one, and why; ``committed``: it comes from ``results/``."""

    record: object | None
    why: str
    committed: bool = False


def put(folder: Path, key: str, parts: Mapping[str, bytes], absent: Mapping[str, str] | None = None) -> bool:
    """Write the parts of a result, each atomically, their sums last. What is there already is left alone.

    Args:
        folder: ``results/<profile>/<kind>``.
        key: of the result.
        parts: content by part, such as ``json`` and ``scores.csv``.
        absent: SHA-256 by part, of parts that are named and left out.

    Returns:
        was anything written or removed?
    """
    sums = dict(absent or {}) | {part: hashlib.sha256(content).hexdigest() for part, content in parts.items()}
    wanted = dict(parts)
    wanted[SUMS] = "".join(f"{sums[part]}  {key}.{part}\n" for part in sorted(sums)).encode()
    changed = False
    for part, content in wanted.items():
        path = folder / f"{key}.{part}"
        if not path.is_file() or path.read_bytes() != content:
            write_atomic(path, content)
            changed = True
    for old in folder.glob(f"{key}.*"):
        if old.name.removeprefix(f"{key}.") not in wanted:
            old.unlink()
            changed = True
    return changed


def as_json(record: BaseModel) -> bytes:
    """The content of a record's file, as ``files.write_json`` writes it."""
    return (json.dumps(record.model_dump(mode="json"), indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


@dataclass(frozen=True)
class Shelf:
    """The committed results of one kind, in ``folder``."""

    folder: Path

    def name(self, key: str, part: str) -> str:
        """How a file is named in messages: from ``results`` on."""
        return "/".join((*self.folder.parts[-3:], f"{key}.{part}"))

    def holds(self, key: str) -> bool:
        """Is there anything under this key?"""
        return any((self.folder / f"{key}.{part}").is_file() for part in (RECORD, SUMS))

    def keys(self) -> list[str]:
        """Keys of all committed results, sorted."""
        return sorted(path.name.split(".")[0] for path in self.folder.glob(f"*.{RECORD}"))

    def sums(self, key: str) -> dict[str, str]:
        """SHA-256 by part, of a result's files and of the weights that were left out.

        Raises:
            RecordError: the file of sums is missing or damaged.
        """
        path = self.folder / f"{key}.{SUMS}"
        if not path.is_file():
            raise RecordError(f"{self.name(key, SUMS)} is missing beside the record; {self.remedy(key)}")
        found = [_LINE.fullmatch(line) for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
        if not found or not all(m is not None and m[2] == key for m in found):
            raise RecordError(f"{self.name(key, SUMS)} is damaged: expected lines such as sha256sum prints, each of a file "
                              f"{key}.*; {self.remedy(key)}")
        return {m[3]: m[1] for m in found}

    def read(self, key: str, part: str) -> bytes:
        """A file of a result, compared with its sum.

        Raises:
            RecordError: it is missing, was not committed, or has other bytes than when it was committed.
        """
        sums, path = self.sums(key), self.folder / f"{key}.{part}"
        if not path.is_file():
            if part in sums and part != WEIGHTS:
                raise RecordError(f"{self.name(key, part)} is missing; {self.remedy(key)}")
            raise RecordError(f"{self.name(key, part)} was not committed; compute it: {self.anew(key)}")
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != sums.get(part):
            raise RecordError(f"{self.name(key, part)} has another SHA-256 than {key}.{SUMS} says; {self.remedy(key)}")
        return content

    def left_out(self, key: str, own: Path) -> bool:
        """Is ``own`` the weights of a result that was committed without them, byte for byte?"""
        if (self.folder / f"{key}.{WEIGHTS}").is_file() or not own.is_file():
            return False
        return hashlib.sha256(own.read_bytes()).hexdigest() == self.sums(key).get(WEIGHTS)

    def remedy(self, key: str) -> str:
        """What to do about a damaged or missing file."""
        where = "/".join(self.folder.parts[-3:])
        return f"bring it back (`git checkout -- {where}`), or compute it: {self.anew(key)}"

    def anew(self, key: str) -> str:
        """The command that computes a result whatever is committed."""
        return f"`echolib run {key} --anew --profile {self.folder.parent.name}`"

    def record(self, key: str, parse: Callable[[bytes, str], object], parts: tuple[str, ...] = ()):
        """The record under a key, made by ``parse(content, name)``, or None where none is committed.

        Args:
            key: of the result.
            parse: gives the record; raises RecordError for one that is damaged or has another key.
            parts: further files that must be there and unchanged; their content is compared with the sums.

        Raises:
            RecordError: a file is damaged or missing; it is named, with what to do.
        """
        if not self.holds(key):
            return None
        path = self.folder / f"{key}.{RECORD}"
        if path.is_file():
            try:
                record = parse(path.read_bytes(), self.name(key, RECORD))
            except RecordError as error:
                raise RecordError(f"{error}; {self.remedy(key)}") from None
            if record.key != key:
                raise RecordError(f"{self.name(key, RECORD)} belongs to another key, {record.key}; {self.remedy(key)}")
        for part in (RECORD, *parts):
            self.read(key, part)
        return record


def fingerprint_of(results: Path, data: DataSpec) -> str | None:
    """The data fingerprint on which all committed results of a cohort agree; None where none is committed.

    Args:
        results: ``results/<profile>``.
        data: the cohort.

    Raises:
        RecordError: two committed results of the cohort were computed on different data.
    """
    wanted, found = data.model_dump(mode="json"), {}
    for kind in KINDS:
        for path in sorted((results / kind).glob(f"*.{RECORD}")):
            about = path.stat()
            of, fingerprint = _data(path, about.st_mtime_ns, about.st_size)
            if of == wanted and fingerprint:
                found.setdefault(fingerprint, f"{results.name}/{kind}/{path.name}")
    if len(found) > 1:
        (one, first), (other, second) = list(found.items())[:2]
        raise RecordError(f"committed results of one cohort come from different data: results/{first} from {one[:16]}, "
                          f"results/{second} from {other[:16]}; leave those of one machine and delete the others")
    return next(iter(found), None)


@lru_cache(maxsize=4096)
def _data(path: Path, mtime_ns: int, size: int) -> tuple[object, str]:
    """(cohort, data fingerprint) of a committed record in the state that its time and size stand for."""
    try:
        value = json.loads(path.read_bytes())
        return value.get("spec", value)["data"], str(value["provenance"]["data"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None, ""  # damaged: an error for who asks for this record, and for nobody else


def code_changed(provenance: Provenance, today: str) -> str:
    """A sentence about a result that other code than today's computed; "" where it is the same."""
    if provenance.code == today:
        return ""
    return f"computed by code {provenance.code}, commit {short(provenance.commit)}; the code has changed since"
