"""Open an echo clip of any usual format: what it is is told by its content, not by its name.

==================  ===============================================  =================================================
format              pixels                                           frame rate and pixel spacing
==================  ===============================================  =================================================
AVI, MP4, MOV, MKV, whatever FFmpeg decodes                          the frames' time stamps; no spacing
WebM, WMV, MPEG
GIF, animated PNG   as they are composed for a screen                the time that a frame is shown; no spacing
and WebP, TIFF      one page a frame                                 ImageJ's, where it wrote the file; no spacing
folder or ZIP of    PNG, JPEG, TIFF, BMP, one a frame, in the order  neither
stills              of the numbers in their names
DICOM               colour, palette or grey; the transfer syntaxes   frame time or cine rate; the region's spacing
                    that pydicom decodes
NIfTI               (x, y, t), (x, y, 1, t) or RGB; a CAMUS half     time step; spacing in mm
                    cycle
MHD, MHA, NRRD      the same                                         time step of a 4-D file; spacing in mm
NPY, NPZ            (T, H, W), (T, H, W, 1) or (T, H, W, 3)          ``fps`` in an NPZ file; no spacing
==================  ===============================================  =================================================

Numbers that are not bytes are taken as grey levels when all lie in 0-255, or in 0-1; others are seen through a window
(:mod:`echolib.clinic.levels`). A file that is cut short gives the frames that are there. What was decided on the way stands in
``notes``. Frames are decoded one by one each time a clip is walked through, so that a long one need not fit in memory.
"""

from __future__ import annotations

import gzip
import zipfile
import zlib
from pathlib import Path

from echolib.clinic.arrays import open_nifti, open_npy, open_npz
from echolib.clinic.clip_file import ClipFile
from echolib.clinic.containers import open_video
from echolib.clinic.dicoms import open_dicom
from echolib.clinic.raw_images import open_raw
from echolib.clinic.stills import open_folder, open_pictures, open_zip
from echolib.errors import DataError

__all__ = ["ASSUMED_FPS", "FORMATS", "ClipFile", "clip_stem", "open_clip"]

#: Frames per second that are taken when neither the file nor the user says: the commonest of EchoNet-Dynamic.
ASSUMED_FPS = 50.0
FORMATS = ("a video (AVI, MP4, MOV, MKV, WebM, WMV, MPEG, GIF), DICOM, NIfTI, NPY, NPZ or TIFF file, or a folder or ZIP file of "
           "stills")
_OPENERS = {"npy": open_npy, "npz": open_npz, "nifti": open_nifti, "raw": open_raw, "dicom": open_dicom, "video": open_video,
            "pictures": open_pictures}
