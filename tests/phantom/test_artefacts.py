"""Every artefact does what its knob says, and a clip is a function of its knobs alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from echolib.phantom import artefacts
from echolib.phantom.clip import polar_grid, simulate
from echolib.phantom.presets import PRESETS, draw

CLEAN = dict(haze=-80.0, near_clutter=-80.0, reverberation=-60.0, dropouts=0.0, shadows=0, gain_step=0.0, repeated=0, lost=0,
             marker=False, ruler=False, drift_px=0.0, respiration=0.0, noise=-60.0)


def knobs(seed=3, frames=12, **changes):
    return replace(draw("echonet", seed, frames=frames), **{**CLEAN, **changes})


@pytest.fixture(scope="module")
def clean():
    return simulate(knobs())


def test_same_knobs_same_bytes_whatever_the_threads(clean):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    again = simulate(knobs())
    assert torch.get_num_threads() == 2                   # the caller's setting is back
    torch.set_num_threads(before)
    assert again.frames.tobytes() == clean.frames.tobytes()
    assert again.labels.tobytes() == clean.labels.tobytes()
    assert simulate(knobs(seed=4)).frames.tobytes() != clean.frames.tobytes()


def test_frames_do_not_depend_on_the_batch(clean):
    np.testing.assert_array_equal(simulate(knobs(), batch=7).frames, clean.frames)


def test_haze_lifts_the_cavity_and_not_the_wall(clean):
    hazy = simulate(knobs(haze=-14.0))
    cavity, wall = clean.labels == 1, clean.labels == 2
    assert hazy.frames[cavity].mean() > clean.frames[cavity].mean() + 12
    assert abs(hazy.frames[wall].mean() - clean.frames[wall].mean()) < 8


def test_near_clutter_stays_near_the_probe(clean):
    cluttered = simulate(knobs(near_clutter=8.0)).frames.astype(float).mean(0) - clean.frames.mean(0)
    assert cluttered[10:16, 56:66].mean() > 20
    assert abs(cluttered[60:].mean()) < 1.0


def test_receiver_noise_grows_with_depth():
    quiet, noisy = simulate(knobs(noise=-60.0, frames=8)), simulate(knobs(noise=-18.0, noise_slope=12.0, frames=8))
    gain = noisy.frames.astype(float).mean(0) - quiet.frames.mean(0)
    assert gain[80:100].mean() > gain[20:40].mean() + 3


def test_dropout_removes_a_wall_segment_for_a_few_frames():
    p = knobs(frames=40, dropout_depth=-30.0)
    wall = np.stack([np.full(40, 0.0), np.full(40, 8.0)], axis=-1)[:, None].repeat(97, axis=1)
    events = artefacts.dropouts(replace(p, dropouts=5.0), wall)
    assert events and all(2 <= e.stop - e.first <= 14 for e in events)
    grid = polar_grid(p)
    event = events[0]
    steady = torch.zeros(grid.ranges, grid.angles)
    gain = artefacts.tissue_gain(grid, 0, 40, [], [event], steady)
    row, column = int(8.0 / grid.range_step), grid.angles // 2
    inside = gain[:, row, column]
    middle = (event.first + event.stop) // 2
    assert inside[middle] < -20
    others = [t for t in range(40) if not event.first <= t < event.stop]
    assert inside[others].abs().max() == 0
    assert gain[middle, 5, 5] > -0.5                       # elsewhere nothing is lost
    parts = [artefacts.tissue_gain(grid, a, a + 8, [], [event], steady).expand(8, -1, -1) for a in range(0, 40, 8)]
    torch.testing.assert_close(torch.cat(parts), gain)


def test_dropouts_darken_the_wall_in_the_picture(clean):
    lost = simulate(knobs(dropouts=60.0, dropout_depth=-35.0))
    wall = clean.labels == 2
    change = lost.frames[wall].astype(float) - clean.frames[wall]
    assert change.mean() < -5
    np.testing.assert_array_equal(lost.labels, clean.labels)


def test_shadows_are_dark_beams_behind_their_start():
    p = knobs(frames=30, shadows=2, shadow_depth=-20.0, respiration_hz=0.25)
    shaded = artefacts.shadows(p, np.arange(30) / 50)
    assert len(shaded) == 2
    grid = polar_grid(p)
    for shadow in shaded:
        assert np.deg2rad(3) <= shadow.width <= np.deg2rad(15)
        gain = artefacts.tissue_gain(grid, 0, 30, [shadow], [], torch.zeros(grid.ranges, grid.angles))
        column = int(round(float((shadow.angle[0] + grid.half_angle) / grid.angle_step - 0.5)))
        assert gain[0, -1, min(column, grid.angles - 1)] < -10
        assert gain[0, 0].abs().max() == 0
        away = np.abs(grid.angle_rad - shadow.angle[0]) > 2 * shadow.width
        assert gain[0][:, away].abs().max() < 0.1
        assert 0 < np.ptp(shadow.angle) < np.deg2rad(7)


def test_gain_errors_stay_in_their_bounds():
    for seed in range(5):
        p = draw("wide", seed, frames=20)
        g = artefacts.gain(p, polar_grid(p))
        assert np.abs(g).max() <= 10 + 6 + 6 * ((0.05 + 1) ** 2) * 4 and np.ptp(g) > 0
        assert np.abs(np.diff(g, axis=0)).max() < 1.0      # smooth


def test_a_repeated_frame_is_shown_twice_with_its_label():
    p = knobs(seed=5, frames=16, repeated=1)
    clip = simulate(p)
    same = [t for t in range(1, 16) if np.array_equal(clip.frames[t], clip.frames[t - 1])]
    assert len(same) == 1
    np.testing.assert_array_equal(clip.labels[same[0]], clip.labels[same[0] - 1])
    assert clip.volumes_ml[same[0]] == clip.volumes_ml[same[0] - 1]


def test_a_gain_step_brightens_all_later_frames():
    p = knobs(frames=24, gain_step=5.0)
    stepped, plain = simulate(p).frames.astype(float), simulate(replace(p, gain_step=0.0)).frames
    more = (stepped - plain).mean((1, 2))
    assert more[:6].max() == 0 and more[-1] > 3


def test_marks_stand_still_outside_the_sector(clean):
    marked = simulate(knobs(marker=True, ruler=True))
    new = (marked.frames != clean.frames)
    assert new.any() and (new == new[0]).all()
    values = marked.frames[:, new[0]]
    assert (values == values[0]).all() and values.min() >= 90


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_makes_a_clip_with_its_truth(preset):
    size = (64, 78) if preset == "camus" else (64, 64)
    p = draw(preset, [9, 1], frames=12, size=size)
    clip = simulate(p)
    assert clip.frames.shape == clip.labels.shape == (12, *size)
    assert clip.frames.dtype == clip.labels.dtype == np.uint8
    assert clip.frames.std() > 5
    assert clip.volumes_ml.shape == clip.disk_volumes_ml.shape == clip.phase.shape == (12,)
    assert clip.edv == clip.volumes_ml[clip.ed_frame] > clip.esv == clip.volumes_ml[clip.es_frame]
    assert clip.ef == pytest.approx(100 * (clip.edv - clip.esv) / clip.edv)
    assert p.preset == preset and clip.knobs["preset"] == preset


def test_named_cases_turn_their_own_knobs():
    plain = draw("echonet", 11, frames=40)
    assert 0.05 <= draw("foreshortening", 11, frames=40).foreshortening <= 0.2 and plain.foreshortening == 0
    assert 0.3 <= draw("effusion", 11, frames=40).effusion <= 1.5 and plain.effusion == 0
    assert draw("arrhythmia", 11, frames=40).rhythm != plain.rhythm == "sinus"
    poor = draw("poor_quality", 11, frames=40)
    assert poor.haze > plain.haze and poor.noise > plain.noise and poor.shadows >= 1


def test_camus_frames_default_to_its_grid():
    p = draw("camus", 2)
    assert (p.height, p.width) == (551, 669)
    assert 0.29 <= 10 * p.spacing <= 0.45
    assert 10 <= p.frames <= 42 and p.quality in ("Good", "Medium", "Poor")
    assert draw("camus", 2, quality="Poor").noise > draw("camus", 2, quality="Good").noise


def test_knobs_are_plain_json():
    import json

    p = draw("wide", 5, frames=30)
    assert json.loads(json.dumps(p.knobs()))["edv_ml"] == p.edv_ml
