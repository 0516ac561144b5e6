"""The engine's promises: same bytes twice, same bytes after any interruption, clear errors, nothing half-written."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from echolib.config import OptimiserSpec
from echolib.errors import TrainingError
from echolib.models import load_metadata, load_weights
from echolib.training import engine
from tests.training.standin import (
    TinyNet,
    batches,
    killed_spec,
    pretrain_spec,
    reconstruct_loss,
    run_spec,
    segment_loss,
    small_store,
    train,
)

ROOT = Path(__file__).parents[2]


def log(run_dir: Path) -> list[dict[str, str]]:
    with open(run_dir / "log.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def without_clock(run_dir: Path) -> list[dict[str, str]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in log(run_dir)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The undisturbed run."""
    run_dir = tmp_path_factory.mktemp("whole")
    train(run_dir)
    return run_dir


def test_a_run_leaves_weights_log_and_outcome(whole):
    assert sorted(p.name for p in whole.iterdir()) == ["log.csv", "outcome.json", "spec.json", "weights.safetensors"]
    rows = log(whole)
    assert [(int(r["epoch"]), int(r["step"])) for r in rows] == [(e, s) for e in (1, 2, 3) for s in (1, 2, 3)]
    assert [r["lr"] for r in rows] == ["0.01"] * 6 + ["0.001"] * 3
    assert [bool(r["validation"]) for r in rows] == [False, False, True] * 3
    assert load_metadata(whole / "weights.safetensors")["spec"] == run_spec().key
    assert json.loads((whole / "spec.json").read_text()) == run_spec().model_dump(mode="json")


def test_the_best_epoch_is_kept(whole):
    scores = [float(r["validation"]) for r in log(whole) if r["validation"]]
    outcome = engine.finished(run_spec(), whole)
    assert outcome.best_epoch == int(np.argmax(scores)) + 1
    assert outcome.best_score == pytest.approx(max(scores), abs=1e-8)
    assert outcome.steps == 9 and outcome.finished and outcome.seconds > 0


@pytest.mark.parametrize("scores, best", [((0.2, 0.9, 0.5), 2), ((0.3, 0.3, 0.3), 1), ((0.1, 0.2, 0.3), 3)])
def test_the_weights_are_those_of_the_best_epoch(tmp_path, scores, best):
    seen, given = [], iter(scores)

    def validate(model):
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        return next(given)
    outcome = train(tmp_path, validate=validate)
    assert (outcome.best_epoch, outcome.best_score) == (best, max(scores))
    kept = load_weights(tmp_path / "weights.safetensors")
    assert all(torch.equal(kept[name], seen[best - 1][name]) for name in kept)


def test_stage_1_keeps_the_last_epoch(tmp_path):
    model = TinyNet(3)
    outcome = train(tmp_path, pretrain_spec(train_batch=1), model=model)
    assert (outcome.best_epoch, outcome.best_score) == (3, None)
    kept = load_weights(outcome.weights)
    assert all(torch.equal(kept[name], value) for name, value in model.state_dict().items())


def test_training_learns(tmp_path):
    outcome = train(tmp_path, run_spec(train_epochs=15, train_augment=None, train_optimiser=OptimiserSpec(lr=1e-2)))
    losses = [float(r["loss"]) for r in log(tmp_path)]
    assert np.mean(losses[-6:]) < 0.6 * np.mean(losses[:6])
    assert outcome.best_score > 0.7


def test_twice_the_same_bytes_and_another_seed_others(whole, tmp_path):
    again, other = train(tmp_path / "again"), train(tmp_path / "other", run_spec(seed=1))
    assert again.weights.read_bytes() == (whole / "weights.safetensors").read_bytes()
    assert without_clock(tmp_path / "again") == without_clock(whole)
    a, b = load_weights(again.weights), load_weights(other.weights)
    assert any(not torch.equal(a[name], b[name]) for name in a)


