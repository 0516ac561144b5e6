"""The whole way from pixels to ejection fraction, on a clip whose ventricle is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from echolib.clinic.segmentation import _near, segment
from echolib.data.sector import find_sector, framing, is_framed
from echolib.errors import DataError
from echolib.evaluation.ejection import disk_volume
from echolib.evaluation.metrics import dice
from tests.clinic.clips import FPS, beating, stand_in


def test_masks_beats_and_ef(clip, result):
    video, truth = clip
    found = np.stack(list(result.source_masks()))
    assert found.shape == truth.shape and found.dtype == bool
    assert np.mean([dice(a, b) for a, b in zip(found, truth, strict=True)]) > 0.92
    assert [beat.es for beat in result.beats] == pytest.approx([20, 60], abs=1)
    assert result.beats[1].ed == pytest.approx(40, abs=2) and result.beats[0].rr_s == pytest.approx(0.8, abs=0.06)
    assert result.heart_rate == pytest.approx(75, abs=5)
    assert result.ef == pytest.approx(100 * (1 - 0.75 ** 3), abs=3), "all three radii shrink by a quarter"
    assert result.complete and not [flag.code for flag in result.flags if flag.severity == "warning"]


def test_volumes_and_areas_are_those_of_the_masks_in_the_clips_own_pixels(result):
    largest = next(result.source_masks())
    assert result.beats[0].edv == pytest.approx(disk_volume(largest, 0.8), rel=0.03)
    area, unit = result.areas
    assert unit == "cm²" and area[0] == pytest.approx(largest.sum() * 0.08 ** 2, rel=0.02)
    exact = 4 / 3 * math.pi * 43.2 * 23.4 ** 2 * 0.8 ** 3 / 1000  # a prolate spheroid; the stand-in draws it a little small
    assert 0.75 * exact < result.beats[0].edv < 1.05 * exact


def test_ef_needs_no_scale(clip, result):
    other = segment(clip[0], FPS, weights=stand_in(), orientation="upright")
    assert other.ef == pytest.approx(result.ef, abs=1e-6)
    assert all(math.isnan(beat.edv) for beat in other.beats) and other.areas[1] == "px²"
    assert "no_scale" in [flag.code for flag in other.flags]
    assert other.area[0] == pytest.approx(next(other.source_masks()).sum(), rel=0.02), "px of the clip, not of the network"


def test_nothing_outside_the_cone_is_kept(clip):
    video = clip[0].copy()
    video[:, 4:14, 4:60] = 220  # still text in a corner
    found = segment(video, FPS, weights=stand_in())
    cone = found.frames.max(0) > 0
    assert not cone[:12, :30].any() and (found.display[:, :10, :40] == 0).all()


def test_a_colour_clip_gives_what_a_grey_one_gives(clip, result):
    colour = segment(np.repeat(clip[0][..., None], 3, -1), FPS, 0.8, weights=stand_in(), orientation="upright")
    assert np.array_equal(colour.masks, result.masks) and colour.ef == result.ef


def test_a_framed_clip_is_not_cut_again():
    video, truth = beating(40, 112, 112)
    sector = find_sector(np.repeat(video[..., None], 3, -1))
    assert is_framed(sector) and np.allclose(framing(sector), np.eye(2, 3))
    found = segment(video, FPS, weights=stand_in())
    assert np.array_equal(np.stack(list(found.source_masks())), found.masks)
    screen = find_sector(np.repeat(beating(10)[0][..., None], 3, -1))
    assert not is_framed(screen)


def test_a_missing_frame_rate_is_assumed_and_said(clip):
    found = segment(clip[0], weights=stand_in())
    assert found.fps == 50 and "frame_rate_assumed" in [flag.code for flag in found.flags]


@pytest.mark.parametrize("backwards", [False, True])
def test_a_half_cycle_gives_an_ef_and_says_so(backwards):
    video, _ = beating(21)
    found = segment(video[::-1] if backwards else video, FPS, weights=stand_in())
    assert not found.complete and "no_full_beat" in [flag.code for flag in found.flags]
    assert found.ef == pytest.approx(57.8, abs=4)
    assert (found.beats[0].ed > found.beats[0].es) == backwards


def test_a_heart_that_stands_still_has_no_ef():
    found = segment(beating(30, ejected=0.0)[0], FPS, weights=stand_in())
    assert math.isnan(found.ef) and not found.beats and "no_contraction" in [flag.code for flag in found.flags]


def test_no_ventricle_is_said():
    video, masks = beating(30)
    noise = np.random.default_rng(5).rayleigh(70, video.shape).clip(0, 255).astype(np.uint8)
    found = segment(np.where(masks, noise, video), FPS, weights=stand_in())
    assert [flag.code for flag in found.flags if flag.severity == "warning"] == ["no_ventricle"] and not found.beats
    assert found.refused.startswith("Not measured: no left ventricle was found on 30 of 30 frames")


@pytest.mark.parametrize("video, fps, spacing, said", [
    (np.zeros((5, 40, 40), np.float32), 50, 1, "not a clip"), (np.zeros((5, 40, 40, 2), np.uint8), 50, 1, "not a clip"),
    (np.zeros((5, 40, 40), np.uint8), 50, 1, "no ultrasound cone"), (np.zeros((5, 40, 40), np.uint8), 0, 1, "frame rate"),
    (np.zeros((5, 40, 40), np.uint8), 50, -1, "pixel spacing"), (iter(np.zeros((5, 40, 40), np.uint8)), 50, 1, "only once")])
def test_what_is_no_clip_is_refused(video, fps, spacing, said):
    with pytest.raises(DataError, match=said):
        segment(video, fps, spacing, weights=stand_in())


@pytest.mark.parametrize(("extreme", "bend"), [(40.0, 1.5), (120.0, -1.5)])
def test_a_volume_is_that_of_a_parabola_and_not_of_one_bad_outline(extreme, bend):
    volumes = extreme + bend * (np.arange(13) - 6) ** 2
    assert _near(volumes, 6) == pytest.approx(extreme)  # the median of three would be 1.5 off
    for bad in range(5, 8):
        for factor in (0.0, 3.0):
            broken = volumes.copy()
            broken[bad] *= factor
            assert _near(broken, 6) == pytest.approx(extreme, rel=0.08)
    assert _near(volumes[:3], 1) == np.median(volumes[:3])
    assert _near(np.zeros(9), 4) == 0
