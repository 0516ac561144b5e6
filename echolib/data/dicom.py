"""Read a multi-frame ultrasound DICOM; only pixels, frame rate and pixel spacing leave this file, no header text.

Messages of the DICOM library can quote header values, a patient's name among them; so errors raised here say what failed
in words of their own.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.pixels import apply_color_lut, iter_pixels

from echolib.errors import DataError

#: What pydicom and the decoders raise on damaged files.
_DAMAGED = (InvalidDicomError, BytesLengthException, AttributeError, KeyError, IndexError, TypeError, ValueError, ArithmeticError,
            RuntimeError, OSError, EOFError, SyntaxError, AssertionError, MemoryError, struct.error, zlib.error)
#: More than any scanner stores; a header that asks for more is damaged, and must not make us reserve the memory.
LARGEST = (20_000, 4096, 4096)
#: Header entries that are looked at. Nothing else is even parsed.
_TAGS = ["NumberOfFrames", "Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "PhotometricInterpretation",
         "FrameTime", "FrameTimeVector", "CineRate", "RecommendedDisplayFrameRate", "SequenceOfUltrasoundRegions", "PixelSpacing",
         *(f"{colour}PaletteColorLookupTable{part}" for colour in ("Red", "Green", "Blue") for part in ("Descriptor", "Data"))]


@dataclass(frozen=True)
class DicomClip:
    """Pixels of a clip.

    Attributes:
        video: (T, H, W, 3) uint8, RGB.
        fps: frames per second; NaN when the header does not say.
        spacing_mm: mm per px, the same both ways; NaN when unknown or when the regions do not fit the frame.
    """

    video: np.ndarray
    fps: float
    spacing_mm: float


@dataclass(frozen=True)
class DicomInfo:
    """What the header says about the pixels; see :class:`DicomClip`."""

    frames: int
    height: int
    width: int
    fps: float
    spacing_mm: float


def probe_dicom(path: str | Path, *, file: str | None = None) -> DicomInfo:
    """Read the header of a clip.

    Args:
        path: the file.
        file: name for error messages; default the file's own name.

    Raises:
        DataError: not a DICOM file, no pixels, fewer than two frames, or pixels that are not 8-bit.
    """
    path = Path(path)
    header = _header(path, file or path.name)
    return _info(header, file or path.name)


def dicom_frames(path: str | Path, *, file: str | None = None) -> Iterator[np.ndarray]:
    """Decode a clip frame by frame: (H, W, 3) uint8 RGB each.

    Colour, palette and grey pixels (either way up); native, RLE, JPEG, JPEG 2000 and whatever else the installed decoders of
    pydicom read.

    Raises:
        DataError: as :func:`probe_dicom`; a frame does not decode (``row`` is its 1-based number) or frames are missing.
    """
    path = Path(path)
    name = file or path.name
    header = _header(path, name)
    info = _info(header, name)
    kind = str(header.get("PhotometricInterpretation", ""))
    count = 0
    try:
        for pixels in _quietly(iter_pixels(_source(path))):
            count += 1
            if kind == "PALETTE COLOR":
                pixels = _eight_bit(apply_color_lut(pixels, header))
            elif kind == "MONOCHROME1":
                pixels = np.uint8(255) - pixels if pixels.dtype == np.uint8 else pixels
            if pixels.dtype != np.uint8 or pixels.shape[:2] != (info.height, info.width):
                raise DataError("a frame of another kind than the header says", file=name, row=count,
                                value=f"{pixels.dtype} {pixels.shape}", expected=f"uint8 {info.height} x {info.width}")
            if pixels.ndim == 2:
                pixels = np.repeat(pixels[..., None], 3, axis=-1)
            yield np.ascontiguousarray(pixels[..., :3])
            if count >= info.frames:
                break
    except _DAMAGED as error:
        raise DataError(f"the pixels do not decode ({type(error).__name__})", file=name, row=count + 1,
                        expected="a whole file in a transfer syntax that pydicom decodes") from None
    if count < info.frames:
        raise DataError("frames are missing", file=name, value=count, expected=f"{info.frames} frames")


def read_dicom(path: str | Path) -> DicomClip:
    """Read a whole clip.

    Raises:
        DataError: see :func:`dicom_frames`.
    """
    info = probe_dicom(path)
    return DicomClip(video=np.stack(list(dicom_frames(path))), fps=info.fps, spacing_mm=info.spacing_mm)


def _quietly(frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The same frames without pydicom's warnings, which quote the header."""
    while True:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pixels = next(frames, None)
        if pixels is None:
            return
        yield pixels