#: What files begin with: where, the bytes, and who reads them.
_MAGIC = (
    (0, b"\x93NUMPY", "npy"), (128, b"DICM", "dicom"), (0, b"\x1aE\xdf\xa3", "video"), (4, b"ftyp", "video"),
    (4, b"moov", "video"),
    (4, b"mdat", "video"), (4, b"wide", "video"), (4, b"free", "video"), (4, b"skip", "video"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "video"),
    (0, b"\0\0\x01\xba", "video"), (0, b"\0\0\x01\xb3", "video"), (0, b"FLV\x01", "video"), (0, b"OggS", "video"),
    (0, b"DKIF", "video"), (0, b"YUV4MPEG2", "video"), (0, b"\0\0\0\x01\x67", "video"), (0, b"\0\0\x01\x67", "video"),
    (0, b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02\x01", "video"), (0, b".RMF", "video"), (8, b"WEBP", "pictures"),
    (0, b"RIFF", "video"), (0, b"GIF8", "pictures"), (0, b"\x89PNG", "pictures"), (0, b"II*\0", "pictures"),
    (0, b"MM\0*", "pictures"), (0, b"II+\0", "pictures"), (0, b"MM\0+", "pictures"), (0, b"NRRD000", "raw"),
    (344, b"n+1", "nifti"), (344, b"n+2", "nifti"), (4, b"n+2\0", "nifti"), (4, b"n+1\0", "nifti"))
#: What people have beside clips, and what would do instead.
_ELSE = (
    (0, b"\xff\xd8\xff", "a single JPEG picture", "a clip; for stills in a row name their folder"),
    (0, b"BM", "a single BMP picture", "a clip; for stills in a row name their folder"),
    (0, b"%PDF", "a PDF document", None), (0, b"\x89HDF", "an HDF5 file (MATLAB 7.3, a scanner's raw data)", "its frames as NPY"),
    (0, b"MATLAB 5", "a MATLAB file", "its frames as NPY or TIFF"), (0, b"Rar!", "a RAR archive", "what is in it, unpacked"),
    (0, b"7z\xbc\xaf", "a 7z archive", "what is in it, unpacked"), (344, b"ni1", "a NIfTI header without its pixels",
                                                                     "both in one .nii file"))
_VIDEO_ENDINGS = (".avi", ".mp4", ".m4v", ".mov", ".mkv", ".wmv", ".asf", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts",
                  ".vob", ".flv", ".ogv", ".3gp", ".mxf", ".dv")


def open_clip(path: str | Path, *, shown_as: str | None = None) -> ClipFile:
    """Recognise a clip and read its header.

    Args:
        path: the file, or a folder of stills.
        shown_as: name in messages and results; default the file's own.

    Raises:
        DataError: no such file, another format, damage, a still image, or numbers that are no grey levels.
    """
    path = Path(path)
    file, name = shown_as or path.name, shown_as or clip_stem(path)
    if path.is_dir():
        return open_folder(path, file, name, shown=shown_as is None)
    if not path.is_file():
        raise DataError("no such file", file=file, expected=FORMATS)
    kind = _kind(path, file)
    return open_zip(path, file, name, shown=shown_as is None) if kind == "zip" else _OPENERS[kind](path, file, name)


def clip_stem(path: Path) -> str:
    """A clip's name: the file's without its ending, a folder's as it is."""
    return path.name if path.is_dir() else path.name[:-7] if path.name.lower().endswith(".nii.gz") else path.stem


def _kind(path: Path, file: str) -> str:
    head = _head(path, file)
    if not head:
        raise DataError("the file is empty", file=file, expected=FORMATS)
    for at, magic, kind in _MAGIC:
        if head.startswith(magic, at):
            return kind
    if head.startswith(b"PK\x03\x04"):
        return _kind_of_zip(path, file)
    if head[:1] == b"\x47" and head[188:189] == b"\x47" or head[4:5] == b"\x47" and head[196:197] == b"\x47":
        return "video"  # a transport stream: a 0x47 every 188 bytes, on a camcorder's disc every 192
    if b"ElementType" in head or (b"NDims" in head and b"DimSize" in head):
        return "raw"
    for at, magic, what, would_do in _ELSE:
        if head.startswith(magic, at):
            raise DataError(f"{what}, not a clip", file=file, expected=would_do or FORMATS)
    ending = path.suffix.lower()
    if ending in _VIDEO_ENDINGS:
        return "video"
    if ending in (".dcm", ".dicom"):
        return "dicom"
    raise DataError("not a clip that can be read", file=file, value=f"a file that begins with {head[:8].hex(' ')}",
                    expected=FORMATS)


def _head(path: Path, file: str) -> bytes:
    with path.open("rb") as stream:
        head = stream.read(1024)
    if head[:2] == b"\x1f\x8b":
        try:
            with gzip.open(path) as stream:
                head = stream.read(1024)
        except (OSError, EOFError, zlib.error):
            raise DataError("the compressed file is damaged", file=file, expected=FORMATS) from None
        if not any(head.startswith(magic, at) for at, magic, kind in _MAGIC if kind == "nifti"):
            raise DataError("a compressed file, and no NIfTI in it", file=file, expected="what is in it, unpacked")
    return head


def _kind_of_zip(path: Path, file: str) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise DataError(f"the ZIP file is damaged or cut short ({type(error).__name__})", file=file,
                        expected="a whole one") from None
    return "npz" if any(name.endswith(".npy") for name in names) else "zip"
