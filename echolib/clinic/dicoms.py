"""DICOM clips: 8 bits or deeper, every frame that is in the file, whatever the header counts.

The header's names for pixels, time and space are those of :mod:`echolib.data.dicom`; no other text is looked at. Where the pixel
data ends early, or holds frames that the header does not count, the whole frames that are there make the clip.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pydicom
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi, iter_pixels
from pydicom.uid import UID

from echolib.clinic.clip_file import ClipFile, believed, cut_short, plausible
from echolib.clinic.levels import Levels, find_levels, window
from echolib.clinic.result import Flag
from echolib.data.dicom import _DAMAGED, _TAGS, LARGEST, _eight_bit, _fps, _numbers, _quietly, _source, _spacing
from echolib.errors import DataError

_GREY = ("MONOCHROME1", "MONOCHROME2")
_SEEN = [*_TAGS, "HighBit", "PixelRepresentation", "PlanarConfiguration", "WindowCenter", "WindowWidth", "VOILUTSequence",
         "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "SOPClassUID", "ExtendedOffsetTable",
         "ExtendedOffsetTableLengths"]
_WHOLE_FILE = "a whole file in a transfer syntax that can be decoded (native, RLE, JPEG, JPEG 2000)"
_UNDEFINED = 0xFFFFFFFF


def open_dicom(path: Path, file: str, name: str) -> ClipFile:
    """Open a DICOM clip.

    Raises:
        DataError: no DICOM file, no pixels, a still image, or pixels that do not decode.
    """
    header, at = _header(path, file)
    height, width, samples, bits = (_number(header, tag, file) for tag in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated"))
    stated = _number(header, "NumberOfFrames", file, default=1)
    for what, value, most in zip(("frames", "rows", "columns"), (stated, height, width), LARGEST, strict=True):
        if not 1 <= value <= most:
            raise DataError(f"the header gives an impossible number of {what}", file=file, value=value, expected=f"1 to {most}")
    kind = str(header.get("PhotometricInterpretation", "")).strip()
    if bits not in (8, 16, 32) or (bits > 8 and kind not in (*_GREY, "PALETTE COLOR")):
        raise DataError("pixels of a depth that cannot be shown", file=file, value=f"{bits} bits, {kind or 'no interpretation'}",
                        expected="8 bits, or up to 32 bits of grey")
    pixels = _find(path, at, header.file_meta.get("TransferSyntaxUID"), stated, height * width * samples * (bits // 8), file)
    count, notes = pixels.frames, []
    plausible(file, count, height, width)
    if count > stated:
        notes.append(Flag("more_frames", f"The header counts {stated} frames, the file holds {count}; all were used.", "note"))
    elif count < stated:
        notes.append(cut_short(count, stated))

    def stored() -> Iterator[np.ndarray]:
        return _decoded(path, pixels, header, (height, width), kind, file)

    levels = Levels() if bits == 8 or kind not in _GREY else _window(header) or find_levels(stored(), count, file)
    fps, doubts = believed(_fps(header))

    def frames() -> Iterator[np.ndarray]:
        for values in stored():
            grey = levels.rgb(values)
            yield np.uint8(255) - grey if kind == "MONOCHROME1" else grey

    return ClipFile(name, count, height, width, fps, _spacing(header), "dicom", frames, tuple(notes + levels.notes + doubts))


def _header(path: Path, file: str) -> tuple[pydicom.Dataset, int]:
    """The header, and where the pixel element begins."""
    try:
        with warnings.catch_warnings(), path.open("rb") as stream:
            warnings.simplefilter("ignore")  # they quote the header
            header = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=_SEEN,
                                     force=path.suffix.lower() in (".dcm", ".dicom"))
            header.decode()
            at = stream.tell()
    except _DAMAGED as error:
        raise DataError(f"not a DICOM file ({type(error).__name__})", file=file) from None
    if "Rows" not in header or "Columns" not in header:
        raise DataError("not a DICOM file with pixels", file=file,
                        expected="an ultrasound multi-frame image, not a report, a DICOMDIR or a waveform")
    return header, at


def _number(header: pydicom.Dataset, tag: str, file: str, default: int = 0) -> int:
    try:
        return int(header.get(tag, default) or default)
    except _DAMAGED:
        raise DataError("frame count, rows, columns or bits cannot be read", file=file) from None


@dataclass(frozen=True)
class _Pixels:
    """Where the frames are.

    Attributes:
        frames: whole frames in the file.
        parts: (offset, length) of the pieces of each, when the file cannot be handed to pydicom as it is because it ends early
            or counts wrongly.
    """

    frames: int
    parts: tuple[tuple[tuple[int, int], ...], ...] | None = None


def _find(path: Path, at: int, syntax: UID | None, stated: int, size: int, file: str) -> _Pixels:
    """Look for the frames behind the header without decoding them; what this cannot judge is left to pydicom."""
    if syntax is None or not syntax.is_transfer_syntax or syntax.is_deflated or not syntax.is_little_endian or size <= 0:
        return _Pixels(stated)
    with path.open("rb") as stream:
        there = stream.seek(0, 2)
        stream.seek(at)
        head = stream.read(12)
        if head[:4] != b"\xe0\x7f\x10\x00":
            raise DataError("no pixels behind the header: the file is cut short or holds none", file=file, expected=_WHOLE_FILE)
        begin = at + (8 if syntax.is_implicit_VR else 12)
        length = int.from_bytes(head[begin - at - 4:begin - at], "little")
        if syntax.is_encapsulated:
            return _fragments(stream, begin, there, stated, file)
        if length == _UNDEFINED:
            return _Pixels(stated)
        whole = min(length, there - begin) // size
    if whole < 2 <= stated:
        raise _cut(whole, stated, file)
    if whole == stated or whole > LARGEST[0]:
        return _Pixels(stated)
    if whole > stated > 1:
        return _Pixels(stated)  # padding; a header that counts several is believed
    return _Pixels(whole, tuple(((begin + t * size, size),) for t in range(whole)))


def _cut(whole: int, stated: int, file: str) -> DataError:
    return DataError("the file is cut short", file=file, value=f"{whole} whole frame{'s' * (whole != 1)}",
                     expected=f"{stated} frames")


def _fragments(stream: BinaryIO, begin: int, there: int, stated: int, file: str) -> _Pixels:
    """Frames of compressed pixel data: one to a fragment, unless the offset table at its head says otherwise."""
    stream.seek(begin)
    items, at, ended, table = [], begin, False, b""
    while at + 8 <= there:
        stream.seek(at)
        tag, length = struct.unpack("<4sI", stream.read(8))
        if tag == b"\xfe\xff\xdd\xe0":
            ended = True
            break
        if tag != b"\xfe\xff\x00\xe0" or at + 8 + length > there:
            break
        if at == begin:
            table = stream.read(min(length, 4 * LARGEST[0]))
        else:
            items.append((at + 8, length))
        at += 8 + length
    if ended and stated > 1:
        return _Pixels(stated)
    # Each entry of the table is where the first fragment of a frame begins, counted from the end of the table's own item.
    first = begin + 8 + len(table)
    starts = {first + offset + 8 for offset in struct.unpack(f"<{len(table) // 4}I", table[:len(table) // 4 * 4])}
    frames: list[tuple[tuple[int, int], ...]] = []
    for item in items:
        frames = [*frames, (item,)] if not starts or item[0] in starts or not frames else [*frames[:-1], (*frames[-1], item)]
    if not ended and any(len(parts) > 1 for parts in frames):
        frames.pop()  # more of it may have stood behind the cut
    if len(frames) < 2 <= stated and not ended:
        raise _cut(len(frames), stated, file)
    if len(frames) < 2 or len(frames) == stated:
        return _Pixels(stated)
    return _Pixels(len(frames), tuple(frames)) if stated == 1 else _Pixels(min(stated, len(frames)), tuple(frames[:stated]))


def _decoded(path: Path, pixels: _Pixels, header: pydicom.Dataset, size: tuple[int, int], kind: str,
             file: str) -> Iterator[np.ndarray]:
    """Stored values frame by frame: (H, W) numbers or (H, W, 3) uint8."""
    count = 0
    try:
        for values in _quietly(iter_pixels(_whole(path, pixels))):
            count += 1
            if kind == "PALETTE COLOR":
                values = _eight_bit(apply_color_lut(values, header))
            elif kind in _GREY and header.BitsAllocated > 8:
                values = _shown(values, header)
            expected = np.uint8 if kind not in _GREY else values.dtype
            if values.dtype != expected or values.shape[:2] != size or values.ndim != (2 if kind in _GREY else 3):
                raise DataError("a frame of another kind than the header says", file=file, row=count,
                                value=f"{values.dtype} {values.shape}", expected=f"{kind}, {size[0]} x {size[1]}")
            yield np.ascontiguousarray(values[..., :3] if values.ndim == 3 else values)
            if count >= pixels.frames:
                return
    except _DAMAGED as error:
        raise DataError(f"the pixels do not decode ({type(error).__name__})", file=file, row=count + 1,
                        value=_syntax(header), expected=_WHOLE_FILE) from None
    if count < pixels.frames:
        raise DataError("frames are missing", file=file, value=count, expected=f"{pixels.frames} frames")


def _syntax(header: pydicom.Dataset) -> str:
    """The transfer syntax in words of the standard, never in the file's."""
    uid = header.file_meta.get("TransferSyntaxUID")
    return uid.name if uid is not None and uid.is_transfer_syntax else "an unknown transfer syntax"


