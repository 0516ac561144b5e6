"""Read and write echo videos: Motion-JPEG AVI (EchoNet-Dynamic's container) and MP4 for browsers.

A Motion-JPEG stream is a row of JPEG files: the container is taken apart by FFmpeg (PyAV) and each JPEG is decoded by
libjpeg-turbo (OpenCV), two to four times faster than FFmpeg's decoder with its colour conversion. Every other codec goes
through FFmpeg. A frame that is cut short or does not decode is an error, never a repeated or grey frame.

Where PyAV is not installed, Motion-JPEG AVIs are read all the same (:mod:`echolib.data.avi`), to the same frames; whatever else
needs it says so.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from echolib.data import avi
from echolib.errors import ConfigError, DataError
from echolib.files import write_atomic
from echolib.hardware import processor_flags

try:
    import av
    from av.error import FFmpegError
    from av.video.reformatter import VideoReformatter
except ImportError:  # phantoms and EchoNet-Dynamic's videos need none
    av = None

_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"


@dataclass(frozen=True)
class VideoInfo:
    """What a container holds, found without decoding.

    Attributes:
        frames: frames whose data is there (not what the header promises, where the two differ).
        height: px.
        width: px.
        fps: frames per second; NaN when the container does not say.
    """

    frames: int
    height: int
    width: int
    fps: float


def _check_there(path: Path, name: str) -> None:
    if not path.is_file():
        raise DataError("no such video", file=name)
    if path.stat().st_size == 0:
        raise DataError("the video is an empty file of 0 bytes", file=name)


def _needs_av(what: str) -> None:
    """Raises ConfigError where PyAV is not installed."""
    if av is None:
        raise ConfigError(f"{what} needs PyAV, which is not installed here; expected `pip install av`")


@contextmanager
def _video_stream(path: Path, name: str) -> Iterator[tuple]:
    """Container and its first video stream; FFmpeg's errors come out as a DataError that names ``name``."""
    _check_there(path, name)
    try:
        with av.open(str(path), metadata_errors="replace") as container:  # a broken title is no reason to refuse
            if not container.streams.video:
                raise DataError("the file holds no video stream", file=name)
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise DataError("the video is in a codec that is not known", file=name, expected="a whole AVI or MP4 file")
            stream.thread_type = "NONE"  # frames are tiny: starting threads costs more than it saves
            yield container, stream
    except FFmpegError as error:
        raise DataError(f"the video does not decode: {error.strerror}", file=name, expected="a whole AVI or MP4 file") from None


def probe(path: str | Path, *, file: str | None = None) -> VideoInfo:
    """Count the frames of a video and read its size and speed, without decoding.

    The count comes from the container's index when that agrees with the header, else from walking through the data, so
    a truncated file gives the number of frames that are left.

    Args:
        path: the video.
        file: name for error messages, relative to the data folder; default the file's own name.

    Raises:
        DataError: missing, empty, or not a video.
    """
    path = Path(path)
    if av is None:
        found = _motion_jpeg(path, file or path.name)
        return VideoInfo(len(found.frames), found.height, found.width, found.fps)
    with _video_stream(path, file or path.name) as (container, stream):
        index = stream.index_entries
        frames = sum(1 for entry in index if entry.size > 0)
        if not frames or frames != stream.frames:  # WMV, Matroska, WebM and MPEG state no number and need have no index
            frames = sum(1 for packet in container.demux(stream) if packet.size and not packet.is_corrupt)
        fps = float(stream.average_rate) if stream.average_rate else math.nan
        return VideoInfo(frames, stream.codec_context.height, stream.codec_context.width, fps)


def read_video(path: str | Path, *, file: str | None = None, expected_frames: int | None = None) -> np.ndarray:
    """Decode a whole video.

    Args:
        path: AVI, MP4 or anything else that FFmpeg reads.
        file: name for error messages, relative to the data folder; default the file's own name.
        expected_frames: how many frames the data set says there are.

    Returns:
        (T, H, W, 3) uint8, RGB.

    Raises:
        DataError: the file is missing, empty or not a video; a frame is cut short or does not decode (``row`` is the
            1-based frame); or there are fewer frames than expected.
    """
    path = Path(path)
    name = file or path.name
    frames = list(iterate_video(path, file=name))
    if not frames:
        raise DataError("the video holds no frame", file=name)
    if expected_frames is not None and len(frames) < expected_frames:
        raise DataError("the video is too short", file=name, value=f"{len(frames)} frames", expected=f"{expected_frames} frames")
    return np.stack(frames)


def iterate_video(path: str | Path, *, file: str | None = None) -> Iterator[np.ndarray]:
    """Decode a video frame by frame, for clips that need not be in memory as a whole: (H, W, 3) uint8 RGB each.

    Arguments and errors as :func:`read_video`; how many frames there should be is for the caller to check.
    """
    path = Path(path)
    name = file or path.name
    if av is None:
        found = _motion_jpeg(path, name)
        yield from _jpeg_frames(found.frames, (found.height, found.width, 3), name)
        return
    with _video_stream(path, name) as (container, stream):
        about = stream.codec_context
        if about.name == "mjpeg":  # an empty packet is an empty chunk, or the end of the stream
            packets = (bytes(packet) for packet in container.demux(stream) if packet.size)
            yield from _jpeg_frames(packets, (about.height, about.width, 3), name)
        else:
            yield from _other_frames(container, stream)


def _motion_jpeg(path: Path, name: str) -> avi.MotionJpeg:
    _check_there(path, name)
    return avi.demux(path.read_bytes(), name)


