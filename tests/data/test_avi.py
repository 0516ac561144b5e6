"""The AVI container without PyAV: the bytes that FFmpeg writes, the frames that FFmpeg reads, and errors that name the file."""

from __future__ import annotations

import io
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from echolib.data import avi, video
from echolib.errors import ConfigError, DataError
from tests.data import fakes

#: Makes ``import av`` fail, as on a machine that lacks PyAV.
HIDDEN = "import sys; sys.modules['av'] = None; "


def by_ffmpeg(jpegs: list[bytes], rate: Fraction, height: int, width: int) -> bytes:
    """The same file, written by FFmpeg."""
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="avi", options={"fflags": "+bitexact"}) as container:
        stream = container.add_mux_stream("mjpeg", rate=rate, width=width, height=height)
        stream.time_base = 1 / rate
        for number, jpeg in enumerate(jpegs):
            packet = av.Packet(jpeg)
            packet.stream, packet.time_base, packet.pts, packet.dts = stream, 1 / rate, number, number
            packet.duration, packet.is_keyframe = 1, True
            container.mux(packet)
    return buffer.getvalue()


def frames_of(height: int, width: int, count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 255, (count, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("height", "width", "count", "fps"), [(112, 112, 20, 50), (33, 47, 3, 29.97), (64, 48, 1, 51.307),
                                                               (5, 7, 2, 0.5), (480, 640, 4, 30000 / 1001)])
def test_the_bytes_are_those_that_ffmpeg_writes(tmp_path, height, width, count, fps):
    video.write_avi(tmp_path / "a.avi", frames_of(height, width, count), fps)
    content = (tmp_path / "a.avi").read_bytes()
    found = avi.demux(content, "a.avi")
    rate = Fraction(fps).limit_denominator(10_000)
    assert content == by_ffmpeg(list(found.frames), rate, height, width)
    assert (len(found.frames), found.height, found.width) == (count, height, width) and found.fps == pytest.approx(fps, rel=1e-4)


def test_without_pyav_the_same_frames_are_read(tmp_path, monkeypatch):
    video.write_avi(tmp_path / "a.avi", frames_of(48, 64, 9), 47.5)
    wanted, info = video.read_video(tmp_path / "a.avi"), video.probe(tmp_path / "a.avi")
    monkeypatch.setattr(video, "av", None)
    assert np.array_equal(video.read_video(tmp_path / "a.avi"), wanted) and video.probe(tmp_path / "a.avi") == info


def test_without_pyav_opencvs_avi_is_read(tmp_path, monkeypatch):
    import cv2

    frames, path = fakes.video(6, 112, 112, 1)[0], tmp_path / "cv.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 50, (112, 112))
    for frame in frames:
        writer.write(np.repeat(frame[..., None], 3, axis=-1) if frame.ndim == 2 else frame)
    writer.release()
    wanted = video.read_video(path)
    monkeypatch.setattr(video, "av", None)
    assert np.array_equal(video.read_video(path), wanted) and len(wanted) == 6


@pytest.mark.parametrize(("harm", "said"), [
    (lambda b: b[:-40], "cut short"), (lambda b: b[:3000], "cut short"), (lambda b: b"RIFX" + b[4:], "no AVI file"),
    (lambda b: b[:12], "no whole header"), (lambda b: b.replace(b"MJPG", b"H264"), "not Motion-JPEG"),
    (lambda b: b"", "0 bytes"), (lambda b: b.replace(b"\xff\xd8\xff", b"\x00\xd8\xff"), "not a whole JPEG"),
    (lambda b: b[:4] + b"\xff" * 4 + b[8:12] + b"LIST" + b"\xff" * 4, "cut short")])
def test_without_pyav_damage_is_an_error_that_names_the_file(tmp_path, monkeypatch, harm, said):
    monkeypatch.setattr(video, "av", None)
    video.write_avi(tmp_path / "a.avi", frames_of(32, 32, 4), 50)
    path = tmp_path / "harmed.avi"
    path.write_bytes(harm((tmp_path / "a.avi").read_bytes()))
    with pytest.raises(DataError, match=said) as caught:
        video.read_video(path)
    assert caught.value.file == "harmed.avi"


@pytest.mark.parametrize("work", [lambda p: video.write_mp4(p / "a.mp4", frames_of(32, 32, 2), 25),
                                  lambda p: video.damaged_frames(p / "a.avi")])
def test_what_needs_pyav_says_so(tmp_path, monkeypatch, work):
    monkeypatch.setattr(video, "av", None)
    with pytest.raises(ConfigError, match="needs PyAV.*pip install av"):
        work(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_phantom_cohort_is_written_and_packed_without_pyav(tmp_path):
    program = HIDDEN + """
from pathlib import Path
from echolib.config import PhantomSpec
from echolib.data import echonet, store
from echolib.phantom.cohort import write_echonet
out = Path(sys.argv[1])
write_echonet(out / "cohort", PhantomSpec(train=1, val=1, test=1, frames=(10, 12)), progress=False)
print(store.pack(echonet.read(out / "cohort"), out / "store", size=32, channels=1, progress=False).fingerprint)
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "without")], capture_output=True, text=True,
                          cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    with_it = subprocess.run([sys.executable, "-c", program.removeprefix(HIDDEN).replace("\nfrom", "import sys\nfrom", 1),
                              str(tmp_path / "with")], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert with_it.returncode == 0, with_it.stderr
    assert done.stdout == with_it.stdout and len(done.stdout.strip()) == 64
