"""Pictures in a row: GIF, animated PNG and WebP, TIFF of several pages, and folders or ZIP files of single pictures."""

from __future__ import annotations

import io
import itertools
import math
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from echolib.clinic.clip_file import LARGEST_SIDE, MOST_FRAMES, ClipFile, believed, cut_short, plausible
from echolib.clinic.levels import Levels, find_levels
from echolib.clinic.result import Flag
from echolib.errors import DataError

_DAMAGED = (OSError, EOFError, ValueError, TypeError, KeyError, IndexError, ArithmeticError, AttributeError, MemoryError,
            SyntaxError, RuntimeError, struct.error, zlib.error, zipfile.BadZipFile, Image.DecompressionBombError)
#: Kinds of still that make a clip, by the ending of their names.
STILLS = (".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".jp2")
#: PIL's readers that a stranger's file is given to; some others start programs or read text.
_READERS = ("GIF", "PNG", "WEBP", "TIFF", "JPEG", "MPO", "BMP", "PPM", "JPEG2000")
#: Most bytes of one picture in a ZIP file.
_LARGEST_ENTRY = 256 * 2 ** 20


def open_pictures(path: Path, file: str, name: str) -> ClipFile:
    """Open a file that holds several pictures.

    Raises:
        DataError: damage, a still image, or pictures of several sizes.
    """
    times: list[float] = []
    sizes: list[tuple[int, int]] = []
    ended: list[int] = []

    def first() -> Iterator[np.ndarray]:
        with _opened(path, file) as image:
            times.extend(_rate_of_tiff(image))
            for t in itertools.count():
                try:
                    image.seek(t)
                    pixels = _pixels(image, file, t + 1)
                    if not times or t:
                        times.append(float(image.info.get("duration") or 0) / 1000)
                except EOFError:
                    break
                except DataError:
                    raise
                except _DAMAGED as error:
                    if t < 2:
                        raise DataError(f"the picture does not decode ({type(error).__name__})", file=file, row=t + 1,
                                        expected="a whole file") from None
                    ended.append(getattr(image, "n_frames", 0) if image.format == "PNG" else 0)
                    break
                sizes.append(pixels.shape[:2])
                if sizes[-1] != sizes[0]:
                    raise DataError("a picture of another size than the first", file=file, row=t + 1, value=sizes[-1],
                                    expected=f"{sizes[0][0]} x {sizes[0][1]} px")
                if t >= MOST_FRAMES:
                    break
                yield pixels

    levels = find_levels(first(), 100, file)
    count = len(sizes)
    plausible(file, count, *sizes[0])
    step = float(np.median(times)) if times else 0.0
    fps, doubts = believed(1 / step if step > 0 else math.nan)

    def frames() -> Iterator[np.ndarray]:
        with _opened(path, file) as image:
            for t in range(count):
                try:
                    image.seek(t)
                    pixels = _pixels(image, file, t + 1)
                except _DAMAGED as error:
                    raise DataError(f"the picture does not decode ({type(error).__name__})", file=file, row=t + 1) from None
                yield levels.rgb(pixels)

    notes = levels.notes + ([cut_short(count, ended[0] or None)] if ended else []) + doubts
    return ClipFile(name, count, *sizes[0], fps, math.nan, "pictures", frames, tuple(notes))


def _rate_of_tiff(image: Image.Image) -> list[float]:
    """The time step that ImageJ writes into the first page of a TIFF file, s."""
    if image.format != "TIFF":
        return []
    said = str(image.tag_v2.get(270, ""))
    interval, rate = (re.search(rf"^{key}=([0-9.eE+-]{{1,20}})\s*$", said, re.MULTILINE) for key in ("finterval", "fps"))
    try:
        step = float(interval[1]) if interval else 1 / float(rate[1]) if rate else 0.0
    except (ValueError, ZeroDivisionError):
        return []
    return [step] if said.startswith("ImageJ") and math.isfinite(step) and step > 0 else []


@contextmanager
def _opened(source: Path | io.BytesIO, file: str) -> Iterator[Image.Image]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damage is told by errors of our own
        try:
            image = Image.open(source, formats=_READERS)
        except _DAMAGED as error:
            raise DataError(f"not a picture that can be read ({type(error).__name__})", file=file,
                            expected="a whole GIF, PNG, WebP, TIFF, JPEG or BMP file") from None
        with image:
            yield image


def _pixels(image: Image.Image, file: str, row: int | None) -> np.ndarray:
    """The picture that is open now: (H, W) numbers of any depth, or (H, W, 3) uint8."""
    width, height = image.size
    if width > LARGEST_SIDE or height > LARGEST_SIDE:
        raise DataError("not the size of an echo clip", file=file, row=row, value=f"{height} x {width} px",
                        expected=f"at most {LARGEST_SIDE} px a side")
    if image.mode in ("I", "F", "I;16", "I;16L", "I;16B", "I;16N"):
        return np.asarray(image)
    return np.asarray(image if image.mode == "L" else image.convert("L" if image.mode == "1" else "RGB"))


def open_folder(path: Path, file: str, name: str, *, shown: bool) -> ClipFile:
    """Open a folder of stills as one clip.

    Args:
        path: the folder.
        file: its name in messages.
        name: the clip's.
        shown: whether messages may name the stills.

    Raises:
        DataError: no stills, those of several clips, several sizes, or one that does not decode.
    """
    try:
        names = [entry.name for entry in path.iterdir() if entry.is_file()]
    except OSError as error:
        raise DataError(f"the folder cannot be read: {error.strerror}", file=file) from None
    if not _stills(names):
        raise DataError("a folder without stills, not a clip", file=file, value=_found(names, shown),
                        expected="a folder of PNG, JPEG or TIFF pictures that make one clip; name clips themselves: FOLDER/*.avi")
    return _row(names, lambda still: (path / still).read_bytes(), file, name, shown)


def open_zip(path: Path, file: str, name: str, *, shown: bool) -> ClipFile:
    """Open a ZIP file of stills as one clip; arguments and errors as :func:`open_folder`."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {e.filename: e for e in archive.infolist() if not e.is_dir()}
    except _DAMAGED as error:
        raise DataError(f"the ZIP file is damaged or cut short ({type(error).__name__})", file=file,
                        expected="a whole one") from None
    if not _stills(entries):
        raise DataError("a ZIP file without stills, not a clip", file=file, value=_found(list(entries), shown),
                        expected="PNG, JPEG or TIFF pictures that make one clip; unpack anything else first")

    def read(still: str) -> bytes:
        if entries[still].file_size > _LARGEST_ENTRY:
            raise ValueError("too large for a picture")
        with zipfile.ZipFile(path) as archive:
            return archive.read(still)

    return _row(list(entries), read, file, name, shown)


def _stills(names) -> list[str]:
    """Names of pictures, without those that systems hide in folders and archives."""
    return [n for n in names if PurePosixPath(n).suffix.lower() in STILLS and not PurePosixPath(n).name.startswith(".")
            and "__MACOSX" not in PurePosixPath(n).parts]


def _found(names: list[str], shown: bool) -> str:
    endings = sorted({PurePosixPath(n).suffix.lower() or "no ending" for n in names if not PurePosixPath(n).name.startswith(".")})
    count = f"{len(names)} file" if len(names) == 1 else f"{len(names)} files"
    return f"{count} ({', '.join(endings[:5])})" if shown and endings else count


def _row(names: list[str], read: Callable[[str], bytes], file: str, name: str, shown: bool) -> ClipFile:
    stills, notes = _in_order(_stills(names), file, shown)
    sizes: list[tuple[int, int]] = []

    def picture(t: int) -> np.ndarray:
        where = f"{file}/{PurePosixPath(stills[t]).name}" if shown else f"{file}, still {t + 1}"
        try:
            with _opened(io.BytesIO(read(stills[t])), where) as image:
                if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
                    raise DataError("several pictures in one of the stills", file=where, value=image.n_frames,
                                    expected="single pictures; name the file itself if it is a clip")
                pixels = _pixels(image, where, None)
        except DataError:
            raise
        except _DAMAGED as error:
            raise DataError(f"the still does not decode ({type(error).__name__})", file=where,
                            expected="a whole picture; remove it if it is none of the clip's") from None
        if sizes and pixels.shape[:2] != sizes[0]:
            raise DataError("a still of another size than the first", file=where, value=pixels.shape[:2],
                            expected=f"{sizes[0][0]} x {sizes[0][1]} px, and nothing but the stills of one clip")
        sizes.append(pixels.shape[:2])
        return pixels

    count = len(stills)
    if count > MOST_FRAMES:
        raise DataError("not the size of an echo clip", file=file, value=f"{count} stills",
                        expected=f"at most {MOST_FRAMES} frames")
    levels: Levels = find_levels((picture(t) for t in range(count)), count, file)
    del sizes[1:]
    plausible(file, count, *sizes[0])
    return ClipFile(name, count, *sizes[0], math.nan, math.nan, "pictures",
                    lambda: (levels.rgb(picture(t)) for t in range(count)), tuple(notes + levels.notes))


def _in_order(stills: list[str], file: str, shown: bool) -> tuple[list[str], list[Flag]]:
    """Stills by the last number in their names, which may have gaps; by name where they have none.

    Raises:
        DataError: stills of several clips: in several folders, or with names that differ in more than their number.
    """
    parts = {still: re.fullmatch(r"(.*?)(\d+)(\D*)", PurePosixPath(still).name) for still in stills}
    numbered = all(parts.values())
    series = {(str(PurePosixPath(still).parent), parts[still][1] if numbered else "", PurePosixPath(still).suffix.lower())
              for still in stills}
    if len(series) > 1:
        some = ", ".join(sorted(stills)[:1] + sorted(stills)[-1:])
        raise DataError("stills of several clips", file=file, value=some if shown else f"{len(series)} series",
                        expected="the stills of one clip, of one kind, called alike but for a number: one folder a clip")
    if not numbered:
        return sorted(stills), [Flag("stills_by_name", "The stills have no numbers in their names and were taken in the order of "
                                     "the alphabet.")]
    order = sorted(stills, key=lambda still: (int(parts[still][2]), still))
    numbers = [int(parts[still][2]) for still in order]
    steps = np.diff(numbers)
    if len(steps) and steps.min() == 0:
        raise DataError("two stills of the same number", file=file, value=numbers[int(np.argmin(steps))],
                        expected="one still a number")
    if len(steps) and steps.max() > steps.min():
        gaps = int((steps > steps.min()).sum())
        return order, [Flag("stills_missing", f"Stills are missing: their numbers, {numbers[0]} to {numbers[-1]}, have "
                            f"{gaps} {'gap' if gaps == 1 else 'gaps'}. Time jumps there.")]
    return order, []
