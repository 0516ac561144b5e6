"""A numerical check of a whole network's gradient."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def slopes(model: nn.Module, loss: Callable[[], Tensor], step: float = 1e-6) -> tuple[float, float]:
    """Derivative of a loss along a random direction of all parameters: by autograd, and by central differences.

    Args:
        model: in float64; its parameters end as they began.
        loss: gives the scalar, the same for the same parameters.
        step: of the differences.
    """
    generator = torch.Generator().manual_seed(5)
    parameters = [one for one in model.parameters() if one.requires_grad]
    directions = [torch.randn(one.shape, generator=generator, dtype=one.dtype) for one in parameters]
    gradients = torch.autograd.grad(loss(), parameters, allow_unused=True)
    exact = sum(float((gradient * direction).sum()) for gradient, direction in zip(gradients, directions, strict=True)
                if gradient is not None)

    def moved(by: float) -> float:
        with torch.no_grad():
            for one, direction in zip(parameters, directions, strict=True):
                one.add_(direction, alpha=by)
            value = float(loss())
            for one, direction in zip(parameters, directions, strict=True):
                one.sub_(direction, alpha=by)
        return value
    return exact, (moved(step) - moved(-step)) / (2 * step)
