"""From the polar grid to the screen: bilinear at several times the size, then the mean of each pixel."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch.nn import functional

from echolib.phantom.exact import rounded
from echolib.phantom.ultrasound import PolarGrid


class ScanConverter:
    """Polar grid to display, black outside the sector.

    On a CPU one sparse matrix does the interpolation and the means at once; elsewhere, where the order of a sparse sum is
    not fixed, the fine picture is made and averaged. Both give the same numbers up to rounding.

    Args:
        grid: polar grid.
        height, width: of the display, px.
        tip: (x, y) px of the sector's tip.
        radius: of the displayed sector, px; the grid's depth ends there.
        half_angle: of the displayed sector, rad.
        supersample: samples per px and axis.
        device: torch device.
        sparse: which of the two ways; None: by the device.
    """

    def __init__(self, grid: PolarGrid, height: int, width: int, tip: tuple[float, float], radius: float, half_angle: float,
                 supersample: int, device: str, sparse: bool | None = None) -> None:
        self.shape, self.supersample = (height, width), supersample
        framing = (grid.ranges, grid.angles, grid.half_angle, height, width, tip, radius, half_angle, supersample)
        self.sparse = torch.device(device).type == "cpu" if sparse is None else sparse
        if self.sparse:
            self.matrix = _matrix(*framing)
        else:
            place, inside = _samples(*framing)
            # grid_sample wants (column, row) in [-1, 1] between the centres of the outermost cells
            place = 2.0 * place[..., ::-1] / (np.array([grid.angles, grid.ranges]) - 1.0) - 1.0
            self.place = torch.as_tensor(place[None].astype(np.float32), device=device)
            self.inside = torch.as_tensor(inside, dtype=torch.float32, device=device)

    def __call__(self, polar: torch.Tensor) -> torch.Tensor:
        """``(F, R, A)`` to ``(F, height, width)``."""
        frames = polar.shape[0]
        if self.sparse:
            columns = np.ascontiguousarray(polar.reshape(frames, -1).numpy().T)
            return torch.from_numpy(self.matrix @ columns).T.reshape(frames, *self.shape)
        fine = functional.grid_sample(polar[None], self.place, mode="bilinear", padding_mode="border", align_corners=True)
        return functional.avg_pool2d(fine * self.inside, self.supersample)[0]


def _samples(ranges: int, angles: int, grid_half_angle: float, height: int, width: int, tip: tuple[float, float], radius: float,
             half_angle: float, supersample: int) -> tuple[np.ndarray, np.ndarray]:
    """Grid indices ``(fine height, fine width, 2)`` of all samples, and which of them lie in the displayed sector."""
    grid = PolarGrid(ranges, angles, 1.0, grid_half_angle)                        # depth 1 is ``radius`` px
    fine = (np.arange(supersample) + 0.5) / supersample - 0.5
    y = (np.arange(height)[:, None] + fine).ravel()
    x = (np.arange(width)[:, None] + fine).ravel()
    points = np.stack(np.meshgrid((x - tip[0]) / radius, (y - tip[1]) / radius), axis=-1)
    inside = np.hypot(points[..., 0], points[..., 1]) <= 1.0
    inside &= np.abs(np.arctan2(points[..., 0], points[..., 1])) <= half_angle
    return np.clip(grid.index(points), 0.0, np.array([ranges, angles]) - 1.001), inside


@lru_cache(maxsize=4)
def _matrix(ranges: int, angles: int, grid_half_angle: float, height: int, width: int, tip: tuple[float, float], radius: float,
            half_angle: float, supersample: int) -> csr_matrix:
    """The scan conversion as a sparse matrix. Depends on the framing only, which the clips of a cohort share."""
    place, inside = _samples(ranges, angles, grid_half_angle, height, width, tip, radius, half_angle, supersample)
    row, column = np.nonzero(inside)
    pixel = (row // supersample) * width + column // supersample
    place = place[inside]
    i, j = place.astype(np.int64).T
    s, t = place[:, 0] - i, place[:, 1] - j
    cell = i * angles + j
    cells = np.concatenate([cell, cell + angles, cell + 1, cell + angles + 1])
    weights = rounded(np.concatenate([(1 - s) * (1 - t), s * (1 - t), (1 - s) * t, s * t]) / supersample ** 2, 20)
    key, where = np.unique(np.tile(pixel, 4) * (ranges * angles) + cells, return_inverse=True)
    rows, columns = np.divmod(key, ranges * angles)
    pointer = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=height * width))])
    values = np.bincount(where, weights).astype(np.float32)
    return csr_matrix((values, columns, pointer), (height * width, ranges * angles))
