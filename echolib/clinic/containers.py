"""Video containers, whatever FFmpeg reads: the stream is believed, not the header.

A header may say no number of frames (WMV, WebM, MKV, MPEG), or one that was true before the file was cut; it may tick in
milliseconds and call that 1000 frames per second. So a clip is decoded once when it is opened: the frames that come out are
counted, and the frame rate is that of their time stamps.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from echolib.clinic.clip_file import MOST_FRAMES, ClipFile, believed, cut_short, plausible
from echolib.clinic.levels import Levels, find_levels
from echolib.clinic.result import Flag
from echolib.data.video import _jpeg_frames, iterate_video, probe
from echolib.errors import DataError

try:
    import av
    from av.error import FFmpegError
    from av.video.reformatter import VideoReformatter
except ImportError:  # Motion-JPEG AVIs are read without
    av = None

#: FFmpeg's readers that may open a file. Others follow names inside it to other files (playlists), or take any text for a video.
_DEMUXERS = ("avi,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,asf,mpeg,mpegts,mpegvideo,flv,live_flv,ogg,mxf,dv,ivf,h264,hevc,m4v,"
             "yuv4mpegpipe,nut,rm,wtv")
#: Streams without a clock, for which FFmpeg makes up 25 frames per second.
_NO_CLOCK = ("h264", "hevc", "m4v", "ivf")
_EXPECTED = "a whole video file that FFmpeg reads (AVI, MP4, MOV, MKV, WebM, WMV, MPEG)"


@dataclass
class _Scan:
    """What one walk through a stream found.

    Attributes:
        size: (height, width) of the frames, px.
        times: time stamp of each whole frame, s, None where it has none.
        packets: for each packet whether it could be decoded, and its time stamp.
        corrupt: for each frame that came out whether the decoder calls it corrupt, and its time stamp.
        interlaced, turned: frames of two fields; turn in degrees that players are asked for.
    """

    size: tuple[int, int] | None = None
    times: list[float | None] = field(default_factory=list)
    packets: list[tuple[bool, float | None]] = field(default_factory=list)
    corrupt: list[tuple[bool, float | None]] = field(default_factory=list)
    interlaced: int = 0
    turned: int = 0
    why: str = ""


def open_video(path: Path, file: str, name: str) -> ClipFile:
    """Open a video; one walk through it.

    Raises:
        DataError: it cannot be opened, holds no two whole frames, or a frame in the middle does not decode.
    """
    if av is None:
        return _without_av(path, file, name)
    scan = _Scan()
    with _stream(path, file) as (container, stream, notes):
        deep = _deep(stream)
        frames = _frames(container, stream, file, scan, deep)
        levels = find_levels(frames, 100, file) if deep else _walked(frames)
        _no_gap(scan, file)
        if not scan.times:
            raise DataError("no frame of the video decodes" + (f": {scan.why}" if scan.why else ""), file=file,
                            value=f"{len(scan.packets)} packets of {stream.codec_context.name}", expected=_EXPECTED)
        notes += levels.notes + _missing(scan, container, stream)
        count = len(scan.times)
        if count < 2 and any(note.code == "cut_short" for note in notes):
            raise DataError("the file is cut short", file=file, value="1 whole frame", expected="at least 2 frames")
        plausible(file, count, *scan.size)
        rate, timing = _rate(scan.times, container.format.name, stream)
        notes += timing
        ratio = stream.sample_aspect_ratio
        if ratio and abs(float(ratio) - 1) > 0.02:
            notes.append(Flag("pixels_not_square", f"The pixels of this video are {float(ratio):.3g} times as wide as high and "
                              "were taken as square: outlines, areas and volumes are distorted. Export it with square pixels."))
    if scan.interlaced > count / 2:
        notes.append(Flag("interlaced", "The video is interlaced: every frame is woven from two moments."))
    if scan.turned % 360:
        notes.append(Flag("turned", f"The file asks players to turn the picture by {scan.turned % 360} degrees; it was measured "
                          "as it is stored."))
    fps, doubts = believed(rate)

    def again() -> Iterator[np.ndarray]:
        with _stream(path, file) as (container, stream, _):
            for pixels in itertools.islice(_frames(container, stream, file, _Scan(size=scan.size), deep), count):
                yield levels.rgb(pixels)

    return ClipFile(name, count, *scan.size, fps, math.nan, "video", again, tuple(notes + doubts))


def _without_av(path: Path, file: str, name: str) -> ClipFile:
    info = probe(path, file=file)
    plausible(file, info.frames, info.height, info.width)
    fps, doubts = believed(info.fps)
    return ClipFile(name, info.frames, info.height, info.width, fps, math.nan, "video", lambda: iterate_video(path, file=file),
                    tuple(doubts))


class _stream:
    """Container, its first video stream that is no cover picture, and notes; FFmpeg's errors come out as a DataError."""

    def __init__(self, path: Path, file: str) -> None:
        self.path, self.file = path, file
        self.container = None

    def __enter__(self) -> tuple:
        try:
            self.container = av.open(str(self.path), metadata_errors="replace", options={"format_whitelist": _DEMUXERS})
            return self._choose()
        except FFmpegError as error:
            self._close()
            raise DataError(f"the video cannot be opened: {_reason(self.path, error)}", file=self.file,
                            expected=_EXPECTED) from None
        except DataError:
            self._close()
            raise

    def _choose(self) -> tuple:
        streams = [s for s in self.container.streams.video if s.codec_context is not None]
        if not streams:
            known = "the video is in a codec that is not known" if self.container.streams.video else "no video in the file"
            raise DataError(known, file=self.file, value=self.container.format.name, expected=_EXPECTED)
        streams = [s for s in streams if not s.disposition & av.stream.Disposition.attached_pic] or streams
        streams[0].thread_type = "NONE"  # frames are small: starting threads costs more than it saves
        several = [Flag("several_videos", f"The file holds {len(streams)} videos; the first was measured.")]
        return self.container, streams[0], several if len(streams) > 1 else []

    def __exit__(self, kind, error, trace) -> None:
        self._close()
        if isinstance(error, FFmpegError):
            raise DataError(f"the video does not decode: {error.strerror}", file=self.file, expected=_EXPECTED) from None

    def _close(self) -> None:
        if self.container is not None:
            self.container.close()


