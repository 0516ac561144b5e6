"""MetaImage (MHD, MHA) and NRRD: a header of text, and numbers that follow it or stand in a file beside it.

Read here and not with ITK, which ends the process on some damaged files: one clip must never stop the rest. Of MetaImage, what
the ITK documentation calls MetaIO tags (ITK/MetaIO/Documentation); of NRRD, the format's own definition
(teem.sourceforge.net/nrrd/format.html). Text and hexadecimal numbers, and data in several files, are refused.
"""

from __future__ import annotations

import bz2
import math
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from echolib.clinic.arrays import spacing_of, time_step
from echolib.clinic.clip_file import ClipFile, cut_short, plausible
from echolib.clinic.levels import Levels, find_levels
from echolib.errors import DataError

_META_TYPES = {"MET_UCHAR": "u1", "MET_CHAR": "i1", "MET_USHORT": "u2", "MET_SHORT": "i2", "MET_UINT": "u4", "MET_INT": "i4",
               "MET_FLOAT": "f4", "MET_DOUBLE": "f8"}
_NRRD_TYPES = {name: code for code, names in {
    "u1": "uchar,unsigned char,uint8,uint8_t", "i1": "signed char,int8,int8_t", "u2": "ushort,unsigned short,uint16,uint16_t",
    "i2": "short,short int,signed short,int16,int16_t", "u4": "uint,unsigned int,uint32,uint32_t",
    "i4": "int,signed int,int32,int32_t", "f4": "float", "f8": "double"}.items() for name in names.split(",")}
_LONGEST_HEADER = 65_536
_LARGEST = 4 * 2 ** 30
_EXPECTED = "a whole file of (x, y, time) or (x, y, 1, time), grey or RGB, raw or compressed, its data in the same folder"


class _HeaderError(Exception):
    """What is wrong with a header, in words of our own."""


@dataclass(frozen=True)
class _Header:
    """What a header says.

    Attributes:
        sizes: of the axes, the fastest first.
        spacings: along them; NaN where not given.
        time, colour: which axis is which; -1 for none.
        dtype: of the numbers, byte order included.
        data: file name beside the header; empty: behind it.
        begin: where the data begins, bytes; -1: so that it ends with the file.
        packing: ``raw``, ``zlib``, ``gzip`` or ``bzip2``.
    """

    sizes: tuple[int, ...]
    spacings: tuple[float, ...]
    time: int
    colour: int
    dtype: np.dtype
    data: str
    begin: int
    packing: str


def open_raw(path: Path, file: str, name: str) -> ClipFile:
    """Open a MetaImage or NRRD clip; it is held in memory where it is compressed.

    Raises:
        DataError: damage, another shape, data in another folder, or numbers that are no grey levels.
    """
    with path.open("rb") as stream:
        head = stream.read(_LONGEST_HEADER)
    try:
        header = (_nrrd if head.startswith(b"NRRD") else _meta)(head)
    except _HeaderError as error:
        raise DataError(f"not a header that can be read: {error}", file=file, expected=_EXPECTED) from None
    except (ValueError, KeyError, IndexError, OverflowError) as error:  # their messages quote the file
        raise DataError(f"not a header that can be read ({type(error).__name__})", file=file, expected=_EXPECTED) from None
    if re.search(r"[/\\%]|^\.\.$|^LIST\b|\s\d+\s\d+", header.data):
        raise DataError("the header names data in another folder or in several files", file=file, expected=_EXPECTED)
    x, y = (axis for axis in range(len(header.sizes)) if header.sizes[axis] != 1 and axis not in (header.time, header.colour))
    count, height, width = header.sizes[header.time], header.sizes[y], header.sizes[x]
    plausible(file, count, height, width)
    numbers = _numbers(path, header, file)
    slowest = header.time == len(header.sizes) - 1 or all(n == 1 for n in header.sizes[header.time + 1:])
    whole = math.prod(header.sizes)
    there = len(numbers) // (whole // count) if slowest else count * (len(numbers) >= whole)
    if there < min(count, 2):
        raise DataError("the file, or its data file, is cut short", file=file, value=f"{len(numbers)} numbers",
                        expected=f"{whole} numbers")
    shape = tuple(there if axis == header.time else n for axis, n in enumerate(header.sizes))
    array = numbers[:math.prod(shape)].reshape(shape[::-1]).transpose(range(len(shape))[::-1])
    order = [header.time, y, x] + ([header.colour] if header.colour >= 0 else [])
    rest = [axis for axis in range(len(shape)) if axis not in order]
    frames = array.transpose(order + rest).reshape([shape[axis] for axis in order])
    levels = Levels() if array.dtype == np.uint8 else find_levels(frames, there, file)
    fps, timing = time_step(header.spacings[header.time] if len(header.sizes) - (header.colour >= 0) > 3 else math.nan, "unknown")
    zooms = [header.spacings[x], header.spacings[y]]
    notes = levels.notes + timing + ([cut_short(there, count)] if there < count else [])
    return ClipFile(name, there, height, width, fps, spacing_of(zooms, "unknown" if zooms[0] == 1 else "mm"), "raw",
                    lambda: (levels.rgb(frame[..., :3] if frame.ndim == 3 else frame) for frame in frames), tuple(notes))


