"""Networks that give the ejection fraction: how a recipe builds, fills and validates them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from echolib.config.specs import RunSpec
from echolib.models.kinetics import load_kinetics
from echolib.training.number_batches import with_ef
from echolib.training.predict import predicted_numbers


class NumberNetwork:
    """What recipes of networks that give the ejection fraction share; stands before :class:`Recipe` among a recipe's bases.

    The options have ``start`` and ``spread``.
    """

    score = "minus MSE"

    @classmethod
    def build(cls, spec: RunSpec, **initial: object) -> nn.Module:
        """A network of three channels, or four where it sees masks."""
        channels = 3 + any(role.channel and name in spec.parents for name, role in spec.recipe.roles.items())
        return super().build(spec, options={"channels": channels, "spread": spec.recipe.spread}, **initial)

    def check(self) -> None:
        """Ejection fractions that are missing are found now, those of the validation split too."""
        for split in ("train", "val"):
            with_ef(self.store, self.spec, split)

    def network(self, run_dir: Path) -> tuple[nn.Module, str | None]:
        """From Kinetics weights or at random, its output at the mean of the labelled ejection fractions."""
        return self.fresh(self.spec.seed)

    def fresh(self, seed: int) -> tuple[nn.Module, str]:
        """A network with the initial weights of a seed, and a line of news."""
        model, name = self.build(self.spec, seed=seed), self.spec.model.name
        news = "starts from random weights"
        if self.options.start == "kinetics":
            file = load_kinetics(name, model, channels=model.stem[0].in_channels, seed=seed)
            news = f"starts from Kinetics-400 weights ({file})"
        labelled = with_ef(self.store, self.spec, "train")
        mean = float(np.mean(self.store.studies.loc[labelled, "ef"]))
        model.centre(mean)
        return model, f"{news}; {len(labelled)} labelled studies, mean EF {mean:.2f} %"

    def validate(self, model: nn.Module, device: torch.device) -> float:
        """Minus the mean squared error of one clip of each study of the validation split."""
        found = predicted_numbers(model, self.store, self.spec, "val", device=device, beside=self.beside())
        return -float(((found.predicted_ef - found.ef) ** 2).mean())
