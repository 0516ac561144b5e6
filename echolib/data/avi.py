"""The container of EchoNet-Dynamic's videos, AVI with one Motion-JPEG stream, written and taken apart without FFmpeg.

What :func:`mux` writes is, byte for byte, what FFmpeg's muxer writes in its repeatable mode: a cohort's fingerprint counts the
bytes of its files. Readers prefer FFmpeg (PyAV), which also knows damaged and other files; :func:`demux` is for machines that
lack it, and takes whole files only.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from echolib.errors import DataError

#: Flags of the main header: has an index, is interleaved, chunk types may be trusted.
_FLAGS = 0x10 | 0x100 | 0x800
_BUFFER = 1024 * 1024
#: Room that FFmpeg leaves for the index of files above 1 GB, and between header and frames.
_INDEX_ROOM, _DML_ROOM, _PADDING = 4120, 248, 1016
_KEYFRAME = 0x10
#: FFmpeg begins a second RIFF above this many bytes.
_LARGEST = 1_000_000_000
_WHOLE = "a whole AVI file of Motion-JPEG frames, or an installation with PyAV (pip install av)"


@dataclass(frozen=True)
class MotionJpeg:
    """A stream taken apart: frames per second, size in px, and one JPEG a frame."""

    fps: float
    height: int
    width: int
    frames: tuple[bytes, ...]


def mux(frames: Sequence[bytes], rate: Fraction, height: int, width: int) -> bytes:
    """The content of an AVI file.

    Args:
        frames: one JPEG a frame, at least one.
        rate: frames per second.
        height: px.
        width: px.

    Raises:
        ValueError: more than 1 GB, for which the format has another form.
    """
    if sum(map(len, frames)) > _LARGEST:
        raise ValueError(f"an AVI of this form holds at most {_LARGEST} bytes, not {sum(map(len, frames))}")
    count, scale, per_second = len(frames), rate.denominator, rate.numerator
    main = struct.pack("<14I", 1_000_000 * scale // per_second, 0, 0, _FLAGS, count, 0, 1, _BUFFER, width, height, 0, 0, 0, 0)
    stream = struct.pack("<4s4s3I5I2I4H", b"vids", b"MJPG", 0, 0, 0, scale, per_second, 0, count, max(map(len, frames)),
                         0xFFFFFFFF, 0, 0, 0, width, height)
    picture = struct.pack("<3I2H4s5I", 40, width, height, 1, 24, b"MJPG", 3 * width * height, 0, 0, 0, 0)
    index_room = struct.pack("<2I4s", 4, 0, b"00dc").ljust(_INDEX_ROOM, b"\0")
    header = _list(b"hdrl", _chunk(b"avih", main), _list(b"strl", _chunk(b"strh", stream), _chunk(b"strf", picture),
                                                         _chunk(b"JUNK", index_room)),
                   _chunk(b"JUNK", b"odmldmlh" + struct.pack("<I", _DML_ROOM) + bytes(_DML_ROOM)))
    chunks, index, place = [], [], 4
    for frame in frames:
        chunks.append(_chunk(b"00dc", frame))
        index.append(struct.pack("<4s3I", b"00dc", _KEYFRAME, place, len(frame)))
        place += len(chunks[-1])
    body = b"AVI " + header + _chunk(b"JUNK", bytes(_PADDING)) + _list(b"movi", *chunks) + _chunk(b"idx1", b"".join(index))
    return _chunk(b"RIFF", body)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack("<4sI", name, len(content)) + content + bytes(len(content) % 2)


def _list(name: bytes, *chunks: bytes) -> bytes:
    return _chunk(b"LIST", name + b"".join(chunks))


def demux(content: bytes, file: str) -> MotionJpeg:
    """Take an AVI file apart.

    Args:
        content: of the file.
        file: its name for messages.

    Raises:
        DataError: it is no AVI file, its stream is of another codec, or it is cut short.
    """
    if content[:4] != b"RIFF" or content[8:12] != b"AVI ":
        raise DataError("the file is no AVI file", file=file, expected=_WHOLE)
    header: dict[bytes, bytes] = {}
    frames: list[bytes] = []
    _walk(content, 12, 8 + struct.unpack_from("<I", content, 4)[0], header, frames, file)
    try:
        codec, scale, per_second = header[b"strh"][4:8], *struct.unpack_from("<2I", header[b"strh"], 20)
        width, height, form = *struct.unpack_from("<2i", header[b"strf"], 4), header[b"strf"][16:20]
    except (KeyError, struct.error):
        raise DataError("the AVI file has no whole header", file=file, expected=_WHOLE) from None
    if header[b"strh"][:4] != b"vids" or b"MJPG" not in (codec.upper(), form.upper()):
        raise DataError("the video is not Motion-JPEG, which is all that can be read without PyAV", file=file,
                        value=codec.decode("latin-1"), expected=_WHOLE)
    return MotionJpeg(per_second / scale if scale else float("nan"), abs(height), width, tuple(frames))


def _walk(content: bytes, start: int, end: int, header: dict[bytes, bytes], frames: list[bytes], file: str) -> None:
    """Collect the first stream's headers and the chunks of its frames from ``content[start:end]``."""
    while start + 8 <= min(end, len(content)):
        name, size = struct.unpack_from("<4sI", content, start)
        first, last = start + 8, start + 8 + size
        if last > len(content):
            raise DataError("the AVI file is cut short", file=file, value=f"{len(content)} bytes", expected=_WHOLE)
        if name == b"LIST":
            _walk(content, first + 4, last, header, frames, file)
        elif name in (b"strh", b"strf"):
            header.setdefault(name, content[first:last])
        elif name == b"00dc" and size:
            frames.append(content[first:last])
        start = last + size % 2