def _meta(head: bytes) -> _Header:
    """A MetaImage header; its last line names the data."""
    said: dict[str, str] = {}
    for line in head.split(b"\n"):
        key, _, value = line.decode("latin-1").partition("=")
        said[key.strip()] = value.strip()
        if key.strip() == "ElementDataFile":
            break
    else:
        raise _HeaderError("no ElementDataFile")
    end = head.index(b"\n", head.index(b"ElementDataFile")) + 1 if said["ElementDataFile"] in ("LOCAL", "Local", "local") else 0
    if _true(said, "BinaryData", True) is False:
        raise _HeaderError("numbers as text")
    sizes = _whole(said["DimSize"])
    channels = int(said.get("ElementNumberOfChannels", "1"))
    spacings = _real(said.get("ElementSpacing", said.get("ElementSize", ""))) or (math.nan,) * len(sizes)
    msb = _true(said, "BinaryDataByteOrderMSB", False) or _true(said, "ElementByteOrderMSB", False)
    if channels != 1:
        sizes, spacings = (channels, *sizes), (math.nan, *spacings)
    begin = end or int(said.get("HeaderSize", "0"))
    dtype = np.dtype((">" if msb else "<") + _known(_META_TYPES, said["ElementType"]))
    return _sorted(sizes, spacings, -1, 0 if channels != 1 else -1, dtype, "" if end else said["ElementDataFile"], begin,
                   "zlib" if _true(said, "CompressedData", False) else "raw")


def _nrrd(head: bytes) -> _Header:
    """A NRRD header; an empty line ends it."""
    end = re.search(rb"\r?\n\r?\n", head)
    said: dict[str, str] = {}
    for line in (head[:end.start()] if end else head).decode("latin-1").splitlines()[1:]:
        key, colon, value = line.partition(":")
        if colon and not line.startswith("#") and not value.startswith("="):
            said[key.strip().lower()] = value.strip()
    sizes = _whole(said["sizes"])
    kinds = said.get("kinds", "").lower().split() or ["?"] * len(sizes)
    if "space directions" in said:
        vectors = re.findall(r"none|\(([^)]*)\)", said["space directions"].lower())
        spacings = tuple(math.hypot(*_real(v.replace(",", " "))) if v else math.nan for v in vectors)
    else:
        spacings = _real(said.get("spacings", "")) or (math.nan,) * len(sizes)
    if len(kinds) != len(sizes):
        raise _HeaderError("kinds of another number than the sizes")
    colour = next((k for k, kind in enumerate(kinds) if sizes[k] in (3, 4) and re.search("color|vector", kind)), -1)
    if colour < 0 and len(sizes) == 4 and sizes[0] in (3, 4):
        colour = 0
    time = next((k for k, kind in enumerate(kinds) if kind in ("list", "time") and k != colour and sizes[k] > 1), -1)
    packing = {"raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2"}.get(said["encoding"].lower())
    if packing is None or said.get("line skip", "0") != "0":
        raise _HeaderError("numbers as text, or lines to skip")
    data = said.get("data file", said.get("datafile", ""))
    skip = int(said.get("byte skip", "0"))
    if not data and end is None:
        raise _HeaderError("no end of the header")
    dtype = np.dtype((">" if said.get("endian", "little") == "big" else "<") + _known(_NRRD_TYPES, said["type"].lower()))
    return _sorted(sizes, spacings, time, colour, dtype, data, skip if skip < 0 or data else end.end() + skip, packing)


