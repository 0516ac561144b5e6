"""One clip written in many ways: what people have in their folders."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import nibabel
import numpy as np
import pydicom
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit, JPEGLosslessSV1, RLELossless

from echolib.data.video import write_avi, write_mp4
from tests.clinic.test_reading import dicom

FPS = 50


@dataclass(frozen=True)
class Encoding:
    """A way to write a clip.

    Attributes:
        name: of the encoding, and of the file with its ending, or of the folder.
        write: puts (T, H, W) uint8 at a path.
        exact: the same bytes must come out; else the same masks.
        timed: the file tells its frame rate.
    """

    name: str
    write: Callable[[Path, np.ndarray], None]
    exact: bool = False
    timed: bool = True


def film(codec: str, pixels: str, rate: int = FPS, times: list[int] | None = None, aspect: Fraction | None = None,
         **options: str) -> Callable[[Path, np.ndarray], None]:
    """Write a video with FFmpeg; the container is that of the file's ending.

    ``times`` are in units of 1 / rate; ``aspect`` is the width of a pixel over its height.
    """
    def write(path: Path, frames: np.ndarray) -> None:
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=Fraction(rate), options=options)
            stream.height, stream.width, stream.pix_fmt = *frames.shape[1:], pixels
            stream.bit_rate = 4_000_000
            if aspect is not None:
                stream.codec_context.sample_aspect_ratio = aspect
            for number, frame in enumerate(frames):
                picture = av.VideoFrame.from_ndarray(frame, format="gray").reformat(format=pixels)
                if times is not None:
                    picture.pts, picture.time_base = times[number], Fraction(1, rate)
                container.mux(stream.encode(picture))
            container.mux(stream.encode())
    return write


def _animated(kind: str, **options) -> Callable[[Path, np.ndarray], None]:
    def write(path: Path, frames: np.ndarray) -> None:
        pages = [Image.fromarray(frame) for frame in frames]
        pages[0].save(path, format=kind, save_all=True, append_images=pages[1:], **options)
    return write


def still(frame: np.ndarray, ending: str) -> bytes:
    """The content of one picture file."""
    stream = io.BytesIO()
    Image.fromarray(frame).save(stream, format={"png": "PNG", "jpg": "JPEG", "tif": "TIFF"}[ending],
                                **({"quality": 95} if ending == "jpg" else {}))
    return stream.getvalue()


def stills(ending: str, deep: bool = False) -> Callable[[Path, np.ndarray], None]:
    """A folder of stills, their numbers without leading zeros, with what systems leave in folders."""
    def write(path: Path, frames: np.ndarray) -> None:
        path.mkdir()
        for number, frame in enumerate(frames, start=1):
            (path / f"Bild {number}.{ending}").write_bytes(still(frame.astype(np.uint16) * 16 if deep else frame, ending))
        (path / ".DS_Store").write_bytes(b"\0" * 9)
        (path / "readme.txt").write_text("exported")
    return write


def _zip(path: Path, frames: np.ndarray) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for number, frame in enumerate(frames):
            archive.writestr(f"export/frame{number:04d}.jpg", still(frame, "jpg"))
            archive.writestr(f"__MACOSX/export/._frame{number:04d}.jpg", b"\0")


def _colour(frames: np.ndarray) -> np.ndarray:
    return np.repeat(frames[..., None], 3, -1)


def _ybr(path: Path, frames: np.ndarray) -> None:
    ybr = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]] for frame in _colour(frames)])
    dicom(path, ybr, "YBR_FULL", FrameTime="20")


def dicom_jpeg(path: Path, frames: np.ndarray, colour: bool) -> None:
    """JPEG baseline, in grey or in YBR_FULL_422."""
    dicom(path, _colour(frames) if colour else frames, "YBR_FULL_422" if colour else "MONOCHROME2", FrameTime="20")
    data = pydicom.dcmread(path)
    coding = [cv2.IMWRITE_JPEG_QUALITY, 95]
    parts = [cv2.imencode(".jpg", frame, coding)[1].tobytes() for frame in (_colour(frames) if colour else frames)]
    data.PixelData = encapsulate([part + b"\0" * (len(part) % 2) for part in parts])
    data["PixelData"].VR = "OB"
    data.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    data.save_as(path)


def _lossless_jpeg(frame: np.ndarray) -> bytes:
    """(H, W, C) uint8 as lossless JPEG (ITU T.81, process 14, each pixel foretold by the one before it)."""
    height, width, channels = frame.shape
    values = frame.astype(int)
    before = np.roll(values, 1, axis=1)
    before[1:, 0], before[0, 0] = values[:-1, 0], 128
    difference = (values - before).ravel()
    size = np.ceil(np.log2(np.abs(difference) + 1)).astype(int)  # bits of the difference; its code is that number in 4 bits
    words = (size << size) | np.where(difference < 0, difference + (1 << size) - 1, difference)
    length = size + 4
    place = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    bits = np.repeat(words, length) >> (np.repeat(length, length) - 1 - place) & 1
    data = np.packbits(np.concatenate([bits, np.ones(-len(bits) % 8, int)]).astype(bool)).tobytes().replace(b"\xff", b"\xff\0")
    ids = range(1, channels + 1)
    frame_header = struct.pack(">BHHB", 8, height, width, channels) + b"".join(bytes((k, 0x11, 0)) for k in ids)
    table = bytes((0, 0, 0, 0, 9, *[0] * 12, *range(9)))
    scan = bytes((channels, *(byte for k in ids for byte in (k, 0)), 1, 0, 0))
    parts = ((0xC3, frame_header), (0xC4, table), (0xDA, scan))
    return b"\xff\xd8" + b"".join(struct.pack(">BBH", 0xFF, m, len(p) + 2) + p for m, p in parts) + data + b"\xff\xd9"


def dicom_lossless(path: Path, frames: np.ndarray, colour: bool) -> None:
    """Lossless JPEG, in grey or RGB."""
    dicom(path, _colour(frames) if colour else frames, "RGB" if colour else "MONOCHROME2", FrameTime="20")
    data = pydicom.dcmread(path)
    parts = [_lossless_jpeg(frame if colour else frame[..., None]) for frame in (_colour(frames) if colour else frames)]
    data.PixelData = encapsulate([part + b"\0" * (len(part) % 2) for part in parts])
    data["PixelData"].VR = "OB"
    data.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    data.save_as(path)


def dicom_rle(path: Path, frames: np.ndarray) -> None:
    """RLE, RGB."""
    dicom(path, _colour(frames), "RGB", CineRate="50")
    data = pydicom.dcmread(path)
    data.compress(RLELossless)
    data.save_as(path)


def dicom_deep(path: Path, frames: np.ndarray, kind: str = "MONOCHROME2", stored: int = 12, signed: bool = False,
               **entries) -> None:
    """16 bits allocated: the grey levels times 16."""
    values = frames.astype(np.int16) * 16 - (1000 if signed else 0)
    if kind == "MONOCHROME1":
        values = 4080 - values
    dicom(path, frames, kind, FrameTime="20", BitsAllocated=16, BitsStored=16 if signed else stored,
          HighBit=15 if signed else stored - 1, PixelRepresentation=int(signed), **entries)
    data = pydicom.dcmread(path)
    data.PixelData = values.astype("<i2").tobytes()
    data["PixelData"].VR = "OW"
    data.save_as(path)


def _nifti(deep: bool) -> Callable[[Path, np.ndarray], None]:
    def write(path: Path, frames: np.ndarray) -> None:
        values = frames.transpose(2, 1, 0)[:, :, None]
        image = nibabel.Nifti1Image(values.astype(np.int16) * 16 - 1000 if deep else values, np.eye(4))
        image.header.set_zooms((0.8, 0.8, 1.0, 0.02))
        image.header.set_xyzt_units("mm", "sec")
        nibabel.save(image, path)
    return write


def meta(path: Path, frames: np.ndarray) -> None:
    """MetaImage of (x, y, time): the data beside an .mhd header, behind an .mha one and compressed."""
    local = path.suffix == ".mha"
    data = zlib.compress(frames.tobytes()) if local else frames.tobytes()
    raw = path.with_suffix(".raw")
    sizes = " ".join(map(str, frames.shape[::-1]))
    header = (f"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = {local}\n"
              f"TransformMatrix = 1 0 0 0 1 0 0 0 1\nElementSpacing = 0.8 0.8 1\nDimSize = {sizes}\nElementType = MET_UCHAR\n"
              f"ElementDataFile = {'LOCAL' if local else raw.name}\n")
    path.write_bytes(header.encode() + (data if local else b""))
    if not local:
        raw.write_bytes(data)


def nrrd(path: Path, frames: np.ndarray) -> None:
    """NRRD as 3-D Slicer writes sequences: time the fastest axis, 16 bits, big-endian, packed with gzip."""
    sizes = " ".join(map(str, (frames.shape[0], *frames.shape[:0:-1], 1)))
    header = ("NRRD0005\n# made up\ntype: short\ndimension: 4\nspace: left-posterior-superior\n"
              f"sizes: {sizes}\nspace directions: none (0.8,0,0) (0,0.8,0) (0,0,1)\nkinds: list domain domain domain\n"
              "endian: big\nencoding: gzip\nspace origin: (0,0,0)\naxis 0 index type:=numeric\n\n")
    data = frames.transpose(1, 2, 0).astype(">i2").tobytes()
    path.write_bytes(header.encode() + gzip.compress(data))


def _npz(path: Path, frames: np.ndarray) -> None:
    np.savez_compressed(path, frames=frames, mask=frames > 100, fps=FPS)


WINDOW = {"WindowCenter": "2040.5", "WindowWidth": "4081"}
ENCODINGS = (
    Encoding("motion-jpeg.avi", lambda path, frames: write_avi(path, frames, FPS)),
    Encoding("raw.avi", film("rawvideo", "bgr24"), exact=True),
    Encoding("divx.avi", film("mpeg4", "yuv420p")),
    Encoding("h264.mp4", lambda path, frames: write_mp4(path, frames, FPS)),
    Encoding("h265.mp4", film("libx265", "yuv420p", **{"x265-params": "log-level=none"})),
    Encoding("quicktime.mov", film("qtrle", "rgb24"), exact=True),
    Encoding("h264.mov", film("libx264", "yuv420p")),
    Encoding("ffv1.mkv", film("ffv1", "gray"), exact=True),
    Encoding("deep-grey.mkv", film("ffv1", "gray16le")),
    Encoding("vp9.webm", film("libvpx-vp9", "yuv420p", deadline="realtime", **{"cpu-used": "8"})),
    Encoding("windows-media.wmv", film("wmv2", "yuv420p")),
    Encoding("mpeg1.mpg", film("mpeg1video", "yuv420p")),
    Encoding("mpeg2.mpg", film("mpeg2video", "yuv420p")),
    Encoding("broadcast.ts", film("mpeg2video", "yuv420p")),
    Encoding("flash.flv", film("flv1", "yuv420p")),
    Encoding("animated.gif", _animated("GIF", duration=20), exact=True),
    Encoding("animated.png", _animated("PNG", duration=20), exact=True),
    Encoding("animated.webp", _animated("WEBP", duration=20, lossless=True), exact=True),
    Encoding("pages.tif", _animated("TIFF", compression="tiff_lzw"), exact=True, timed=False),
    Encoding("folder of png", stills("png"), exact=True, timed=False),
    Encoding("folder of deep png", stills("png", deep=True), timed=False),
    Encoding("folder of jpeg", stills("jpg"), timed=False),
    Encoding("stills.zip", _zip, timed=False),
    Encoding("grey.dcm", lambda path, frames: dicom(path, frames, "MONOCHROME2", FrameTime="20"), exact=True),
    Encoding("inverse.dcm", lambda path, frames: dicom(path, 255 - frames, "MONOCHROME1", FrameTime="20"), exact=True),
    Encoding("rgb.dcm", lambda path, frames: dicom(path, _colour(frames), "RGB", FrameTime="20"), exact=True),
    Encoding("ybr.dcm", _ybr, exact=True),
    Encoding("jpeg.dcm", lambda path, frames: dicom_jpeg(path, frames, colour=False)),
    Encoding("jpeg-colour.dcm", lambda path, frames: dicom_jpeg(path, frames, colour=True)),
    Encoding("lossless.dcm", lambda path, frames: dicom_lossless(path, frames, colour=False), exact=True),
    Encoding("lossless-colour.dcm", lambda path, frames: dicom_lossless(path, frames, colour=True), exact=True),
    Encoding("rle.dcm", dicom_rle, exact=True),
    Encoding("deep.dcm", dicom_deep),
    Encoding("deep-window.dcm", lambda path, frames: dicom_deep(path, frames, **WINDOW), exact=True),
    Encoding("deep-inverse.dcm", lambda path, frames: dicom_deep(path, frames, "MONOCHROME1", **WINDOW), exact=True),
    Encoding("deep-signed.dcm", lambda path, frames: dicom_deep(path, frames, signed=True)),
    Encoding("clip.nii.gz", _nifti(deep=False), exact=True),
    Encoding("deep.nii", _nifti(deep=True)),
    Encoding("clip.npy", lambda path, frames: np.save(path, frames), exact=True, timed=False),
    Encoding("deep.npy", lambda path, frames: np.save(path, frames.astype(np.uint16) * 16), timed=False),
    Encoding("colour-first.npy", lambda path, frames: np.save(path, np.repeat(frames[None], 3, 0)), exact=True, timed=False),
    Encoding("clip.npz", _npz, exact=True),
    Encoding("clip.mhd", meta, exact=True, timed=False),
    Encoding("clip.mha", meta, exact=True, timed=False),
    Encoding("clip.nrrd", nrrd, exact=True, timed=False),
)
