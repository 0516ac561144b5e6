"""One clip in four orientations, and clips that show no heart, with the weights that come with the package."""

from __future__ import annotations

import json
import math

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from echolib.clinic.command import segment_command
from echolib.clinic.orientation import TURNS, cone_widening, find_orientation, given_orientation, turned, turning
from echolib.clinic.outputs import summary
from echolib.clinic.segmentation import segment
from echolib.clinic.weights import load_segmenter
from echolib.data.sector import find_sector
from echolib.data.video import write_avi
from echolib.errors import DataError
from echolib.evaluation.metrics import dice
from echolib.phantom.clip import simulate
from echolib.phantom.presets import draw
from tests.clinic.clips import beating, stand_in

OTHERS = [name for name in TURNS if name != "upright"]


@pytest.fixture(scope="module")
def segmenter():
    return load_segmenter()


def on_screen(frames: np.ndarray) -> np.ndarray:
    """The clip enlarged on a screen of 300 x 420 px, with a still button bar beside it."""
    screen = np.zeros((len(frames), 300, 420), np.uint8)
    for t, frame in enumerate(frames):
        screen[t, 10:290, 90:370] = cv2.resize(frame, (280, 280), interpolation=cv2.INTER_CUBIC)
    screen[:, 40:200, 10:40] = 120
    return screen


@pytest.fixture(scope="module", params=["framed", "screen"])
def upright(request, segmenter):
    """(video, result) of a phantom as it is."""
    clip = simulate(draw("echonet", [70_005, 0, 11], frames=48))
    video = clip.frames if request.param == "framed" else on_screen(clip.frames)
    return video, segment(video, clip.fps, weights=segmenter)


@pytest.mark.parametrize("name", OTHERS)
def test_masks_and_ef_do_not_depend_on_the_orientation(upright, segmenter, name):
    video, expected = upright
    assert expected.orientation.name == "upright" and not expected.refused
    file = np.ascontiguousarray(np.stack([turned(frame, name) for frame in video]))
    found = segment(file, expected.fps, weights=segmenter)
    assert TURNS[found.orientation.name][0] == TURNS[name][0], "the tip of the cone tells what is up"
    assert found.orientation.name == name or not found.orientation.certain
    pairs = zip(found.source_masks(), expected.source_masks(), strict=True)
    assert np.mean([dice(turned(mask, name), other) for mask, other in pairs]) >= 0.97
    assert 100 * (1 - found.beats[0].esv / found.beats[0].edv) == pytest.approx(
        100 * (1 - expected.beats[0].esv / expected.beats[0].edv), abs=2, nan_ok=True)
    assert found.area == pytest.approx(expected.area, rel=0.03, abs=3)
    pictures = zip(found.display_masks(), found.display, expected.display, strict=True)
    assert all(mask.shape == picture.shape == other.shape for mask, picture, other in pictures)
    assert cv2.PSNR(found.display[0], expected.display[0]) > 30, "the film is shown upright"
    said = [flag for flag in found.flags if flag.code.startswith("orientation")]
    assert len(said) == 1 and summary(found)["orientation"]["file"] == found.orientation.name
    assert "in the file's own frame" in said[0].text


def test_the_cone_alone_tells_what_is_up(upright):
    video, _ = upright
    below = np.ascontiguousarray(video[:, ::-1])
    upright_one, other = (cone_widening(one, find_sector(np.repeat(one[..., None], 3, -1))) for one in (video, below))
    assert upright_one > 2 and other < 0.5 and upright_one * other == pytest.approx(1, rel=0.05)


def test_an_orientation_that_is_given_is_taken(upright, segmenter):
    video, expected = upright
    found = segment(video, expected.fps, weights=segmenter, orientation="mirrored")
    assert found.orientation.given and found.orientation.name == "mirrored" and found.orientation.certain
    assert not np.array_equal(found.frames, expected.frames)
    same = segment(video, expected.fps, weights=segmenter, orientation="upright")
    assert np.array_equal(same.masks, expected.masks) and "orientation" not in {flag.code for flag in same.flags}


def test_turning_is_the_map_of_turned():
    picture = np.arange(15).reshape(3, 5)
    for name in TURNS:
        matrix = turning(name, (3, 5))
        x, y = matrix @ [4, 1, 1]
        assert turned(picture, name)[int(y), int(x)] == picture[1, 4]
        assert np.array_equal(turned(turned(picture, name), name), picture)


