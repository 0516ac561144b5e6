"""A seeded mutator: the same generator state and the same bytes give the same damage.

Three kinds of damage: any bytes (bits, blocks, lengths), text (rows, cells, encodings, line ends), and the inside of a
wrapper (gzip, zip, the JSON header of safetensors) whose checksums are made right again, so that the damage gets past the
first check.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence

import numpy as np

Rng = np.random.Generator

#: What a header field is set to: the ends of every integer type, sizes no clip has, and floats that are no numbers.
WHOLE = (0, 1, 2, 3, 7, 0x7F, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF,
         0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
FLOATS = (float("nan"), float("inf"), float("-inf"), -1.0, 0.0, 1e-30, 1e30, 5e-324, 1.8e308)
#: What a cell, a number or a value in a text becomes.
CELLS = ("", "nan", "NaN", "inf", "-inf", "-1", "0", "1e308", "1e999", "-0", "0x10", "1_000", "9" * 30, "9" * 5000, "2147483648",
         "9223372036854775808", "1.5", "½", "٣", "é\u0000", "../../x", "/etc/passwd", "a" * 300, "x" * 5000, "None", "null",
         "true", "[" * 3000, "{}", "=1+1", '"', "'", "\\", "%s%n", "&a [*a]", "!!python/object/apply:os.getcwd []",
         "2024-13-45", "~", "{a: {")


def _span(rng: Rng, size: int, most: int = 4096) -> tuple[int, int]:
    """A block: where it begins and how long it is; short ones are commoner."""
    if size == 0:
        return 0, 0
    start = int(rng.integers(size))
    return start, int(min(size - start, 2 ** rng.uniform(0, np.log2(most))))


def flip_bits(rng: Rng, data: bytes) -> bytes:
    out = bytearray(data)
    for place in rng.integers(0, max(len(out), 1), int(2 ** rng.uniform(0, 6))):
        if out:
            out[place] ^= 1 << int(rng.integers(8))
    return bytes(out)


def head_bytes(rng: Rng, data: bytes) -> bytes:
    """Bytes exchanged among the first 400, where headers are."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        if out:
            out[int(rng.integers(min(len(out), 400)))] = int(rng.integers(256))
    return bytes(out)


def truncate(rng: Rng, data: bytes) -> bytes:
    return data[:int(rng.integers(len(data) + 1))]


def truncate_end(rng: Rng, data: bytes) -> bytes:
    return data[:max(0, len(data) - int(rng.integers(1, 64)))]


def remove_block(rng: Rng, data: bytes) -> bytes:
    start, length = _span(rng, len(data))
    return data[:start] + data[start + length:]


def insert_noise(rng: Rng, data: bytes) -> bytes:
    start, length = _span(rng, len(data))
    return data[:start] + rng.bytes(max(length, 1)) + data[start:]


def repeat_block(rng: Rng, data: bytes) -> bytes:
    start, length = _span(rng, len(data))
    return data[:start + length] + data[start:start + length] * int(rng.integers(1, 4)) + data[start + length:]


def swap_blocks(rng: Rng, data: bytes) -> bytes:
    (a, n), (b, m) = sorted((_span(rng, len(data)), _span(rng, len(data))))
    n = min(n, b - a)
    return data[:a] + data[b:b + m] + data[a + n:b] + data[a:a + n] + data[b + m:]


def blank_block(rng: Rng, data: bytes) -> bytes:
    start, length = _span(rng, len(data))
    return data[:start] + bytes([int(rng.choice([0, 0xFF, 0x20]))]) * length + data[start + length:]


def _number(rng: Rng) -> bytes:
    """An extreme value as it could stand in a header: 1 to 8 bytes, either end first, whole or float."""
    if rng.random() < 0.25:
        return struct.pack(str(rng.choice(["<f", ">f"])), np.float32(rng.choice(FLOATS[:6]))) if rng.random() < 0.5 else \
            struct.pack(str(rng.choice(["<d", ">d"])), float(rng.choice(FLOATS)))
    size = int(rng.choice([1, 2, 4, 8]))
    return (int(WHOLE[rng.integers(len(WHOLE))]) & (256 ** size - 1)).to_bytes(size, str(rng.choice(["little", "big"])))


