"""The ventricle: volumes by hand, the wanted EF, an incompressible wall, and labels that follow the contours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from skimage.draw import polygon2mask

from echolib.errors import ConfigError
from echolib.phantom import truth
from echolib.phantom.anatomy import build
from echolib.phantom.presets import draw
from echolib.phantom.ventricle import POINTS, Ventricle, disks_volume, solve, thicken


def parts(preset="echonet", seed=3, **changes):
    p = replace(draw(preset, seed, frames=60), **changes)
    ventricle, line = solve(p)
    return p, ventricle, line, build(p, ventricle, line)


def test_disks_volume_of_a_cone_and_of_a_cylinder():
    s = np.abs(np.linspace(-1.0, 1.0, POINTS))
    side = np.sign(np.linspace(-1.0, 1.0, POINTS))
    cone = disks_volume(s, (side * s * 2.0)[None], np.array([6.0]))
    assert cone[0] == pytest.approx(np.pi * 2.0 ** 2 * 6.0 / 3, rel=0.01)
    cylinder = disks_volume(s, (side * 2.0)[None], np.array([6.0]))                  # its lid is one point wide at the apex
    assert cylinder[0] == pytest.approx(np.pi * 2.0 ** 2 * 6.0, rel=0.02)


def test_a_tilted_base_cuts_the_cylinder_along_a_straight_line():
    # hinges at s = 0.8 and 1.2, radius 1, length 1: full below .8, then chord 2 - 5 (s - .8)
    s = np.concatenate([np.linspace(0.8, 0, POINTS // 2 + 1), np.linspace(0, 1.2, POINTS // 2 + 1)[1:]])
    y = np.where(np.arange(POINTS) < POINTS // 2, -1.0, 1.0)
    got = disks_volume(s, y[None], np.ones(1))[0]
    wedge = np.trapezoid((2 - 5 * np.linspace(0, .4, 500)) ** 2, dx=.4 / 499)
    assert got == pytest.approx(np.pi / 4 * (4 * 0.8 + wedge), rel=0.02)


@pytest.mark.parametrize("changes", [{}, {"hypokinesia": 0.8, "hypokinesia_at": 0.7}, {"ef": 25.0},
                                     {"ef": 72.0, "edv_ml": 180.0}])
def test_the_solved_ventricle_has_the_wanted_volumes(changes):
    p, ventricle, _, _ = parts(**changes)
    c = np.array([0.0, 1.0])
    edv, esv = ventricle.volume(np.repeat(c[:, None], POINTS, axis=1), c)
    assert edv == pytest.approx(p.edv_ml, rel=1e-3)
    assert 100 * (edv - esv) / edv == pytest.approx(p.ef, abs=0.05)


def test_hypokinesia_takes_motion_from_its_own_segment():
    still, moving = parts(hypokinesia=0.8, hypokinesia_at=0.75)[1], parts(hypokinesia=0.0)[1]
    at, other = int(0.75 * POINTS), int(0.25 * POINTS)

    def travel(v: Ventricle, point: int) -> float:
        y = v.half_widths(np.array([[0.0] * POINTS, [1.0] * POINTS]))
        return abs(y[0, point] - y[1, point])

    assert travel(still, at) < 0.75 * travel(moving, at)
    assert travel(still, other) > travel(moving, other)          # the rest works harder for the same EF


def test_dyssynchrony_delays_the_lateral_wall():
    _, ventricle, line, _ = parts(dyssynchrony=0.05)
    segments = ventricle.segments(line)
    assert np.abs(segments[:, 0] - line.contraction).max() < 0.02
    expected = line.contraction_at(line.times - 0.05)
    assert np.abs(segments[:, -1] - expected).max() < 0.02


def test_the_wall_keeps_its_volume_and_thickens():
    angle = np.linspace(0, np.pi, POINTS)
    rest = np.stack([-np.cos(angle), -np.sin(angle)], axis=1) * 2.4
    small = rest * 0.75
    flat = np.abs(rest[:, 0])
    h0 = np.full(POINTS, 0.9)
    h = thicken(small[None], np.abs(small[:, 0])[None], rest, h0, flat)[0]

    def volume(r, h, scale):
        return h * (np.hypot(r, 0.35) + h / 2) * scale

    np.testing.assert_allclose(volume(np.abs(small[:, 0]), h, 0.75), volume(flat, h0, 1.0), rtol=1e-6)
    _, _, line, heart = parts(ef=62.0, hypokinesia=0.0)
    thickness = np.linalg.norm(heart.epicardium - heart.endocardium, axis=-1)
    lateral = slice(60, 90)
    es, ed = np.argmax(line.contraction), np.argmin(line.contraction)
    assert 1.2 < (thickness[es, lateral] / thickness[ed, lateral]).mean() < 1.7


def test_the_annulus_descends_and_the_apex_hardly_moves():
    down, apex = [], []
    for seed in range(12):
        _, _, line, heart = parts(seed=seed, drift_px=0.0, respiration=0.0, ef=61.0)
        es, ed = np.argmax(line.contraction), np.argmin(line.contraction)
        moved = np.linalg.norm(heart.long_axis[ed] - heart.long_axis[es], axis=-1) * 10
        apex.append(moved[0])
        down.append(moved[1])
    assert 9 < np.mean(down) < 18
    assert max(apex) < 3.0


def test_foreshortening_shortens_the_picture_and_rounds_the_apex_but_keeps_the_volume():
    p, plain, _, _ = parts()
    cut = replace(plain, p=replace(p, foreshortening=0.2))
    rest = np.zeros((1, POINTS))
    assert cut.volume(rest, np.zeros(1)) == pytest.approx(plain.volume(rest, np.zeros(1)))
    assert cut.lengths(np.zeros(1))[0] == pytest.approx(0.8 * plain.lengths(np.zeros(1))[0])
    near_apex = np.abs(plain.s - 0.08) < 0.04
    assert (np.abs(cut.half_widths(rest))[:, near_apex] > np.abs(plain.half_widths(rest))[:, near_apex]).all()


def test_effusion_leaves_a_rim_without_tissue_and_moves_no_label():
    with_fluid, without = parts(effusion=1.0)[3], parts(effusion=0.0)[3]
    np.testing.assert_array_equal(with_fluid.endocardium, without.endocardium)

    def sac(heart):
        return next(s for s in heart.strips if s.name == "pericardium").points[0, :, 0]

    gap = np.linalg.norm(sac(with_fluid) - sac(without), axis=-1)
    assert gap.max() == pytest.approx(1.0, abs=0.01)
    assert np.median(gap) > 0.5


def test_the_papillary_muscle_belongs_to_the_cavity_label():
    big, small = parts(papillary=(0.75, 0.9))[3], parts(papillary=(0.75, 0.05))[3]
    np.testing.assert_array_equal(big.endocardium, small.endocardium)
    muscle = next(s for s in big.strips if s.name == "papillary").points[0]
    inside = polygon2mask((2000, 2000), big.endocardium[0] * 100 + [1000, 0])
    tip = (muscle[muscle.shape[0] // 2, -1] * 100 + [1000, 0]).astype(int)
    assert inside[tip[0], tip[1]]


def test_two_chamber_view_has_no_right_heart_and_the_same_ventricle():
    four, two = draw("camus", 5), draw("camus", 5, view="2CH")
    assert (four.ef, four.edv_ml, four.wall) == (two.ef, two.edv_ml, two.wall)
    names = {}
    for p in (four, two):
        ventricle, line = solve(p)
        names[p.view] = {s.name for s in build(p, ventricle, line).strips}
    assert {"right ventricular wall", "right atrial wall"} <= names["4CH"]
    assert not any("right" in n or "tricuspid" in n for n in names["2CH"])


def test_fill_against_the_definition():
    rng = np.random.default_rng(0)
    angle = np.sort(rng.uniform(0, 2 * np.pi, (3, 17)), axis=1)
    radius = rng.uniform(3, 12, (3, 17))
    contours = np.stack([15 + radius * np.cos(angle), 14 + radius * np.sin(angle)], axis=-1)
    got = truth.fill(contours, 30, 32)
    for mask, contour in zip(got, contours, strict=True):
        for y in range(30):
            for x in range(32):
                crossings = 0                            # a ray to the left
                for (x0, y0), (x1, y1) in zip(contour, np.roll(contour, -1, axis=0), strict=True):
                    if (y0 <= y) != (y1 <= y):
                        crossings += x0 + (y - y0) * (x1 - x0) / (y1 - y0) <= x
                assert mask[y, x] == bool(crossings % 2)


def test_fill_survives_contours_that_leave_the_frame():
    square = np.array([[[-5.0, -5.0], [40.0, -5.0], [40.0, 9.5], [-5.0, 9.5]]])
    mask = truth.fill(square, 20, 30)[0]
    assert mask[:10].all() and not mask[10:].any()


def test_chords_and_volume_of_a_rectangle():
    mask = np.zeros((60, 60), bool)
    mask[10:50, 20:40] = True                            # 40 px long, 20 px wide
    axis = np.array([[29.5, 9.5], [29.5, 49.5]])
    np.testing.assert_allclose(truth.chords(mask, axis), 20.0, atol=1e-9)
    assert truth.disk_volume(mask, axis, 2.0) == pytest.approx(np.pi / 4 * 8.0 * 4.0 ** 2)
    turned = truth.chords(mask.T, axis[:, ::-1])
    np.testing.assert_allclose(turned, 20.0, atol=1e-9)


def test_labels_are_exclusive_and_nested(echonet_clips):
    clip = echonet_clips[0]
    assert set(np.unique(clip.labels)) == {0, 1, 2, 3}
    apex, base = clip.long_axis[clip.ed_frame]
    column, row = np.rint(0.5 * (apex + base)).astype(int)
    assert clip.labels[clip.ed_frame, row, column] == truth.CAVITY
    along = (base - apex) / np.hypot(*(base - apex))
    x, y = np.rint(base + 6 * along).astype(int)
    assert clip.labels[clip.ed_frame, y, x] == truth.ATRIUM
    x, y = np.rint(apex - 2 * along).astype(int)
    assert clip.labels[clip.ed_frame, y, x] == truth.MYOCARDIUM


@pytest.mark.parametrize("wrong", [{"preset": "cartoon"}, {"preset": "echonet", "layout": "dicom"},
                                   {"preset": "camus", "view": "PLAX"}, {"preset": "camus", "quality": "Superb"},
                                   {"preset": "echonet", "frames": 3}])
def test_unknown_options_are_errors(wrong):
    with pytest.raises(ConfigError, match="phantom"):
        draw(wrong.pop("preset"), 0, **wrong)


def test_wall_and_atrium_end_where_the_picture_ends(echonet_clips):
    sector = truth.in_sector(112, 112, (61, 7), 107, 0.79)
    assert sector[60, 61] and not sector[60, 2] and not sector[3, 61]
    for clip in echonet_clips[:6]:
        assert not (clip.labels[:, ~sector] > truth.CAVITY).any()
        assert (clip.labels[:, ~sector] == truth.CAVITY).sum() <= 0.02 * (clip.labels == truth.CAVITY).sum()
