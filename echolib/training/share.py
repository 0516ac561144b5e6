"""One process' share of a run: which clips of a batch it sees, and what the processes tell each other.

The clips, draws and masked frames of a step are those of one process; process r of n sees clips r B/n to (r+1) B/n - 1 of a
batch of B. Loss and gradient are means over equal shares, so the result is that of one process up to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from echolib.config.specs import RunSpec
from echolib.errors import TrainingError


@dataclass(frozen=True)
class Share:
    """This process among the ``count`` processes of a run; ``rank`` counts from 0."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Does this process write the files?"""
        return self.rank == 0

    def part(self, clips: int) -> slice:
        """This process' clips of a batch.

        Raises:
            TrainingError: the batch does not divide evenly.
        """
        if clips % self.count:
            raise TrainingError(f"a batch of {clips} clips does not divide among {self.count} processes; expected a number of "
                                "processes that divides it")
        size = clips // self.count
        return slice(self.rank * size, (self.rank + 1) * size)

    def weight(self, sums: bool) -> int:
        """What a loss is multiplied by, so that the mean over processes is the loss of the whole batch.

        Args:
            sums: the loss is a sum over the batch, not a mean.
        """
        return self.count if sums else 1

    def mean(self, value: Tensor) -> Tensor:
        """Mean of a scalar over the processes, the same on each."""
        if self.count == 1:
            return value
        value = value.clone()
        torch.distributed.all_reduce(value)
        return value / self.count

    def largest(self, number: int, device: torch.device) -> int:
        """The largest of the processes' numbers, the same on each."""
        if self.count == 1:
            return number
        told = torch.tensor(number, device=device)
        torch.distributed.all_reduce(told, op=torch.distributed.ReduceOp.MAX)
        return int(told)

    def wait(self) -> None:
        """Until every process is here."""
        if self.count > 1:
            torch.distributed.barrier()

    def fitted(self, spec: RunSpec, model: nn.Module, device: torch.device, pools: bool) -> nn.Module:
        """The network, fit for several processes.

        Args:
            spec: the run.
            model: its network.
            device: where it is trained.
            pools: the loss looks at the whole batch at once.

        Raises:
            TrainingError: the loss or a layer looks at the whole batch, which no process has.
        """
        if self.count == 1:
            return model
        self.part(spec.train.batch)
        if pools:
            raise TrainingError(f"{spec.label}: the loss pools over the whole batch and cannot be shared among processes; "
                                "expected one process, or a loss of single clips")
        if any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in model.modules()):
            if device.type != "cuda":
                raise TrainingError(f"{spec.label}: {spec.model.name} normalises over the batch, which processes can share on "
                                    "GPUs only; expected one process here")
            return nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return model

    def fabric_options(self, model: nn.Module, device: torch.device) -> dict[str, object]:
        """``devices`` and ``strategy`` for Fabric."""
        if self.count == 1:
            return {"devices": [device.index or 0] if device.type == "cuda" else 1}
        from lightning_fabric.strategies import DDPStrategy  # seconds: it brings torch's compiler along

        backend = "nccl" if device.type == "cuda" else "gloo"
        return {"devices": self.count, "strategy": DDPStrategy(process_group_backend=backend,
                                                               find_unused_parameters=bool(getattr(model, "unused", ())))}


#: The only process of a run.
ALONE = Share()
