"""Arrays as clips: NPY and NPZ, and NIfTI."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from echolib.clinic.clip_file import FASTEST_FPS, SLOWEST_FPS, ClipFile, believed, cut_short, plausible
from echolib.clinic.levels import Levels, find_levels
from echolib.clinic.result import Flag
from echolib.errors import DataError
from echolib.files import DAMAGED_ARRAY

_DAMAGED = (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, TypeError, KeyError, IndexError, ArithmeticError,
            AttributeError, MemoryError, SyntaxError, zlib.error)
_SHAPES = "(T, H, W), (T, H, W, 1) or (T, H, W, 3); with colour first, (T, 3, H, W) or (3, T, H, W)"
#: Names under which an NPZ file holds its frames; the first one that is there is taken.
_NAMES = ("frames", "video", "clip", "images", "image", "data", "arr_0")
#: Most bytes of an array that is held in memory.
_LARGEST_ARRAY = 4 * 2 ** 30
_SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}


def _walk(frame: Callable[[int], np.ndarray], count: int, file: str, *, plain: bool) -> tuple[int, Levels, list[Flag]]:
    """Read a clip once: how many of its frames are there, their levels, and a note where some are missing.

    ``plain`` frames are bytes in no need of levels.
    """
    there = 0

    def frames() -> Iterator[np.ndarray]:
        nonlocal there
        for t in range(count):
            try:
                pixels = frame(t)
            except _CutError:
                return
            there += 1
            yield pixels

    if plain:
        for _ in frames():
            pass
        levels = Levels()
    else:
        levels = find_levels(frames(), count, file)
    if there < 2 <= count:
        raise DataError("the file is cut short", file=file, value=f"{there} whole frames", expected=f"{count} frames")
    return there, levels, [cut_short(there, count)] if there < count else []


class _CutError(Exception):
    """The file ends before this frame."""


def _time_axis(shape: tuple[int, ...], file: str) -> tuple[int, bool]:
    """Where the frames of an array are counted, and whether its colours stand before rows and columns.

    Raises:
        DataError: not the shape of a clip.
    """
    if len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3)):
        return 0, False
    if len(shape) == 4 and shape[1] in (1, 3):
        return 0, True
    if len(shape) == 4 and shape[0] in (1, 3):
        return 1, True
    raise DataError("not a clip", file=file, value=shape, expected=_SHAPES)


def open_npy(path: Path, file: str, name: str) -> ClipFile:
    """Open an array of frames.

    Raises:
        DataError: damage, another shape, or numbers that are no grey levels.
    """
    try:
        with path.open("rb") as stream:
            shape, fortran, dtype = _npy_header(stream)
            offset = stream.tell()
            left = stream.seek(0, 2) - offset
    except DAMAGED_ARRAY as error:
        raise _no_array(error, file) from None
    axis, first = _time_axis(shape, file)
    count, height, width = _extent(shape, axis, first)
    plausible(file, count, height, width)
    there = count
    if left < dtype.itemsize * math.prod(shape):
        if fortran or axis:
            raise DataError("the file is cut short", file=file, value=f"{left} bytes of numbers",
                            expected=f"{dtype.itemsize * math.prod(shape)} bytes")
        there = left // (dtype.itemsize * math.prod(shape[1:]))
        if there < 2:
            raise DataError("the file is cut short", file=file, value=f"{there} whole frames", expected=f"{count} frames")
    array = np.memmap(path, dtype, "r", offset, (there, *shape[1:]) if there < count else shape, "F" if fortran else "C")

    def frame(t: int) -> np.ndarray:
        return _frame(array, t, axis, first)

    levels = Levels() if dtype == np.uint8 else find_levels(map(frame, range(there)), there, file)
    notes = levels.notes + ([cut_short(there, count)] if there < count else [])
    return ClipFile(name, there, height, width, math.nan, math.nan, "npy", lambda: (levels.rgb(frame(t)) for t in range(there)),
                    tuple(notes))


def _npy_header(stream: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order and kind of number.

    Raises:
        ValueError: damage, or objects, which are never unpacked.
    """
    version = np.lib.format.read_magic(stream)
    read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}.get(version[0])
    if read is None:
        raise ValueError("another version")
    shape, fortran, dtype = read(stream)
    if dtype.hasobject or dtype.itemsize == 0 or min(shape, default=0) < 0:
        raise ValueError("objects")
    return shape, fortran, dtype