def _source(path: Path) -> Path | io.BytesIO:
    """The path, or for a file without the DICOM preamble its content with one, which is what the pixel decoders need."""
    with path.open("rb") as stream:
        if stream.read(132)[128:] == b"DICM":
            return path
    buffer = io.BytesIO()
    pydicom.dcmread(path, force=True).save_as(buffer, enforce_file_format=True)
    buffer.seek(0)
    return buffer


def _header(path: Path, name: str) -> pydicom.Dataset:
    if not path.is_file():
        raise DataError("no such file", file=name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they quote the header
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS,
                                     force=path.suffix.lower() in (".dcm", ".dicom"))
            header.decode()
    except _DAMAGED as error:
        raise DataError(f"not a DICOM file ({type(error).__name__})", file=name) from None
    if "Rows" not in header or "Columns" not in header:
        raise DataError("not a DICOM file with pixels", file=name)
    return header


def _info(header: pydicom.Dataset, name: str) -> DicomInfo:
    try:
        frames = int(header.get("NumberOfFrames", 1) or 1)
        height, width = int(header.Rows), int(header.Columns)
        bits = int(header.get("BitsAllocated", 0) or 0)
    except _DAMAGED:
        raise DataError("frame count, rows, columns or bits cannot be read", file=name) from None
    if frames < 2:
        raise DataError("a still image", file=name, value=frames, expected="a clip of at least 2 frames")
    for what, value, most in zip(("frames", "rows", "columns"), (frames, height, width), LARGEST, strict=True):
        if not 1 <= value <= most:
            raise DataError(f"the header gives an impossible number of {what}", file=name, value=value, expected=f"1 to {most}")
    if bits != 8 and not str(header.get("PhotometricInterpretation", "")).startswith("PALETTE"):
        raise DataError("pixels are not 8-bit", file=name, value=f"{bits} bits", expected="8 bits allocated")
    return DicomInfo(frames, height, width, _fps(header), _spacing(header))


def _eight_bit(pixels: np.ndarray) -> np.ndarray:
    """Colours of a palette: stored in 8 bits, or in 16 of which the upper 8 are shown."""
    return pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)


def _fps(header: pydicom.Dataset) -> float:
    """Frames per second; entries that are missing, zero or no numbers are passed over."""
    times = _numbers(header, "FrameTimeVector")
    for value in (*_numbers(header, "FrameTime")[:1], float(np.mean(times[1:])) if len(times) > 1 else 0.0):
        if np.isfinite(value) and value > 0:
            return 1000.0 / value
    for tag in ("CineRate", "RecommendedDisplayFrameRate"):
        for value in _numbers(header, tag)[:1]:
            if np.isfinite(value) and value > 0:
                return value
    return float("nan")


def _spacing(header: pydicom.Dataset) -> float:
    """Spacing of the first 2-D region in cm units (PhysicalUnits 3) that lies inside the frame."""
    try:
        for region in header.get("SequenceOfUltrasoundRegions", []) or []:
            inside = region.RegionLocationMaxX1 < header.Columns and region.RegionLocationMaxY1 < header.Rows
            if inside and region.get("PhysicalUnitsXDirection") == 3 and region.get("PhysicalUnitsYDirection") == 3:
                dx, dy = abs(float(region.PhysicalDeltaX)), abs(float(region.PhysicalDeltaY))
                if 0 < dx < 1 and abs(dx - dy) <= 0.01 * dx:
                    return 10.0 * dx
    except _DAMAGED:
        return float("nan")  # a region that cannot be read gives no spacing; the reports say that it is unknown
    spacing = _numbers(header, "PixelSpacing")
    if len(spacing) == 2 and 0 < spacing[0] < 10 and abs(spacing[0] - spacing[1]) <= 0.01 * spacing[0]:
        return spacing[0]
    return float("nan")


def _numbers(header: pydicom.Dataset, tag: str) -> list[float]:
    try:
        value = header.get(tag)
        if value is None or value == "":
            return []
        return [float(v) for v in (value if isinstance(value, pydicom.multival.MultiValue) else [value])]
    except _DAMAGED:
        return []