def _whole(path: Path, pixels: _Pixels) -> object:
    """What pydicom decodes: the file, or where that ends early a data set of the frames that are there."""
    if pixels.parts is None:
        return _source(path)
    with warnings.catch_warnings(), path.open("rb") as stream:
        warnings.simplefilter("ignore")
        data = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=_SEEN,
                               force=path.suffix.lower() in (".dcm", ".dicom"))
        frames = []
        for pieces in pixels.parts:
            frames.append(b"")
            for offset, length in pieces:
                stream.seek(offset)
                frames[-1] += stream.read(length)
    for table in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        if table in data:
            delattr(data, table)
    data.NumberOfFrames = str(len(frames))
    compressed = data.file_meta.TransferSyntaxUID.is_encapsulated
    data.PixelData = encapsulate(frames) if compressed else b"".join(frames) + b"\0" * (sum(map(len, frames)) % 2)
    data["PixelData"].VR = "OB" if compressed or data.BitsAllocated <= 8 else "OW"
    data["PixelData"].is_undefined_length = compressed
    return data


def _shown(values: np.ndarray, header: pydicom.Dataset) -> np.ndarray:
    """Grey deeper than 8 bits in the units that the file's window is given in, or through its table of grey levels."""
    values = apply_modality_lut(values, header)
    return apply_voi(values, header) if header.get("VOILUTSequence") else values


def _window(header: pydicom.Dataset) -> Levels | None:
    """The file's own window or table; None where it has neither."""
    try:
        if header.get("VOILUTSequence"):
            white = 2 ** int(header.VOILUTSequence[0].LUTDescriptor[2]) - 1
            return Levels(0.0, float(white), Flag("grey_window", "Grey levels deeper than 8 bits, seen through the file's own "
                                                  "table (VOI LUT).", "note"))
        centre, width = (_numbers(header, tag)[:1] for tag in ("WindowCenter", "WindowWidth"))
        if centre and width and np.isfinite([*centre, *width]).all() and width[0] > 1:
            return window(centre[0], width[0])
    except _DAMAGED:
        return None  # the percentiles are taken, and the report says so
    return None