def _no_array(error: Exception, file: str) -> DataError:
    return DataError(f"not an array of numbers that can be read ({type(error).__name__})", file=file,
                     expected=f"numbers of shape {_SHAPES}")


def _extent(shape: tuple[int, ...], axis: int, first: bool) -> tuple[int, int, int]:
    return (shape[axis], *(shape[2:4] if first else shape[1:3]))


def _frame(array: np.ndarray, t: int, axis: int, first: bool) -> np.ndarray:
    pixels = np.asarray(array[t] if axis == 0 else array[:, t])
    return np.moveaxis(pixels, 0, -1) if first else pixels


def open_npz(path: Path, file: str, name: str) -> ClipFile:
    """Open the frames among the arrays of an NPZ file; they are held in memory.

    Raises:
        DataError: damage, no array that is a clip, or several of which none has a name that says so.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            shapes = {}
            for entry in archive.infolist():
                if entry.filename.endswith(".npy"):
                    with archive.open(entry) as stream:
                        shape, _, dtype = _npy_header(stream)
                    if dtype.itemsize * math.prod(shape) > min(entry.file_size, _LARGEST_ARRAY):
                        raise ValueError("fewer bytes than the shape asks for, or more than fit in memory")
                    shapes[entry.filename[:-4]] = shape, dtype
            chosen = _choose(shapes, file)
        with np.load(path, allow_pickle=False) as arrays:
            array = arrays[chosen]
            fps = _scalar(arrays, ("fps", "frame_rate", "frames_per_second"))
    except DataError:
        raise
    except (*DAMAGED_ARRAY, NotImplementedError) as error:
        raise _no_array(error, file) from None
    axis, first = _time_axis(array.shape, file)
    frames = [_frame(array, t, axis, first) for t in range(array.shape[axis])]  # views
    levels = Levels() if array.dtype == np.uint8 else find_levels(frames, len(frames), file)
    fps, doubts = believed(fps)
    return ClipFile(name, *_extent(array.shape, axis, first), fps, math.nan, "npz",
                    lambda: (levels.rgb(frame) for frame in frames), tuple(levels.notes + doubts))


def _choose(shapes: dict[str, tuple[tuple[int, ...], np.dtype]], file: str) -> str:
    """The array that holds the frames; its size is checked before it is read."""
    clips = []
    for key, (shape, dtype) in shapes.items():
        try:
            plausible(file, *_extent(shape, *_time_axis(shape, file)))
        except DataError:
            continue
        if dtype.kind in "iufb":
            clips.append(key)
    named = [key for key in _NAMES if key in clips]
    if len(clips) == 1 or named:
        return named[0] if named else clips[0]
    found = ", ".join(str(shape) for shape, _ in list(shapes.values())[:6]) or "no array"  # names may be a patient's
    raise DataError("no array that is a clip" if not clips else "several arrays, and none is called frames", file=file,
                    value=found, expected=f"one array of shape {_SHAPES}, or several of which one is called frames")


def _scalar(arrays, names: tuple[str, ...]) -> float:
    for key in names:
        if key in arrays and arrays[key].size == 1 and arrays[key].dtype.kind in "iuf" and arrays[key].item() > 0:
            return float(arrays[key].item())
    return math.nan


def open_nifti(path: Path, file: str, name: str) -> ClipFile:
    """Open (x, y, time) or (x, y, 1, time), grey or RGB.

    Raises:
        DataError: damage, another shape, or numbers that are no grey levels.
    """
    try:
        image = nibabel.load(path, keep_file_open=True)  # a compressed file is then read forwards, not anew for each frame
        shape, zooms, units = image.shape, [float(z) for z in image.header.get_zooms()], image.header.get_xyzt_units()
        stored, data = image.dataobj.dtype, image.dataobj
    except _DAMAGED as error:
        raise DataError(f"not a NIfTI file that can be read ({type(error).__name__})", file=file) from None
    long = [axis for axis in range(2, len(shape)) if shape[axis] != 1]
    if len(shape) < 3 or len(long) > 1 or len(shape) > 5:
        raise DataError("not a 2-D clip", file=file, value=shape, expected="(x, y, time) or (x, y, 1, time)")
    axis = long[0] if long else 2
    count = shape[axis]
    plausible(file, count, shape[1], shape[0])

    def frame(t: int) -> np.ndarray:
        try:
            pixels = np.asarray(data[tuple(slice(None) if k < 2 else t if k == axis else 0 for k in range(len(shape)))])
        except zlib.error:
            raise DataError("the frame cannot be read: the compressed data is damaged", file=file, row=t + 1) from None
        except (EOFError, OSError, ValueError) as error:
            if t < 2:
                raise DataError(f"the frame cannot be read ({type(error).__name__})", file=file, row=t + 1,
                                expected="a whole file") from None
            raise _CutError from None
        except _DAMAGED as error:
            raise DataError(f"the frame cannot be read ({type(error).__name__})", file=file, row=t + 1) from None
        if pixels.dtype.names:  # RGB voxels
            pixels = np.stack([pixels[c] for c in pixels.dtype.names[:3]], axis=-1)
        return pixels.swapaxes(0, 1)  # NIfTI counts x first

    plain = bool(stored.names) or (stored == np.uint8 and (data.slope, data.inter) == (1.0, 0.0))
    there, levels, notes = _walk(frame, count, file, plain=plain)
    fps, timing = time_step(zooms[axis] if axis > 2 else math.nan, units[1])

    def frames() -> Iterator[np.ndarray]:
        for t in range(there):
            try:
                yield levels.rgb(frame(t))
            except _CutError:
                raise DataError("the frame cannot be read", file=file, row=t + 1) from None

    return ClipFile(name, there, shape[1], shape[0], fps, spacing_of(zooms, units[0]), "nifti", frames,
                    tuple(notes + levels.notes + timing))


def time_step(step: float, unit: str) -> tuple[float, list[Flag]]:
    """Frames per second from the step of a time axis; a unit that is missing or wrong is found from what hearts allow.

    Steps of 0.003 to 0.125 can only be seconds, those of 3.3 to 125 only milliseconds; the 1 that programs write who do not
    know is neither. The third axis of an (x, y, time) file has no time step.
    """
    if not (math.isfinite(step) and step > 0):
        return math.nan, []
    known = _SECONDS.get(unit)
    if known and SLOWEST_FPS <= 1 / (step * known) <= FASTEST_FPS:
        return 1 / (step * known), []
    for other, seconds in (("s", 1.0), ("ms", 1e-3)):
        fps = 1 / (step * seconds)
        if SLOWEST_FPS <= fps <= FASTEST_FPS:
            said = {"sec": "in s", "msec": "in ms", "usec": "in µs"}.get(unit, "without a unit")
            return fps, [Flag("frame_rate_unit", f"The file's time step, {step:.4g} {said}, was taken for {other}: {fps:.4g} "
                              "frames per second.", "note")]
    return believed(1 / (step * known)) if known else (math.nan, [])


def spacing_of(zooms: list[float], unit: str) -> float:
    """mm. Square pixels only; exactly 1 without a unit is what a program writes that does not know."""
    factor = {"meter": 1000.0, "mm": 1.0, "micron": 1e-3, "unknown": 1.0}.get(unit, math.nan)
    x, y = zooms[0] * factor, zooms[1] * factor
    if not (math.isfinite(x) and 0 < x < 10 and abs(x - y) <= 0.01 * x) or (unit == "unknown" and x == 1.0):
        return math.nan
    return x
