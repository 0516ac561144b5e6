"""Image formation: a brute-force twin of the splat, point spread widths, speckle that changes with deformation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from echolib.phantom.exact import Display, rounded
from echolib.phantom.scan_conversion import ScanConverter
from echolib.phantom.ultrasound import (
    SPEED_OF_SOUND,
    Blur,
    Interpolation,
    PointSpread,
    PolarGrid,
    Scatterers,
    Splatter,
    power,
    seed_mesh,
)

GRID = PolarGrid(64, 48, 8.0, 0.8)


def mesh(count: int, seed: int = 0, frames: int = 3):
    """A 2 x 2 mesh over the grid that shears from frame to frame, with ``count`` scatterers."""
    rng = np.random.default_rng(seed)
    corners = np.array([[4.0, 4.0], [4.0, 43.0], [59.0, 4.0], [59.0, 43.0]])
    nodes = np.stack([corners + t * np.array([[0.1, 0.0], [0.3, 0.1], [-0.2, 0.2], [0.4, -0.1]]) for t in range(frames)])
    s, t = rng.random(count), rng.random(count)
    weight = np.stack([(1 - s) * (1 - t), (1 - s) * t, s * (1 - t), s * t], axis=1).astype(np.float32)
    corner = np.tile(np.arange(4), (count, 1))
    return Scatterers(corner, weight, rng.standard_normal(count).astype(np.float32)), nodes


def test_splat_against_a_loop():
    scatterers, nodes = mesh(40)
    got = Splatter(scatterers, nodes, GRID, 2.0, "cpu")(1, 3).numpy()
    turn = 4 * np.pi * 2.0e6 / SPEED_OF_SOUND * GRID.range_step
    want = np.zeros((2, 64, 48), complex)
    for frame in (0, 1):
        for weight, amplitude in zip(scatterers.weight, scatterers.amplitude, strict=True):
            r, a = (weight[:, None] * nodes[frame + 1]).sum(0)
            i, j = int(r), int(a)
            value = amplitude * np.exp(-1j * turn * r)
            for di, dj, share in ((0, 0, (1 - r % 1) * (1 - a % 1)), (1, 0, r % 1 * (1 - a % 1)), (0, 1, (1 - r % 1) * (a % 1)),
                                  (1, 1, r % 1 * (a % 1))):
                want[frame, i + di, j + dj] += value * share
    np.testing.assert_allclose(got[:, 0] + 1j * got[:, 1], want, atol=0.15)
    assert np.corrcoef(got[:, 0].ravel(), want.real.ravel())[0, 1] > 0.999


def test_splat_is_exact_in_any_order():
    scatterers, nodes = mesh(5000)
    order = np.random.default_rng(1).permutation(5000)
    shuffled = Scatterers(scatterers.corner[order], scatterers.weight[order], scatterers.amplitude[order])
    a = Splatter(scatterers, nodes, GRID, 2.0, "cpu")(0, 3)
    b = Splatter(shuffled, nodes, GRID, 2.0, "cpu")(0, 3)
    assert torch.equal(a, b)


def test_what_leaves_the_grid_leaves_the_picture():
    scatterers, nodes = mesh(200)
    out = Splatter(scatterers, nodes + 500.0, GRID, 2.0, "cpu")(0, 3)
    assert out.abs().max() == 0.0


def test_speckle_turns_with_deformation_but_not_with_rest():
    scatterers, nodes = mesh(20_000, frames=2)
    still = np.stack([nodes[0], nodes[0]])
    stretched = np.stack([nodes[0], nodes[0] * [[1.04, 1.0]] * 4])
    psf = PointSpread(3.0, 5.0)

    def correlation(positions):
        field = Splatter(scatterers, positions.reshape(2, 4, 2), GRID, 3.0, "cpu")(0, 2)
        blurred = psf.axial(GRID, "cpu") @ (field.double() @ psf.lateral(GRID, "cpu").T)
        db = 10 * np.log10(power(blurred).numpy()[:, 10:30, 8:40] + 1e-10)
        return np.corrcoef(db[0].ravel(), db[1].ravel())[0, 1]

    assert correlation(still) == pytest.approx(1.0)
    assert correlation(stretched) < 0.5


@pytest.mark.parametrize("axial, lateral", [(1.0, 2.4), (1.4, 3.2)])
def test_point_spread_has_the_stated_widths(axial, lateral):
    grid = PolarGrid(320, 144, 15.0, 0.84)
    psf = PointSpread(axial, lateral, side_lobe_db=-80.0)

    def width(kernel, step):
        """From the variance about the true place, mean over sub-cell places, so that the bilinear splat counts too."""
        middle, cells, variances = len(kernel) // 2, np.arange(len(kernel)), []
        for part in np.linspace(0, 1, 33):
            profile = kernel[:, middle] * (1 - part) + kernel[:, middle + 1] * part
            variances.append((profile * (cells - middle - part) ** 2).sum() / profile.sum())
        return np.sqrt(8 * np.log(2) * np.mean(variances)) * step

    assert width(psf.axial(grid, "cpu").numpy(), grid.range_step * 10) == pytest.approx(axial, rel=0.03)
    assert np.rad2deg(width(psf.lateral(grid, "cpu").numpy(), grid.angle_step)) == pytest.approx(lateral, rel=0.03)


def test_side_lobes_sit_at_their_level():
    grid = PolarGrid(32, 288, 15.0, 0.84)
    psf = PointSpread(1.0, 1.5, side_lobe_db=-30.0, side_lobe_width=5.0)
    row = psf.lateral(grid, "cpu")[144]
    off = int(np.deg2rad(3.0) / grid.angle_step)
    lobe_there = -30 + 20 * np.log10(np.exp(-4 * np.log(2) * (3 / 7.5) ** 2))
    assert 20 * np.log10(float(row[144 + off] / row[144])) == pytest.approx(lobe_there, abs=1.5)


def test_white_noise_keeps_its_power_through_the_blur():
    grid = PolarGrid(200, 160, 15.0, 0.84)
    psf = PointSpread(1.0, 2.4)
    noise = torch.randn(8, 200, 160, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    out = psf.axial(grid, "cpu") @ noise @ psf.lateral(grid, "cpu").T
    assert float(out[:, 20:-20, 20:-20].std()) == pytest.approx(1.0, abs=0.05)


def test_near_blur_only_changes_near_rows():
    grid = PolarGrid(40, 48, 8.0, 0.8)
    psf = PointSpread(1.0, 2.4)
    near = np.zeros(40)
    near[:10] = np.linspace(1, 0.1, 10)
    field = rounded(torch.randn(3, 2, 40, 48, generator=torch.Generator().manual_seed(0), dtype=torch.float64), 12)
    out = Blur(psf, grid, near, 2.0, "cpu").lateral(field)
    torch.testing.assert_close(out[..., 10:, :], (field @ psf.lateral(grid, "cpu").T)[..., 10:, :], atol=2e-4, rtol=0)
    torch.testing.assert_close(out[..., :1, :], (field @ psf.lateral(grid, "cpu", 2.0).T)[..., :1, :], atol=2e-4, rtol=0)


@pytest.mark.parametrize("ranges", [20, 64, 150])
def test_axial_blur_by_blocks_is_the_whole_matrix(ranges):
    grid = PolarGrid(ranges, 10, 8.0, 0.8)
    psf = PointSpread(1.4, 2.4)
    field = rounded(torch.randn(2, 2, ranges, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64), 12)
    blur = Blur(psf, grid, np.zeros(ranges), 1.8, "cpu")
    assert torch.equal(blur.axial(field), psf.axial(grid, "cpu") @ field)          # to the last bit: nothing is rounded


def test_sums_of_the_blur_are_exact():
    """The order of a matrix product's sum does not matter: reversed, it gives the same bits."""
    grid = PolarGrid(320, 144, 15.0, 0.84)
    field = rounded(300 * torch.randn(1, 2, 320, 144, generator=torch.Generator().manual_seed(0), dtype=torch.float64), 12)
    kernel = PointSpread(1.0, 2.4).lateral(grid, "cpu").T
    assert torch.equal(field @ kernel, field.flip(-1) @ kernel.flip(0))
    noise = torch.randn(1, 2, 320, 144, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rough = kernel * (1 + 1e-9 * noise[0, 0, :144])
    assert not torch.equal(noise @ rough, noise.flip(-1) @ rough.flip(0))          # unrounded factors do differ


def test_display_by_hand():
    db = torch.tensor([-80.0, -30.0, -17.5, -5.0, 20.0, 40.0])
    echo = 10 ** (db / 10)
    np.testing.assert_allclose(Display(-30.0, 50.0, 0.0, 1.0, "cpu")(echo), [0, 0, 63.75, 127.5, 255, 255], atol=0.03)
    s = Display(-30.0, 50.0, 1.0, 1.0, "cpu")(10 ** (torch.linspace(-30, 20, 200) / 10))
    assert (s.diff() >= 0).all()                                       # monotonic up to s = 1
    assert Display(-30.0, 50.0, 0.9, 1.0, "cpu")(echo)[2] < 63.75 - 20          # dark gets darker
    assert Display(-30.0, 50.0, 0.9, 1.0, "cpu")(torch.zeros(2)).max() == 0


def test_seeding_is_even_in_the_polar_grid_and_keeps_the_level():
    nodes = np.stack(np.meshgrid(np.array([0.0, 10.0, 60.0]), np.array([0.0, 40.0]), indexing="ij"), axis=-1)
    made = seed_mesh(nodes, np.full((3, 2), 6.0), 7, 4.0, np.random.default_rng(0), (64, 48))
    assert len(made.amplitude) == pytest.approx(60 * 40 * 4, rel=0.001)
    place = (made.weight[..., None] * nodes.reshape(-1, 2)[made.corner - 7]).sum(1)
    counts, _ = np.histogram(place[:, 0], bins=6, range=(0, 60))
    assert counts.std() / counts.mean() < 0.1                          # the short and the long quad alike
    assert 10 * np.log10((made.amplitude ** 2).sum() / (60 * 40)) == pytest.approx(6.0, abs=0.2)
    assert len(seed_mesh(nodes + 500, np.zeros((3, 2)), 0, 4.0, np.random.default_rng(0), (64, 48)).amplitude) == 0
    assert len(seed_mesh(nodes, np.full((3, 2), -50.0), 0, 4.0, np.random.default_rng(0), (64, 48), floor=-45).amplitude) == 0


def test_scan_conversion_of_known_fields():
    grid = PolarGrid(320, 144, 1.0, 0.79)
    convert = ScanConverter(grid, 112, 112, (61.0, 7.0), 107.0, 0.79, 4, "cpu")
    ones = convert(torch.ones(1, 320, 144))[0].numpy()
    y, x = np.mgrid[:112, :112]
    r, a = np.hypot(x - 61.0, y - 7.0), np.arctan2(x - 61.0, y - 7.0)
    np.testing.assert_allclose(ones[(r > 3) & (r < 105) & (np.abs(a) < 0.79 - 1.5 / np.maximum(r, 2))], 1.0, atol=1e-5)
    assert (ones[(r > 109) | (np.abs(a) > 0.79 + 1.5 / np.maximum(r, 1))] == 0).all()
    depth = convert(torch.as_tensor(np.repeat(grid.range_cm[:, None], 144, 1)[None], dtype=torch.float32))[0].numpy()
    inside = (r > 6) & (r < 104) & (np.abs(a) < 0.7)
    np.testing.assert_allclose(depth[inside], r[inside] / 107, atol=0.004)
    angle = convert(torch.as_tensor(np.repeat(grid.angle_rad[None], 320, 0)[None], dtype=torch.float32))[0].numpy()
    np.testing.assert_allclose(angle[inside], a[inside], atol=0.01)


def test_both_ways_of_scan_conversion_agree():
    grid = PolarGrid(320, 144, 1.0, 0.84)
    polar = 100 * torch.rand(3, 320, 144, generator=torch.Generator().manual_seed(0))
    a, b = (ScanConverter(grid, 64, 60, (30.0, 3.0), 62.0, 0.7, 4, "cpu", sparse=way)(polar) for way in (True, False))
    torch.testing.assert_close(a, b, atol=0.02, rtol=1e-3)


def test_both_ways_of_interpolation_agree():
    scatterers, nodes = mesh(100)
    fast = Interpolation(scatterers, 4, "cpu")
    values = torch.as_tensor(nodes[0], dtype=torch.float32)
    a = fast(values)
    fast.matrix = None
    torch.testing.assert_close(fast(values), a)
    np.testing.assert_allclose(a, (scatterers.weight[..., None] * nodes[0][scatterers.corner]).sum(1), rtol=1e-5)


def test_grid_index_round_trip():
    i, j = np.array([0.0, 10.5, 63.0]), np.array([0.0, 20.0, 47.0])
    r, a = (i + 0.5) * GRID.range_step, -GRID.half_angle + (j + 0.5) * GRID.angle_step
    back = GRID.index(np.stack([r * np.sin(a), r * np.cos(a)], axis=-1))
    np.testing.assert_allclose(back, np.stack([i, j], axis=-1), atol=1e-9)