def test_the_global_random_state_neither_matters_nor_changes(whole, tmp_path):
    torch.manual_seed(12345)
    before = torch.get_rng_state()
    assert not torch.are_deterministic_algorithms_enabled()
    outcome = train(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.are_deterministic_algorithms_enabled()
    assert outcome.weights.read_bytes() == (whole / "weights.safetensors").read_bytes()


@pytest.mark.parametrize("checkpoint_seconds", [0.0, 1e9])
@pytest.mark.parametrize("every", [1, 2, 4, 9])
def test_stopped_anywhere_and_resumed_the_same_bytes(whole, tmp_path, every, checkpoint_seconds):
    """With checkpoints after every step, and with those at the ends of epochs only (then steps are repeated)."""
    outcome, calls = train(tmp_path, stop_after_steps=every, checkpoint_seconds=checkpoint_seconds), 1
    while not outcome.finished:
        assert not (tmp_path / "weights.safetensors").exists()
        # a stop inside the epoch without a checkpoint would go round for ever: let it pass the epoch's end
        budget = every if checkpoint_seconds == 0 else every + 3
        outcome, calls = train(tmp_path, stop_after_steps=budget, checkpoint_seconds=checkpoint_seconds), calls + 1
        assert calls < 12
    assert outcome.weights.read_bytes() == (whole / "weights.safetensors").read_bytes()
    assert without_clock(tmp_path) == without_clock(whole)
    assert outcome.steps == 9
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.csv", "outcome.json", "spec.json", "weights.safetensors"]


def test_what_a_killed_writer_left_is_swept_away(whole, tmp_path):
    train(tmp_path, stop_after_steps=4, checkpoint_seconds=0)
    (tmp_path / ".checkpoint.pt.1.part").write_bytes(b"half")
    (tmp_path / ".weights.safetensors.1.tmp").write_bytes(b"half")
    with open(tmp_path / "log.csv", "a") as stream:
        stream.write("2,2,0.4")
    assert train(tmp_path).weights.read_bytes() == (whole / "weights.safetensors").read_bytes()
    assert without_clock(tmp_path) == without_clock(whole)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.csv", "outcome.json", "spec.json", "weights.safetensors"]


def test_stage_1_resumes_to_the_same_bytes(tmp_path):
    whole = train(tmp_path / "whole", pretrain_spec(train_batch=1))
    train(tmp_path / "cut", pretrain_spec(train_batch=1), stop_after_steps=5, checkpoint_seconds=0)
    resumed = train(tmp_path / "cut", pretrain_spec(train_batch=1))
    assert resumed.weights.read_bytes() == whole.weights.read_bytes()


def test_killed_at_a_random_moment_and_resumed_the_same_bytes(tmp_path):
    """SIGKILL to another process, somewhere between its first of 60 steps and its last; then the run is finished here."""
    spec = killed_spec()
    victim = subprocess.Popen([sys.executable, "-m", "tests.training.standin", str(tmp_path / "killed")], cwd=ROOT,
                              env={**os.environ, "OMP_NUM_THREADS": "1"})
    steps = random.Random(7).randint(5, 30)
    try:
        deadline = time.monotonic() + 120
        path = tmp_path / "killed" / "log.csv"
        while not path.exists() or path.read_bytes().count(b"\n") <= steps:
            assert victim.poll() is None and time.monotonic() < deadline
            time.sleep(0.002)
    finally:
        victim.kill()
        assert victim.wait() == -signal.SIGKILL
    assert steps <= len(log(tmp_path / "killed")) < 60
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        resumed, whole = train(tmp_path / "killed", spec), train(tmp_path / "whole", spec)
    finally:
        torch.set_num_threads(threads)
    assert resumed.weights.read_bytes() == whole.weights.read_bytes()
    assert without_clock(tmp_path / "killed") == without_clock(tmp_path / "whole")


def test_a_kill_while_a_file_is_written_leaves_the_file_before(whole, tmp_path, monkeypatch):
    train(tmp_path, stop_after_steps=4, checkpoint_seconds=0)
    before = (tmp_path / "checkpoint.pt").read_bytes()

    def half(state, stream):
        stream.write(b"half a checkpoint")
        raise OSError("no space left")
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", half)
        with pytest.raises(OSError, match="no space"):
            train(tmp_path, checkpoint_seconds=0)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert train(tmp_path).weights.read_bytes() == (whole / "weights.safetensors").read_bytes()


@pytest.mark.parametrize("number, leaves", [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_ctrl_c_finishes_the_step_and_leaves_a_checkpoint(whole, tmp_path, number, leaves):
    calls = []

    def loss(output, batch):
        calls.append(batch.studies)
        if len(calls) == 5:
            os.kill(os.getpid(), number)
        return segment_loss(output, batch)
    before = signal.getsignal(number)
    with pytest.raises(leaves):
        train(tmp_path, loss=loss)
    assert signal.getsignal(number) is before
    assert len(calls) == 5 and len(log(tmp_path)) == 5
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["steps"] == 5
    assert train(tmp_path).weights.read_bytes() == (whole / "weights.safetensors").read_bytes()


def test_a_second_ctrl_c_stops_at_once(tmp_path):
    def loss(output, batch):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise RuntimeError("not reached")
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, loss=loss)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_finished_run_returns_at_once(whole):
    def loss(output, batch):
        raise RuntimeError("trained again")
    stamp = (whole / "weights.safetensors").stat().st_mtime_ns
    outcome = train(whole, loss=loss)
    assert outcome == engine.finished(run_spec(), whole)
    assert (whole / "weights.safetensors").stat().st_mtime_ns == stamp


def test_a_loss_that_is_not_finite_names_epoch_step_and_studies(tmp_path):
    count = iter(range(100))

    def loss(output, batch):
        return segment_loss(output, batch) * (float("nan") if next(count) == 4 else 1)
    studies = ", ".join(item.study for item in batches(small_store(), "train", run_spec()).order(1)[1])
    with pytest.raises(TrainingError, match=f"epoch 2, step 2.*nan.*{studies}.*last good checkpoint is .*checkpoint.pt"):
        train(tmp_path, loss=loss)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["steps"] == 3


def test_weights_that_are_not_finite_are_not_checkpointed(tmp_path):
    class Explodes(torch.autograd.Function):
        @staticmethod
        def forward(ctx, value):
            return value.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * float("inf")
    with pytest.raises(TrainingError, match="weight .* is not finite after epoch 1, step 1; there is no checkpoint"):
        train(tmp_path, loss=lambda output, batch: Explodes.apply(segment_loss(output, batch)), checkpoint_seconds=0)
    assert not (tmp_path / "checkpoint.pt").exists()


@pytest.mark.parametrize("damage, complaint", [
    (lambda d: (d / "checkpoint.pt").write_bytes(b"damaged"), "checkpoint.pt is damaged"),
    (lambda d: (d / "checkpoint.pt").write_bytes((d / "checkpoint.pt").read_bytes()[:-300]), "checkpoint.pt is damaged"),
    (lambda d: torch.save({"spec": "another"}, d / "checkpoint.pt"), "checkpoint.pt belongs to another run"),
    (lambda d: torch.save(Path("code"), d / "checkpoint.pt"), "checkpoint.pt is damaged"),
    (lambda d: (d / "log.csv").write_text("epoch,step\n1,1\n"), "log.csv holds 1 steps, the checkpoint 4"),
    (lambda d: (d / "spec.json").write_text("{}"), "spec.json belongs to another run"),
    (lambda d: (d / "spec.json").write_text("{"), "spec.json is not JSON"),
])
def test_a_damaged_directory_is_refused(tmp_path, damage, complaint):
    train(tmp_path, stop_after_steps=4, checkpoint_seconds=0)
    damage(tmp_path)
    with pytest.raises(TrainingError, match=complaint):
        train(tmp_path)


def test_a_directory_of_another_run_is_refused(whole, tmp_path):
    with pytest.raises(TrainingError, match="outcome.json belongs to another run"):
        train(whole, run_spec(seed=9))
    train(tmp_path, stop_after_steps=1)
    with pytest.raises(TrainingError, match="spec.json belongs to another run"):
        train(tmp_path, run_spec(seed=9))


def test_batch_norm_on_a_single_pixel_is_explained(tmp_path):
    class Pooled(TinyNet):
        def forward(self, clip):
            return super().forward(clip) + self.norm(self.first(clip)).mean((1, 2, 3, 4), keepdim=True) \
                + self.norm(self.first(clip).mean((2, 3, 4), keepdim=True)).mean(1, keepdim=True)
    with pytest.raises(TrainingError, match="cannot train on a batch of 1 clip"):
        train(tmp_path, run_spec(train_batch=1), model=Pooled(norm=True))
    assert train(tmp_path / "two", model=Pooled(norm=True)).finished


def test_bf16_runs_and_learns_in_float32_weights(tmp_path):
    outcome = train(tmp_path, run_spec(precision="bf16-mixed"))
    assert all(value.dtype == torch.float32 for value in load_weights(outcome.weights).values())
    assert all(np.isfinite(float(r["loss"])) for r in log(tmp_path))


def test_step_decay():
    spec = OptimiserSpec(lr=1.0, milestones=(2, 5), gamma=0.1)
    assert [engine.learning_rate(spec, e) for e in (0, 1, 2, 4, 5, 9)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize("spec", [OptimiserSpec(name="sgd", lr=0.1, momentum=0.9, weight_decay=0.5),
                                  OptimiserSpec(lr=0.1, betas=(0.9, 0.95), amsgrad=True, weight_decay=0.5),
                                  OptimiserSpec(name="adam", lr=0.1, betas=(0.9, 0.95), amsgrad=True, weight_decay=0.5)])
def test_optimisers_take_their_options(tmp_path, spec):
    optimiser = engine.build_optimiser(TinyNet(), spec)
    group = optimiser.param_groups[0]
    assert (group["lr"], group["weight_decay"]) == (0.1, 0.5)
    assert group["momentum"] == 0.9 if spec.name == "sgd" else (group["betas"], group["amsgrad"]) == ((0.9, 0.95), True)
    changed = run_spec(train_optimiser=spec.model_copy(update={"lr": 1e-3}))
    whole = train(tmp_path / "whole", changed)
    train(tmp_path / "cut", changed, stop_after_steps=4, checkpoint_seconds=0)
    assert train(tmp_path / "cut", changed).weights.read_bytes() == whole.weights.read_bytes()


def test_a_polynomial_schedule_falls_with_every_step(tmp_path):
    spec = OptimiserSpec(lr=1.0, schedule="polynomial", power=2.0)
    assert [engine.learning_rate(spec, 7, step, 4) for step in range(4)] == pytest.approx([1, 0.5625, 0.25, 0.0625])
    changed = run_spec(train_optimiser=OptimiserSpec(name="adam", lr=0.01, schedule="polynomial"))
    whole = train(tmp_path / "whole", changed)
    rates = [float(row["lr"]) for row in log(tmp_path / "whole")]
    assert rates == pytest.approx([0.01 * (1 - step / 9) ** 0.9 for step in range(9)], rel=1e-5)
    train(tmp_path / "cut", changed, stop_after_steps=4, checkpoint_seconds=0)
    assert train(tmp_path / "cut", changed).weights.read_bytes() == whole.weights.read_bytes()


def test_plain_progress_lines(tmp_path, capsys):
    train(tmp_path, progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and "engine fast" in lines[0]
    assert "epoch 2/3" in lines[2] and "step 6/9" in lines[2] and "Dice" in lines[2]


def test_reconstruction_loss_sees_the_whole_clip():
    batch = next(batches(small_store(), "train", pretrain_spec()).epoch(0, torch.device("cpu")))
    assert reconstruct_loss(batch.target, batch).item() == 0
    by_hand = ((batch.clip - batch.target) ** 2).mean().item()
    assert reconstruct_loss(batch.clip, batch).item() == pytest.approx(by_hand) and by_hand > 0.01


@pytest.mark.gpu
def test_a_gpu_run_resumes_and_agrees_with_the_cpu_at_first(whole, tmp_path):
    train(tmp_path / "cut", device="cuda", stop_after_steps=4, checkpoint_seconds=0)
    assert train(tmp_path / "cut", device="cuda").finished
    assert train(tmp_path / "whole", device="cuda").weights.read_bytes() == (tmp_path / "cut/weights.safetensors").read_bytes()
    first, reference = float(log(tmp_path / "whole")[0]["loss"]), float(log(whole)[0]["loss"])
    assert first == pytest.approx(reference, abs=0.1)  # drop-out draws other numbers on a GPU
