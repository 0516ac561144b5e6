"""One run over several processes: each takes a share of every batch, and gradients are averaged (torch.distributed, DDP).

:mod:`echolib.training.share` says how a batch is shared; the result is that of one process up to rounding, and the run keeps
its specification and its key. What cannot be shared that way is refused: a loss that pools over the batch, and batch
normalisation on processors (on GPUs it is synchronised).

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
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import torch

from echolib.config.specs import RunSpec
from echolib.data.store import open_verified
from echolib.data.subsets import restricted
from echolib.errors import EcholibError, TrainingError
from echolib.training.engine import fit
from echolib.training.recipe import Parent, recipe_class
from echolib.training.share import Share


def train(spec: RunSpec, store: Path, run_dir: Path, count: int, parents: Mapping[str, Parent] | None = None, *,
          progress: bool = True, checkpoint_seconds: float = 30.0) -> None:
    """Train a run in ``count`` processes on this machine; afterwards ``run_dir`` holds what one process would have left.

    Args:
        spec: the run.
        store: folder of the packed clips.
        run_dir: the run's directory; a killed run goes on from its checkpoint, with any number of processes.
        count: processes; on GPUs one for each.
        parents: the finished runs of ``spec.parents``, by role.
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
    for role, parent in (parents or {}).items():
        words.append(f"--parent-run={role}={parent.weights}={parent.product or ''}")
    words.append(f"--recipes={recipe_class(spec.recipe).__module__}")
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
    parser.add_argument("--parent-run", action="append", default=[], help="role=weights=product")
    parser.add_argument("--recipes", help="module that makes the run's recipe known")
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--quiet", action="store_true")
    parser.add_argument("--checkpoint-seconds", type=float, default=30.0)
    given = parser.parse_args(arguments)
    _die_with(given.parent)
    share = Share(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))

    import_module("echolib.training.recipes")
    import_module(given.recipes)  # a recipe may come from outside the package
    spec = RunSpec.model_validate_json(given.spec)
    told = {role: (weights, product) for role, weights, product in (text.split("=", 2) for text in given.parent_run)}
    parents = {role: Parent(spec.parents[role], Path(weights), Path(product) if product else None)
               for role, (weights, product) in told.items()}
    try:
        store = restricted(open_verified(given.store), spec.subset)
        fit(recipe_class(spec.recipe)(spec, store, parents), given.run_dir, share=share,
            device=f"cuda:{os.environ['LOCAL_RANK']}" if torch.cuda.is_available() else "cpu",
            progress=share.first and not given.quiet, checkpoint_seconds=given.checkpoint_seconds)
    except EcholibError as error:
        sys.exit(f"process {share.rank}: {error}")


if __name__ == "__main__":
    main()
