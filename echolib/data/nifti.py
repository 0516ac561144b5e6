"""Read a NIfTI sequence of ultrasound frames or labels.

Axis order: the array is (x, y, t) in nibabel, so its transpose is (T, H, W) with row 0 at the transducer. It is not
reoriented by the affine; SimpleITK's array of the same file is the same. Spacing is in mm.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.openers import ImageOpener
from nibabel.spatialimages import HeaderDataError

from echolib.data.cohort import Report, require_file
from echolib.errors import DataError

ISOTROPY = 0.01  # relative difference of the two pixel sides from which on it is noted
TOP_LABEL = 3

_UNREADABLE = (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, zlib.error)


def open_nifti(root: Path, file: str) -> nibabel.Nifti1Image:
    """Open an image without reading its data.

    Raises:
        DataError: ``file`` (relative to ``root``) is missing, empty or not NIfTI.
    """
    path = require_file(root, file)
    if path.stat().st_size == 0:
        raise DataError("the file is empty", file=file, expected="a NIfTI image")
    try:
        return nibabel.load(path)
    except _UNREADABLE as error:
        raise DataError(f"not a NIfTI image: {_brief(error)}", file=file) from None


def geometry(root: Path, file: str, study: str, report: Report) -> tuple[int, int, int, float]:
    """Frames, height, width (px) and spacing (mm; NaN unknown) from a sequence's header.

    Raises:
        DataError: unreadable, or not three axes.
    """
    image = open_nifti(root, file)
    if len(image.shape) != 3 or 0 in image.shape:
        raise DataError("not a sequence of frames", file=file, value=image.shape, expected="three axes (x, y, t)")
    with ImageOpener(root / file) as stream:  # read again: nibabel turns an impossible spacing into 1 mm when it loads
        x, y = (float(side) for side in type(image.header).from_fileobj(stream, check=False)["pixdim"][1:3])
    if not (np.isfinite(x) and np.isfinite(y) and x > 0 and y > 0):
        report.add(study, file, None, "noted", "pixel spacing is not possible and is taken as unknown", value=(x, y))
        return *image.shape[::-1], np.nan
    if abs(x - y) > ISOTROPY * max(x, y):
        report.add(study, file, None, "noted", "pixels are not square; their geometric mean side is used", value=(x, y))
    return *image.shape[::-1], float(np.sqrt(x * y))


def _frames(root: Path, file: str) -> Iterator[tuple[int, np.ndarray]]:
    image = open_nifti(root, file)
    if len(image.shape) != 3 or 0 in image.shape:
        raise DataError("not a sequence of frames", file=file, value=image.shape, expected="three axes (x, y, t)")
    try:
        array = np.asanyarray(image.dataobj)
    except _UNREADABLE as error:
        raise DataError(f"the data does not decode: {_brief(error)}", file=file) from None
    return enumerate(array.T, start=1)


def read_video_nifti(root: Path, file: str) -> np.ndarray:
    """The frames of a sequence, (T, H, W) uint8.

    Raises:
        DataError: missing, unreadable, or a value that is not from 0 to 255 (``row`` is the 1-based frame).
    """
    return _uint8(root, file, 255, "grey value")


def read_labels_nifti(root: Path, file: str) -> np.ndarray:
    """The labels of a sequence, (T, H, W) uint8 of 0-3.

    Raises:
        DataError: missing, unreadable, or a label that is not 0, 1, 2 or 3 (``row`` is the 1-based frame).
    """
    return _uint8(root, file, TOP_LABEL, "label")


def _uint8(root: Path, file: str, top: int, what: str) -> np.ndarray:
    frames = []
    for number, frame in _frames(root, file):
        whole = np.rint(frame)
        wrong = ~((whole >= 0) & (whole <= top))  # true for NaN too
        if what == "label":
            wrong |= whole != frame
        if wrong.any():
            raise DataError(f"a {what} is out of range", file=file, row=number, value=frame[wrong][0].item(),
                            expected=f"0 to {top}")
        frames.append(whole.astype(np.uint8))
    return np.stack(frames)


def _brief(error: BaseException) -> str:
    """The error's text without the folder it may name."""
    return re.sub(r"\S*/(\S+)", r"\1", str(error))[:160] or type(error).__name__
