"""A folder of results that is either the old one or the new one, whatever moment the process is killed at."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
#: What the file system says when it cannot exchange two names.
_CANNOT = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM)


@contextmanager
def finished_folder(target: Path) -> Iterator[Path]:
    """Give a temporary folder beside ``target``; when the block ends without an error it takes ``target``'s place.

    Linux exchanges the two names in one step. Elsewhere the old folder is moved aside first, and put back by the next call
    if the process dies between the two moves. What earlier processes left behind is removed.

    Raises:
        OSError: the folder cannot be written; ``target`` is then as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    clear_remains(target)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        for path in temporary.iterdir():
            _to_disk(path)
        if not _placed(temporary, target) and not _exchange(temporary, target):
            aside = target.with_name(f".{target.name}.{os.getpid()}.old")
            os.rename(target, aside)
            os.rename(temporary, target)
            shutil.rmtree(aside)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # after an exchange this is the old folder


def _placed(temporary: Path, target: Path) -> bool:
    """Give a folder its name where that name is free; False where it is taken, perhaps a moment ago by another process."""
    if target.exists():
        return False
    try:
        os.rename(temporary, target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def clear_remains(target: Path) -> None:
    """Remove temporary folders and files of processes that are gone; put an old folder back that lost its name halfway."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.(\d+)\.(part|old)")
    for path in target.parent.iterdir():
        match = pattern.fullmatch(path.name)
        if match and not _alive(int(match[1])):
            if match[2] == "old" and not target.exists():
                os.rename(path, target)
            elif path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    if pid == os.getpid():
        return False  # our own number from an earlier life: this process has no folder open when it asks
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _to_disk(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step (Linux); False where that is not possible."""
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "renameat2"):
        return False
    if library.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _CANNOT:
        return False
    raise OSError(code, os.strerror(code), other.name)