def _reason(path: Path, error: Exception) -> str:
    """FFmpeg's reason; for a film whose index was to come last, what that means."""
    with path.open("rb") as stream:
        head = stream.read(12)
        if head[4:8] == b"ftyp":
            stream.seek(0)
            at = 0
            while len(box := stream.read(16)) >= 8:
                length = int.from_bytes(box[:4], "big")
                if box[4:8] == b"moov":
                    return str(error.strerror)
                length = int.from_bytes(box[8:16], "big") if length == 1 else length
                if length < 8:
                    break
                at += length
                stream.seek(at)
            return "its index (moov), which stands at the end of such a file, is missing; the file was cut short"
    return str(error.strerror)


def _deep(stream) -> bool:
    """Whether the pixels are grey of more than 8 bits."""
    about = stream.codec_context.format
    return about is not None and about.name.startswith("gray") and about.components[0].bits > 8


def _walked(frames: Iterator[np.ndarray]) -> Levels:
    for _ in frames:
        pass
    return Levels()


def _frames(container, stream, file: str, scan: _Scan, deep: bool) -> Iterator[np.ndarray]:
    """Whole frames, (H, W, 3) uint8 or (H, W) uint16; what does not decode is written down in ``scan`` and left out."""
    convert, jpeg = VideoReformatter(), stream.codec_context.name == "mjpeg"
    if jpeg:
        scan.size = scan.size or (stream.codec_context.height, stream.codec_context.width)
    try:
        for packet in container.demux(stream):
            time = None if packet.pts is None else float(packet.pts * packet.time_base)
            if packet.is_corrupt or (jpeg and not packet.size):  # an empty chunk repeats a frame; none comes out
                scan.packets += [(False, time)] if packet.size else []
                continue
            try:
                if jpeg:
                    decoded = [next(_jpeg_frames([bytes(packet)], (*scan.size, 3), file))]
                else:
                    decoded = packet.decode()
            except (FFmpegError, DataError) as error:
                scan.packets.append((False, time))
                scan.why = error.problem if isinstance(error, DataError) else str(error.strerror)
                continue
            scan.packets += [(True, time)] if packet.size else []
            for frame in decoded:
                if not jpeg:
                    time = frame.time
                    scan.corrupt.append((bool(frame.is_corrupt), time))
                    if frame.is_corrupt:
                        continue
                yield _checked(frame, time, scan, file, jpeg, deep, convert)
    except FFmpegError as error:  # the container breaks off
        scan.packets.append((False, None))
        scan.why = str(error.strerror)


