"""Two kinds of clips in one step: those that an epoch visits, and others beside them, from their videos equally often.

Unlabelled clips stand beside labelled ones in this way. Both halves draw from streams of their own, so what one holds does not
depend on the other, nor on where an epoch was resumed.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from echolib.config.specs import RunSpec
from echolib.data.store import ClipStore
from echolib.errors import TrainingError
from echolib.training.batches import NETWORK, Batch, ClipBatches, Item
from echolib.training.share import Share

#: Purpose of random numbers beside those of every recipe: the order of the videos beside.
_ORDER = NETWORK + 1


class BesideBatches(ClipBatches):
    """So many clips a step, one permutation of the videos after the other.

    Args:
        store: the frames.
        split: whose videos they are, for messages.
        spec: the run.
        studies: the videos.
        stream: number of the recipe's random stream.
        steps: steps of an epoch.
        count: clips of a step.
    """

    def __init__(self, store: ClipStore, split: str, spec: RunSpec, studies: Sequence[str], stream: int, steps: int,
                 count: int) -> None:
        super().__init__(store, split, spec, [Item(name) for name in studies], stream)
        self.steps, self.count = steps, count

    def seeds(self, epoch: int, step: int, purpose: int) -> list[int]:
        """Apart from those of the clips that the epoch visits."""
        return [*super().seeds(epoch, step, purpose), 1]

    def order(self, epoch: int) -> list[list[Item]]:
        """The videos of every step."""
        rng, rounds = np.random.default_rng(self.seeds(epoch, 0, _ORDER)), -(-self.steps * self.count // len(self.items))
        order = [self.items[i] for _ in range(rounds) for i in rng.permutation(len(self.items))]
        return [order[step * self.count:(step + 1) * self.count] for step in range(self.steps)]


class TwoKinds(ClipBatches):
    """Batches with others ``beside`` them; a subclass sets ``beside`` after its own initialisation, or leaves it None."""

    beside: BesideBatches | None = None

    @property
    def share(self) -> Share:
        """Which clips this process has, of both kinds."""
        return self._share

    @share.setter
    def share(self, share: Share) -> None:
        self._share = share
        if self.beside is not None:
            self.beside.share = share

    @abstractmethod
    def joined(self, own: Batch, other: Batch) -> Batch:
        """The step, made of both."""

    def epoch(self, epoch: int, device: torch.device, first: int = 0) -> Iterator[Batch]:
        """Batches ``first, first + 1, ...`` with those beside them."""
        own = super().epoch(epoch, device, first)
        if self.beside is None:
            yield from own
            return
        for one, other in zip(own, self.beside.epoch(epoch, device, first), strict=True):
            yield self.joined(one, other)


def unlabelled_studies(store: ClipStore, split: str, what: str) -> list[str]:
    """Videos of a split without any tracing, by name.

    Args:
        store: as the run may see it.
        split: the split.
        what: needs them, for the message.

    Raises:
        TrainingError: there is none.
    """
    traced = set(store.labels["study"])
    names = sorted(name for name in store.studies.index[store.studies["split"] == split] if name not in traced)
    if not names:
        raise TrainingError(f"{what} needs unlabelled videos, but every video of the {split!r} split is labelled; expected a "
                            "labelled share below 1 in 'subset'")
    return names