def extreme_field(rng: Rng, data: bytes) -> bytes:
    """A number in the first 600 bytes, at an even place, becomes an extreme one."""
    if not data:
        return data
    place = int(rng.integers(0, min(len(data), 600))) & ~1
    value = _number(rng)
    return data[:place] + value + data[place + len(value):]


def extreme_near(marks: Sequence[bytes]) -> Callable[[Rng, bytes], bytes]:
    """A number just after one of a format's own marks (chunk and box names, tags) becomes an extreme one."""
    def extreme_near_mark(rng: Rng, data: bytes) -> bytes:
        places = [m.end() for mark in marks for m in re.finditer(re.escape(mark), data)]
        if not places:
            return extreme_field(rng, data)
        place, value = int(places[rng.integers(len(places))]) + int(rng.integers(0, 33)), _number(rng)
        return data[:place] + value + data[place + len(value):]
    return extreme_near_mark


def empty(rng: Rng, data: bytes) -> bytes:
    return b""


def noise(rng: Rng, data: bytes) -> bytes:
    return rng.bytes(int(rng.integers(1, 3000)))


def other_format(rng: Rng, data: bytes) -> bytes:
    """Another format's beginning on this file."""
    objects = b"\x93NUMPY\x01\0v\0{'descr': '|O', 'fortran_order': False, 'shape': (9,)}"
    heads = (b"RIFF\x10\0\0\0AVI LIST", b"\0\0\0\x18ftypisom", objects,
             b"\0" * 128 + b"DICM", b"\x1f\x8b\x08\0\0\0\0\0", b"PK\x03\x04",
             b"\x80\x02cposix\nsystem\nX\x02\0\0\0ls\x85R.", b"\x89PNG\r\n",
             b"GIF89a", b"#!/bin/sh\n", b"<html>", b"ID3\x03", b"\x1aE\xdf\xa3",
             b"#EXTM3U\nfile:///etc/passwd\n", b"ffconcat version 1.0\n")
    head = heads[rng.integers(len(heads))]
    return head + (data[len(head):] if rng.random() < 0.5 else b"")


BINARY = (flip_bits, flip_bits, head_bytes, truncate, truncate_end, remove_block, insert_noise, repeat_block, swap_blocks,
          blank_block, extreme_field, extreme_field, empty, noise, other_format)


def _lines(data: bytes) -> list[bytes]:
    return data.splitlines(keepends=True) or [b""]


def swap_cells(rng: Rng, data: bytes) -> bytes:
    """Two columns change places, in every row or from some row on."""
    lines = _lines(data)
    first = int(rng.integers(len(lines))) if rng.random() < 0.5 else 0
    a, b = (int(i) for i in rng.integers(0, max(lines[0].count(b",") + 1, 2), 2))
    for n in range(first, len(lines)):
        cells = lines[n].rstrip(b"\r\n").split(b",")
        if max(a, b) < len(cells):
            cells[a], cells[b] = cells[b], cells[a]
            lines[n] = b",".join(cells) + b"\n"
    return b"".join(lines)


def change_number(rng: Rng, data: bytes) -> bytes:
    """A number or word of the text becomes something else."""
    words = list(re.finditer(rb"-?\d[\d.]*|[A-Za-z_][\w.-]*", data))
    if not words:
        return data
    word = words[rng.integers(len(words))]
    return data[:word.start()] + CELLS[rng.integers(len(CELLS))].encode() + data[word.end():]


def change_lines(rng: Rng, data: bytes) -> bytes:
    """A line is lost, doubled, moved, joined with the next, or cut."""
    lines = _lines(data)
    n, way = int(rng.integers(len(lines))), int(rng.integers(5))
    if way == 0:
        del lines[n]
    elif way == 1:
        lines.insert(int(rng.integers(len(lines))), lines[n])
    elif way == 2:
        lines.insert(int(rng.integers(len(lines))), lines.pop(n))
    elif way == 3:
        lines[n] = lines[n].rstrip(b"\r\n")
    else:
        lines[n] = lines[n][:int(rng.integers(len(lines[n]) + 1))] + b"\n"
    return b"".join(lines)


def change_separators(rng: Rng, data: bytes) -> bytes:
    way = int(rng.integers(5))
    pairs = ((b",", b";"), (b",", b"\t"), (b":", b"="), (b",", b",,"), (b"\n", b" \n"))
    return data.replace(*pairs[way])


