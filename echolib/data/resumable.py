"""What lets packing be interrupted: arrays that grow on disk, and a journal of the studies that are whole in them."""

from __future__ import annotations

import hashlib
import json
import os
from io import BytesIO
from pathlib import Path
from typing import TextIO

import numpy as np
import pandas as pd

from echolib.files import write_atomic


def study_sum(video: np.ndarray, bits: np.ndarray) -> str:
    """SHA-256 of a study's frames followed by its packed masks, 64 hex digits."""
    total = hashlib.sha256(np.ascontiguousarray(video))
    total.update(np.ascontiguousarray(bits))
    return total.hexdigest()


class GrowingArray:
    """A ``.npy`` file of known shape that is written in any order; kept as it is when it exists with that shape."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        header = BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
        self.offset, self.item = header.tell(), int(np.prod(shape[1:]))
        total = self.offset + shape[0] * self.item
        old = b""
        if path.exists() and path.stat().st_size == total:
            with open(path, "rb") as stream:
                old = stream.read(self.offset)
        if old != header.getvalue():
            with open(path, "wb") as stream:
                stream.write(header.getvalue())
                stream.truncate(total)
        self.stream = open(path, "r+b")

    def __enter__(self) -> GrowingArray:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.flush()
        os.fsync(self.stream.fileno())
        self.stream.close()

    def write(self, first: int, rows: np.ndarray) -> None:
        """Write (n, ...) uint8 rows from row ``first`` on."""
        self.stream.seek(self.offset + first * self.item)
        self.stream.write(rows.tobytes())
        self.stream.flush()

    def read(self, first: int, count: int) -> bytes:
        """The bytes of ``count`` rows."""
        self.stream.seek(self.offset + first * self.item)
        return self.stream.read(count * self.item)


def finished(path: Path, wanted: dict, studies: pd.DataFrame, labels: dict[str, pd.DataFrame], frames: GrowingArray,
             masks: GrowingArray) -> dict[str, str]:
    """Studies that an interrupted packing has written whole.

    Their bytes are read again and compared with the journal, which is then rewritten to hold just these.

    Args:
        path: the journal, JSON lines; missing: nothing is finished.
        wanted: what is being packed; a journal of anything else counts for nothing.
        studies: with columns ``first`` and ``frames``.
        labels: per study, with column ``row``.
        frames: the frame array.
        masks: the mask array.

    Returns:
        Study -> SHA-256 of its frames and masks.
    """
    entries = []
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            if not line.endswith("\n"):  # cut short by the interruption
                break
            try:
                entries.append(json.loads(line))
            except ValueError:  # damaged from here on
                break
    sums = {}
    if entries and entries[0] == wanted:
        for entry in entries[1:]:
            study, total = entry["study"], hashlib.sha256()
            total.update(frames.read(int(studies["first"][study]), int(studies["frames"][study])))
            total.update(masks.read(int(labels[study]["row"].iloc[0]), len(labels[study])))
            if total.hexdigest() == entry["sha256"]:
                sums[study] = entry["sha256"]
    lines = [wanted, *({"study": study, "sha256": value} for study, value in sums.items())]
    write_atomic(path, "".join(json.dumps(line) + "\n" for line in lines))
    return sums


def note(journal: TextIO, entry: dict) -> None:
    """Append one line to the journal and hand it to the system."""
    journal.write(json.dumps(entry) + "\n")
    journal.flush()
