"""Two networks of one kind that are trained together and differ in their initial weights alone."""

from __future__ import annotations

from torch import Tensor, nn

#: Added to a run's seed for the second network's initial weights.
SECOND = 1_000_003


class Twins(nn.Module):
    """Two networks as one, where both are trained by backpropagation."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second
        self.unused = tuple(f"{which}.{prefix}" for which in ("first", "second") for prefix in getattr(first, "unused", ()))

    def forward(self, clip: Tensor, *, second: bool = False, **how: object) -> Tensor:
        """What one of them gives for a clip."""
        return (self.second if second else self.first)(clip, **how)
