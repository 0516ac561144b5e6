"""Trains any recipe's network on its batches, on Lightning Fabric, to the same result whether it was interrupted or not.

A step's random numbers come from (seed, stream, epoch, step), so a resumed run needs no random state: it loads the last
checkpoint, repeats the steps after it, and arrives at the weights that an undisturbed run has. The learning rate is a
function of epoch and step. On one machine with one number of threads the same specification gives the same bytes on the CPU.

``engine: fast`` (the default) and ``engine: plain`` differ in :mod:`echolib.training.fast`, which lays out, compiles and
updates the network, and in how :mod:`echolib.training.batches` makes a batch; the loop here is the same. On a GPU the fast
path reads losses back every :data:`READ_BACK` steps only, so that the host runs ahead of the device.

Fabric places the network, sets the precision and runs the backward pass. Usually that is one process on one device; with a
:class:`~echolib.training.share.Share` it is one of several, in step with the others, and the first one writes the files.
"""

from __future__ import annotations

import math
import os
import time
import warnings
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from echolib.config.specs import OptimiserSpec, RunSpec
from echolib.errors import TrainingError
from echolib.models.weights import save_weights
from echolib.training.batches import NETWORK, Batch, ClipBatches, torch_seed
from echolib.training.checkpoint import Outcome, RunDirectory, State
from echolib.training.determinism import StopSignal, deterministic
from echolib.training.fast import Fast, build_optimiser
from echolib.training.predict import resolve_device
from echolib.training.progress import RunProgress
from echolib.training.recipe import Recipe
from echolib.training.share import ALONE, Share

__all__ = ["Outcome", "finished", "fit", "learning_rate"]

def finished(spec: RunSpec, run_dir: str | Path) -> Outcome | None:
    """The outcome of a run that is already done, or None.

    Raises:
        TrainingError: the directory belongs to another run or has lost its weights.
    """
    return RunDirectory(Path(run_dir), spec).outcome()


def learning_rate(optimiser: OptimiserSpec, epoch: int, step: int = 0, steps: int = 1) -> float:
    """The learning rate of one training step.

    Args:
        optimiser: ``steps``: ``lr * gamma`` to the number of milestones reached; ``polynomial``:
            ``lr (1 - step / steps) ** power``.
        epoch: counts from 0.
        step: of the whole run, counts from 0.
        steps: of the whole run.
    """
    if optimiser.schedule == "polynomial":
        return optimiser.lr * (1 - step / steps) ** optimiser.power
    return optimiser.lr * optimiser.gamma ** sum(epoch >= milestone for milestone in optimiser.milestones)


#: Steps after which the fast path on a GPU looks at its losses; an infinite one is found at most so many steps late.
READ_BACK = 25


def fit(recipe: Recipe, run_dir: str | Path, *, progress: bool = True, device: str | torch.device = "auto",
        checkpoint_seconds: float = 30.0, stop_after_steps: int | None = None, share: Share = ALONE) -> Outcome:
    """Train, or go on training, or return at once when the run is done.

    Args:
        recipe: the run: its specification, network, batches, loss and validation score. The weights of the best epoch are kept,
            the first of equals; without a score those of the last.
        run_dir: directory of this run.
        progress: show a bar.
        device: "auto", "cpu", "cuda", "cuda:1".
        checkpoint_seconds: at most this much work is lost to a kill; every epoch ends with a checkpoint anyway.
        stop_after_steps: stop after so many steps of this call, leaving what a kill would leave (for tests).
        share: which of several processes this is.

    Returns:
        the outcome; ``run_dir/weights.safetensors`` holds the weights kept.

    Raises:
        TrainingError: a loss or weight is not finite (naming epoch, step and studies), a batch too small for the
            network's batch normalisation, no memory, or a directory of another run.
        KeyboardInterrupt, SystemExit: after SIGINT or SIGTERM, once the step is done and a checkpoint written.
    """
    spec, directory = recipe.spec, RunDirectory(Path(run_dir), recipe.spec, recipe.columns)
    done = directory.outcome()
    if done is not None:
        return done
    recipe.check()
    batches = recipe.batches()  # before the directory: a split that cannot be trained on leaves nothing behind
    if share.first:
        directory.claim()
    place = resolve_device(device)
    with deterministic(place, strict=spec.engine == "plain" or place.type == "cpu"), StopSignal() as stop:
        run = _Run(recipe, batches, directory, place, share)
        shown = RunProgress(spec.label, spec.train.epochs * batches.steps, run.state.steps, spec.train.epochs, progress,
                            recipe.score)
        with shown:
            if run.news:
                shown.say(run.news)
            shown.say(run.how)
            if run.state.steps:
                shown.say(f"goes on after step {run.state.steps}")
            budget = math.inf if stop_after_steps is None else stop_after_steps
            if not run.steps(shown, stop, checkpoint_seconds, budget):
                return run.outcome(directory.checkpoint, finished=False)
        return run.finish()


