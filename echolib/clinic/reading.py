"""Open an echo clip of any usual format: what it is is told by its content, not by its name.

============  =====================================================  ============================================
format        pixels                                                 frame rate and pixel spacing
============  =====================================================  ============================================
AVI, MP4      whatever FFmpeg decodes                                the container's frame rate; no spacing
DICOM         colour, palette or grey; the transfer syntaxes that    frame time or cine rate; the region's spacing
              pydicom decodes
NIfTI         (x, y, t), (x, y, 1, t) or RGB; a CAMUS half cycle     time step if it has a unit; spacing in mm
NPY           (T, H, W), (T, H, W, 1) or (T, H, W, 3)                neither
============  =====================================================  ============================================

Numbers that are not bytes are taken as grey levels when all lie in 0-255, or in 0-1. Frames are decoded one by one each
time a clip is walked through, so that a long one need not fit in memory.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from echolib.data.dicom import dicom_frames, probe_dicom
from echolib.data.video import iterate_video, probe
from echolib.errors import DataError
from echolib.files import DAMAGED_ARRAY

#: Frames per second that are taken when neither the file nor the user says: the commonest of EchoNet-Dynamic.
ASSUMED_FPS = 50.0
FORMATS = "an AVI, MP4, DICOM, NIfTI or NPY file"
#: Above these a header is taken for damaged rather than believed.
MOST_FRAMES, LARGEST_SIDE = 20_000, 4096
_DAMAGED = (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, TypeError, KeyError, IndexError, ArithmeticError,
            AttributeError, MemoryError, SyntaxError, zlib.error)


@dataclass(frozen=True)
class ClipFile:
    """An opened clip. Iterate over it for its frames; ``video`` holds them all.

    Attributes:
        name: the file's name without folder and ending, or what the user chose to show in its stead.
        frames: number of frames.
        height, width: px.
        fps: frames per second; NaN when the file does not say.
        spacing_mm: mm per px, the same both ways; NaN when unknown.
        kind: ``video``, ``dicom``, ``nifti`` or ``npy``.
    """

    name: str
    frames: int
    height: int
    width: int
    fps: float
    spacing_mm: float
    kind: str
    _open: Callable[[], Iterator[np.ndarray]] = field(repr=False, compare=False)

    def __len__(self) -> int:
        return self.frames

    def __iter__(self) -> Iterator[np.ndarray]:
        """(H, W, 3) uint8 frames. Raises DataError where a frame does not decode or frames are missing."""
        return self._open()

    @property
    def video(self) -> np.ndarray:
        """(T, H, W, 3) uint8, RGB."""
        return np.stack(list(self))


def open_clip(path: str | Path, *, shown_as: str | None = None) -> ClipFile:
    """Recognise a clip and read its header.

    Args:
        path: the file.
        shown_as: name in messages and results; default the file's own.

    Raises:
        DataError: no such file, another format, damage, a still image, or numbers that are no grey levels.
    """
    path = Path(path)
    file = shown_as or path.name
    if not path.is_file():
        raise DataError("a folder, not a clip" if path.is_dir() else "no such file", file=file, expected=FORMATS)
    kind = _kind(path, file)
    name = shown_as or _stem(path)
    return {"npy": _open_npy, "nifti": _open_nifti, "dicom": _open_dicom, "video": _open_video}[kind](path, file, name)


def _stem(path: Path) -> str:
    return path.name[:-7] if path.name.lower().endswith(".nii.gz") else path.stem


def _kind(path: Path, file: str) -> str:
    with path.open("rb") as stream:
        head = stream.read(352)
    if not head:
        raise DataError("the file is empty", file=file, expected=FORMATS)
    if head[:6] == b"\x93NUMPY":
        return "npy"
    if head[128:132] == b"DICM":
        return "dicom"
    if head[:4] == b"RIFF" or head[4:8] == b"ftyp" or head[:4] == b"\x1aE\xdf\xa3":
        return "video"
    if head[:2] == b"\x1f\x8b":
        try:
            with gzip.open(path) as stream:
                head = stream.read(352)
        except (OSError, EOFError, zlib.error):
            raise DataError("the compressed file is damaged", file=file, expected=FORMATS) from None
    if head[344:347] in (b"n+1", b"n+2") or head[4:8] in (b"n+2\0", b"n+1\0"):
        return "nifti"
    ending = path.suffix.lower()
    if ending in (".avi", ".mp4", ".m4v", ".mov", ".mkv", ".wmv"):
        return "video"
    if ending in (".dcm", ".dicom"):
        return "dicom"
    raise DataError("not a clip that can be read", file=file, expected=FORMATS)


def _open_video(path: Path, file: str, name: str) -> ClipFile:
    info = probe(path, file=file)
    _plausible(file, info.frames, info.height, info.width)
    # Containers count frames that no player shows: those before a cut point, or before the first whole picture.
    shown = sum(1 for _ in iterate_video(path, file=file))
    if shown < 0.9 * info.frames:
        raise DataError("frames are missing or do not decode", file=file, value=shown, expected=f"{info.frames} frames")
    _plausible(file, shown, info.height, info.width)

    def frames() -> Iterator[np.ndarray]:
        count = 0
        for frame in iterate_video(path, file=file):
            if frame.shape[:2] != (info.height, info.width):
                raise DataError("a frame of another size than the video", file=file, row=count + 1, value=frame.shape[:2],
                                expected=f"{info.height} x {info.width} px")
            count += 1
            yield frame

    return ClipFile(name, shown, info.height, info.width, info.fps, math.nan, "video", frames)


def _open_dicom(path: Path, file: str, name: str) -> ClipFile:
    info = probe_dicom(path, file=file)
    return ClipFile(name, info.frames, info.height, info.width, info.fps, info.spacing_mm, "dicom",
                    lambda: dicom_frames(path, file=file))


def _open_npy(path: Path, file: str, name: str) -> ClipFile:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except DAMAGED_ARRAY as error:
        raise DataError(f"not an array of numbers that can be read ({type(error).__name__})", file=file,
                        expected="an NPY file, (T, H, W) or (T, H, W, 3) numbers") from None
    if array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[3] not in (1, 3)):
        raise DataError("not a clip", file=file, value=array.shape, expected="(T, H, W), (T, H, W, 1) or (T, H, W, 3)")
    _plausible(file, *array.shape[:3])
    scale = _level_scale(array.__getitem__, len(array), array.dtype, file)
    return ClipFile(name, *array.shape[:3], math.nan, math.nan, "npy",
                    lambda: (_rgb(array[t], scale) for t in range(len(array))))


def _open_nifti(path: Path, file: str, name: str) -> ClipFile:
    try:
        image = nibabel.load(path, keep_file_open=True)  # a compressed file is then read forwards, not anew for each frame
        shape, zooms, units = image.shape, [float(z) for z in image.header.get_zooms()], image.header.get_xyzt_units()
        stored, data = image.dataobj.dtype, image.dataobj
    except _DAMAGED as error:
        raise DataError(f"not a NIfTI file that can be read ({type(error).__name__})", file=file) from None
    if len(shape) == 4 and shape[2] == 1:
        def take(t: int) -> np.ndarray:
            return data[:, :, 0, t]
        count = shape[3]
    elif len(shape) == 3:
        def take(t: int) -> np.ndarray:
            return data[:, :, t]
        count = shape[2]
    else:
        raise DataError("not a 2-D clip", file=file, value=shape, expected="(x, y, time) or (x, y, 1, time)")
    _plausible(file, count, shape[1], shape[0])

    def frame(t: int) -> np.ndarray:
        try:
            pixels = np.asarray(take(t))
        except _DAMAGED as error:
            raise DataError(f"the frame cannot be read ({type(error).__name__})", file=file, row=t + 1) from None
        if pixels.dtype.names:  # RGB voxels
            pixels = np.stack([pixels[c] for c in pixels.dtype.names[:3]], axis=-1)
        return pixels.swapaxes(0, 1)  # NIfTI counts x first

    plain = stored == np.uint8 and (data.slope, data.inter) == (1.0, 0.0)
    scale = _level_scale(frame, count, np.dtype(np.uint8) if plain or stored.names else np.dtype(float), file)
    return ClipFile(name, count, shape[1], shape[0], _nifti_fps(shape, zooms, units[1]), _nifti_spacing(zooms, units[0]), "nifti",
                    lambda: (_rgb(frame(t), scale) for t in range(count)))


def _nifti_fps(shape: tuple[int, ...], zooms: list[float], unit: str) -> float:
    """From the time step, which is believed only with a unit; the third axis of an (x, y, t) file has none."""
    seconds = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}.get(unit)
    if len(shape) == 4 and seconds and zooms[3] > 0 and math.isfinite(zooms[3]):
        return 1.0 / (zooms[3] * seconds)
    return math.nan


def _nifti_spacing(zooms: list[float], unit: str) -> float:
    """mm. Square pixels only; exactly 1 without a unit is what a program writes that does not know."""
    factor = {"meter": 1000.0, "mm": 1.0, "micron": 1e-3, "unknown": 1.0}.get(unit, math.nan)
    x, y = zooms[0] * factor, zooms[1] * factor
    if not (math.isfinite(x) and 0 < x < 10 and abs(x - y) <= 0.01 * x) or (unit == "unknown" and x == 1.0):
        return math.nan
    return x


def _plausible(file: str, frames: int, height: int, width: int) -> None:
    if frames < 2:
        raise DataError("a still image", file=file, value=frames, expected="a clip of at least 2 frames")
    if frames > MOST_FRAMES or not 16 <= height <= LARGEST_SIDE or not 16 <= width <= LARGEST_SIDE:
        raise DataError("not the size of an echo clip", file=file, value=f"{frames} frames of {height} x {width} px",
                        expected=f"at most {MOST_FRAMES} frames of 16 to {LARGEST_SIDE} px")


def _level_scale(frame: Callable[[int], np.ndarray], count: int, dtype: np.dtype, file: str) -> float:
    """What to multiply by for grey levels 0-255: 1, or 255 for values in 0-1."""
    if dtype == np.uint8:
        return 1.0
    if dtype.kind not in "iufb":
        raise DataError("not grey levels", file=file, value=str(dtype), expected="numbers 0-255 or 0-1")
    low, high = math.inf, -math.inf
    for t in range(count):
        pixels = np.asarray(frame(t))
        if pixels.dtype.kind not in "iufb" or not np.isfinite(pixels).all():
            raise DataError("not grey levels", file=file, row=t + 1, expected="finite numbers 0-255 or 0-1")
        low, high = min(low, float(pixels.min())), max(high, float(pixels.max()))
    if low < 0 or high > 255:
        raise DataError("not grey levels", file=file, value=f"{low:g} to {high:g}", expected="numbers 0-255 or 0-1")
    return 255.0 if high <= 1 else 1.0


def _rgb(pixels: np.ndarray, scale: float) -> np.ndarray:
    if pixels.dtype != np.uint8 or scale != 1:
        pixels = np.rint(np.asarray(pixels, np.float32) * scale).astype(np.uint8)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
