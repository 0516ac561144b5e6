"""The bound on areas of untraced frames: by hand, where it pulls, off by default, and what it does to a filled picture."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from echolib.config import OptimiserSpec
from echolib.losses.bounds import area_bounds
from echolib.models import load_weights
from echolib.training.engine import fit
from echolib.training.recipe import recipe_class
from echolib.training.recipes.bounded import Bounded, BoundedBatches
from tests.training.standin import MemoryStore, run_spec, small_store, train
from tests.training.test_batches import CPU, numbers


def flat(areas: list[list[float]], side: int = 10) -> torch.Tensor:
    """Logits ``(B, 1, F, side, side)`` whose soft areas are these, the same probability everywhere."""
    share = torch.tensor(areas)[:, None, :, None, None] / side ** 2
    return torch.logit(share.expand(-1, -1, -1, side, side).double()).float()


def bound(areas, least=20.0, most=40.0, counted=None, margin=0.1) -> float:
    logits = flat(areas)
    counted = torch.ones(logits.shape[0], logits.shape[2], dtype=torch.bool) if counted is None else torch.tensor(counted)
    return float(area_bounds(logits, torch.full((len(logits),), least), torch.full((len(logits),), most), counted, margin))


def test_areas_between_the_two_tracings_cost_nothing():
    assert bound([[20.0, 30.0, 40.0, 18.5, 43.5]]) == pytest.approx(0, abs=1e-5)


def test_what_lies_beyond_costs_its_part_of_the_largest_area():
    # 64 - 44 = 20 px too many of 40; 18 - 10 = 8 too few of 40; the third lies between: (0.5 + 0.2 + 0) / 3
    assert bound([[64.0, 10.0, 30.0]]) == pytest.approx(0.7 / 3, abs=1e-5)
    assert bound([[64.0, 10.0, 30.0]], margin=0.0) == pytest.approx((24 + 10) / 40 / 3, abs=1e-5)


def test_frames_that_do_not_count_cost_nothing_and_each_clip_weighs_the_same():
    assert bound([[64.0, 10.0, 30.0]], counted=[[False, True, True]]) == pytest.approx(0.1, abs=1e-5)
    assert bound([[64.0, 64.0], [64.0, 30.0]], counted=[[True, False], [True, True]]) == pytest.approx((0.5 + 0.25) / 2, abs=1e-5)
    assert bound([[64.0, 10.0]], counted=[[False, False]]) == 0


def test_a_study_with_one_tracing_bounds_nothing_and_breaks_no_gradient():
    logits = flat([[64.0, 10.0], [64.0, 30.0]]).requires_grad_()
    unknown = torch.tensor([torch.nan, 20.0]), torch.tensor([torch.nan, 40.0])
    value = area_bounds(logits, *unknown, torch.ones(2, 2, dtype=torch.bool))
    value.backward()
    assert value.item() == pytest.approx(0.5 / 2 / 2, abs=1e-5) and torch.isfinite(logits.grad).all()
    assert (logits.grad[0] == 0).all() and (logits.grad[1, 0, 0] > 0).all() and (logits.grad[1, 0, 1] == 0).all()


def test_a_step_holds_the_clips_of_segment_and_the_areas_of_its_studies():
    store, spec = small_store(), run_spec(recipe=Bounded(weight=1.0), train_augment=None)
    seen = 0
    for batch in BoundedBatches(store, "train", spec).epoch(1, CPU):
        for k, study in enumerate(batch.studies):
            areas = sorted(int(store.mask(study, frame).sum()) for frame in (0, 4))
            assert [float(batch.least[k]), float(batch.most[k])] == areas and areas[0] < areas[1]
            frames = numbers(batch.clip)[k]
            assert not batch.counted[k, batch.position[k]] and batch.counted[k].sum() == len(frames) - 1
            seen += 1
    assert seen == 6, "three studies, two tracings each"


def test_black_frames_are_not_bounded():
    store, spec = MemoryStore({"train": 2, "val": 1}, length=5), run_spec(recipe=Bounded(weight=1.0), train_augment=None)
    batch = next(iter(BoundedBatches(store, "train", spec).epoch(0, CPU)))  # four frames, every other one: a video has three
    black = batch.clip.flatten(3).std(-1)[:, 0] == 0
    assert black.any() and not (batch.counted & black).any()


def test_without_a_weight_it_is_the_recipe_segment_to_the_byte(tmp_path):
    train(tmp_path / "segment", run_spec(train_epochs=2))
    train(tmp_path / "bounded", run_spec(recipe=Bounded(), train_epochs=2))
    train(tmp_path / "weighted", run_spec(recipe=Bounded(weight=5.0, margin=0.0), train_epochs=2))
    plain, off, on = (load_weights(tmp_path / name / "weights.safetensors") for name in ("segment", "bounded", "weighted"))
    assert all(torch.equal(plain[name], off[name]) for name in plain)
    assert any(not torch.equal(plain[name], on[name]) for name in plain)


class Filled(nn.Module):
    """Segments one frame in two and fills the picture in the others; what it does there can be learned apart."""

    head = ()

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.other = nn.Conv3d(3, 1, 1), nn.Parameter(torch.tensor(6.0))

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        logits = self.conv(clip)
        odd = torch.arange(clip.shape[2]).view(-1, 1, 1) % 2 == 1
        return torch.where(odd, logits + self.other, logits)


@pytest.mark.parametrize(("weight", "emptied"), [(0.0, False), (5.0, True)])
def test_a_picture_that_is_filled_where_no_loss_looks_is_emptied(tmp_path, weight, emptied):
    """Where the traced frame is always a clip's first, the loss of ``segment`` never reaches ``other``."""
    store, fields = MemoryStore({"train": 3, "val": 2, "test": 1}), dict(train_epochs=60, train_optimiser=OptimiserSpec(lr=0.1))
    store.labels = store.labels[store.labels.frame == 0]
    spec, network = run_spec(recipe=Bounded(weight=weight), **fields), Filled()
    recipe, made = recipe_class(spec.recipe)(spec, store), BoundedBatches(store, "train", spec)
    made.areas = dict.fromkeys(made.areas, (100.0, 400.0))  # of 1024 px; the store has one tracing a study now
    recipe.network, recipe.batches = lambda run_dir: (network, None), lambda: made
    fit(recipe, tmp_path, progress=False, device="cpu", checkpoint_seconds=1e9)
    clip = next(iter(made.epoch(0, CPU))).clip
    with torch.no_grad():
        area = network(clip).sigmoid().sum((-2, -1))[:, 0]
    assert (area[:, 1::2].mean() < 500) == emptied, area
    assert area[:, 1::2].mean() > area[:, ::2].mean(), "the bound asks for no more than 1.1 times the largest area"
