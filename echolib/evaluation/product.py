"""What a product is: files that a finished run gives and that other runs read, such as its masks of all videos.

As with evaluations, a kind is a specification that makes itself; the ledger names the result by its key and knows no kind.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from echolib.config.specs import DataSpec, Keyed, OfKind, RunSpec
from echolib.evaluation.evaluation import Inputs


@dataclass(frozen=True)
class Made:
    """What a product covers."""

    studies: int
    frames: int


class ProductSpec(Keyed, OfKind):
    """Everything that decides a product; a recipe's role asks for it by its kind."""

    run: RunSpec
    data: DataSpec

    family: ClassVar[str] = "product kind"
    known: ClassVar[dict[str, type[ProductSpec]]] = {}

    __hash__ = Keyed.__hash__

    @property
    def label(self) -> str:
        """A short name for logs, such as ``masks of unet3d 32x1 seed0``."""
        return f"{self.kind} of {self.run.label}"

    @abstractmethod
    def make(self, inputs: Inputs, folder: Path) -> Made:
        """Write the product's files into an empty folder."""
