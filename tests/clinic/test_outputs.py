"""The files of a clip: what they hold, that they are whole or not there, and that the report needs nothing else."""

from __future__ import annotations

import base64
import csv
import json
import os
import re
import subprocess
import sys
import time

import cv2
import nibabel
import numpy as np
import pytest

from echolib.clinic.curves import ticks
from echolib.clinic.folders import finished_folder
from echolib.clinic.outputs import write_outputs
from echolib.clinic.viewer import show, static_viewer
from echolib.data.video import probe, read_video

FILES = {"report.html", "summary.json", "beats.csv", "area.csv", "overlay.mp4", "masks.nii.gz"}


@pytest.fixture(scope="module")
def folder(result, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "made up"
    write_outputs(result, out)
    return out


def test_all_files_are_there_and_nothing_else(folder):
    assert {path.name for path in folder.iterdir()} == FILES
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_masks_read_back_in_the_clips_own_frame(folder, result):
    image = nibabel.load(folder / "masks.nii.gz")
    assert image.shape == (240, 180, 1, 90) and image.get_data_dtype() == np.uint8
    assert np.allclose(image.header.get_zooms(), (0.8, 0.8, 1, 0.02))
    assert np.array_equal(np.asarray(image.dataobj)[:, :, 0].T.astype(bool), np.stack(list(result.source_masks())))


def test_tables_and_summary_say_the_same(folder, result):
    rows = list(csv.DictReader((folder / "beats.csv").open()))
    told = json.loads((folder / "summary.json").read_text())
    assert len(rows) == told["ef_percent"]["beats"] == len(result.beats) == 2
    assert np.mean([float(row["ef_percent"]) for row in rows]) == pytest.approx(told["ef_percent"]["mean"], abs=0.06)
    for row, beat in zip(rows, result.beats, strict=True):
        edv, esv = float(row["edv_ml"]), float(row["esv_ml"])
        assert int(row["ed_frame"]) == beat.ed and float(row["ef_percent"]) == pytest.approx(100 * (edv - esv) / edv, abs=0.1)
    curve = list(csv.DictReader((folder / "area.csv").open()))
    assert len(curve) == 90 and float(curve[20]["area_cm2"]) == pytest.approx(result.areas[0][20], abs=1e-3)
    assert "medical device" in told["notice"] and told["network"]["trained_on"]


def test_the_overlay_has_every_frame_and_an_outline(folder, result):
    info = probe(folder / "overlay.mp4")
    assert info.frames == 90 and info.fps == pytest.approx(50, rel=1e-3)
    video = read_video(folder / "overlay.mp4")[::15].astype(int)
    assert (video.max(-1) - video.min(-1) > 60).any((1, 2)).all(), "a coloured outline on every frame"


def test_the_same_clip_gives_the_same_bytes(folder, result, tmp_path):
    write_outputs(result, tmp_path / "again")
    assert [name for name in FILES if (tmp_path / "again" / name).read_bytes() != (folder / name).read_bytes()] == []


@pytest.mark.parametrize("which", ["report", "viewer"])
def test_a_page_refers_to_nothing_outside_itself(folder, result, which):
    page = (folder / "report.html").read_text() if which == "report" else static_viewer(result, caption="a < b").data
    text = re.sub(r"data:[a-z]+/[a-z0-9]+;base64,[A-Za-z0-9+/=]+", "DATA", page)
    assert not re.search(r"https?:|//[a-z]|@import|<link|<iframe|srcset", text)
    assert all(value.startswith(("DATA", "#")) for value in re.findall(r'(?:src|href)="([^"]*)"', text))
    assert text.count("url(") == text.count("url(DATA)")


def test_the_report_says_what_it_must(folder, result):
    page = (folder / "report.html").read_text()
    for needed in ("Not a medical device", "It was trained on: nothing.", "made up", f"{result.ef:.0f} %", "<video", "diastole"):
        assert needed in page
    loop = base64.b64decode(re.search(r"data:video/mp4;base64,([A-Za-z0-9+/=]+)", page)[1])
    assert loop == (folder / "overlay.mp4").read_bytes()
    assert page.count("<img alt=") == 2 and page.count('role="img"') == 2


def test_a_failure_leaves_the_old_result(result, tmp_path, monkeypatch):
    target = tmp_path / "clip"
    target.mkdir()
    (target / "report.html").write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("echolib.clinic.outputs.write_report", full)
    with pytest.raises(OSError, match="No space"):
        write_outputs(result, target)
    assert (target / "report.html").read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["clip"]


def test_a_folder_is_exchanged_as_a_whole_and_remains_are_cleared(tmp_path):
    target = tmp_path / "clip"
    for text in ("one", "two"):
        with finished_folder(target) as part:
            (part / text).write_text(text)
    assert [path.name for path in tmp_path.iterdir()] == ["clip"] and [path.name for path in target.iterdir()] == ["two"]
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / f".clip.{gone.pid}.part").mkdir()
    with finished_folder(target) as part:
        (part / "three").write_text("")
    assert [path.name for path in tmp_path.iterdir()] == ["clip"]
    os.rename(target, tmp_path / f".clip.{gone.pid}.old")  # killed between the two moves
    with pytest.raises(RuntimeError), finished_folder(target):
        raise RuntimeError
    assert [path.name for path in target.iterdir()] == ["three"], "the old result is put back"


def test_killed_at_any_moment_a_folder_is_old_or_new(tmp_path):
    """kill -9 while a process replaces a folder over and over: both files always carry the same number."""
    program = ("import sys, pathlib; from echolib.clinic.folders import finished_folder\n"
               "n = 0\n"
               "while True:\n"
               "    n += 1\n"
               "    with finished_folder(pathlib.Path(sys.argv[1])) as part:\n"
               "        (part / 'a').write_text(str(n)); (part / 'b').write_text(str(n))\n")
    target = tmp_path / "clip"
    for pause in (0.0, 0.013, 0.031):
        process = subprocess.Popen([sys.executable, "-c", program, str(target)])
        stop = time.monotonic() + 20
        while not target.exists() and time.monotonic() < stop:
            time.sleep(0.01)
        time.sleep(0.1 + pause)
        process.kill()
        process.wait()
        assert (target / "a").read_text() == (target / "b").read_text() != ""
    with finished_folder(target) as part:
        (part / "a").write_text("last")
    assert [path.name for path in tmp_path.iterdir()] == ["clip"]


def test_ticks_are_round():
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert ticks(13, 47, 5) == [20, 30, 40]


def test_the_static_viewer_can_be_used_without_a_mouse(result):
    page = static_viewer(result, start=10, frames=30).data
    assert 'aria-label="Frame"' in page and 'aria-label="Overlay opacity"' in page and 'aria-label="Play"' in page
    assert 'max="29"' in page and "frame 20, 0.40 s" in page and "end-systole" in page
    sprite = cv2.imdecode(np.frombuffer(base64.b64decode(re.search(r"image/jpeg;base64,([^)]+)\)", page)[1]), np.uint8), 0)
    assert sprite.shape[0] % 224 == 0


def test_the_live_viewer_follows_its_controls(result):
    box = show(result)
    picture, side = box.children[0].children
    play, frame, ed, es = box.children[1].children
    visible, opacity = box.children[2].children
    first = picture.value
    frame.value = 20
    assert picture.value != first and "end-systole" in side.children[1].value
    with_outline = picture.value
    visible.value = False
    assert picture.value != with_outline
    visible.value = True
    opacity.value = 1.0
    assert picture.value != with_outline
    ed.click()
    assert frame.value == result.main_beat.ed
    es.click()
    assert frame.value == result.main_beat.es and play.max == 89