def _checked(frame, time: float | None, scan: _Scan, file: str, jpeg: bool, deep: bool, convert) -> np.ndarray:
    if jpeg:
        pixels = frame
    else:
        scan.interlaced += bool(frame.interlaced_frame)
        scan.turned = int(frame.rotation)
        pixels = convert.reformat(frame, format="gray16le" if deep else "rgb24").to_ndarray()
    scan.times.append(time)
    if scan.size is None:
        plausible(file, 2, *pixels.shape[:2])
        scan.size = pixels.shape[:2]
    if pixels.shape[:2] != scan.size:
        raise DataError("a frame of another size than the video", file=file, row=len(scan.times), value=pixels.shape[:2],
                        expected=f"{scan.size[0]} x {scan.size[1]} px")
    if len(scan.times) > MOST_FRAMES:
        raise DataError("not the size of an echo clip", file=file, value=f"more than {MOST_FRAMES} frames",
                        expected=f"at most {MOST_FRAMES} frames")
    return pixels


def _no_gap(scan: _Scan, file: str) -> None:
    """Refuse a clip with a hole: time would jump where frames in the middle do not decode."""
    shown = [t for t in scan.times if t is not None]
    for read in (scan.packets, [(not corrupt, time) for corrupt, time in scan.corrupt]):
        whole = [number for number, (good, _) in enumerate(read) if good]
        for number, (good, time) in enumerate(read):
            between = not good and whole and whole[0] < number < whole[-1]
            if between and (time is None or not shown or min(shown) < time < max(shown)):
                raise DataError("a frame in the middle does not decode" + (f" ({scan.why})" if scan.why else ""), file=file,
                                row=number + 1, expected="frames without a gap")


def _missing(scan: _Scan, container, stream) -> list[Flag]:
    """A note where fewer frames came out than packets went in, or than the header promises; ``scan.times`` then ends at a gap."""
    count = len(scan.times)
    promised = stream.frames or None
    lost = sum(not good for good, _ in scan.packets) + sum(corrupt for corrupt, _ in scan.corrupt)
    if not lost and not promised and container.duration:
        rate, _ = _rate(scan.times, container.format.name, stream)
        whole = rate * container.duration / av.time_base
        slack = 0.75 if len(container.streams) == 1 else 1 + 0.1 * whole  # sound may go on after the picture
        promised = round(whole) if math.isfinite(whole) and count < whole - slack else None
    # Containers count frames that no player shows: those before a cut point, or before the first whole picture.
    if not lost and not (promised and count < (0.9 * promised if stream.frames else promised)):
        return []
    scan.times = scan.times[:_before_gap(scan.times)]
    return [cut_short(len(scan.times), max(promised or 0, count + lost))]


def _before_gap(times: list[float | None]) -> int:
    """How many frames stand before the first gap among the last sixteen: a film stores frames before those shown between them."""
    if len(times) < 4 or None in times:
        return len(times)
    steps = np.diff(times)
    gaps = np.flatnonzero(steps[-16:] > 1.5 * np.median(steps))
    return len(times) - min(16, len(steps)) + int(gaps[0]) if len(gaps) else len(times)


def _rate(times: list[float | None], format_name: str, stream) -> tuple[float, list[Flag]]:
    """Frames per second from the time stamps; from the header only where there are none."""
    known = sorted(t for t in times if t is not None)
    if len(known) == len(times) and len(times) > 1 and known[-1] > known[0]:
        steps = np.diff(known)
        usual = float(np.median(steps))
        uneven = float((np.abs(steps - usual) > 0.5 * usual).mean())
        note = Flag("frame_rate_varies", f"The time between frames varies ({100 * uneven:.0f} % of the steps differ by more than "
                    "half from the usual one); their mean was taken, so times and heart rate are rough.")
        return (len(known) - 1) / (known[-1] - known[0]), [note] if uneven > 0.05 else []
    if format_name in _NO_CLOCK or not stream.average_rate:
        return math.nan, []
    return float(stream.average_rate), []
