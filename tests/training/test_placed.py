"""Places of a clip weighed alike: how often each is taught, by hand and by drawing, what the weights do to the loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from echolib.config import ClipSpec
from echolib.errors import ConfigError
from echolib.losses.simlvseg import dice_frame
from echolib.models import load_weights
from echolib.training.recipe import recipe_class
from echolib.training.recipes.placed import Placed, PlacedSegmentation, place_shares
from echolib.training.recipes.segment import TracedBatches
from tests.training.standin import MemoryStore, run_spec, train
from tests.training.test_batches import CPU


def recipe(store: MemoryStore, **options) -> PlacedSegmentation:
    spec = run_spec(recipe=Placed(**options), train_augment=None)
    return recipe_class(spec.recipe)(spec, store)


@pytest.mark.parametrize(("length", "clip"), [(12, ClipSpec(frames=4, period=2)), (12, ClipSpec(frames=4, period=1)),
                                              (40, ClipSpec(frames=4, period=1)), (5, ClipSpec(frames=4, period=2))])
def test_shares_are_what_drawing_gives(length, clip):
    """Videos with room, without room on one side, and shorter than a clip."""
    store, rng = MemoryStore({"train": 3, "val": 1}, length=length), np.random.default_rng(3)
    batches = TracedBatches(store, "train", run_spec(clip=clip))
    found = [int(batches.choose(item, rng).more["position"]) for item in batches.items for _ in range(3000)]
    drawn = np.bincount(found, minlength=clip.frames) * clip.frames / len(found)
    shares = place_shares(batches, clip)
    assert shares.mean() == pytest.approx(1) and shares == pytest.approx(drawn, abs=0.06)
    assert (shares == 0).tolist() == (drawn == 0).tolist()


def test_a_clip_counts_for_as_much_less_as_its_place_is_more_frequent():
    one = recipe(MemoryStore({"train": 3, "val": 1}))
    batches = one.batches()
    shares = place_shares(batches, one.spec.clip)
    weights = one.weights.numpy()
    assert weights[shares > 0] == pytest.approx(1 / shares[shares > 0]) and (weights[shares == 0] == 0).all()
    assert shares.std() > 0.3, "places that are equally frequent would test nothing"
    step = next(iter(batches.epoch(0, CPU)))
    step.position = torch.arange(len(step.position)) % 2
    logits = torch.randn(len(step.clip), 1, *step.clip.shape[2:], generator=torch.Generator().manual_seed(0))
    parts = [float(dice_frame(logits[k, :, int(p)], step.mask[k:k + 1])) / shares[int(p)] for k, p in enumerate(step.position)]
    assert float(one.loss(lambda clip: logits, step)) == pytest.approx(np.mean(parts), rel=1e-5)


def test_a_summed_loss_is_summed():
    one = recipe(MemoryStore({"train": 3, "val": 1}), loss="bce_sum")
    step = next(iter(one.batches().epoch(0, CPU)))
    logits = torch.zeros(len(step.clip), 1, *step.clip.shape[2:])
    pixels = step.mask[0].numel()
    expected = sum(float(one.weights[int(p)]) for p in step.position) * pixels * np.log(2)
    assert float(one.loss(lambda clip: logits, step)) == pytest.approx(expected, rel=1e-5)


def test_a_loss_of_a_whole_batch_cannot_be_weighed():
    with pytest.raises(ConfigError, match="'dice_batch' has one for a batch; expected loss 'dice_frame' or 'bce_sum'"):
        recipe(MemoryStore({"train": 3, "val": 1}), loss="dice_batch").check()


def test_it_trains_on_the_clips_of_segment_to_other_weights(tmp_path):
    train(tmp_path / "segment", run_spec(train_epochs=1))
    train(tmp_path / "placed", run_spec(recipe=Placed(), train_epochs=1))
    plain, placed = (load_weights(tmp_path / name / "weights.safetensors") for name in ("segment", "placed"))
    assert plain.keys() == placed.keys() and any(not torch.equal(plain[name], placed[name]) for name in plain)
