"""What a run, an evaluation or a cohort will cost in time and disk, before it is computed.

Two kinds of estimate, and each says which it is:

- *measured*: from records of the same network in the same width, precision and engine, on the same kind of device: seconds per
  trained frame, times the frames to train. Records of this machine come before records of another one.
- *arithmetic*: operations of a forward pass, counted on tensors without content, times 3 for the backward pass, divided by a
  share (:data:`SHARE`) of the rate at which this machine, just now, multiplies matrices.

A *trained frame* is one frame of one clip of one training step. Validation and scoring run forward only: a third of one.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from echolib import models
from echolib.batch.plan import Cost
from echolib.config.specs import ClipSpec, DataSpec, RunSpec
from echolib.errors import RecordError
from echolib.evaluation.evaluation import EvaluationSpec
from echolib.hardware import cores
from echolib.ledger.counts import PAPER_FRAMES
from echolib.ledger.provenance import hardware
from echolib.ledger.records import Record, read_record
from echolib.training.recipe import recipe_class, skeleton

#: Studies with tracings by split, of the real data sets.
REAL_STUDIES = {"echonet": {"train": 7460, "val": 1288, "test": 1276}, "camus": {"train": 800, "val": 100, "test": 100}}
#: Mean frames of a video, of the real data sets and of phantoms that imitate their length.
MEAN_FRAMES = {"echonet": 176.5, "camus": 20.0}
#: Bytes of a frame on disk in a data set's own layout: MJPG of 112 px, NIfTI of some 551 x 669 px. Measured on phantoms.
FILE_BYTES = {"echonet": 5_500, "camus": 200_000}
#: Seconds to simulate a frame on one processor core (benchmarks/phantom_speed.py: 1.4 s for 175 frames), and on a GPU (its aim).
SIMULATE_SECONDS = {"cpu": 0.0083, "cuda": 0.0001}
#: How much longer a frame in a data set's own layout takes to simulate than one of EchoNet's 112 px.
LARGER = {"echonet": 1, "camus": 10}
#: Seconds to decode and pack a frame.
PACK_SECONDS = {"echonet": 0.0003, "camus": 0.03}
#: Bytes of a row of an evaluation's table of frames.
ROW_BYTES = 45
#: Share of the rate of matrix products that training reaches. Processor: 0.13 to 0.71 were measured on six networks, narrow ones
#: lowest. GPU: assumed; convolutions with few channels leave most of one idle.
SHARE = {"cpu": 0.4, "cuda": 0.1}
#: Traced frames of a study: end-diastole and end-systole.
TRACED = 2


def studies(data: DataSpec) -> dict[str, int]:
    """Studies by split: those that a phantom will have, or those of the real data set."""
    if data.phantom is None:
        return REAL_STUDIES[data.layout]
    views = 2 if data.layout == "camus" else 1
    return {split: views * getattr(data.phantom, split) for split in ("train", "val", "test")}


def packed_studies(data: DataSpec) -> int:
    """Studies of all splits that are packed and evaluated: of CAMUS those of the views that are asked for."""
    total = sum(studies(data).values())
    return total * len(data.views) // 2 if data.layout == "camus" else total


def split_studies(spec: RunSpec) -> dict[str, int]:
    """Studies that a run trains on, validates on and is scored on, by split, as its subset divides them."""
    total, subset = packed_studies(spec.data), spec.subset
    if subset.parts is not None:
        shares = [part / sum(subset.parts) for part in subset.parts]
    elif subset.folds is not None:
        shares = [1 - 2 / subset.folds, 1 / subset.folds, 1 / subset.folds]
    else:
        share = len(spec.data.views) / 2 if spec.data.layout == "camus" else 1
        return {split: int(count * share) for split, count in studies(spec.data).items()}
    return {split: round(total * share) for split, share in zip(("train", "val", "test"), shares, strict=True)}


def frames_per_study(data: DataSpec) -> float:
    """Mean frames of a video."""
    return MEAN_FRAMES[data.layout] if data.phantom is None or data.phantom.frames is None else sum(data.phantom.frames) / 2


def steps(spec: RunSpec) -> int:
    """Training steps of a run (as ``training.batches`` counts them)."""
    items = split_studies(spec)["train"] * recipe_class(spec.recipe).visits
    full = max(1, items // spec.train.batch)
    return spec.train.epochs * (full if spec.train.steps is None else min(full, spec.train.steps))


def trained_frames(spec: RunSpec) -> float:
    """Frames trained, and validated after every epoch, in trained frames."""
    validated = spec.train.epochs * TRACED * split_studies(spec)["val"] if spec.recipe.gives != "clip" else 0
    return spec.clip.frames * (steps(spec) * spec.train.batch + validated / 3)


def matrix_rate(device: str, precision: str) -> float:
    """Operations per second (a multiplication and an addition are two) of a matrix product, the best of a few."""
    size, dtype = (8192, torch.bfloat16) if device == "cuda" and precision == "bf16-mixed" else (1024, torch.float32)
    matrix, best = torch.ones(size, size, device=device, dtype=dtype), float("inf")
    for _ in range(5):
        began = time.perf_counter()
        product = matrix @ matrix
        float(product[0, 0])  # a GPU call returns before the work is done
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


@dataclass
class Estimator:
    """Estimates for one machine.

    Attributes:
        records: finished runs to learn from.
        rate: operations per second of a matrix product on the machine that will compute; None: measured here when asked for.
        device: ``cpu`` or ``cuda``.
        share: of that rate that training reaches; None: :data:`SHARE` of this machine's device.
        rates: those measured here so far, by precision.
    """

    records: list[Record]
    rate: float | None = None
    device: str = "cpu"
    share: float | None = None
    rates: dict[str, float] = field(default_factory=dict)
    _counts: dict[tuple, tuple[float, int]] = field(default_factory=dict, repr=False)

    def run(self, spec: RunSpec) -> Cost:
        """Training, validation and scoring of one run, without the run that it starts from."""
        scored = TRACED * split_studies(spec)["test"] * spec.clip.frames / 3 if spec.recipe.gives != "clip" else 0.0
        per_frame, source = self._per_frame(spec)
        # Activations: some forty maps of the first level's 16 channels, float32; weights, gradients, moments, the best weights.
        maps = 40 * 4 * max(8, int(16 * spec.model.width)) * spec.train.batch * spec.clip.frames * spec.data.size**2
        weights = 4 * self._count(spec)[1]
        return Cost(per_frame * (trained_frames(spec) + scored), weights, source, memory=maps + 5 * weights)

    def evaluation(self, spec: EvaluationSpec) -> Cost:
        """A network at work on a cohort, or the exact masks or a threshold, which cost next to nothing."""
        by_split, frames = studies(spec.data), frames_per_study(spec.data)
        split = getattr(spec, "split", None)
        count = packed_studies(spec.data) if split is None else by_split[split]
        disk = int(ROW_BYTES * count * frames)
        if spec.run is None:
            return Cost(0.002 * count * frames, disk, "arithmetic")
        per_frame, source = self._per_frame(spec.run)
        return Cost(per_frame * spec.predicted_frames(count, frames) / 3, disk, source)

    def cohort(self, data: DataSpec) -> Cost:
        """Simulating a phantom cohort; real data costs nothing."""
        if data.phantom is None:
            return Cost(0.0, 0, "not simulated")
        total = sum(studies(data).values()) * frames_per_study(data)
        workers = 1 if self.device == "cuda" else cores()
        seconds = SIMULATE_SECONDS[self.device] * LARGER[data.layout] * total / workers
        return Cost(seconds, int(FILE_BYTES[data.layout] * total), "arithmetic")

    def store(self, data: DataSpec) -> Cost:
        """Packing a cohort."""
        total = packed_studies(data) * frames_per_study(data)
        return Cost(PACK_SECONDS[data.layout] * total, int(total * data.size**2 * data.channels), "arithmetic")

    def share_of(self) -> float:
        """The share of the rate of matrix products that the arithmetic uses."""
        return SHARE[self.device] if self.share is None else self.share

    def rate_of(self, precision: str) -> float:
        """The rate of matrix products that the arithmetic uses, operations per second."""
        if self.rate is not None:
            return self.rate
        if precision not in self.rates:
            self.rates[precision] = matrix_rate(self.device, precision)
        return self.rates[precision]

    def _per_frame(self, spec: RunSpec) -> tuple[float, str]:
        """Seconds per trained frame, and the kind of estimate."""
        same = [r for r in self.records if _kind(r.spec) == _kind(spec) and _device(r) == self.device]
        if self.rate is not None:  # another machine will compute: what was measured here says nothing of it
            same = []
        here = [r for r in same if r.provenance.hardware == hardware()]
        if same:
            used = here or same
            area = spec.data.size**2  # a record of another frame size counts by its pixels
            seconds = sum(r.train_seconds for r in used)
            work = sum(trained_frames(r.spec) * r.spec.data.size**2 / area for r in used)
            where = "on this machine" if here else f"on {used[0].provenance.hardware}"
            return seconds / work, f"measured {where}"
        operations = 3 * self._count(spec)[0]
        return operations / (self.share_of() * self.rate_of(spec.precision)), "arithmetic"

    def _count(self, spec: RunSpec) -> tuple[float, int]:
        """(operations of a forward pass per frame, parameters)."""
        masks = any(role.channel and name in spec.parents for name, role in spec.recipe.roles.items())
        key = (*_network(spec), spec.data.size, masks)
        if key not in self._counts:
            frames = PAPER_FRAMES.get(spec.model.name, spec.clip.frames)
            with torch.device("meta"):  # no content: nothing is computed
                network = skeleton(spec.model_copy(update={"clip": ClipSpec(frames=frames)})).eval().requires_grad_(False)
                clip = torch.zeros(1, 3 + masks, frames, spec.data.size, spec.data.size)
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                network(clip)
            self._counts[key] = counter.get_total_flops() / frames, models.count_parameters(network)
        return self._counts[key]


def known_records(root: Path) -> list[Record]:
    """Every readable record of a checkout, of all profiles: this machine's in ``build`` and those committed in ``results``."""
    paths = [*sorted(root.glob("build/*/runs/*/record.json")), *sorted(root.glob("results/*/runs/*.json"))]
    found = []
    for path in paths:
        try:
            found.append(read_record(path))
        except RecordError:  # of an older version, or damaged: no use for an estimate; where it matters it is reported
            continue
    return found


def _kind(spec: RunSpec) -> tuple:
    return *_network(spec), spec.precision, spec.engine, spec.recipe.kind


def _network(spec: RunSpec) -> tuple:
    """Name, width and, as text, the options that a recipe gives to its network: what makes one network cost more than another."""
    return spec.model.name, spec.model.width, json.dumps(getattr(spec.recipe, "network", {}), sort_keys=True)


def _device(record: Record) -> str:
    """``hardware`` names a GPU in front of the processor."""
    return "cuda" if " + " in record.provenance.hardware else "cpu"
