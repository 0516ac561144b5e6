"""Arithmetic that gives the same bits on every x86-64 processor.

Two things differ between processors. Library functions (exp, log, sin, and the sums inside a matrix product) round in
another order or by another polynomial, so their last bits differ. Single additions and multiplications never do: IEEE 754 fixes
them.
The image is therefore made of these, of table look-ups, and of matrix products whose factors are rounded to so few bits
that no partial sum is ever rounded. Whatever a library function computes is rounded to a coarse grid before it is used: a
difference of 1e-16 then moves a value to another step of the grid with a probability of 1e-11 or less.

``add_(x, alpha=a)``, ``lerp_`` and ``addcmul_`` may fuse a product and a sum on some processors. They are not used here.
"""

from __future__ import annotations

from functools import lru_cache
from typing import overload

import numpy as np
import torch
from scipy.special import ndtri

#: bits after the point of amplitudes on the polar grid, and of the kernels they are multiplied with: a sum of 320 products
#: of amplitudes up to 2^12 needs 12 + 12 + 16 + 9 bits, and a float64 has 53
FIELD_BITS, KERNEL_BITS = 12, 16
_TURN_STEPS = 4096
_GAIN_STEPS, _GAIN_LIMIT = 64, 120          # per dB; dB


@overload
def rounded(values: np.ndarray, bits: int) -> np.ndarray: ...
@overload
def rounded(values: torch.Tensor, bits: int) -> torch.Tensor: ...
@overload
def rounded(values: float, bits: int) -> float: ...
def rounded(values, bits):
    """Values rounded to multiples of ``2 ** -bits``."""
    step = float(2 ** bits)
    if isinstance(values, torch.Tensor):
        return (values * step).round_().mul_(1.0 / step)
    if isinstance(values, np.ndarray):
        return np.round(np.asarray(values, np.float64) * step) / step
    return round(values * step) / step


class Turns:
    """Cosine and sine of whole and part turns, from a table of 4,096 steps."""

    def __init__(self, device: str) -> None:
        angle = 2 * np.pi * (np.arange(_TURN_STEPS) + 0.5) / _TURN_STEPS
        self.cosine, self.sine = (
            torch.as_tensor(rounded(f(angle), 20), dtype=torch.float32, device=device) for f in (np.cos, np.sin))

    def __call__(self, turns: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Both of ``turns`` (any shape, float32, of either sign)."""
        step = (turns - turns.floor()).mul_(_TURN_STEPS).int().view(-1)
        return self.cosine.index_select(0, step).view(turns.shape), self.sine.index_select(0, step).view(turns.shape)


class Gains:
    """Amplitude factors from dB, in steps of 1/64 dB."""

    def __init__(self, device: str) -> None:
        db = np.arange(-_GAIN_LIMIT * _GAIN_STEPS, _GAIN_LIMIT * _GAIN_STEPS + 1) / _GAIN_STEPS
        self.table = torch.as_tensor(rounded(10 ** (db / 20), KERNEL_BITS), dtype=torch.float32, device=device)

    def __call__(self, db: torch.Tensor) -> torch.Tensor:
        """float32 factors for ``db`` (any shape, within +-120)."""
        step = (db * _GAIN_STEPS).round_().add_(_GAIN_LIMIT * _GAIN_STEPS).clamp_(0, len(self.table) - 1).int()
        return self.table.index_select(0, step.view(-1)).view(db.shape)


class Normals:
    """Standard normal numbers from the 65,536 quantiles of a table (largest 4.3), float32.

    The numbers behind them come from numpy on a CPU and from torch elsewhere, where carrying them over would take longer than
    all the rest: same seed, same *kind* of device, same numbers.
    """

    def __init__(self, seed: int, device: str) -> None:
        self.device = torch.device(device)
        self.table = _quantiles().to(self.device)
        self.numbers = np.random.default_rng(seed) if self.device.type == "cpu" else torch.Generator(device).manual_seed(seed)

    def __call__(self, *shape: int) -> torch.Tensor:
        if isinstance(self.numbers, np.random.Generator):
            index = torch.from_numpy(self.numbers.integers(0, 1 << 16, shape, dtype=np.uint16).astype(np.int32))
        else:
            index = torch.randint(0, 1 << 16, shape, generator=self.numbers, device=self.device, dtype=torch.int32)
        return self.table.index_select(0, index.view(-1)).view(shape)


@lru_cache(maxsize=1)
def _quantiles() -> torch.Tensor:
    return torch.as_tensor(rounded(ndtri((np.arange(1 << 16) + 0.5) / (1 << 16)), 12), dtype=torch.float32)


class Display:
    """Echo power to grey level 0-255: log compression, S-curve and gamma in one table, 512 steps to an octave (0.006 dB).

    ``black`` dB and below is 0, ``black + dynamic_range`` and above 255. The S-curve is x - s sin(2 pi x) / (2 pi): monotonic
    for s <= 1, it leaves 0, 1/2 and 1 where they are.
    """

    _SHIFT, _LOWEST = 23 - 9, (127 - 40) << 9       # a float32's bits are its octave, then its place in it; from 2^-40 on

    def __init__(self, black: float, dynamic_range: float, s_curve: float, gamma: float, device: str) -> None:
        octaves = (np.arange(80 << 9) + 0.5) / 512
        whole = np.floor(octaves)
        power = 2.0 ** (whole - 40) * (1.0 + octaves - whole)
        level = np.clip((10 * np.log10(power) - black) / dynamic_range, 0.0, 1.0)
        level = (level - np.sin(2 * np.pi * level) * s_curve / (2 * np.pi)) ** gamma
        self.table = torch.as_tensor(rounded(255.0 * level, 8), dtype=torch.float32, device=device)

    def __call__(self, power: torch.Tensor) -> torch.Tensor:
        """float32 grey levels of ``power`` (any shape, not negative)."""
        step = (power.float().view(torch.int32) >> self._SHIFT).sub_(self._LOWEST).clamp_(0, len(self.table) - 1)
        return self.table.index_select(0, step.view(-1)).view(power.shape)