def _sorted(sizes: tuple[int, ...], spacings: tuple[float, ...], time: int, colour: int, *rest) -> _Header:
    """The header with its time axis found: the third that is no colour and longer than one.

    Raises:
        _HeaderError: not a 2-D clip.
    """
    long = [axis for axis, size in enumerate(sizes) if size != 1 and axis != colour]
    if len(spacings) != len(sizes) or min(sizes, default=0) < 1 or len(sizes) > 6 or len(long) != 3:
        raise _HeaderError(f"axes of {' x '.join(map(str, sizes[:8]))}")
    if colour >= 0 and sizes[colour] not in (3, 4):
        raise _HeaderError(f"{sizes[colour]} channels")
    return _Header(sizes, spacings, long[2] if time < 0 else time, colour, *rest)


def _numbers(path: Path, header: _Header, file: str) -> np.ndarray:
    """As many of the clip's numbers as are there, the fastest axis first."""
    source = path.with_name(header.data) if header.data else path
    wanted = math.prod(header.sizes) * header.dtype.itemsize
    if wanted > _LARGEST:
        raise DataError("not the size of an echo clip", file=file, value=f"{wanted} bytes", expected=f"at most {_LARGEST} bytes")
    if not source.is_file():
        raise DataError("the data file that the header names is not there", file=file,
                        expected="header and data file side by side, under the names that they were written with")
    size = source.stat().st_size
    begin = max(0, size - wanted) if header.begin < 0 else header.begin
    if header.packing == "raw":
        count = max(0, min(wanted, size - begin)) // header.dtype.itemsize
        return np.memmap(source, header.dtype, "r", begin, count) if count else np.empty(0, header.dtype)
    with source.open("rb") as stream:
        stream.seek(begin)
        data = _unpacked(stream.read(wanted + 2 ** 20), header.packing, wanted, file)
    return np.frombuffer(data, header.dtype, len(data) // header.dtype.itemsize)


def _unpacked(data: bytes, packing: str, wanted: int, file: str) -> bytes:
    """At most ``wanted`` bytes; fewer where the data ends early."""
    unpack: Callable[[bytes, int], bytes]
    if packing == "bzip2":
        unpack = bz2.BZ2Decompressor().decompress
    else:
        unpack = zlib.decompressobj(zlib.MAX_WBITS | (16 if packing == "gzip" else 0)).decompress
    try:
        return unpack(data, wanted)
    except (zlib.error, OSError, ValueError) as error:
        raise DataError(f"the compressed data is damaged ({type(error).__name__})", file=file, expected=_EXPECTED) from None


def _known(types: dict[str, str], named: str) -> str:
    if named not in types:
        raise _HeaderError(f"numbers of a kind other than {', '.join(list(types)[:6])} ...")
    return types[named]


def _whole(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split())


def _real(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split())


def _true(said: dict[str, str], key: str, default: bool) -> bool:
    return said.get(key, str(default)).lower() in ("true", "1")
