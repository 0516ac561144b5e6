"""PKEcho-Net's recipe: clips from ED to ES, both ends traced, a loss on every stage; what cannot be taken is named."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from echolib.config import ClipSpec, ModelSpec, OptimiserSpec, RunSpec
from echolib.errors import ConfigError, DataError
from echolib.losses.pkecho import of_stages, signed_distance
from echolib.training.engine import fit
from echolib.training.phases import phase_dice, phase_predictions, traced_pairs
from echolib.training.recipe import load_trained, recipe_class
from echolib.training.recipes.clip_dense import ClipDense, ClipDenseRecipe, EndsBatches
from tests.training.standin import MemoryStore, TinyNet, run_spec, small_store
from tests.training.test_batches import CPU, numbers

QUIET = dict(progress=False, device="cpu", checkpoint_seconds=0)
PKECHO = ModelSpec(name="pkecho_r18", width=0.125)


def spec_of(**changes) -> RunSpec:
    recipe = changes.pop("recipe", ClipDense())
    return run_spec(**{"recipe": recipe, "model": PKECHO, "clip": ClipSpec(frames=4), "train_epochs": 1, **changes})


def moved(store: MemoryStore, **frames: tuple[int | None, int | None]) -> MemoryStore:
    """The store with other ED and ES frames of some studies; None: that one is not traced."""
    rows = store.labels[~store.labels["study"].isin(frames)].to_dict("records")
    for study, pair in frames.items():
        mask = store.mask(study, 0)
        for phase, frame in zip(("ED", "ES"), pair, strict=True):
            if frame is not None:
                store._masks[study, frame] = mask
                rows.append({"study": study, "frame": frame, "phase": phase, "area_px": 1})
    store.labels = pd.DataFrame(rows)
    return store


def recipe(spec: RunSpec, store: MemoryStore | None = None) -> ClipDenseRecipe:
    return recipe_class(spec.recipe)(spec, store or small_store())


def test_a_clip_runs_from_ed_to_es_and_backwards_where_es_comes_first():
    store = moved(small_store(), train1=(9, 2))
    spec = spec_of(train_augment=None, train_batch=1, clip=ClipSpec(frames=5))
    seen = {batch.studies[0]: batch for batch in EndsBatches(store, "train", spec).epoch(0, CPU)}
    assert sorted(seen) == ["train0", "train1", "train2"], "every study once"
    assert numbers(seen["train0"].clip) == [[0, 1, 2, 3, 4]]
    assert numbers(seen["train1"].clip) == [np.rint(np.linspace(9, 2, 5)).astype(int).tolist()]
    for study, batch in seen.items():
        ends = (9, 2) if study == "train1" else (0, 4)
        assert (batch.masks[0].numpy() == np.stack([store.mask(study, frame) for frame in ends])).all()
        torch.testing.assert_close(batch.distance, signed_distance(batch.masks))


def test_short_intervals_repeat_frames():
    batch = next(EndsBatches(moved(MemoryStore({"train": 1}), train0=(3, 6)), "train",
                             spec_of(train_augment=None, clip=ClipSpec(frames=7))).epoch(0, CPU))
    assert numbers(batch.clip) == [[3, 4, 4, 4, 5, 6, 6]]  # rounded, ties to even


@pytest.mark.parametrize(("frames", "words"), [
    ((3, 5), "study train1: too few frames between end-diastole and end-systole.*ED 3, ES 5"), ((3, 4), "too few frames"),
    ((5, 5), "study train1: end-diastole and end-systole are the same frame.*frame 5"),
    ((None, 4), "study train1: only one of the two phases is traced.*ES, frame 4")])
def test_studies_that_cannot_be_taken_are_named_or_left_out(frames, words):
    store = moved(small_store(), train1=frames)
    with pytest.raises(DataError, match=words):
        recipe(spec_of(), store).batches()
    left = recipe(spec_of(recipe=ClipDense(too_short="leave_out")), store).batches()
    assert {item.study for item in left.items} == {"train0", "train2"}
    with pytest.raises(DataError, match="no study of the 'train' split"):
        traced_pairs(moved(store, **dict.fromkeys(("train0", "train1", "train2"), (1, 2))), "train", leave_out=True)


def test_a_bad_validation_study_is_found_before_the_first_step(tmp_path):
    with pytest.raises(DataError, match="study val1: too few"):
        fit(recipe(spec_of(), moved(small_store(), val1=(1, 2))), tmp_path / "run", **QUIET)
    assert not (tmp_path / "run").exists()


def test_the_loss_is_that_of_both_ends_added_over_all_stages():
    spec = spec_of(train_augment=None, recipe=ClipDense(network={"dropout": 0.0}))
    made = recipe(spec)
    model, _ = made.network(None)
    batch = next(made.batches().epoch(0, CPU))
    stages = model(batch.clip, stages=True)
    wanted = of_stages([one[:, :, [0, -1]] for one in stages], batch.masks, batch.distance)
    torch.testing.assert_close(made.loss(model, batch), wanted, rtol=1e-4, atol=1e-4)
    last = recipe(spec_of(recipe=ClipDense(network={"dropout": 0.0}, stages="last", boundary=0.5, boundary_scale="diagonal",
                                           dice="plain")))
    last.deep = True
    wanted = of_stages([stages[-1][:, :, [0, -1]]], batch.masks, batch.distance, squared=False, weight=0.5, scale="diagonal")
    torch.testing.assert_close(last.loss(model, batch), wanted, rtol=1e-4, atol=1e-4)


def test_no_loss_touches_the_frames_between():
    made = recipe(spec_of())
    batch = next(made.batches().epoch(0, CPU))
    kept = {}

    def network(clip):
        kept["logits"] = clip[:, :1].clone().requires_grad_()
        return kept["logits"]
    made.loss(network, batch).backward()
    gradient = kept["logits"].grad.abs().amax((0, 1, 3, 4))
    assert (gradient[[0, 3]] > 0).all() and (gradient[[1, 2]] == 0).all()


def test_a_run_trains_validates_on_the_same_clips_and_resumes_to_the_same_bytes(tmp_path):
    spec = spec_of(train_epochs=2, train_batch=1, train_optimiser=OptimiserSpec(name="adam", lr=1e-3, schedule="polynomial"))
    whole = fit(recipe(spec), tmp_path / "whole", **QUIET)
    for cut in (1, 4):
        assert not fit(recipe(spec), tmp_path / str(cut), stop_after_steps=cut, **QUIET).finished
        assert fit(recipe(spec), tmp_path / str(cut), **QUIET).weights.read_bytes() == whole.weights.read_bytes()
    store = small_store()
    network = load_trained(spec, whole.weights)
    assert phase_dice(network, store, 4, "val", device="cpu") == pytest.approx(whole.best_score, abs=1e-6)
    found = list(phase_predictions(network, store, 4, "val", device="cpu"))
    assert [(one.study, one.phase, one.frame) for one in found] == [(f"val{k}", *end) for k in (0, 1)
                                                                    for end in (("ED", 0), ("ES", 4))]


def test_options_reach_the_network_and_a_network_without_stages_trains_too(tmp_path):
    spec = spec_of(recipe=ClipDense(network={"iterations": 1, "proxies": "none"}))
    assert len(recipe_class(spec.recipe).build(spec).stages) == 1
    with pytest.raises(ConfigError, match="pkecho_r18: rounds"):
        recipe(spec_of(recipe=ClipDense(network={"rounds": 1}))).network(None)
    again = RunSpec.model_validate_json(spec.model_dump_json())
    assert again == spec and again.key == spec.key != spec_of().key
    other = spec_of(model=ModelSpec(name="nnunet2d", width=0.125), recipe=ClipDense(validation="centred"))
    assert fit(recipe(other), tmp_path, **QUIET).finished


def test_training_learns(tmp_path):
    spec = spec_of(train_epochs=80, train_batch=3, train_augment=None, recipe=ClipDense(boundary=0.1),
                   train_optimiser=OptimiserSpec(name="adam", lr=1e-2))
    made = recipe(spec)
    made.network = lambda run_dir: (TinyNet(1), None)
    assert fit(made, tmp_path, **QUIET | {"checkpoint_seconds": 1e9}).best_score > 0.7


def test_the_plain_path_sees_the_same_clips():
    spec = spec_of()
    plain = spec.model_copy(update={"engine": "plain"})
    for ours, theirs in zip(*(EndsBatches(small_store(), "train", one).epoch(1, CPU) for one in (spec, plain)), strict=True):
        assert ours.studies == theirs.studies and torch.equal(ours.masks, theirs.masks)
        torch.testing.assert_close(ours.distance, theirs.distance)
        assert (ours.clip - theirs.clip).abs().mean() < 0.01
