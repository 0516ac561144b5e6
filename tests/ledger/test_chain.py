"""A chain of three runs in three roles, with a made-up recipe and a made-up network: trained, resumed, kept like any other.

A segmenter's masks of all videos (a product) teach a network that gives one number; that one, with the segmenter beside it,
teaches another by the average of its weights.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from torch import nn

from echolib.config import (
    AugmentSpec,
    ClipSpec,
    DataSpec,
    ModelSpec,
    PhantomSpec,
    Profile,
    RecipeOptions,
    Role,
    RunSpec,
    TrainSpec,
)
from echolib.data.augment import normalise
from echolib.data.clips import reconstruct_indices
from echolib.data.frame_masks import FrameMasks
from echolib.ledger.ledger import Ledger
from echolib.ledger.workspace import Workspace
from echolib.models import load_weights, registry
from echolib.training.batches import Batch, Chosen, ClipBatches, Item
from echolib.training.engine import fit
from echolib.training.recipe import Recipe, recipe_class
from echolib.training.recipes.segment import Segment

DATA = DataSpec(layout="echonet", size=32, channels=1, phantom=PhantomSpec(train=3, val=1, test=2, frames=(16, 20)))


def network(name: str, *, width: float, frames: int, size: int, out_channels: int) -> nn.Module:
    """The made-up network: clip ``(B, 3, F, H, W)`` -> ``(B,)``."""
    return nn.Sequential(nn.Conv3d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 1),
                         nn.Flatten(0))


class Areas(RecipeOptions):
    """Learn the mean area of the masks in a clip, and with a teacher what it says; an average of the weights is kept."""

    kind: Literal["areas"] = "areas"
    decay: float = 0.5
    gives = "number"
    roles = {"masks": Role(takes=("masks",), required=True, product="masks"), "teacher": Role(takes=("number",))}


class AreaBatches(ClipBatches):
    def choose(self, item, rng):
        return Chosen(indices := reconstruct_indices(self.lengths[item.study], self.spec.clip.frames, 1, rng),
                      {"area": np.float32(self.masks.clip(item.study, indices).mean())})

    def finish(self, clip, masks, raw, device):
        batch = Batch(normalise(clip), raw.studies)
        batch.area = raw.chosen["area"].to(device)
        return batch


class AreaRecipe(Recipe):
    Options, stream = Areas, 901

    def batches(self):
        names = sorted(self.store.studies.index[self.store.studies.split == "train"])
        made = AreaBatches(self.store, "train", self.spec, [Item(name) for name in names], self.stream)
        made.masks = FrameMasks.open(self.parents["masks"].product, self.store)
        return made

    def place(self, device):
        self.average = self.build(self.spec, seed=self.spec.seed).to(device)
        self.teacher = self.parents["teacher"].network().to(device) if "teacher" in self.parents else None

    def loss(self, network, batch):
        wanted = batch.area if self.teacher is None else self.teacher(batch.clip)
        return (network(batch.clip) - wanted).square().mean()

    def after_step(self, model, step, steps):
        for mine, new in zip(self.average.state_dict().values(), model.state_dict().values(), strict=True):
            mine.lerp_(new, 1 - self.options.decay)

    def state(self):
        return self.average.state_dict()

    def restore(self, state):
        self.average.load_state_dict(state)

    def kept(self, model):
        return self.average

    def validate(self, model, device):
        with torch.no_grad():
            return -float(model(torch.zeros(1, 3, 4, 32, 32, device=device)).abs())


@pytest.fixture
def chain(monkeypatch, tmp_path) -> tuple[Ledger, list[RunSpec]]:
    monkeypatch.setitem(registry.MODULES, "areas", "areas")
    module_of = registry.module_of
    for module in ("models.registry", "ledger.code", "ledger.evaluations"):
        monkeypatch.setattr(f"echolib.{module}.module_of", lambda name: __name__ if name == "areas" else module_of(name))
    size = {"epochs": 2, "batch": 2}
    profile = Profile(name="tiny", purpose="a test", quotable=False, seeds=(0,), echonet=DATA, pretrain=size, segment=size,
                      framewise=size, bootstrap=200)
    ledger = Ledger(Workspace(tmp_path, profile, tmp_path / "build" / "tiny"), say=lambda text: None, progress=False)
    common = dict(data=DATA, train=TrainSpec(epochs=2, batch=1, augment=AugmentSpec(pad=2)))
    first = RunSpec(recipe=Segment(), model=ModelSpec(name="nnunet2d", width=0.125), clip=ClipSpec(frames=1), **common)
    areas = dict(recipe=Areas(), model=ModelSpec(name="areas"), clip=ClipSpec(frames=4), **common)
    second = RunSpec(parents={"masks": first}, **areas)
    return ledger, [first, second, RunSpec(parents={"masks": first, "teacher": second}, **areas)]


def test_the_chain_is_trained_in_order_scored_and_not_repeated(chain):
    ledger, specs = chain
    record = ledger.require([specs[2]])[0]
    assert {"mae", "r2", "rmse"} <= set(record.scores["ef"].model_dump()) and record.scores["ef"].studies == 2
    assert [ledger.runs.find(spec).why for spec in specs] == ["finished"] * 3
    assert len(list((ledger.workspace.build / "products").iterdir())) == 2, "one product and its lock: two runs share it"
    before = ledger.runs.folder(specs[1]).stat().st_mtime_ns
    assert ledger.require(specs)[2] == record and ledger.runs.folder(specs[1]).stat().st_mtime_ns == before


def test_a_run_of_the_chain_resumes_to_the_same_bytes(chain, tmp_path):
    ledger, specs = chain
    whole = ledger.runs.weights_of(ledger.require([specs[2]])[0].spec)
    for cut in (1, 4):
        recipe = lambda: recipe_class(specs[2].recipe)(specs[2], ledger.store, ledger.runs._parents(specs[2]))  # noqa: E731
        options = {"progress": False, "device": "cpu", "checkpoint_seconds": 0}
        assert not fit(recipe(), tmp_path / str(cut), stop_after_steps=cut, **options).finished
        assert fit(recipe(), tmp_path / str(cut), **options).weights.read_bytes() == whole.read_bytes()
    assert not torch.equal(load_weights(whole)["0.weight"], load_weights(ledger.runs.weights_of(specs[1]))["0.weight"])


def test_parents_of_the_wrong_kind_are_refused(chain):
    _, (first, second, third) = chain
    with pytest.raises(ValueError, match="'teacher' is a run of recipe 'segment', which gives masks; expected .* number"):
        RunSpec.model_validate(third.model_dump() | {"parents": {"masks": first.model_dump(), "teacher": first.model_dump()}})
    with pytest.raises(ValueError, match="recipe 'areas' needs a run as 'masks'"):
        RunSpec.model_validate(third.model_dump() | {"parents": {}})
    assert second.key != third.key and RunSpec.model_validate_json(third.model_dump_json()).key == third.key
