"""How many videos of a cohort are too short for a clip: what a recipe that needs such clips leaves out."""

from __future__ import annotations

from typing import Literal

import pandas as pd
from pydantic import Field

from echolib.data.cohort import SPLITS
from echolib.evaluation.evaluation import Computed, EvaluationSpec, Inputs
from echolib.training.cycle_batches import long_enough


class LengthsSpec(EvaluationSpec):
    """One table, ``splits``: split, studies, and how many are shorter than a clip of ``frames`` frames at ``period``."""

    kind: Literal["lengths"] = "lengths"
    run: None = None
    frames: int = Field(40, ge=1)
    period: int = Field(3, ge=1)

    tables = ("splits",)

    @property
    def label(self) -> str:
        """Such as ``videos of echonet that hold 40 frames at period 3``."""
        return f"videos of {self.data.cohort} that hold {self.frames} frames at period {self.period}"

    def compute(self, inputs: Inputs) -> Computed:
        """Count them."""
        studies, rows = inputs.store.studies, []
        for split in SPLITS:
            names = list(studies.index[studies["split"] == split])
            rows.append((split, len(names), len(names) - len(long_enough(inputs.store, names, self.frames, self.period))))
        table = pd.DataFrame(rows, columns=["split", "studies", "short"])
        return Computed({"splits": table}, len(studies), int(studies["frames"].sum()), "frames")
