"""DICOM clips: 8 bits or deeper, every frame that is in the file, whatever the header counts.

The header's names for pixels, time and space are those of :mod:`echolib.data.dicom`; no other text is looked at. Where the pixel
data ends early, or holds frames that the header does not count, the whole frames that are there make the clip.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi, get_decoder, iter_pixels

from echolib.clinic.clip_file import ClipFile, believed, cut_short, plausible
from echolib.clinic.dicom_parts import WHOLE_FILE, Pixels, find_frames, read_pieces
from echolib.clinic.levels import Levels, find_levels, window
from echolib.clinic.lossless_jpeg import LOSSLESS_JPEG, lossless_frames
from echolib.clinic.result import Flag
from echolib.data.dicom import _DAMAGED, _TAGS, LARGEST, _eight_bit, _fps, _numbers, _quietly, _source, _spacing
from echolib.errors import DataError

_GREY = ("MONOCHROME1", "MONOCHROME2")
_SEEN = [*_TAGS, "HighBit", "PixelRepresentation", "PlanarConfiguration", "WindowCenter", "WindowWidth", "VOILUTSequence",
         "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "SOPClassUID", "ExtendedOffsetTable",
         "ExtendedOffsetTableLengths"]


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
    size = height * width * samples * (bits // 8)
    syntax = header.file_meta.get("TransferSyntaxUID")
    pixels = find_frames(path, at, syntax, stated, size * 2 // 3 if kind == "YBR_FULL_422" else size, file)
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


def _decoded(path: Path, pixels: Pixels, header: pydicom.Dataset, size: tuple[int, int], kind: str,
             file: str) -> Iterator[np.ndarray]:
    """Stored values frame by frame: (H, W) numbers or (H, W, 3) uint8."""
    count = 0
    try:
        for values in _decoder(path, pixels, header):
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
    except NotImplementedError:
        raise DataError("no decoder for the compression of its pixels", file=file, value=_syntax(header),
                        expected=WHOLE_FILE) from None
    except _DAMAGED as error:
        raise DataError(f"the pixels do not decode ({type(error).__name__})", file=file, row=count + 1,
                        value=_syntax(header), expected=WHOLE_FILE) from None
    if count < pixels.frames:
        raise DataError("frames are missing", file=file, value=count, expected=f"{pixels.frames} frames")


def _syntax(header: pydicom.Dataset) -> str:
    """The transfer syntax in words of the standard, never in the file's."""
    uid = header.file_meta.get("TransferSyntaxUID")
    return uid.name if uid is not None and uid.is_transfer_syntax else "an unknown transfer syntax"


def _decoder(path: Path, pixels: Pixels, header: pydicom.Dataset) -> Iterator[np.ndarray]:
    """Frames as they are stored, colour as RGB.

    GDCM is passed over where another decoder of pydicom's will do: it ends the process on some damaged files.
    """
    syntax = header.file_meta.get("TransferSyntaxUID")
    if syntax in LOSSLESS_JPEG and pixels.pieces and header.BitsAllocated == 8:
        return lossless_frames(read_pieces(path, pixels.pieces), str(header.PhotometricInterpretation).strip())
    plugin = ""
    if syntax is not None and syntax.is_transfer_syntax and syntax.is_encapsulated:
        decoder = get_decoder(syntax)
        if not decoder.is_available:
            raise NotImplementedError("no decoder")
        usable = decoder.available_plugins
        plugin = next((name for name in usable if name != "gdcm"), "")
    return _quietly(iter_pixels(_source(path) if pixels.intact else _rebuilt(path, pixels), decoding_plugin=plugin))


def _rebuilt(path: Path, pixels: Pixels) -> pydicom.Dataset:
    """A data set of the frames that are there, for a file that ends early or counts them wrongly."""
    with warnings.catch_warnings(), path.open("rb") as stream:
        warnings.simplefilter("ignore")
        data = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=_SEEN,
                               force=path.suffix.lower() in (".dcm", ".dicom"))
    for table in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        if table in data:
            delattr(data, table)
    frames = list(read_pieces(path, pixels.pieces))
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
