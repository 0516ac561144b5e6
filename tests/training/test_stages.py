"""Both stages on real networks, narrow and small: what is carried over, what is written, what is refused."""

from __future__ import annotations

import json

import pytest
import torch

from echolib.config import ClipSpec, ModelSpec
from echolib.errors import ConfigError, TrainingError, WeightsError
from echolib.models import load_weights, save_weights
from echolib.training.engine import fit
from echolib.training.recipe import Parent
from echolib.training.recipes.reconstruct import MaskedReconstruction
from echolib.training.recipes.segment import Segmentation
from tests.training.standin import MemoryStore, pretrain_spec, run_spec, small_store

NARROW = dict(model=ModelSpec(name="unet3d_s", width=0.125), clip=ClipSpec(frames=16, period=1), train_epochs=1, train_steps=1)
QUIET = dict(progress=False, device="cpu")


def train_reconstruct(spec, store, run_dir):
    return fit(MaskedReconstruction(spec, store), run_dir, **QUIET)


def train_segment(spec, store, run_dir, init=None):
    parents = {} if init is None else {"init": Parent(spec.parents.get("init"), init)}
    return fit(Segmentation(spec, store, parents), run_dir, **QUIET)


@pytest.fixture(scope="module", params=["clip", "first_channel"])
def stage_1(request, tmp_path_factory):
    spec = pretrain_spec(request.param, **NARROW)
    return spec, train_reconstruct(spec, small_store(), tmp_path_factory.mktemp(request.param))


def test_stage_1_has_as_many_channels_as_its_target(stage_1):
    spec, outcome = stage_1
    shapes = {value.shape[0] for name, value in load_weights(outcome.weights).items() if name.startswith("decoder1")}
    assert (3 if spec.recipe.target == "clip" else 1) in shapes
    assert outcome.finished and outcome.steps == 1


def test_stage_2_starts_from_stage_1(stage_1, tmp_path, monkeypatch):
    """Before the first step all but the head is stage 1's; the head begins afresh when its channels differ."""
    spec, outcome = stage_1
    began, fresh = {}, Segmentation.network

    def spy(self, run_dir):
        model, news = fresh(self, run_dir)
        began.update({name: value.clone() for name, value in model.state_dict().items()})
        return model, news
    monkeypatch.setattr(Segmentation, "network", spy)
    second = run_spec(init=spec, **NARROW)
    result = train_segment(second, small_store(), tmp_path, init=outcome.weights)
    assert result.best_epoch == 1 and 0 <= result.best_score <= 1
    told = json.loads((tmp_path / "init.json").read_text())
    assert told["run"] == spec.key
    if spec.recipe.target == "clip":
        assert told["reinitialised"] and len(told["reinitialised"]) < len(began) / 4
    else:
        assert told["reinitialised"] == []
    given = load_weights(outcome.weights)
    for name, value in began.items():
        if name not in told["reinitialised"]:
            assert torch.equal(value, given[name])


def test_weights_of_another_run_are_refused(stage_1, tmp_path):
    spec, outcome = stage_1
    other = run_spec(init=spec.model_copy(update={"seed": 5}), **NARROW)
    with pytest.raises(WeightsError, match=f"made by run {spec.key}, but the specification builds on run"):
        train_segment(other, small_store(), tmp_path / "a", init=outcome.weights)
    save_weights(load_weights(outcome.weights), tmp_path / "anonymous.safetensors")
    with pytest.raises(WeightsError, match="made by run None"):
        train_segment(run_spec(init=spec, **NARROW), small_store(), tmp_path / "b", init=tmp_path / "anonymous.safetensors")


def test_init_and_specification_go_together(stage_1, tmp_path):
    spec, outcome = stage_1
    with pytest.raises(TrainingError, match="were not given"):
        train_segment(run_spec(init=spec, **NARROW), small_store(), tmp_path)
    with pytest.raises(TrainingError, match="names no such run"):
        train_segment(run_spec(**NARROW), small_store(), tmp_path, init=outcome.weights)


def test_a_stage_takes_its_own_task(tmp_path):
    with pytest.raises(TrainingError, match="MaskedReconstruction takes runs of recipe 'reconstruct', not 'segment'"):
        train_reconstruct(run_spec(**NARROW), small_store(), tmp_path)
    with pytest.raises(TrainingError, match="Segmentation takes runs of recipe 'segment', not 'reconstruct'"):
        train_segment(pretrain_spec(**NARROW), small_store(), tmp_path)


@pytest.mark.parametrize("empty", ["train", "val"])
def test_an_empty_split_is_named_before_anything_is_trained(tmp_path, empty):
    store = MemoryStore({split: 2 for split in ("train", "val") if split != empty})
    with pytest.raises(TrainingError, match=f"'{empty}' split"):
        train_segment(run_spec(**NARROW), store, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name, frames, loss", [("nnunet2d", 1, "dice_batch"), ("si_resnet18", 4, "dice_frame")])
def test_framewise_and_super_image_networks_train(tmp_path, name, frames, loss):
    network = {"model": ModelSpec(name=name, width=0.125), "clip": ClipSpec(frames=frames, period=2)}
    spec = run_spec(**{**NARROW, **network}, loss=loss)
    first = train_segment(spec, small_store(), tmp_path / "a")
    again = train_segment(spec, small_store(), tmp_path / "b")
    assert first.weights.read_bytes() == again.weights.read_bytes()
    assert train_segment(spec, small_store(), tmp_path / "a") == first


def test_deeplab_trains_on_two_frames_and_explains_why_not_on_one(tmp_path):
    network = {"model": ModelSpec(name="deeplabv3_r50", width=0.125), "clip": ClipSpec(frames=1, period=1)}
    with pytest.raises(ConfigError, match="batch of one frame"):
        train_segment(run_spec(**{**NARROW, **network}, loss="bce_sum", train_batch=1), small_store(), tmp_path / "one")
    assert train_segment(run_spec(**{**NARROW, **network}, loss="bce_sum"), small_store(), tmp_path / "two").finished
