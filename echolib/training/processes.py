"""One run over several processes: each takes a share of every batch, and gradients are averaged (torch.distributed, DDP).

The clips, draws and masked frames of a step are those of one process; process r of n sees clips r B/n to (r+1) B/n - 1 of a
batch of B. Loss and gradient are means over equal shares, so the result is that of one process up to rounding, and the run
keeps its specification and its key. What cannot be shared that way is refused: a loss that pools over the batch
(``dice_batch``), and batch normalisation on processors (on GPUs it is synchronised).

:func:`train` starts the processes and waits; ``python -m echolib.training.processes`` is what each of them runs. Every process
validates the whole split (the network's buffers are kept equal in each forward pass); the first alone writes files.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from echolib.config import RunSpec
from echolib.errors import EcholibError, TrainingError

#: Losses that are a sum over the batch: the mean of the shares' gradients has to be multiplied by their number.
_SUMS = ("bce_sum",)
#: Networks with parameters that no loss reaches: UniFormer carries a classifier.
_UNUSED = ("si_uniformer_s",)


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

    def weight(self, loss: str) -> int:
        """What the loss is multiplied by, so that the mean over processes is the loss of the whole batch."""
        return self.count if loss in _SUMS else 1

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

    def fitted(self, spec: RunSpec, model: nn.Module, device: torch.device) -> nn.Module:
        """The network, fit for several processes.

        Raises:
            TrainingError: the loss or a layer looks at the whole batch, which no process has.
        """
        if self.count == 1:
            return model
        self.part(spec.train.batch)
        if spec.loss == "dice_batch":
            raise TrainingError(f"{spec.label}: loss 'dice_batch' pools over the whole batch and cannot be shared among "
                                "processes; expected one process, or loss 'dice_frame'")
        if any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in model.modules()):
            if device.type != "cuda":
                raise TrainingError(f"{spec.label}: {spec.model.name} normalises over the batch, which processes can share on "
                                    "GPUs only; expected one process here")
            return nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return model

    def fabric_options(self, spec: RunSpec, device: torch.device) -> dict[str, object]:
        """``devices`` and ``strategy`` for Fabric."""
        if self.count == 1:
            return {"devices": [device.index or 0] if device.type == "cuda" else 1}
        from lightning_fabric.strategies import DDPStrategy

        backend = "nccl" if device.type == "cuda" else "gloo"
        return {"devices": self.count, "strategy": DDPStrategy(process_group_backend=backend,
                                                               find_unused_parameters=spec.model.name in _UNUSED)}


def train(spec: RunSpec, store: Path, run_dir: Path, count: int, init: Path | None = None, *, progress: bool = True,
          checkpoint_seconds: float = 30.0) -> None:
    """Train a run in ``count`` processes on this machine; afterwards ``run_dir`` holds what one process would have left.

    Args:
        spec: the run.
        store: folder of the packed clips.
        run_dir: the run's directory; a killed run goes on from its checkpoint, with any number of processes.
        count: processes; on GPUs one for each.
        init: weights of ``spec.init``.
        progress: show the first process' bar.
        checkpoint_seconds: see ``engine.fit``.

    Raises:
        TrainingError: fewer GPUs than processes, or a process failed; its own words stand on standard error.
        KeyboardInterrupt: after SIGINT, once the processes have written their checkpoint.
    """
    gpus = torch.cuda.device_count()
    if gpus and count > gpus:
        raise TrainingError(f"{count} processes were asked for and {gpus} GPUs are visible; expected at most one for each GPU")
    run_dir.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-m", "echolib.training.processes", str(run_dir), str(store), spec.model_dump_json(),
             f"--checkpoint-seconds={checkpoint_seconds:g}", f"--parent={os.getpid()}"]
    words += [f"--init={init}"] if init else []
    words += [] if progress else ["--quiet"]
    common = os.environ | {"OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // count)), "WORLD_SIZE": str(count),
                           "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    running = [subprocess.Popen(words, env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(count)]
    try:
        _wait(running)
    except BaseException:  # Ctrl-C reached them as well; any other end is passed on to them
        stop = signal.SIGINT if isinstance(sys.exception(), KeyboardInterrupt) else signal.SIGTERM
        for one in running:
            one.send_signal(stop)
        for one in running:
            one.wait()
        raise
    status = next((one.returncode for one in running if one.returncode), 0)
    if status:
        raise TrainingError(f"{spec.label}: a process of {count} ended with status {status}; the reason stands above. The same "
                            "command goes on from the last checkpoint")


def _wait(running: list[subprocess.Popen]) -> None:
    """Until all have ended; when one has failed, the others, which would wait for it, are ended."""
    while any(one.poll() is None for one in running):
        if any(one.returncode for one in running):
            for one in running:
                one.kill()
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return asked.getsockname()[1]


def _die_with(parent: int) -> None:
    """Be killed when the process that started this one ends, however it ends: an orphan would go on writing.

    Raises:
        TrainingError: it has ended already.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(1, signal.SIGKILL):  # PR_SET_PDEATHSIG, Linux
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent:
        raise TrainingError("the process that started this one has ended")


def main(arguments: list[str] | None = None) -> None:
    """One of the processes; the environment says which."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("spec")
    parser.add_argument("--init", type=Path)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--quiet", action="store_true")
    parser.add_argument("--checkpoint-seconds", type=float, default=30.0)
    given = parser.parse_args(arguments)
    _die_with(given.parent)
    share = Share(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))

    from echolib.data.store import open_verified
    from echolib.training.pretrain import train_reconstruct
    from echolib.training.segment import train_segment

    spec = RunSpec.model_validate_json(given.spec)
    device = f"cuda:{os.environ['LOCAL_RANK']}" if torch.cuda.is_available() else "cpu"
    options = {"share": share, "device": device, "progress": share.first and not given.quiet,
               "checkpoint_seconds": given.checkpoint_seconds}
    try:
        if spec.task == "reconstruct":
            train_reconstruct(spec, open_verified(given.store), given.run_dir, **options)
        else:
            train_segment(spec, open_verified(given.store), given.run_dir, init=given.init, **options)
    except EcholibError as error:
        sys.exit(f"process {share.rank}: {error}")


if __name__ == "__main__":
    main()
