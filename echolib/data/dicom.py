"""Read a multi-frame ultrasound DICOM; only pixels, frame rate and pixel spacing leave this file, no header text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.pixels import pixel_array

from echolib.errors import DataError


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


def read_dicom(path: str | Path) -> DicomClip:
    """Read a clip (colour or grey, any transfer syntax that pydicom decodes).

    Raises:
        DataError: not a DICOM file, fewer than two frames, or pixels that do not decode or are not 8-bit.
    """
    path = Path(path)
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True)
    except FileNotFoundError:
        raise DataError("no such file", file=path.name) from None
    except (InvalidDicomError, OSError, ValueError) as error:
        raise DataError(f"not a DICOM file: {error}", file=path.name) from None
    frames = int(header.get("NumberOfFrames", 1) or 1)
    if frames < 2:
        raise DataError("a still image", file=path.name, value=frames, expected="a clip of at least 2 frames")
    try:
        video = pixel_array(path)
    except (AttributeError, ValueError, RuntimeError, NotImplementedError, OSError) as error:
        raise DataError(f"the pixels do not decode: {error}", file=path.name) from None
    if video.dtype != np.uint8:
        raise DataError("pixels are not 8-bit", file=path.name, value=str(video.dtype), expected="uint8")
    if video.ndim == 3:
        video = np.repeat(video[..., None], 3, axis=-1)
    return DicomClip(video=video, fps=_fps(header), spacing_mm=_spacing(header))


def _fps(header: pydicom.Dataset) -> float:
    if header.get("FrameTime"):
        return 1000.0 / float(header.FrameTime)
    return float(header.get("CineRate") or header.get("RecommendedDisplayFrameRate") or "nan")


def _spacing(header: pydicom.Dataset) -> float:
    """Spacing of the first 2-D region in cm units (PhysicalUnits 3) that lies inside the frame."""
    for region in header.get("SequenceOfUltrasoundRegions", []):
        inside = region.RegionLocationMaxX1 < header.Columns and region.RegionLocationMaxY1 < header.Rows
        if inside and region.get("PhysicalUnitsXDirection") == 3 and region.get("PhysicalUnitsYDirection") == 3:
            dx, dy = abs(float(region.PhysicalDeltaX)), abs(float(region.PhysicalDeltaY))
            if dx > 0 and abs(dx - dy) <= 0.01 * dx:
                return 10.0 * dx
    return float("nan")
