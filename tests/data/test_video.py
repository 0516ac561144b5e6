"""Videos survive writing and reading; anything less than a whole video is an error."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from echolib.data.video import VideoInfo, damaged_frames, probe, read_video, write_avi, write_mp4
from echolib.errors import DataError
from tests.data import fakes


def smooth(frames: int, height: int, width: int, channels: int | None = None) -> np.ndarray:
    """Slowly varying frames, which lossy coding keeps nearly exactly."""
    yy, xx = np.mgrid[:height, :width]
    clip = np.stack([100 + 60 * np.sin(xx / 19 + t / 3) * np.cos(yy / 23) for t in range(frames)])
    if channels:
        clip = np.stack([clip * gain for gain in (1.0, 0.8, 0.6)], axis=-1)
    return clip.astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(112, 112), (101, 99), (64, 48)])
def test_avi_round_trip_keeps_grey_values(tmp_path, height, width):
    frames = smooth(6, height, width)
    write_avi(tmp_path / "a.avi", frames, 50)
    back = read_video(tmp_path / "a.avi", expected_frames=6)
    assert back.shape == (6, height, width, 3) and back.dtype == np.uint8
    assert np.abs(back.astype(int) - frames[..., None]).max() <= 4
    assert np.ptp(back.astype(int), axis=-1).max() <= 2  # grey stays grey


def test_avi_round_trip_keeps_the_order_of_colours(tmp_path):
    frames = smooth(3, 64, 64, channels=3)
    write_avi(tmp_path / "a.avi", frames, 25)
    assert np.abs(read_video(tmp_path / "a.avi").astype(int) - frames).max() <= 8


@pytest.mark.parametrize("fps", [50, 47.123, 29.97, 7.5])
def test_probe_counts_frames_and_reads_the_rate(tmp_path, fps):
    write_avi(tmp_path / "a.avi", smooth(9, 40, 32), fps)
    info = probe(tmp_path / "a.avi")
    assert (info.frames, info.height, info.width) == (9, 40, 32)
    assert math.isclose(info.fps, fps, rel_tol=1e-4)


@pytest.mark.parametrize(("name", "codec"), [("a.wmv", "wmv2"), ("a.mkv", "mpeg4"), ("a.webm", "libvpx"), ("a.mpg", "mpeg1video"),
                                             ("a.ts", "mpeg2video"), ("a.mp4", "mpeg4")])
def test_probe_counts_what_a_container_does_not_state(tmp_path, name, codec):
    """Several containers state no number of frames, and WMV, Matroska and MPEG have no index in the file's head either."""
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for k in range(12):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((64, 64, 3), 20 * k, np.uint8), format="rgb24")))
        container.mux(stream.encode())
    assert probe(tmp_path / name) == VideoInfo(12, 64, 64, 25.0) and len(read_video(tmp_path / name)) == 12


def test_the_same_frames_give_the_same_bytes(tmp_path):
    frames = smooth(5, 48, 48)
    for name in ("a", "b"):
        write_avi(tmp_path / f"{name}.avi", frames, 50)
        write_mp4(tmp_path / f"{name}.mp4", frames, 50)
    assert (tmp_path / "a.avi").read_bytes() == (tmp_path / "b.avi").read_bytes()
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.avi", "a.mp4", "b.avi", "b.mp4"]  # nothing temporary is left


def test_opencv_reads_our_avi_and_we_read_opencvs(tmp_path):
    frames = fakes.video(8, 112, 112, 1)[0]
    write_avi(tmp_path / "a.avi", frames, 50)
    capture = cv2.VideoCapture(str(tmp_path / "a.avi"))
    theirs = [cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB) for _ in range(8)]
    assert not capture.read()[0] and capture.get(cv2.CAP_PROP_FPS) == 50
    assert np.abs(np.stack(theirs).astype(int) - read_video(tmp_path / "a.avi")).max() <= 3  # another JPEG decoder
    writer = cv2.VideoWriter(str(tmp_path / "b.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 50, (112, 112))
    for frame in smooth(7, 112, 112):
        writer.write(cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR))
    writer.release()
    assert probe(tmp_path / "b.avi") == VideoInfo(frames=7, height=112, width=112, fps=50.0)
    assert np.abs(read_video(tmp_path / "b.avi").astype(int) - smooth(7, 112, 112)[..., None]).max() <= 8
    assert damaged_frames(tmp_path / "a.avi") == [] == damaged_frames(tmp_path / "b.avi")


def test_mp4_pads_odd_sizes_and_reads_back(tmp_path):
    frames = smooth(4, 51, 37)
    write_mp4(tmp_path / "a.mp4", frames, 20)
    back = read_video(tmp_path / "a.mp4")
    assert back.shape == (4, 52, 38, 3)
    assert np.abs(back[:, :51, :37].astype(int) - frames[..., None]).max() <= 16
    content = (tmp_path / "a.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # a browser can start before it has the whole file
    assert probe(tmp_path / "a.mp4").frames == 4


@pytest.mark.parametrize("frames", [np.zeros((2, 8, 8), np.float32), np.zeros((0, 8, 8), np.uint8), np.zeros((8, 8), np.uint8),
                                    np.zeros((2, 8, 8, 4), np.uint8)])
def test_writers_refuse_what_is_no_video(tmp_path, frames):
    for write in (write_avi, write_mp4):
        with pytest.raises(ValueError, match="uint8"):
            write(tmp_path / "a", frames, 50)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fps", [0, -1, math.nan, math.inf])
def test_writers_refuse_an_impossible_rate(tmp_path, fps):
    with pytest.raises(ValueError, match="fps"):
        write_avi(tmp_path / "a.avi", smooth(2, 16, 16), fps)


def test_a_short_video_is_an_error_that_names_both_counts(tmp_path):
    write_avi(tmp_path / "a.avi", smooth(5, 32, 32), 50)
    with pytest.raises(DataError, match="Videos/a.avi: the video is too short .*'5 frames'.*6 frames"):
        read_video(tmp_path / "a.avi", file="Videos/a.avi", expected_frames=6)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.7, 0.9])
def test_a_truncated_video_never_passes_for_a_whole_one(tmp_path, share):
    write_avi(tmp_path / "a.avi", fakes.video(12, 64, 64, 3)[0], 50)
    data = (tmp_path / "a.avi").read_bytes()
    (tmp_path / "a.avi").write_bytes(data[:int(len(data) * share)])
    with pytest.raises(DataError, match="a.avi"):
        read_video(tmp_path / "a.avi", expected_frames=12)
    try:
        frames = probe(tmp_path / "a.avi").frames
    except DataError:
        frames = 0
    assert frames < 12


def test_a_file_without_pictures_is_an_error(tmp_path):
    (tmp_path / "a.avi").write_text("not a video")
    with pytest.raises(DataError, match="does not decode"):
        probe(tmp_path / "a.avi")
    with pytest.raises(DataError, match="no such video"):
        read_video(tmp_path / "b.avi")
