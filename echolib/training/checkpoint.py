"""What a run leaves in its directory, and how it goes on from there.

``spec.json`` claims the directory; ``log.csv`` has one row per step; ``checkpoint.pt`` holds all that the rest of the run
depends on; ``weights.safetensors`` and then ``outcome.json`` end it. Every file but the log appears whole or not at all.
The log is appended to and cut back to the checkpoint on resume, so a killed run's log reads like any other.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from echolib.config.specs import RunSpec
from echolib.errors import TrainingError, WeightsError
from echolib.files import write_atomic, write_json
from echolib.models.weights import load_plain

COLUMNS = ("epoch", "step", "loss", "lr", "seconds", "validation")


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        best_epoch: epoch of the weights kept, from 1.
        best_score: its validation score; None without validation.
        steps: steps done in all.
        seconds: time spent training and validating, interruptions left out.
        weights: the weights file (the checkpoint when ``finished`` is False).
        finished: False when the run was stopped by ``stop_after_steps``.
    """

    best_epoch: int
    best_score: float | None
    steps: int
    seconds: float
    weights: Path
    finished: bool = True


@dataclass
class State:
    """Where a run stands. ``epoch`` and ``step`` count from 0 and name the step to do next; ``extra`` is the recipe's."""

    model: dict[str, Tensor]
    optimiser: dict[str, object]
    epoch: int = 0
    step: int = 0
    steps: int = 0
    seconds: float = 0.0
    best_epoch: int = 0
    best_score: float | None = None
    best: dict[str, Tensor] = field(default_factory=dict)
    extra: dict[str, Tensor] = field(default_factory=dict)


class RunDirectory:
    """Files of one run.

    Args:
        path: its directory.
        spec: the run.
        more: names of columns of the log beside :data:`COLUMNS`.

    Raises:
        TrainingError: the directory belongs to another specification, or one of its files is damaged.
    """

    def __init__(self, path: Path, spec: RunSpec, more: Sequence[str] = ()) -> None:
        self.path, self.spec, self.columns = Path(path), spec, (*COLUMNS, *more)
        self.weights, self.log = self.path / "weights.safetensors", self.path / "log.csv"
        self.checkpoint, self._outcome = self.path / "checkpoint.pt", self.path / "outcome.json"

    def outcome(self) -> Outcome | None:
        """How the run ended, or None while it has not."""
        if not self._outcome.is_file():
            return None
        stored = self._json(self._outcome)
        if stored.pop("spec", None) != self.spec.key:
            raise self._foreign("outcome.json")
        if not self.weights.is_file():
            raise TrainingError(f"{self.path.name}: the run ended, but weights.safetensors is gone; delete that directory")
        return Outcome(**stored, weights=self.weights)

    def claim(self) -> None:
        """Write ``spec.json``, or check that the one there is of the same run."""
        wanted, file = self.spec.model_dump(mode="json"), self.path / "spec.json"
        if not file.is_file():
            write_json(file, wanted)
        elif self._json(file) != wanted:
            raise self._foreign("spec.json")

    def finish(self, outcome: Outcome) -> None:
        """Write ``outcome.json`` (last) and drop the checkpoint."""
        fields = {name: value for name, value in asdict(outcome).items() if name not in ("weights", "finished")}
        write_json(self._outcome, {**fields, "spec": self.spec.key})
        self.checkpoint.unlink(missing_ok=True)

    def save(self, state: State) -> None:
        """Write the checkpoint.

        Raises:
            TrainingError: a weight is not finite; the checkpoint before it stays.
        """
        for name, tensor in (*state.model.items(), *state.extra.items()):
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise TrainingError(f"{self.spec.label}: weight {name!r} is not finite after epoch {state.epoch + 1}, "
                                    f"step {state.step}; {self.last_good()}")
        temporary = self.checkpoint.with_name(f".{self.checkpoint.name}.{os.getpid()}.part")
        try:
            with open(temporary, "wb") as stream:
                torch.save({**vars(state), "spec": self.spec.key}, stream)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, self.checkpoint)
        finally:
            temporary.unlink(missing_ok=True)

    def load(self, tidy: bool = True) -> State | None:
        """The last checkpoint, or None. ``tidy``: cut the log back to it and clear what a killed process left."""
        for pattern in (".*.part", ".*.tmp") if tidy else ():  # of a process killed while writing
            for part in self.path.glob(pattern):
                part.unlink(missing_ok=True)
        if not self.checkpoint.is_file():
            if tidy:
                self._cut_log(0)
            return None
        try:
            stored = load_plain(self.checkpoint)
        except WeightsError as error:
            raise TrainingError(f"{self.path.name}/checkpoint.pt is damaged ({error}); delete it to start over") from None
        if not isinstance(stored, dict) or stored.pop("spec", None) != self.spec.key:
            raise self._foreign("checkpoint.pt")
        state = State(**stored)
        if tidy:
            self._cut_log(state.steps)
        return state

    def last_good(self) -> str:
        """Where the last checkpoint is, in words."""
        if not self.checkpoint.is_file():
            return "there is no checkpoint yet"
        return f"the last good checkpoint is {self.path.name}/checkpoint.pt"

    def row(self, epoch: int, step: int, loss: float, lr: float, seconds: float, validation: float | None,
            more: Sequence[float] = ()) -> str:
        """One line of the log; ``epoch`` and ``step`` from 1; ``more`` is NaN where a value was not measured."""
        score = "" if validation is None else f"{validation:.8f}"
        rest = "".join("," if math.isnan(value) else f",{value:.6g}" for value in more)
        return f"{epoch},{step},{loss:.9g},{lr:.6g},{seconds:.3f},{score}{rest}\n"

    def _cut_log(self, rows: int) -> None:
        lines = self.log.read_text(encoding="utf-8").splitlines(keepends=True) if self.log.is_file() else []
        kept = lines[1:rows + 1]
        if len(kept) < rows or any(not line.endswith("\n") for line in kept):
            raise TrainingError(f"{self.path.name}/log.csv holds {max(len(lines) - 1, 0)} steps, the checkpoint {rows}; "
                                "delete that directory to start over")
        write_atomic(self.log, "".join([",".join(self.columns) + "\n", *kept]))

    def _foreign(self, file: str) -> TrainingError:
        return TrainingError(f"{self.path.name}/{file} belongs to another run than {self.spec.key}; delete that directory")

    def _json(self, file: Path) -> dict:
        try:
            value = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise TrainingError(f"{self.path.name}/{file.name} is not JSON ({error}); delete that directory") from None
        if not isinstance(value, dict):
            raise TrainingError(f"{self.path.name}/{file.name}: expected a mapping; delete that directory")
        return value
