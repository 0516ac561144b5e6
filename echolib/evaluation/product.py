"""What a product is: files that a finished run gives and that other runs read, such as its masks of all videos.

As with evaluations, a kind is a specification that makes itself; the ledger names the result by its key and knows no kind.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from echolib.config.specs import DataSpec, Keyed, RunSpec
from echolib.evaluation.evaluation import Inputs


@dataclass(frozen=True)
class Made:
    """What a product covers."""

    studies: int
    frames: int


class ProductSpec(Keyed):
    """Everything that decides a product; a subclass gives ``kind`` a literal default, by which a recipe's role asks for it."""

    kind: str
    run: RunSpec
    data: DataSpec

    known: ClassVar[dict[str, type[ProductSpec]]] = {}

    __hash__ = Keyed.__hash__

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: object) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        ProductSpec.known[cls.model_fields["kind"].default] = cls

    @property
    def label(self) -> str:
        """A short name for logs, such as ``masks of unet3d 32x1 seed0``."""
        return f"{self.kind} of {self.run.label}"

    @abstractmethod
    def make(self, inputs: Inputs, folder: Path) -> Made:
        """Write the product's files into an empty folder."""


def spec_of_kind(value: object) -> object:
    """``value``, or where it is a mapping the specification of its kind.

    Raises:
        ValueError: no such kind, or not such a specification.
    """
    if not isinstance(value, dict):
        return value
    if value.get("kind") not in ProductSpec.known:
        raise ValueError(f"no product of kind {value.get('kind')!r}; kinds: {', '.join(sorted(ProductSpec.known))}")
    return ProductSpec.known[value["kind"]].model_validate(value)