def test_a_heart_that_is_the_same_mirrored_is_said_to_be_unsure_and_a_better_one_wins():
    video, _ = beating(30)
    found = segment(video, 50, weights=stand_in())
    assert not found.orientation.certain and "orientation_unsure" in {flag.code for flag in found.flags}
    sector = find_sector(np.repeat(video[..., None], 3, -1))
    frames = np.full((4, 40, 40), 90, np.uint8)
    frames[:, 10:30, 12:28] = 9
    firm, weak = np.full((4, 40, 40), 0.01), np.full((4, 40, 40), 0.01)
    firm[:, 10:30, 12:28] = 0.99
    weak[:, 10:30, 15:31] = 0.8
    for best in ("upright", "mirrored"):
        way = find_orientation(video, sector, lambda name, best=best: (frames, firm if name == best else weak))
        assert way.name == best and way.certain and way.tip
    nothing = find_orientation(video, sector, lambda name: (frames, np.zeros((4, 40, 40))))
    assert nothing.name == "upright" and not nothing.certain
    rectangle = np.random.default_rng(0).integers(60, 120, (4, 90, 90)).astype(np.uint8)
    box = find_sector(np.repeat(rectangle[..., None], 3, -1))
    way = find_orientation(rectangle, box, lambda name: (frames, firm if name == "both" else weak))
    assert way.name == "both" and not way.tip and "no tip" in way.words


def test_an_unknown_orientation_is_refused():
    with pytest.raises(DataError, match="not an orientation"):
        given_orientation("sideways")
    app = typer.Typer()
    app.command()(segment_command)
    asked = CliRunner().invoke(app, ["clip.avi", "--orientation", "sideways"])
    assert asked.exit_code == 2 and "sideways" in asked.output


def no_heart(kind: str) -> np.ndarray:
    """(40, 112, 112) uint8 in a cone: noise without a picture; a smooth texture that drifts by; discs that wander."""
    rng = np.random.default_rng(4)
    rows, columns = np.mgrid[:112, :112]
    cone = (np.hypot(rows - 7, columns - 59) < 107) & (np.abs(columns - 59) < rows - 7)
    texture = cv2.GaussianBlur(rng.normal(size=(180, 180)).astype(np.float32), (0, 0), 6)
    texture = 180 * (texture - texture.min()) / np.ptp(texture)
    discs = rng.uniform((20, 25, 6, 0), (95, 95, 14, 6), (8, 4))
    video = []
    for t in range(40):
        picture = {"noise": np.full((112, 112), 60.0), "drifting": texture[t:t + 112, t // 2:t // 2 + 112].astype(float),
                   "discs": np.full((112, 112), 90.0)}[kind]
        if kind == "discs":
            for x, y, radius, phase in discs:
                middle = int(x + 6 * math.sin(t / 5 + phase)), int(y + 6 * math.cos(t / 7 + phase))
                cv2.circle(picture, middle, int(radius), 10.0, -1)
        video.append(np.where(cone, picture * rng.rayleigh(0.8, (112, 112)), 0).clip(0, 255).astype(np.uint8))
    return np.stack(video)


@pytest.mark.parametrize("kind", ["noise", "drifting", "discs"])
def test_what_is_no_heart_is_refused_and_not_measured(segmenter, kind):
    found = segment(no_heart(kind), 50, 1.0, weights=segmenter)
    assert found.refused.startswith("Not measured") and found.refused.count(".") == 1
    assert not found.beats and math.isnan(found.ef) and not found.masks.any() and not found.area.any() and found.interval is None
    told = summary(found)
    video = no_heart(kind)
    assert (found.frames == video).mean() > 0.95, "shown as it came, but for the cone's rim"
    assert found.to_frame == pytest.approx(np.eye(2, 3)) and found.to_display[0, 0] > 0 and told["orientation"] is None
    assert told["refused"] == found.refused and told["edv_ml"] is None and told["ef_percent"]["interval"] is None


def test_a_refused_clip_has_a_report_and_its_own_status(tmp_path, segmenter, monkeypatch):
    monkeypatch.setattr("echolib.clinic.weights.load_segmenter", lambda weights: segmenter)
    write_avi(tmp_path / "noise.avi", no_heart("noise"), 50)
    app = typer.Typer()
    app.command()(segment_command)
    asked = CliRunner().invoke(app, [str(tmp_path / "noise.avi"), "--out", str(tmp_path / "out")])
    assert asked.exit_code == 1 and "noise: REFUSED: Not measured" in asked.output and "0 of 1 clip segmented" in asked.output
    table = (tmp_path / "out" / "cohort.csv").read_text()
    assert ",refused," in table and "Not measured" in table
    page = (tmp_path / "out" / "noise" / "report.html").read_text()
    assert "turned upright" not in page and "LV area" not in page
    assert page.count("Not measured") == 1 and "Ejection fraction" not in page and "<h2>Beats" not in page
    assert json.loads((tmp_path / "out" / "noise" / "summary.json").read_text())["ef_percent"]["mean"] is None
