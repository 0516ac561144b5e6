"""From moving scatterers to B-mode lines: splat with phase, blur with the beam, detect, compress.

Point scatterers ride on the tissue. Each adds ``amplitude x exp(-j 4 pi f r / c)`` to a polar grid (bilinear): the phase is
what makes speckle change with deformation instead of sliding along as a texture. A separable Gaussian point spread
function, constant in angle, gives the radio-frequency envelope's complex form; its modulus is Rayleigh where many
scatterers share a resolution cell.

Everything here is torch, works on any device and takes frames in batches. Sums over scatterers are made in integers, so
the order in which they are added does not matter, and the rest keeps to the rules of ``exact``: the same seed gives the same
bytes on every processor, however many threads add.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch.nn import functional

from echolib.phantom.exact import FIELD_BITS, KERNEL_BITS, Turns, rounded

SPEED_OF_SOUND = 154_000.0      # cm / s
#: scatterers per resolution cell (product of the amplitude FWHMs); 20 give an envelope SNR near 1.83, the limit being 1.91
PER_CELL = 20.0
_FIXED = 256                    # fixed-point steps per unit amplitude
_WEIGHT_BITS = 6
_WEIGHT = 1 << _WEIGHT_BITS     # and per unit of a bilinear weight, one axis
_HALF_WORD = 2 ** 31
_NODE_BITS = 10                 # nodes sit on multiples of 2^-10 of a grid cell


@dataclass(frozen=True)
class PolarGrid:
    """Samples at ranges ``(i + 0.5) * depth / ranges`` cm and angles ``-half_angle + (j + 0.5) * step`` rad (right positive)."""

    ranges: int
    angles: int
    depth: float
    half_angle: float

    @property
    def range_step(self) -> float:
        """cm"""
        return self.depth / self.ranges

    @property
    def angle_step(self) -> float:
        """rad"""
        return 2.0 * self.half_angle / self.angles

    def index(self, points: np.ndarray) -> np.ndarray:
        """Fractional (range, angle) grid indices of points ``(..., 2)`` (x, z) in cm."""
        r = np.hypot(points[..., 0], points[..., 1])
        angle = np.arctan2(points[..., 0], points[..., 1])
        return np.stack([r / self.range_step - 0.5, (angle + self.half_angle) / self.angle_step - 0.5], axis=-1)

    @property
    def range_cm(self) -> np.ndarray:
        return (np.arange(self.ranges) + 0.5) * self.range_step

    @property
    def angle_rad(self) -> np.ndarray:
        return -self.half_angle + (np.arange(self.angles) + 0.5) * self.angle_step


@dataclass(frozen=True)
class PointSpread:
    """Amplitude FWHMs (mm, degrees), and weak side lobes ``side_lobe_width`` times as wide."""

    axial_mm: float
    lateral_deg: float
    side_lobe_db: float = -30.0
    side_lobe_width: float = 5.0

    def cell(self, grid: PolarGrid) -> float:
        """Area of a resolution cell in grid cells."""
        return (self.axial_mm / 10 / grid.range_step) * (np.deg2rad(self.lateral_deg) / grid.angle_step)

    def axial(self, grid: PolarGrid, device: str) -> torch.Tensor:
        """``(ranges, ranges)`` matrix of the axial blur, float64."""
        gap = np.subtract.outer(grid.range_cm, grid.range_cm)
        return _unit_energy(_gauss(gap, _less_splat(self.axial_mm / 10, grid.range_step)), device)

    def lateral(self, grid: PolarGrid, device: str, wider: float = 1.0) -> torch.Tensor:
        """``(angles, angles)`` matrix of the lateral blur, side lobes included, float64."""
        gap = np.subtract.outer(grid.angle_rad, grid.angle_rad)
        width = _less_splat(np.deg2rad(self.lateral_deg), grid.angle_step) * wider
        lobes = 10 ** (self.side_lobe_db / 20) * _gauss(gap, width * self.side_lobe_width)
        return _unit_energy(_gauss(gap, width) + lobes, device)


def _gauss(x: np.ndarray, fwhm: float) -> np.ndarray:
    return np.exp(-4 * np.log(2) * (x / fwhm) ** 2)


def _less_splat(fwhm: float, step: float) -> float:
    """What is left to blur after the bilinear splat, whose triangle has a variance of step^2 / 6."""
    return float(np.sqrt(max(fwhm ** 2 - 8 * np.log(2) * step ** 2 / 6, (0.5 * step) ** 2)))


def _unit_energy(matrix: np.ndarray, device: str) -> torch.Tensor:
    """Scaled so that white noise of unit power keeps it in the middle of the grid; few enough bits to multiply exactly."""
    matrix = matrix / np.sqrt((matrix[len(matrix) // 2] ** 2).sum())
    return torch.as_tensor(rounded(matrix, KERNEL_BITS), dtype=torch.float64, device=device)


@dataclass(frozen=True)
class Scatterers:
    """Where scatterers sit on a mesh.

    Attributes:
        corner: ``(N, 4)`` int64, nodes of the mesh around each.
        weight: ``(N, 4)`` float32, sums to 1.
        amplitude: ``(N,)`` float32.
    """

    corner: np.ndarray
    weight: np.ndarray
    amplitude: np.ndarray


def seed_mesh(index: np.ndarray, level: np.ndarray, first_node: int, density: float, rng: np.random.Generator,
              limits: tuple[int, int], floor: float = -np.inf) -> Scatterers:
    """Scatter points over a mesh, evenly in the *polar* grid, so that speckle is fully developed at all depths.

    Args:
        index: ``(I, J, 2)`` grid indices of the nodes at rest.
        level: ``(I, J)`` dB.
        first_node: number of this mesh's first node among all nodes.
        density: scatterers per grid cell.
        rng: source of the positions and of the N(0, 1) amplitudes.
        limits: (ranges, angles) of the grid; what lies outside gets no scatterers.
        floor: scatterers of a lower level, dB, are left out: they would not be seen.
    """
    rows, columns = level.shape
    inside = np.clip(index, -2.0, np.array(limits) + 1.0)
    a, b, c, d = inside[:-1, :-1], inside[1:, :-1], inside[1:, 1:], inside[:-1, 1:]
    diagonal, other = c - a, d - b
    area = 0.5 * np.abs(diagonal[..., 0] * other[..., 1] - diagonal[..., 1] * other[..., 0]).ravel()
    total = np.cumsum(area)
    count = int(round(total[-1] * density)) if total[-1] > 0 else 0
    if count == 0:
        return Scatterers(np.zeros((0, 4), np.int64), np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
    # even spacing with jitter along the cumulated area: ordered, which keeps memory access local
    quad = np.searchsorted(total, (np.arange(count) + rng.random(count)) / count * total[-1], side="right")
    quad = np.minimum(quad, len(area) - 1)
    i, j = np.divmod(quad, columns - 1)
    s, t = rng.random(count), rng.random(count)
    corner = np.stack([i * columns + j, (i + 1) * columns + j, (i + 1) * columns + j + 1, i * columns + j + 1], axis=1)
    weight = np.stack([(1 - s) * (1 - t), s * (1 - t), s * t, (1 - s) * t], axis=1)
    db = (level.ravel()[corner] * weight).sum(1)
    amplitude = rounded(rng.standard_normal(count) * 10 ** (db / 20) / np.sqrt(density), 12)
    seen = db >= floor
    return Scatterers(corner[seen] + first_node, weight[seen].astype(np.float32), amplitude[seen].astype(np.float32))


class Interpolation:
    """Values at scatterers from values at the mesh nodes: ``(nodes, k)`` to ``(N, k)``."""

    def __init__(self, scatterers: Scatterers, node_count: int, device: str) -> None:
        self.corner = torch.as_tensor(scatterers.corner, device=device)
        self.weight = torch.as_tensor(scatterers.weight, device=device)
        self.matrix = None
        if self.corner.device.type == "cpu":            # the sparse product is faster here; on a GPU its order is not fixed
            order = np.argsort(scatterers.corner, axis=1)
            columns = np.take_along_axis(scatterers.corner, order, 1).ravel().astype(np.int32)
            values = np.take_along_axis(scatterers.weight, order, 1).ravel()
            starts = np.arange(0, columns.size + 1, 4, dtype=np.int32)
            self.matrix = csr_matrix((values, columns, starts), (len(order), node_count))

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        if self.matrix is not None:
            return torch.from_numpy(self.matrix @ values.numpy())
        out = values[self.corner[:, 0]] * self.weight[:, :1]
        for k in range(1, 4):
            out += values[self.corner[:, k]] * self.weight[:, k:k + 1]
        return out


class Splatter:
    """Adds scatterers to the polar grid, some frames at a time, as real and imaginary part.

    Args:
        scatterers: positions on the mesh and amplitudes.
        nodes: ``(T, nodes, 2)`` grid indices of the mesh nodes in every frame.
        grid: the polar grid.
        frequency_mhz: carrier.
        device: torch device.
    """

    def __init__(self, scatterers: Scatterers, nodes: np.ndarray, grid: PolarGrid, frequency_mhz: float, device: str) -> None:
        self.grid, self.device = grid, device
        self.weights = Interpolation(scatterers, nodes.shape[1], device)
        steps = rounded(nodes, _NODE_BITS).astype(np.float32)
        self.nodes = torch.as_tensor(steps).to(device).permute(1, 2, 0).contiguous()                        # (nodes, 2, T)
        self.waves = Turns(device)
        self.amplitude = torch.as_tensor(scatterers.amplitude, device=device).clamp(-40, 40)[:, None] * _FIXED
        self.turn = rounded(2e6 * frequency_mhz / SPEED_OF_SOUND * grid.range_step, 20)                   # turns per range step

    def __call__(self, start: int, stop: int) -> torch.Tensor:
        """Frames ``start <= t < stop``: ``(stop - start, 2, ranges, angles)`` float32, real and imaginary part."""
        frames, rows, columns = stop - start, self.grid.ranges + 2, self.grid.angles + 2
        place = self.weights(self.nodes[:, :, start:stop].reshape(self.nodes.shape[0], -1))
        r, a = place[:, :frames], place[:, frames:]
        cosine, sine = self.waves(r * -self.turn)
        # fixed point, both parts in one 64-bit word: half as many scattered additions, and exact in any order
        word = (cosine.mul_(self.amplitude).long() << 32).add_(sine.mul_(self.amplitude).long())
        # one cell of padding collects what falls outside the grid
        r, a = (r + 1.0).clamp_(0.0, rows - 1.0), (a + 1.0).clamp_(0.0, columns - 1.0)
        row, column = r.floor(), a.floor()
        down, right = (r - row).mul_(_WEIGHT).long(), (a - column).mul_(_WEIGHT).long()
        frame = torch.arange(frames, dtype=torch.int64, device=self.device) * (rows * columns)
        cell = (row.mul_(columns).add_(column).long() + frame).reshape(-1)
        size = frames * rows * columns
        out = torch.zeros(size + columns + 1, dtype=torch.int64, device=self.device)
        lower = word * down
        upper = (word << _WEIGHT_BITS).sub_(lower)
        for offset, part in ((0, upper), (columns, lower)):
            beside = part * right
            out[offset:offset + size].index_add_(0, cell, (part << _WEIGHT_BITS).sub_(beside).view(-1))
            out[offset + 1:offset + 1 + size].index_add_(0, cell, beside.view(-1))
        out = out[:size].view(frames, rows, columns)[:, 1:-1, 1:-1]
        imaginary = ((out + _HALF_WORD) & 0xFFFFFFFF) - _HALF_WORD
        real = (out - imaginary) >> 32
        return torch.stack([real, imaginary], dim=1).float().mul_(1.0 / (_FIXED * _WEIGHT * _WEIGHT))


class Blur:
    """Lateral and axial blur of ``(F, 2, R, A)`` fields, float64 and exact: no partial sum is rounded.

    Args:
        psf: the point spread function.
        grid: the polar grid.
        near: ``(R,)`` share of the wider kernel that holds near the probe, 0 beyond.
        wider: how much wider that is.
        device: torch device.
    """

    _ROWS = 32

    def __init__(self, psf: PointSpread, grid: PolarGrid, near: np.ndarray, wider: float, device: str) -> None:
        self.far, self.near = psf.lateral(grid, device).T, psf.lateral(grid, device, wider).T
        self.near_rows = int((near > 0).sum())
        self.share = torch.as_tensor(rounded(near[:self.near_rows], 8), dtype=torch.float64, device=device)[:, None]
        # the axial kernel is short: a band of the matrix, applied to blocks of rows
        full = psf.axial(grid, device)
        middle = grid.ranges // 2
        self.reach = max(int((full[middle] != 0).sum()) // 2, 1)
        self.ranges = grid.ranges
        rows = min(self._ROWS, grid.ranges)
        lag = np.subtract.outer(np.arange(rows + 2 * self.reach) - self.reach, np.arange(rows)).T
        band = full[middle].cpu().numpy()
        at = np.clip(middle + lag, 0, grid.ranges - 1)
        self.band = torch.as_tensor(np.where(np.abs(lag) <= self.reach, band[at], 0.0), device=device)

    def lateral(self, field: torch.Tensor) -> torch.Tensor:
        """Along the angles. ``field`` holds multiples of 2^-12; so does the result."""
        out = field @ self.far
        if self.near_rows:
            nearest = field[..., :self.near_rows, :] @ self.near
            out[..., :self.near_rows, :] = (1.0 - self.share) * out[..., :self.near_rows, :] + self.share * nearest
        return rounded(out, FIELD_BITS)

    def axial(self, field: torch.Tensor) -> torch.Tensor:
        """Along the ranges."""
        rows, width = self.band.shape
        blocks = -(-self.ranges // rows)
        padded = functional.pad(field, (0, 0, self.reach, self.reach + blocks * rows - self.ranges))
        stacked = padded.unfold(-2, width, rows).transpose(-1, -2)                 # (F, 2, blocks, width, A)
        out = self.band @ stacked
        return out.reshape(*field.shape[:-2], blocks * rows, field.shape[-1])[..., :self.ranges, :]


def power(field: torch.Tensor) -> torch.Tensor:
    """``(F, 2, R, A)`` real and imaginary part to echo power ``(F, R, A)``."""
    return (field[:, 0] * field[:, 0]).add_(field[:, 1] * field[:, 1])
