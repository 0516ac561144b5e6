"""Trainings that were stopped, on their way to another machine: ``results/<profile>/unfinished/``.

A run's folder without a record holds what the rest of the run depends on: checkpoint, log, and the fingerprints of the code and
the data that wrote them (``origin.json``). :func:`store` copies those files to ``<key>.<file>`` with their sums beside them, if
they are small enough; :func:`restore` puts them back where the same code computes on the same data. Both leave a run that is
finished alone. The files are no results: nothing reads them but the run that goes on.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from echolib.errors import RecordError
from echolib.files import write_atomic
from echolib.ledger import committed
from echolib.ledger.committed import SUMS, Shelf

FOLDER = "unfinished"
#: Bytes of a run's files above which they stay on the machine that wrote them.
MOST = 16_000_000
ORIGIN, LOG, RECORD = "origin.json", "log.csv", "record.json"
#: What a stopped training cannot go on without: its last checkpoint, or the weights of one that has only to be scored.
STATES = ("checkpoint.pt", "outcome.json")


def stopped(folder: Path) -> bool:
    """Does a run's folder hold a training that was stopped?"""
    return not (folder / RECORD).is_file() and any((folder / name).is_file() for name in STATES)


def store(results: Path, folder: Path, most: int = MOST) -> tuple[int, bool]:
    """Copy a stopped training to ``results``. What an earlier call left of it there is replaced, or taken away.

    Args:
        results: ``results/<profile>``.
        folder: of the run, named by its key.
        most: bytes above which nothing is copied.

    Returns:
        the bytes of its files; were they copied?
    """
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    size = sum(path.stat().st_size for path in files)
    if size > most:
        drop(results, folder.name)
        return size, False
    committed.put(results / FOLDER, folder.name, {path.name: path.read_bytes() for path in files})
    return size, True


def drop(results: Path, key: str) -> None:
    """Take away what is stored of a run: it is finished, or has gone on elsewhere."""
    for path in (results / FOLDER).glob(f"{key}.*"):
        path.unlink()


def restore(results: Path, folder: Path, stamp: Mapping[str, str]) -> str:
    """Put a stored training into its run's folder, if it fits and is further than what that holds.

    Args:
        results: ``results/<profile>``.
        folder: of the run, named by its key.
        stamp: fingerprints of today's ``code`` and ``data``.

    Returns:
        what was done and why, "" where nothing is stored.

    Raises:
        RecordError: a stored file is damaged or missing.
    """
    shelf, key = Shelf(results / FOLDER), folder.name
    if not (shelf.folder / f"{key}.{SUMS}").is_file() or (folder / RECORD).is_file():
        return ""
    content = {part: _read(shelf, key, part) for part in shelf.sums(key)}
    origin = json.loads(content.get(ORIGIN, b"{}"))
    other = [name for name, value in stamp.items() if origin.get(name) != value]
    if other:
        return (f"the checkpoint in results/{results.name}/{FOLDER} is of other {' and '.join(other)} "
                f"({', '.join(f'{origin.get(name)} there, {stamp[name]} here'[:60] for name in other)}): it is not used")
    steps = _steps(content.get(LOG, b""))
    if stopped(folder) and _own(folder, stamp) >= steps:
        return ""
    part = folder.with_name(f".{key}.{os.getpid()}.restored")
    shutil.rmtree(part, ignore_errors=True)
    try:
        for name, data in content.items():
            write_atomic(part / name, data)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return f"goes on from results/{results.name}/{FOLDER}, where {steps} steps are logged"


def _read(shelf: Shelf, key: str, part: str) -> bytes:
    try:
        return shelf.read(key, part)
    except RecordError:
        raise RecordError(f"{shelf.name(key, part)} is damaged or missing; bring it back, or delete {shelf.name(key, '*')}: the "
                          "run then begins again") from None


def _own(folder: Path, stamp: Mapping[str, str]) -> int:
    """Steps in the log of what the folder itself holds; -1 where other code or data wrote it."""
    origin, log = folder / ORIGIN, folder / LOG
    if not origin.is_file() or json.loads(origin.read_text(encoding="utf-8")) != stamp:
        return -1
    return _steps(log.read_bytes() if log.is_file() else b"")


def _steps(log: bytes) -> int:
    return max(0, log.count(b"\n") - 1)