def _jpeg_frames(packets: Iterable[bytes], size: tuple[int, int, int], name: str) -> Iterator[np.ndarray]:
    for number, data in enumerate(packets, start=1):
        if not data.startswith(_JPEG_START) or data.rfind(_JPEG_END) < 0:
            raise DataError("the frame is not a whole JPEG image", file=name, row=number, value=f"{len(data)} bytes")
        try:
            frame = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        except cv2.error as error:
            raise DataError(f"the frame does not decode: {error.err}", file=name, row=number) from None
        if frame is None:
            raise DataError("the frame does not decode", file=name, row=number)
        if frame.shape != size:
            raise DataError("the frame has another size than the video", file=name, row=number, value=frame.shape[:2],
                            expected=f"{size[0]} x {size[1]} px")
        yield frame


def _other_frames(container, stream) -> Iterator[np.ndarray]:
    convert = VideoReformatter()
    for frame in container.decode(stream):
        yield convert.reformat(frame, format="rgb24").to_ndarray()


def damaged_frames(path: str | Path, *, file: str | None = None) -> list[int]:
    """1-based numbers of the frames of a Motion-JPEG video whose data breaks the JPEG standard although they decode.

    A JPEG decoder carries on after a broken code and shows garbage from there; FFmpeg can be told not to. It sees most
    such frames, not all: some broken codes are codes too. Other codecs give an empty list.

    Raises:
        DataError: missing, empty, or not a video.
        ConfigError: PyAV is not installed.
    """
    path = Path(path)
    _needs_av("looking for damaged frames")
    damaged = []
    with _video_stream(path, file or path.name) as (container, stream):
        if stream.codec_context.name != "mjpeg":
            return []
        strict = av.CodecContext.create("mjpeg", "r")
        strict.options = {"err_detect": "explode"}
        strict.thread_type = "NONE"
        for number, packet in enumerate((p for p in container.demux(stream) if p.size), start=1):
            try:
                strict.decode(packet)
            except FFmpegError:
                damaged.append(number)
    return damaged


def _checked(frames: np.ndarray, fps: float) -> tuple[np.ndarray, Fraction]:
    """Frames as (T, H, W, 3) and the frame rate as a fraction.

    Raises:
        ValueError: frames of another shape or dtype, none at all, or a frame rate that is not positive.
    """
    frames = np.asarray(frames)
    if frames.ndim == 3:
        frames = np.repeat(frames[..., None], 3, axis=-1)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise ValueError(f"frames must be (T, H, W) or (T, H, W, 3) uint8, not {frames.shape} {frames.dtype}")
    if not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"fps must be positive, not {fps}")
    return frames, Fraction(fps).limit_denominator(10_000)


def write_avi(path: str | Path, frames: np.ndarray, fps: float, quality: int = 95) -> None:
    """Write a Motion-JPEG AVI, atomically; the same frames give the same bytes.

    Args:
        path: where to.
        frames: (T, H, W) or (T, H, W, 3) uint8, grey or RGB, any size.
        fps: frames per second.
        quality: JPEG quality, 1-100.

    Raises:
        ValueError: frames of another shape or dtype, none at all, or a frame rate that is not positive.
    """
    frames, rate = _checked(frames, fps)
    coding = [cv2.IMWRITE_JPEG_QUALITY, quality]
    jpegs = [cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), coding)[1].tobytes() for frame in frames]
    write_atomic(Path(path), avi.mux(jpegs, rate, *frames.shape[1:3]))


def write_mp4(path: str | Path, frames: np.ndarray, fps: float, crf: int = 18) -> None:
    """Write an MP4 that every browser plays (H.264, yuv420p, index first), atomically.

    Odd heights and widths are padded by repeating the last row or column, as the format needs even ones.

    Args:
        path: where to.
        frames: (T, H, W) or (T, H, W, 3) uint8, grey or RGB.
        fps: frames per second.
        crf: x264's constant rate factor; lower is better and bigger.

    Raises:
        ValueError: frames of another shape or dtype, none at all, or a frame rate that is not positive.
    """
    frames, _ = _checked(frames, fps)
    write_mp4_frames(path, frames, fps, crf)


def write_mp4_frames(path: str | Path, frames: Iterable[np.ndarray], fps: float, crf: int = 18, preset: str = "medium") -> None:
    """:func:`write_mp4` for frames that come one by one, (H, W, 3) uint8 of one size, and need not be in memory together.

    ``preset`` is x264's trade of speed against size.

    Raises:
        ValueError: a frame of another shape or dtype, none at all, or a frame rate that is not positive.
        ConfigError: PyAV is not installed.
    """
    path = Path(path)
    _needs_av("writing an MP4")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")  # not in memory: moving the index first reopens the file
    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    try:
        with av.open(str(temporary), "w", format="mp4", options=options) as container:
            stream = None
            for frame in frames:
                frame, rate = _checked(frame[None], fps)
                frame = np.pad(frame[0], ((0, frame.shape[1] % 2), (0, frame.shape[2] % 2), (0, 0)), mode="edge")
                if stream is None:
                    coding = {"crf": str(crf), "preset": preset, "threads": "1", **_repeatable()}  # the same bytes every time
                    stream = container.add_stream("libx264", rate=rate, options=coding)
                    stream.height, stream.width, stream.pix_fmt = *frame.shape[:2], "yuv420p"
                if frame.shape[:2] != (stream.height, stream.width):
                    raise ValueError(f"a frame of {frame.shape[:2]} px in a video of {(stream.height, stream.width)} px")
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
            if stream is None:
                raise ValueError("no frames to write")
            container.mux(stream.encode())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _repeatable() -> dict[str, str]:
    """x264's code for AVX-512 gives other bytes on every call; its code for AVX2 does not."""
    return {"x264-params": "asm=avx2"} if "avx512f" in processor_flags() else {}
