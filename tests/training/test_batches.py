"""What a step holds: items, order, clips, masking, and that nothing but (seed, task, epoch, step) decides it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from echolib.config import ClipSpec, DataSpec
from echolib.data.augment import denormalise, normalise
from echolib.errors import TrainingError
from echolib.training.batches import Item
from echolib.training.recipes.reconstruct import Reconstruct
from tests.training.standin import MemoryStore, batches, pretrain_spec, run_spec, small_store

CPU = torch.device("cpu")


def numbers(clip: torch.Tensor) -> list[list[int]]:
    """The frame numbers that the stand-in store writes into pixel (0, 0); ``clip (B, 3, F, H, W)`` normalised."""
    return (denormalise(clip)[:, 0, :, 0, 0] * 255).round().int().tolist()


def test_both_traced_frames_of_every_video_once_per_epoch():
    made = batches(small_store(), "train", run_spec())
    assert made.steps == 3
    for epoch in range(3):
        assert sorted(sum(made.order(epoch), [])) == [Item(f"train{k}", (frame,)) for k in range(3) for frame in (0, 4)]
    assert made.order(0) != made.order(1) and made.order(0) == made.order(0)


def test_every_video_once_per_epoch_in_stage_1():
    made = batches(small_store(), "train", pretrain_spec(train_batch=1))
    assert sorted(sum(made.order(5), [])) == [Item(f"train{k}") for k in range(3)]


def test_an_incomplete_last_batch_is_dropped_but_not_the_only_one():
    assert [len(step) for step in batches(small_store(), "train", run_spec(train_batch=4)).order(0)] == [4]
    assert [len(step) for step in batches(small_store(), "train", run_spec(train_batch=50)).order(0)] == [6]
    made = batches(small_store(), "train", run_spec(train_batch=4))
    assert {item for epoch in range(20) for item in made.order(epoch)[0]} == set(made.items)


def test_steps_caps_the_epoch():
    assert batches(small_store(), "train", run_spec(train_steps=2)).steps == 2
    assert batches(small_store(), "train", run_spec(train_steps=200)).steps == 3


def test_the_traced_frame_is_where_the_batch_says():
    store = small_store()
    made = batches(store, "train", run_spec(train_augment=None))
    for epoch in range(4):
        for batch, items in zip(made.epoch(epoch, CPU), made.order(epoch), strict=True):
            assert batch.clip.shape == (2, 3, 4, 32, 32) and batch.clip.dtype == torch.float32
            assert batch.studies == [study for study, _ in items]
            for k, (study, (traced,)) in enumerate(items):
                seen = numbers(batch.clip)[k]
                assert seen[batch.position[k]] == traced
                assert np.diff(seen).tolist() == [2, 2, 2]
                assert (batch.mask[k].numpy() == store.mask(study, traced)).all()


def test_a_framewise_item_is_the_traced_frame():
    made = batches(small_store(), "train", run_spec(train_augment=None, clip=ClipSpec(frames=1, period=1)))
    for batch, items in zip(made.epoch(0, CPU), made.order(0), strict=True):
        assert batch.clip.shape == (2, 3, 1, 32, 32)
        assert [n for n, in numbers(batch.clip)] == [traced for _, (traced,) in items]
        assert batch.position.tolist() == [0, 0]


def test_a_step_does_not_depend_on_where_the_epoch_began():
    made = batches(small_store(), "train", run_spec())
    whole = list(made.epoch(1, CPU))
    rest = list(made.epoch(1, CPU, first=1))
    assert len(rest) == 2
    for one, other in zip(whole[1:], rest, strict=True):
        assert torch.equal(one.clip, other.clip) and torch.equal(one.mask, other.mask) and one.studies == other.studies


@pytest.mark.parametrize("change", [dict(seed=1), dict(epoch=1)])
def test_seed_and_epoch_change_the_batch(change):
    spec = run_spec(seed=change.get("seed", 0))
    first = next(batches(small_store(), "train", run_spec()).epoch(0, CPU))
    other = next(batches(small_store(), "train", spec).epoch(change.get("epoch", 0), CPU))
    assert not torch.equal(first.clip, other.clip)


def test_masked_frames_are_black_before_normalisation_and_whole_in_the_target():
    made = batches(small_store(), "train", pretrain_spec())
    black = normalise(torch.zeros(1, 3, 1, 32, 32))[:, :, 0]
    for batch in made.epoch(0, CPU):
        assert batch.masked.sum(1).tolist() == [2, 2]
        for k, frame in np.ndindex(2, 4):
            shown, wanted = batch.clip[k, :, frame], batch.target[k, :, frame]
            assert torch.equal(shown, black[0] if batch.masked[k, frame] else wanted)
            assert wanted.std() > 0.1


def test_the_released_super_image_class_keeps_what_it_says_it_masks():
    spec = pretrain_spec()
    spec = spec.model_copy(update={"recipe": Reconstruct(ratio=0.75, counts="kept")})
    batch = next(batches(small_store(), "train", spec).epoch(0, CPU))
    assert batch.masked.sum(1).tolist() == [1, 1]


def test_padding_stays_black_under_augmentation():
    spec = run_spec(clip=ClipSpec(frames=32, period=1))
    black = normalise(torch.zeros(1, 3, 1, 1, 1)).flatten()
    for batch in batches(small_store(), "train", spec).epoch(0, CPU):
        for k, study in enumerate(batch.studies):
            length = 12 + int(study[-1])
            padding = batch.clip[k, :, length:]
            assert torch.equal(padding, black.view(3, 1, 1, 1).expand_as(padding))
            assert batch.clip[k, :, length - 1].std() > 0.1


def test_an_empty_split_is_named():
    store = MemoryStore({"val": 1})
    for spec in (run_spec(), pretrain_spec()):
        with pytest.raises(TrainingError, match="'train' split"):
            batches(store, "train", spec)


def test_a_store_of_another_size_is_refused():
    with pytest.raises(TrainingError, match="32 px.*48 px"):
        batches(small_store(), "train", run_spec(data=DataSpec(layout="echonet", size=48)))
