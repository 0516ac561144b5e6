"""The cone of a screen recording, on a made-up screen and on the clip that ships with pydicom."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom import examples

from echolib.data.dicom import read_dicom
from echolib.data.sector import DEPTH, TIP_ROW, find_sector, match_brightness, to_echonet_frame
from echolib.errors import DataError


@pytest.fixture(scope="module")
def screen() -> tuple[np.ndarray, np.ndarray]:
    """(video, cone): speckle in a 90 degree cone, constant white text outside, a coloured flashing button."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:240, :320]
    cone = (np.hypot(rows - 20, columns - 160) < 200) & (np.abs(columns - 160) < rows - 20)
    video = (rng.rayleigh(40, (12, 240, 320, 1)) * cone[..., None]).clip(0, 255).astype(np.uint8).repeat(3, -1)
    video[:, 10:20, 5:60] = 200
    video[::2, 220:235, 280:310] = (0, 0, 255)
    return video, cone


def test_the_cone_is_found_and_text_is_not_part_of_it(screen):
    video, cone = screen
    found = find_sector(video)
    overlap = 2 * (found.mask & cone).sum() / (found.mask.sum() + cone.sum())
    assert overlap > 0.97
    assert not found.mask[10:20, 5:60].any() and not found.mask[220:235, 280:310].any()
    assert abs(found.tip - 160) < 6 and abs(found.top - 20) < 8


def test_the_frame_has_echonets_framing_and_no_text(screen):
    video, _ = screen
    frames, scale = to_echonet_frame(video, find_sector(video))
    lit = np.flatnonzero(frames.max((0, 2, 3)) > 8)
    assert frames.shape == (12, 112, 112, 3)
    assert abs(lit[0] - TIP_ROW) <= 2 and abs(lit[-1] - (TIP_ROW + DEPTH)) <= 2
    assert 0.4 < scale < 0.7
    assert frames[..., 2].max() < 255 and (frames[..., 0] == frames[..., 2]).all(), "the coloured button leaked in"


def test_a_still_clip_has_no_cone():
    with pytest.raises(DataError, match="no pixel of the clip changes"):
        find_sector(np.full((4, 64, 64, 3), 90, np.uint8))


def test_a_grey_array_is_refused():
    with pytest.raises(DataError, match="colour clip"):
        find_sector(np.zeros((4, 64, 64), np.uint8))


def test_brightness_is_matched_by_one_gain():
    rng = np.random.default_rng(1)
    bright = rng.integers(0, 200, (20, 16, 16, 1), dtype=np.uint8)
    dim = (bright // 4)
    out, gain = match_brightness(dim, bright)
    assert 3.5 < gain < 4.5
    assert abs(np.percentile(out[out > 2], 95) - np.percentile(bright[bright > 2], 95)) < 6
    with pytest.raises(DataError, match="the clip is black"):
        match_brightness(np.zeros_like(dim), bright)


def test_the_real_clip_reads_without_its_header():
    clip = read_dicom(examples.get_path("ybr_color"))
    assert clip.video.shape == (30, 240, 320, 3) and clip.video.dtype == np.uint8
    assert clip.fps == pytest.approx(30.0, abs=0.01)
    assert np.isnan(clip.spacing_mm), "its regions belong to a larger frame, so the spacing must not be used"
    sector = find_sector(clip.video)
    assert not sector.mask[:12, :40].any(), "burnt-in text at the top left"
    frames, _ = to_echonet_frame(clip.video, sector)
    assert frames.max() > 100 and 0.2 < (frames.max(-1) > 2).mean() < 0.8


@pytest.mark.parametrize("content", [b"", b"not a dicom file at all", b"\0" * 200])
def test_a_damaged_dicom_is_named(tmp_path, content):
    (tmp_path / "clip.dcm").write_bytes(content)
    with pytest.raises(DataError, match=r"clip\.dcm"):
        read_dicom(tmp_path / "clip.dcm")


def test_a_truncated_dicom_is_named(tmp_path):
    whole = open(examples.get_path("ybr_color"), "rb").read()
    (tmp_path / "clip.dcm").write_bytes(whole[:len(whole) // 3])
    with pytest.raises(DataError, match=r"clip\.dcm"):
        read_dicom(tmp_path / "clip.dcm")
