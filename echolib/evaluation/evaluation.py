"""What an evaluation is: a network, or none, at work on a cohort, and the tables that come of it.

Each kind (one file in :mod:`echolib.evaluation.kinds`) is a specification that computes itself from its :class:`Inputs`. The
ledger names the result by the specification's key and knows no kind by name.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from torch import nn

from echolib.config.specs import DataSpec, Keyed, OfKind, RunSpec
from echolib.data.cohort import Cohort
from echolib.data.frame_masks import FrameMasks
from echolib.data.store import ClipStore

#: A frame of a study.
Case = tuple[str, int]


@dataclass(frozen=True)
class Picture:
    """One frame: ``picture`` (H, W) uint8, ``mask`` and ``exact`` (H, W) bool; ``exact`` is None where nothing is traced."""

    picture: np.ndarray
    mask: np.ndarray
    exact: np.ndarray | None


@dataclass(frozen=True)
class Inputs:
    """What an evaluation or a product is computed from.

    Attributes:
        store: the packed cohort.
        truth: folder of the simulated cohort; None: real data.
        cohort: gives the cohort unpacked.
        model: gives the run's trained network in evaluation mode.
        beside: gives the masks that this network takes as a further channel, or None.
        shown: wraps an iterable of so many items in a progress bar.
    """

    store: ClipStore
    truth: Path | None
    cohort: Callable[[], Cohort]
    model: Callable[[], nn.Module]
    shown: Callable[[Iterable, int], Iterator]
    beside: Callable[[], FrameMasks | None] = lambda: None


@dataclass(frozen=True)
class Computed:
    """What an evaluation gives.

    Attributes:
        tables: small tables by name: all of the kind's ``tables``.
        studies, frames: how many it covers.
        unit: of its volumes or areas.
        bulk: large tables by name: all of the kind's ``bulk``.
    """

    tables: dict[str, pd.DataFrame]
    studies: int
    frames: int
    unit: str
    bulk: dict[str, pd.DataFrame] = field(default_factory=dict)


class EvaluationSpec(Keyed, OfKind):
    """Everything that decides the result of an evaluation.

    Attributes:
        tables: names of its small tables, committed with every record.
        bulk: names of its large tables, committed where a page draws from them.
        compact: those of ``bulk`` that are small enough to be committed with every record.
    """

    run: RunSpec | None = None
    data: DataSpec

    tables: ClassVar[tuple[str, ...]] = ()
    bulk: ClassVar[tuple[str, ...]] = ()
    compact: ClassVar[tuple[str, ...]] = ()
    family: ClassVar[str] = "evaluation kind"
    known: ClassVar[dict[str, type[EvaluationSpec]]] = {}

    __hash__ = Keyed.__hash__

    @property
    @abstractmethod
    def label(self) -> str:
        """A short name for logs."""

    @abstractmethod
    def compute(self, inputs: Inputs) -> Computed:
        """Compute it."""

    def pictures(self, inputs: Inputs, cases: list[Case]) -> dict[Case, Picture]:
        """Some frames with the outlines that the evaluation found; each goes through the network as it did there."""
        raise NotImplementedError(f"an evaluation of kind {self.kind!r} draws no frames")

    def predicted_frames(self, studies: int, frames: float) -> float:
        """Frames that go through the network, for estimates of cost.

        Args:
            studies: of the cohort, those of the evaluation's split where it has one.
            frames: mean of a video.
        """
        return 0.0
