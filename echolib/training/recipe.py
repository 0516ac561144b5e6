"""What a recipe is: everything about a run that the loop in :mod:`echolib.training.engine` does not know.

A recipe (one file in :mod:`echolib.training.recipes`) says which runs it builds on, which network it trains and from which
weights, what a step sees, what it minimises, which weights are validated and kept, and by which score. Its options are a
:class:`~echolib.config.specs.RecipeOptions`; what the trained network gives (:attr:`RecipeOptions.gives`) decides how it is
scored on the test split (:mod:`echolib.evaluation.scores`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from echolib.config.specs import RecipeOptions, RunSpec
from echolib.data.frame_masks import FrameMasks
from echolib.data.store import ClipStore
from echolib.errors import TrainingError, WeightsError
from echolib.models.registry import build
from echolib.models.weights import load_metadata, load_weights
from echolib.training.batches import Batch, ClipBatches


@dataclass(frozen=True)
class Parent:
    """A finished run that another one builds on.

    Attributes:
        spec: its specification.
        weights: file of its trained weights.
        product: folder of the product that the role asks for, or None.
    """

    spec: RunSpec
    weights: Path
    product: Path | None = None

    def state(self) -> dict[str, Tensor]:
        """Its trained weights.

        Raises:
            WeightsError: the file cannot be read, or another run made it.
        """
        made_by = load_metadata(self.weights).get("spec")
        if made_by != self.spec.key:
            raise WeightsError(f"{self.weights.name}: made by run {made_by}, but the specification builds on run {self.spec.key}")
        return load_weights(self.weights)

    def network(self) -> nn.Module:
        """Its trained network in evaluation mode, whose parameters take no gradient; raises as :meth:`state`."""
        network = skeleton(self.spec)
        network.load_state_dict(self.state())
        return network.eval().requires_grad_(False)


class Recipe(ABC):
    """One run's recipe. Subclasses are known by the ``kind`` of their options.

    Args:
        spec: the run.
        store: frames and labels.
        parents: the finished runs of ``spec.parents``, by role.

    Attributes:
        Options: the options' class.
        stream: number of the recipe's random stream; no two recipes have the same.
        visits: clips of each training study in an epoch, for estimates of cost: its traced frames, or one.
        sums: the loss is a sum over the batch, not a mean.
        pools: the loss looks at all clips of the batch at once.
        score: what :meth:`validate` gives, in a word.
        columns: names of what :meth:`notes` gives, for the log.

    Raises:
        TrainingError: the specification is of another recipe, or names other runs than were given.
    """

    Options: ClassVar[type[RecipeOptions]]
    stream: ClassVar[int]
    visits: ClassVar[int] = 1
    known: ClassVar[dict[str, type[Recipe]]] = {}
    sums: bool = False
    pools: bool = False
    score: ClassVar[str] = "Dice"
    columns: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        kind = cls.Options.model_fields["kind"].default
        for other in Recipe.known.values():
            if other.__qualname__ != cls.__qualname__ and other.stream == cls.stream:
                raise TypeError(f"recipes {other.__qualname__} and {cls.__qualname__} have the same random stream, {cls.stream}")
        Recipe.known[kind] = cls

    def __init__(self, spec: RunSpec, store: ClipStore, parents: Mapping[str, Parent] | None = None) -> None:
        parents = dict(parents or {})
        if not isinstance(spec.recipe, self.Options):
            raise TrainingError(f"{type(self).__name__} takes runs of recipe {self.Options.model_fields['kind'].default!r}, "
                                f"not {spec.recipe.kind!r}")
        missing = sorted(spec.parents.keys() - parents.keys())
        if missing:
            raise TrainingError(f"the run builds on another run as {missing[0]!r}, whose weights were not given")
        surplus = sorted(parents.keys() - spec.parents.keys())
        if surplus:
            raise TrainingError(f"a run was given as {surplus[0]!r}, but the specification names no such run")
        self.spec, self.store, self.parents = spec, store, parents
        self.options = spec.recipe

    @classmethod
    def channels(cls, spec: RunSpec) -> int:
        """Output channels of the network."""
        return 1

    @classmethod
    def build(cls, spec: RunSpec, **initial: object) -> nn.Module:
        """The network of a run, with fresh weights; ``initial`` are arguments of ``models.build`` (imagenet, seed)."""
        return build(spec.model.name, width=spec.model.width, frames=spec.clip.frames, size=spec.data.size,
                     out_channels=cls.channels(spec), **initial)

    def network(self, run_dir: Path) -> tuple[nn.Module, str | None]:
        """The network to train with its initial weights, and a line of news about where they come from, or None."""
        return self.build(self.spec, imagenet=self.spec.model.imagenet, seed=self.spec.seed), None

    def check(self) -> None:
        """Whatever would stop the run after the first epoch is an error now."""
        return

    @abstractmethod
    def batches(self) -> ClipBatches:
        """What the steps see."""

    @abstractmethod
    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """The scalar to minimise. ``network`` shares its weights with the one that :meth:`network` gave."""

    def notes(self) -> Tensor | None:
        """What the log shows of the step whose loss was computed last, beside the loss: ``(k,)``, a value for each of
        :attr:`columns`, NaN where it was not measured. Where several processes train, the first one's."""
        return None

    def beside(self) -> FrameMasks | None:
        """The masks that the network takes as a further channel of its clips; None: it takes the frames alone."""
        named = [name for name, role in self.options.roles.items() if role.channel and name in self.parents]
        return FrameMasks.open(self.parents[named[0]].product, self.store) if named else None

    def place(self, device: torch.device) -> None:
        """Bring what the recipe holds beside the network (a teacher, say) to the device."""
        return

    def after_step(self, model: nn.Module, step: int, steps: int) -> None:
        """Called after each update of the weights: ``step`` of ``steps``, counted from 1."""
        return

    def state(self) -> dict[str, Tensor]:
        """Tensors that the rest of the run depends on beside network and optimiser; they go into every checkpoint."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up what :meth:`state` gave.

        Raises:
            TrainingError: the recipe has no use for it.
        """
        if state:
            raise TrainingError(f"{self.spec.label}: the checkpoint holds {', '.join(sorted(state))}, which recipe "
                                f"{self.options.kind!r} does not know; delete it to start over")

    def kept(self, model: nn.Module) -> nn.Module:
        """The network whose weights are validated and kept: ``model`` itself, or an average of its past, say."""
        return model

    def validate(self, model: nn.Module, device: torch.device) -> float | None:
        """Score of the network after an epoch, higher is better; the best epoch is kept. None: the last epoch is."""
        return None


def recipe_class(options: RecipeOptions) -> type[Recipe]:
    """The recipe of these options.

    Raises:
        TrainingError: there is none.
    """
    if options.kind not in Recipe.known:
        raise TrainingError(f"no recipe {options.kind!r}; recipes: {', '.join(sorted(Recipe.known))}")
    return Recipe.known[options.kind]


def skeleton(spec: RunSpec) -> nn.Module:
    """The network of a run with any weights, to load trained ones into."""
    return recipe_class(spec.recipe).build(spec)


def load_trained(spec: RunSpec, weights: Path) -> nn.Module:
    """The network of a run with its trained weights, in evaluation mode."""
    network = skeleton(spec)
    network.load_state_dict(load_weights(weights))
    return network.eval()
