"""Writing files so that a reader finds the old one or the new one, never half of one."""

from __future__ import annotations

import fcntl
import json
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: What numpy raises on a damaged .npy or .npz file, whose headers it reads as Python text and as zip entries.
DAMAGED_ARRAY = (OSError, EOFError, ValueError, TypeError, KeyError, IndexError, ArithmeticError, SyntaxError, MemoryError,
                 RuntimeError, tokenize.TokenError, zipfile.BadZipFile, zlib.error, struct.error)


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write to a temporary name beside ``path``, flush to disk, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "wb") as stream:
            stream.write(content.encode("utf-8") if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """JSON with sorted keys, atomically."""
    write_atomic(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path) -> object:
    """Read JSON.

    Raises:
        OSError: the file is missing or cannot be read.
        ValueError: it is not UTF-8, not JSON, or nested too deeply.
    """
    return parse_json(path.read_bytes())


def parse_json(content: bytes) -> object:
    """JSON from a file's content.

    Raises:
        ValueError: it is not UTF-8, not JSON, or nested too deeply.
    """
    try:
        return json.loads(content.decode("utf-8"))
    except RecursionError:
        raise ValueError("nested too deeply") from None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on ``path`` (created if missing); a second process waits its turn."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(stream, fcntl.LOCK_UN)
