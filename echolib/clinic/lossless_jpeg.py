"""Lossless JPEG (ITU T.81, process 14) of 8 bits a channel, which scanners write and pydicom's usual decoders do not read.

FFmpeg reads it to the same numbers as GDCM, which ends the process on some damaged files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from pydicom.pixels import convert_color_space
from pydicom.uid import JPEGLossless, JPEGLosslessSV1

try:
    import av
    from av.error import FFmpegError
except ImportError:
    av = None

LOSSLESS_JPEG = (JPEGLossless, JPEGLosslessSV1)


def lossless_frames(frames: Iterable[bytes], kind: str) -> Iterator[np.ndarray]:
    """Decode frames.

    Args:
        frames: one JPEG each.
        kind: DICOM's photometric interpretation.

    Returns:
        (H, W) uint8, or (H, W, 3) uint8 RGB.

    Raises:
        ValueError: a frame does not decode, or PyAV is not installed.
    """
    if av is None:
        raise ValueError("lossless JPEG needs PyAV")
    for data in frames:
        decoder = av.CodecContext.create("mjpeg", "r")
        decoder.thread_type = "NONE"
        try:
            decoded = [*decoder.decode(av.Packet(data)), *decoder.decode(None)]
        except FFmpegError as error:
            raise ValueError(str(error.strerror)) from None
        if len(decoded) != 1 or decoded[0].is_corrupt:
            raise ValueError("not one whole picture")
        yield _channels(decoded[0], kind)


def _channels(frame, kind: str) -> np.ndarray:
    """The channels in the file's order; FFmpeg calls three of them BGR or planes, whatever they mean."""
    form, pixels = frame.format.name, frame.to_ndarray()
    if form == "gray":
        return pixels
    if form == "bgr24":
        pixels = pixels[..., ::-1]
    elif form in ("yuv444p", "yuvj444p"):
        pixels = np.moveaxis(pixels, 0, -1)
    else:
        raise ValueError(f"pixels stored as {form}")
    return convert_color_space(pixels, kind, "RGB") if kind == "YBR_FULL" else np.ascontiguousarray(pixels)
