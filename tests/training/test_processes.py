"""A run shared by two processes: the weights of one up to rounding, killed and resumed too; what cannot be shared is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch

from echolib import models
from echolib.config import AugmentSpec, ClipSpec, DataSpec, ModelSpec, OptimiserSpec, RunSpec, TrainSpec
from echolib.data import echonet
from echolib.data.store import pack
from echolib.errors import TrainingError
from echolib.training import processes
from echolib.training.engine import fit
from echolib.training.recipes.segment import Segment, Segmentation
from echolib.training.share import Share
from tests.data.fakes import write_echonet
from tests.training.standin import batches, run_spec, small_store


def spec(**changes) -> RunSpec:
    # SGD: AdamW divides rounding by rounding where a gradient is nearly 0
    train = TrainSpec(epochs=2, batch=2, optimiser=OptimiserSpec(name="sgd", lr=0.005, momentum=0.9), augment=AugmentSpec())
    fields = dict(recipe=Segment(loss=changes.pop("loss", "dice_frame")), data=DataSpec(layout="echonet", size=32, channels=1),
                  model=ModelSpec(name="unet3d", width=0.125), clip=ClipSpec(frames=16, period=1), train=train)
    return RunSpec(**{**fields, **changes})


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    write_echonet(folder / "cohort")
    return pack(echonet.read(folder / "cohort"), folder / "packed", size=32, channels=1, progress=False)


def test_parts_are_disjoint_and_cover_the_batch():
    parts = [list(range(12))[Share(rank, 3).part(12)] for rank in range(3)]
    assert parts == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    with pytest.raises(TrainingError, match="a batch of 10 clips does not divide among 3 processes"):
        Share(0, 3).part(10)


def test_the_shares_of_a_batch_are_the_whole_batch():
    whole = batches(small_store(), "train", run_spec())
    halves = [batches(small_store(), "train", run_spec()) for _ in range(2)]
    for rank, half in enumerate(halves):
        half.share = Share(rank, 2)
    cpu = torch.device("cpu")
    for one, *two in zip(whole.epoch(1, cpu), *(half.epoch(1, cpu) for half in halves), strict=True):
        assert torch.equal(one.clip, torch.cat([b.clip for b in two]))
        assert torch.equal(one.mask, torch.cat([b.mask for b in two]))
        assert torch.equal(one.position, torch.cat([b.position for b in two]))
        assert one.studies == two[0].studies == two[1].studies


def test_sums_are_weighed_so_that_the_mean_over_processes_is_the_sum():
    assert [Share(0, 3).weight(sums) for sums in (True, False)] == [3, 1]
    assert Segmentation(spec(loss="bce_sum"), small_store()).sums and not Segmentation(spec(), small_store()).sums


@pytest.mark.parametrize(("changes", "message"), [
    ({"loss": "dice_batch"}, "the loss pools over the whole batch"),
    ({"model": ModelSpec(name="si_resnet18", width=0.125)}, "normalises over the batch, which processes can share on GPUs only")])
def test_what_looks_at_the_whole_batch_is_refused(changes, message):
    one = spec(**changes)
    network = models.build(one.model.name, width=0.125, frames=16, size=32, seed=0)
    with pytest.raises(TrainingError, match=message):
        Share(0, 2).fitted(one, network, torch.device("cpu"), Segmentation(one, small_store()).pools)


CHILD = """import sys
from pathlib import Path
from echolib.config import RunSpec
import echolib.training.recipes
from echolib.training.processes import train
train(RunSpec.model_validate_json(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), 2, progress=False, checkpoint_seconds=0.0)
"""


def weights_apart(first, second) -> float:
    a, b = (models.load_weights(folder / "weights.safetensors") for folder in (first, second))
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def test_two_processes_give_the_weights_of_one(store, tmp_path):
    fit(Segmentation(spec(), store), tmp_path / "one", device="cpu", progress=False)
    processes.train(spec(), store.path, tmp_path / "two", 2, progress=False)
    assert weights_apart(tmp_path / "one", tmp_path / "two") < 1e-4
    logs = [pd.read_csv(tmp_path / name / "log.csv") for name in ("one", "two")]
    assert np.allclose(logs[0].loss, logs[1].loss, atol=1e-5) and len(logs[0]) > 2
    assert logs[0].validation.dropna().round(3).equals(logs[1].validation.dropna().round(3))
    # and the result is one that the ledger, which asks once more, takes as finished
    assert fit(Segmentation(spec(), store), tmp_path / "two", device="cpu", progress=False).steps == len(logs[0])


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_shared_run_that_is_stopped_goes_on(store, tmp_path, number):
    long = spec(train=spec().train.model_copy(update={"epochs": 6}))
    fit(Segmentation(long, store), tmp_path / "one", device="cpu", progress=False)
    words = [sys.executable, "-c", CHILD, long.model_dump_json(), str(store.path), str(tmp_path / "two")]
    with subprocess.Popen(words, start_new_session=True, stderr=subprocess.PIPE) as running:
        end = time.monotonic() + 300
        while not (tmp_path / "two" / "checkpoint.pt").is_file() and running.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        os.killpg(running.pid, number)
        running.communicate()
    assert not (tmp_path / "two" / "outcome.json").is_file(), "it was stopped too late"
    assert (tmp_path / "two" / "checkpoint.pt").is_file()
    processes.train(long, store.path, tmp_path / "two", 2, progress=False)
    assert weights_apart(tmp_path / "one", tmp_path / "two") < 1e-3
    steps = pd.read_csv(tmp_path / "two" / "log.csv")[["epoch", "step"]]
    assert not steps.duplicated().any() and len(steps) == len(pd.read_csv(tmp_path / "one" / "log.csv"))


def test_a_failing_process_is_reported(store, tmp_path, capfd):
    with pytest.raises(TrainingError, match="a process of 2 ended with status 1"):
        processes.train(spec(loss="dice_batch"), store.path, tmp_path / "bad", 2, progress=False)
    assert "pools over the whole batch" in capfd.readouterr().err
