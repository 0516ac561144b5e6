"""The semi-supervised rivals of CSS for the ejection fraction (Dai et al., IEEE TMI 2023, section IV-B, Table I), from the
description there: pseudo-labels for unlabelled clips by an average of the network's past, or by a twin.

``average``: Ji, Cao and Niebles (CVPR 2019), a mean teacher; the student sees disturbed clips, the teacher the clips as they
are; its labels count after a warm-up (10 of 25 epochs in the paper). The student is validated and kept.
``twin``: Xu et al. (CVPR 2022), two networks that learn from each other: what one says of a clip as it is is the label of the
other's disturbed clip. The first is validated and kept.

Disturbed: frames jittered (each is, at random, its neighbour in the clip or itself) and Gaussian noise on the pixels. How much,
the average's decay and the weight of the pseudo-labels are not said; the values here are this book's.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from echolib.config.specs import RecipeOptions
from echolib.errors import TrainingError
from echolib.training.number_batches import NumberBatch, NumberBatches, UnlabelledClips
from echolib.training.number_network import NumberNetwork
from echolib.training.recipe import Recipe
from echolib.training.twins import SECOND, Twins


class RegressPseudo(RecipeOptions):
    """Whose labels, how much they count, and how clips are disturbed."""

    kind: Literal["regress_pseudo"] = "regress_pseudo"
    labels: Literal["average", "twin"] = "average"
    weight: float = Field(1.0, ge=0, description="of the unlabelled clips' error")
    unlabelled: int = Field(10, ge=1, description="unlabelled clips of a step")
    warm_up: float = Field(0.4, ge=0, lt=1, description="share of the steps before an average's labels count")
    decay: float = Field(0.99, ge=0, le=1, description="of the average")
    noise: float = Field(0.1, ge=0, description="standard deviation of the pixels' noise, after normalisation")
    start: Literal["random", "kinetics"] = "random"
    spread: float = Field(1.0, gt=0, description="points of EF that the last layer's unit stands for")

    gives = "number"
    stage = "pseudo"


class RegressPseudoRecipe(NumberNetwork, Recipe):
    """Trains on labelled studies and on pseudo-labels of the others; the epoch of lowest validation error is kept."""

    Options = RegressPseudo
    stream = 15

    def __init__(self, *given: object, **named: object) -> None:
        super().__init__(*given, **named)
        self.done, self.total = 0, 1
        self.teacher: nn.Module | None = None

    def network(self, run_dir: Path) -> tuple[nn.Module, str | None]:
        """The network, with its average beside it or its twin in it."""
        model, news = self.fresh(self.spec.seed)
        if self.options.labels == "twin":
            return Twins(model, self.fresh(self.spec.seed + SECOND)[0]), news
        self.teacher = copy.deepcopy(model).requires_grad_(False).eval()
        return model, news

    def batches(self) -> NumberBatches:
        """Labelled and unlabelled clips."""
        made = NumberBatches(self.store, self.spec, self.stream)
        made.beside = UnlabelledClips(self.store, self.spec, self.stream, made.steps, self.options.unlabelled)
        self.total = self.spec.train.epochs * made.steps
        return made

    def place(self, device: torch.device) -> None:
        """The average."""
        if self.teacher is not None:
            self.teacher.to(device)

    def loss(self, network: nn.Module, batch: NumberBatch) -> Tensor:
        """Error of the labelled clips plus the weighted one of the others."""
        seen = disturbed(batch.beside, self.options.noise)
        if self.options.labels == "twin":
            total = sum(F.mse_loss(network(batch.clip, second=which).float(), batch.ef) for which in (False, True))
            said = [network(batch.beside, second=which).detach().float() for which in (False, True)]
            apart = sum(F.mse_loss(network(seen, second=which).float(), said[1 - which]) for which in (False, True))
            return total + self.options.weight * apart
        total = F.mse_loss(network(batch.clip).float(), batch.ef)
        if self.done < self.options.warm_up * self.total:
            return total
        with torch.no_grad(), torch.autocast(batch.clip.device.type, torch.bfloat16, enabled=self.spec.precision == "bf16-mixed"):
            said = self.teacher(batch.beside).float()
        return total + self.options.weight * F.mse_loss(network(seen).float(), said)

    @torch.no_grad()
    def after_step(self, model: nn.Module, step: int, steps: int) -> None:
        """The average follows; batch norms' running averages are copied."""
        self.done, self.total = step, steps
        if self.teacher is not None:
            for mine, new in zip(self.teacher.parameters(), model.parameters(), strict=True):
                mine.lerp_(new, 1 - self.options.decay)
            for mine, new in zip(self.teacher.buffers(), model.buffers(), strict=True):
                mine.copy_(new)

    def state(self) -> dict[str, Tensor]:
        """The step, and the average."""
        own = {} if self.teacher is None else self.teacher.state_dict()
        return {"done": torch.tensor(self.done), **{f"teacher.{name}": tensor for name, tensor in own.items()}}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up :meth:`state`. TrainingError if the checkpoint is of other networks."""
        own = {} if self.teacher is None else self.teacher.state_dict()
        if set(state) != {"done", *(f"teacher.{name}" for name in own)}:
            raise TrainingError(f"{self.spec.label}: the checkpoint holds other networks; delete it to start over")
        self.done = int(state["done"])
        if own:
            self.teacher.load_state_dict({name: state[f"teacher.{name}"] for name in own})

    def kept(self, model: nn.Module) -> nn.Module:
        """The network, of twins the first."""
        return model.first if self.options.labels == "twin" else model


def disturbed(clip: Tensor, noise: float) -> Tensor:
    """A clip ``(B, C, F, H, W)`` with its frames jittered and noise on its pixels; from the global generator of its device."""
    frames = clip.shape[2]
    moved = torch.arange(frames, device=clip.device) + torch.randint(-1, 2, (len(clip), frames), device=clip.device)
    index = moved.clamp(0, frames - 1)[:, None, :, None, None].expand_as(clip)
    return clip.gather(2, index) + noise * torch.randn_like(clip)