def line_ends(rng: Rng, data: bytes) -> bytes:
    """Line ends of other systems, or of several at once."""
    ends = (b"\r\n", b"\r", b"\n\n", b"\n\r", b"\x0b", b"\x0c", b"\xe2\x80\xa8", b"\x1e")
    way = int(rng.integers(len(ends) + 1))
    if way < len(ends):
        return data.replace(b"\n", ends[way])
    return b"".join(line.rstrip(b"\n") + ends[rng.integers(3)] for line in _lines(data))


def encoding(rng: Rng, data: bytes) -> bytes:
    text = data.decode("utf-8", "replace")
    names = ("utf-16", "utf-32", "utf-16-be", "utf-8-sig", "cp037", "utf-7")
    way = int(rng.integers(len(names) + 1))
    if way < len(names):
        return text.encode(names[way], "replace")
    place = int(rng.integers(len(data) + 1))
    return data[:place] + bytes([int(rng.integers(128, 256))]) + data[place:]


def nul(rng: Rng, data: bytes) -> bytes:
    out = bytearray(data)
    for place in rng.integers(0, len(out) + 1, int(rng.integers(1, 5))):
        out[place:place] = b"\0"
    return bytes(out)


def quotes_and_brackets(rng: Rng, data: bytes) -> bytes:
    kinds = (b'"', b"'", b'""', b"[" * 20000, b"{\"a\":" * 5000, b"}", b"]", b",", b"\\", b": ", b"- " * 2000, b"&x ", b"*x",
             b"\t", b"#")
    place = int(rng.integers(len(data) + 1))
    return data[:place] + kinds[rng.integers(len(kinds))] + data[place:]


TEXT = (swap_cells, change_number, change_number, change_number, change_lines, change_lines, change_separators, line_ends,
        encoding, nul, quotes_and_brackets, flip_bits, truncate, remove_block, repeat_block, insert_noise, empty, other_format)


def _regzip(rng: Rng, data: bytes, inner: Callable[[bytes], bytes]) -> bytes:
    try:
        return gzip.compress(inner(gzip.decompress(data)), 1, mtime=0)
    except (OSError, EOFError, zlib.error):
        return inner(data)


def _rezip(rng: Rng, data: bytes, inner: Callable[[bytes], bytes]) -> bytes:
    """One member of a zip archive damaged, the archive itself whole."""
    out = io.BytesIO()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
            names = old.namelist()
            hit = names[rng.integers(len(names))]
            for name in names:
                content = old.read(name)
                new.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), inner(content) if name == hit else content)
    except (zipfile.BadZipFile, ValueError, EOFError, zlib.error, NotImplementedError):
        return inner(data)
    return out.getvalue()


def _reheader(rng: Rng, data: bytes, inner: Callable[[bytes], bytes]) -> bytes:
    """The JSON header of a safetensors file damaged as text, its length made right again."""
    try:
        (length,) = struct.unpack("<Q", data[:8])
        json.loads(data[8:8 + length])
    except (struct.error, ValueError):
        return inner(data)
    header = inner(data[8:8 + length])
    return struct.pack("<Q", len(header)) + header + data[8 + length:]


WRAPPERS = {"gzip": (_regzip, BINARY), "zip": (_rezip, BINARY), "safetensors": (_reheader, TEXT)}


def mutate(rng: Rng, data: bytes, *, text: bool = False, wrapper: str | None = None,
           marks: Sequence[bytes] = ()) -> tuple[bytes, str]:
    """Damage ``data`` in one to three ways.

    Args:
        rng: decides everything.
        data: a whole file.
        text: it is text, so mostly damaged as text.
        wrapper: ``gzip``, ``zip`` or ``safetensors``: half of the time what is inside is damaged.
        marks: byte strings after which the format keeps numbers.

    Returns:
        the damaged bytes, and the names of the ways.
    """
    inside = wrapper is not None and rng.random() < 0.5
    ways = TEXT if text else (WRAPPERS[wrapper][1] if inside else BINARY) + (extreme_near(marks),) * (4 if marks else 0)
    chosen = [ways[i] for i in rng.integers(0, len(ways), int(rng.choice([1, 1, 1, 2, 3])))]

    def apply(content: bytes) -> bytes:
        for way in chosen:
            content = way(rng, content)
        return content

    damaged = WRAPPERS[wrapper][0](rng, data, apply) if inside else apply(data)
    return damaged, ("inside: " if inside else "") + ", ".join(way.__name__ for way in chosen)
