"""Where the frames of a DICOM file are, found without decoding them: how many are there, whatever the header counts."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydicom.uid import UID

from echolib.data.dicom import LARGEST
from echolib.errors import DataError

WHOLE_FILE = ("a whole file in a transfer syntax that can be decoded here (native, RLE, JPEG, JPEG 2000); gdcmconv --raw makes "
              "native files of others")
_UNDEFINED = 0xFFFFFFFF

#: (offset, length) of the pieces of a frame in the file.
Pieces = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Pixels:
    """Frames in a file.

    Attributes:
        frames: how many are whole.
        pieces: where each is; empty where that was not looked for.
        intact: False when the file ends early or its header counts wrongly.
    """

    frames: int
    pieces: tuple[Pieces, ...] = ()
    intact: bool = True


def find_frames(path: Path, at: int, syntax: UID | None, stated: int, size: int, file: str) -> Pixels:
    """Look for the frames behind the header; what this cannot judge is left to pydicom.

    Args:
        path: the file.
        at: where the element with the pixels begins.
        syntax: the transfer syntax.
        stated: number of frames in the header.
        size: bytes of a frame that is not compressed.
        file: name for error messages.

    Raises:
        DataError: the file ends before the second frame.
    """
    if syntax is None or not syntax.is_transfer_syntax or syntax.is_deflated or not syntax.is_little_endian or size <= 0:
        return Pixels(stated)
    with path.open("rb") as stream:
        there = stream.seek(0, 2)
        stream.seek(at)
        head = stream.read(12)
        if head[:4] != b"\xe0\x7f\x10\x00":
            raise DataError("no pixels behind the header: the file is cut short or holds none", file=file, expected=WHOLE_FILE)
        begin = at + (8 if syntax.is_implicit_VR else 12)
        length = int.from_bytes(head[begin - at - 4:begin - at], "little")
        if syntax.is_encapsulated:
            return _fragments(stream, begin, there, stated, file)
        if length == _UNDEFINED:
            return Pixels(stated)
        whole = min(length, there - begin) // size
    if whole < 2 <= stated:
        raise _cut(whole, stated, file)
    if whole == stated or whole > LARGEST[0] or whole > stated > 1:  # more: padding; a header that counts several is believed
        return Pixels(stated)
    return Pixels(whole, tuple(((begin + t * size, size),) for t in range(whole)), intact=False)


def _cut(whole: int, stated: int, file: str) -> DataError:
    return DataError("the file is cut short", file=file, value=f"{whole} whole frame{'s' * (whole != 1)}",
                     expected=f"{stated} frames")


def _fragments(stream: BinaryIO, begin: int, there: int, stated: int, file: str) -> Pixels:
    """Frames of compressed pixel data: one to a fragment, unless the offset table at its head says otherwise."""
    items, at, ended, table = [], begin, False, b""
    while at + 8 <= there:
        stream.seek(at)
        tag, length = struct.unpack("<4sI", stream.read(8))
        ended = tag == b"\xfe\xff\xdd\xe0"
        if ended or tag != b"\xfe\xff\x00\xe0" or at + 8 + length > there:
            break
        if at == begin:
            table = stream.read(min(length, 4 * LARGEST[0]))
        else:
            items.append((at + 8, length))
        at += 8 + length
    # Each entry of the table is where the first fragment of a frame begins, counted from the end of the table's own item.
    first = begin + 8 + len(table)
    starts = {first + offset + 8 for offset in struct.unpack(f"<{len(table) // 4}I", table[:len(table) // 4 * 4])}
    frames: list[list[tuple[int, int]]] = []
    for item in items:
        if not starts or item[0] in starts or not frames:
            frames.append([])
        frames[-1].append(item)
    if not ended and any(len(pieces) > 1 for pieces in frames):
        frames.pop()  # more of it may have stood behind the cut
    pieces = tuple(map(tuple, frames))
    if len(pieces) < 2 <= stated and not ended:
        raise _cut(len(pieces), stated, file)
    if len(pieces) == stated:
        return Pixels(stated, pieces)
    if len(pieces) < 2 or (ended and stated > 1):
        return Pixels(stated)  # frames in several fragments without a table: pydicom tells them apart, or says why not
    return Pixels(len(pieces), pieces, intact=False) if stated == 1 else Pixels(min(stated, len(pieces)), pieces[:stated], False)


def read_pieces(path: Path, frames: tuple[Pieces, ...]) -> Iterator[bytes]:
    """The bytes of each frame."""
    with path.open("rb") as stream:
        for pieces in frames:
            parts = []
            for offset, length in pieces:
                stream.seek(offset)
                parts.append(stream.read(length))
            yield b"".join(parts)
