"""The process that reads damaged inputs, with little memory: ``python -m tests.fuzz.child FOLDER SEED FIRST LAST``.

Its first line names the readers; then it writes one JSON line an input. If it is killed by a decoder, by its parent's
patience or for memory, the line that is missing says by which input.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch

from echolib.errors import EcholibError
from tests.fuzz.mutate import mutate
from tests.fuzz.readers import READERS, TEXT_ENDINGS, Reader, make, target

#: What a child may reserve beyond what its libraries have reserved already, and how much of it one input may touch.
MORE_ADDRESSES = 2 * 2 ** 30
MOST_TOUCHED = 512 * 2 ** 20


def damage(reader: Reader, clean: Path, seed: int, number: int) -> tuple[str, bytes, str]:
    """Input ``number`` of a reader: the file, its damaged bytes, and how it was damaged."""
    rng = np.random.default_rng([seed, zlib.crc32(reader.name.encode()), number])
    file = target(reader, reader.files[rng.integers(len(reader.files))])
    text = file.endswith(TEXT_ENDINGS)
    wrapper = None if text or (reader.wrapper == "gzip" and not file.endswith(".gz")) else reader.wrapper
    damaged, how = mutate(rng, (clean / file).read_bytes(), text=text, wrapper=wrapper, marks=() if text else reader.marks)
    return file, damaged, how


def one(reader: Reader, clean: Path, seed: int, number: int) -> dict[str, object]:
    """Read one damaged input: ``read``, ``refused`` by a named error, or a ``defect``."""
    file, damaged, how = damage(reader, clean, seed, number)
    path = clean / file
    whole = path.read_bytes()
    before = _listing(clean)
    began = time.process_time()
    line: dict[str, object] = {"reader": reader.name, "number": number, "file": file, "damage": how}
    path.write_bytes(damaged)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(clean)
        line |= {"outcome": "read"}
    except EcholibError as error:
        names = {path.name} if reader.named else {p.name for p in clean.rglob("*")} | {"database_nifti", "Videos"}
        if any(name in str(error) or name.removesuffix(".gz").removesuffix(path.suffix) in str(error) for name in names):
            line |= {"outcome": "refused", "error": type(error).__name__}
        else:
            line |= {"outcome": "defect", "error": f"names no file: {type(error).__name__}: {error}"[:300]}
    except BaseException as error:  # noqa: B036 - the point of this program is to find these
        frame = error.__traceback__
        while frame.tb_next is not None:
            frame = frame.tb_next
        where = f"{Path(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno}"
        line |= {"outcome": "defect", "error": f"{type(error).__name__} at {where}: {error}"[:300]}
    finally:
        path.write_bytes(whole)
    line["seconds"] = round(time.process_time() - began, 3)
    if _listing(clean) != before:
        line |= {"outcome": "defect", "error": f"left behind: {sorted(_listing(clean) - before)}"}
    return line


def _listing(folder: Path) -> set[str]:
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*")}
    return there | {f"tmp:{name}" for name in os.listdir(tempfile.gettempdir())}


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _peak(reset: bool = False) -> int:
    """The most memory held since the last reset, bytes."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def _run(folder: Path, seed: int, first: int, last: int) -> Iterator[dict[str, object]]:
    for position in range(first, last):
        reader = READERS[position % len(READERS)]
        clean = folder / reader.name.replace(" ", "-").replace(",", "")
        if not clean.exists():
            make(reader, clean)
            reader.read(clean)  # the clean input must be read, or no damage would be found
        held = _resident()
        _peak(reset=True)
        line = one(reader, clean, seed, position // len(READERS))
        touched = _peak() - held
        if touched > MOST_TOUCHED and line["outcome"] != "defect":
            line |= {"outcome": "defect", "error": f"took {touched // 2 ** 20} MiB of memory"}
        yield line | {"position": position, "resident": _resident(), "open_files": len(os.listdir("/proc/self/fd"))}


def main() -> None:
    folder, seed, first, last = Path(sys.argv[1]), *(int(a) for a in sys.argv[2:5])
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    reserved = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (reserved + MORE_ADDRESSES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints does not mix with the answers
    answers.write(json.dumps({"readers": [reader.name for reader in READERS]}) + "\n")
    for line in _run(folder, seed, first, last):
        answers.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