@dataclass(frozen=True)
class _Pending:
    """A step whose loss has not been looked at; ``epoch`` and ``step`` count from 1."""

    epoch: int
    step: int
    loss: Tensor
    studies: list[str]
    rate: float
    notes: Tensor | None


class _Run:
    """A run in memory: network, optimiser, and where it stands."""

    def __init__(self, recipe: Recipe, batches: ClipBatches, directory: RunDirectory, device: torch.device, share: Share) -> None:
        spec = recipe.spec
        model, self.news = recipe.network(directory.path)
        model = share.fitted(spec, model, device, recipe.pools)
        self.spec, self.model, self.recipe, self.batches = spec, model, recipe, batches
        self.directory, self.device, self.share = directory, device, share
        batches.share = share
        from lightning_fabric import Fabric  # takes seconds: it brings torch's compiler along
        with warnings.catch_warnings():  # it quotes this machine's paths, and a notebook would show them
            warnings.filterwarnings("ignore", message="The `srun` command is available")
            self.fabric = Fabric(accelerator=device.type, precision=spec.precision, **share.fabric_options(model, device))
        self.fabric.launch()
        # On the device before there is an optimiser: a checkpoint's moments go to where the parameters are.
        self.fast = Fast(spec, model.to(device), device)
        recipe.place(device)
        self.optimiser = build_optimiser(model, spec.train.optimiser, fast=spec.engine == "fast")
        state = directory.load() if share.first else None
        share.wait()  # the first process tidies the directory and cuts the log back; the others look at it after that
        if not share.first:
            state = directory.load(tidy=False)
        share.wait()
        if state is not None:
            model.load_state_dict(state.model)
            self.optimiser.load_state_dict(state.optimiser)
            recipe.restore(state.extra)
        self.network, self.fabric_optimiser = self.fabric.setup(model, self.optimiser)
        self.trained = self.fast.compiled(self.network)  # the same weights; validation takes the network as it is
        self.state = state or State(model={}, optimiser={})
        self.pending: list[_Pending] = []
        self.total = spec.train.epochs * batches.steps
        self.delay = READ_BACK if spec.engine == "fast" and device.type == "cuda" and share.count == 1 else 1
        self.how = f"engine {spec.engine} on {device.type}; {batches.reside(device)}; {self.fast.how}; {spec.precision}"
        self.how += f"; {share.count} processes" if share.count > 1 else ""

    def steps(self, shown: RunProgress, stop: StopSignal, checkpoint_seconds: float, budget: float) -> bool:
        """Do the steps that are left; False when the budget ran out before the last."""
        state, saved = self.state, time.monotonic()
        path = self.directory.log if self.share.first else os.devnull
        with open(path, "a", encoding="utf-8", buffering=1) as log:
            while state.epoch < self.spec.train.epochs:
                self.network.train()
                with closing(self.batches.epoch(state.epoch, self.device, state.step)) as epoch:
                    began = time.monotonic()
                    for batch in epoch:
                        rate = learning_rate(self.spec.train.optimiser, state.epoch, state.steps, self.total)
                        loss = self._step(batch, rate)
                        self.pending.append(_Pending(state.epoch + 1, state.step + 1, loss, batch.studies, rate,
                                                     self.recipe.notes()))
                        state.step, state.steps = state.step + 1, state.steps + 1
                        stop.received = self.share.largest(stop.received or 0, self.device) or None  # all leave at the same step
                        last, score, now = state.step == self.batches.steps, None, time.monotonic()
                        save = last or stop.received is not None or now - saved >= checkpoint_seconds
                        losses = self._losses() if save or len(self.pending) >= self.delay or budget <= 1 else []
                        if last:
                            score = self._end_epoch()
                        now = time.monotonic()
                        state.seconds, began = state.seconds + now - began, now
                        for one, value, notes in losses:
                            row = self.directory.row(one.epoch, one.step, value, one.rate, state.seconds,
                                                     score if one.step == self.batches.steps else None, notes)
                            log.write(row)
                            shown.step(one.epoch, value, score, last and one.step == self.batches.steps)
                        budget -= 1
                        if save:
                            if self.share.first:
                                os.fsync(log.fileno())  # a checkpoint without its rows of the log could not be resumed
                                self._save()
                            saved = time.monotonic()
                        if stop.received is not None:
                            shown.say(f"stopped after step {state.steps}; the same command goes on from here")
                            stop.leave()
                        if budget <= 0:
                            return False
        return True

    def _losses(self) -> list[tuple[_Pending, float, list[float]]]:
        """The losses of the steps since the last look, and what the log shows beside them, read back in one go.

        Raises:
            TrainingError: one is not finite; the first such step is named.
        """
        noted = [one.notes for one in self.pending if one.notes is not None]
        notes = torch.stack(noted).tolist() if noted else [[]] * len(self.pending)
        found = list(zip(self.pending, torch.stack([one.loss for one in self.pending]).tolist(), notes, strict=True))
        self.pending = []
        for one, value, _ in found:
            if not math.isfinite(value):
                raise TrainingError(f"{self.spec.label}: epoch {one.epoch}, step {one.step}: the loss is {value}; studies of the "
                                    f"batch: {', '.join(one.studies)}; {self.directory.last_good()}")
        return found

    def _step(self, batch: Batch, rate: float) -> Tensor:
        """Forward, backward, update; the loss, still on the device. With a delay of 1 a bad loss stops before the update."""
        state = self.state
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        entropy = self.batches.seeds(state.epoch, state.step, NETWORK) + ([] if self.share.first else [self.share.rank])
        torch.manual_seed(torch_seed(entropy))  # drop-out, stochastic depth
        where = f"{self.spec.label}: epoch {state.epoch + 1}, step {state.step + 1}"
        try:
            batch.clip = self.fast.laid_out(batch.clip)
            value = self.recipe.loss(self.trained, batch) * self.share.weight(self.recipe.sums)
            seen = self.share.mean(value.detach())
            if self.delay == 1 and not math.isfinite(number := float(seen)):
                raise TrainingError(f"{where}: the loss is {number}; studies of the batch: {', '.join(batch.studies)}; "
                                    f"{self.directory.last_good()}")
            self.fabric.backward(value)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise TrainingError(f"{where}: {self.spec.model.name} normalises over the batch and cannot train on a batch of "
                                f"{len(batch.studies)} clip; use a larger batch or split") from None
        except torch.OutOfMemoryError:
            raise TrainingError(f"{where}: {len(batch.studies)} clips of {self.spec.clip.frames} frames do not fit in the memory "
                                f"of {self.device}; use a smaller batch") from None
        self.fabric_optimiser.step()
        self.fabric_optimiser.zero_grad()
        self.recipe.after_step(self.model, state.steps + 1, self.total)
        return seen

    def _end_epoch(self) -> float | None:
        """Validate, keep the best, move to the next epoch."""
        state = self.state
        state.epoch, state.step = state.epoch + 1, 0
        score = self.recipe.validate(self.recipe.kept(self.network), self.device)
        self.network.train()
        if score is None:
            state.best_epoch = state.epoch
        elif state.best_score is None or score > state.best_score:
            state.best_epoch, state.best_score, state.best = state.epoch, score, self._weights()
        return score

    def _weights(self) -> dict[str, Tensor]:
        return {name: tensor.detach().cpu().clone() for name, tensor in self.recipe.kept(self.model).state_dict().items()}

    def _save(self) -> None:
        self.state.model, self.state.optimiser = self.model.state_dict(), self.optimiser.state_dict()
        self.state.extra = self.recipe.state()
        self.directory.save(self.state)

    def outcome(self, weights: Path, finished: bool) -> Outcome:
        state = self.state
        return Outcome(state.best_epoch, state.best_score, state.steps, state.seconds, weights, finished)

    def finish(self) -> Outcome:
        """Write the weights kept, then the outcome."""
        kept = self.state.best or self._weights()  # without a validation score there is no best
        outcome = self.outcome(self.directory.weights, finished=True)
        if self.share.first:
            about = {"spec": self.spec.key, "recipe": self.spec.recipe.kind, "model": self.spec.model.name}
            save_weights(kept, outcome.weights, about | {"epoch": str(outcome.best_epoch)})
            self.directory.finish(outcome)
        return outcome
