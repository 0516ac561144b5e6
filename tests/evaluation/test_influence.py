"""Which frames decide: a network that looks at known frames says so, in known amounts."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from echolib.config import ClipSpec, DataSpec, ModelSpec, RunSpec, TrainSpec
from echolib.data import echonet
from echolib.data.store import pack
from echolib.errors import DataError
from echolib.evaluation.evaluation import Inputs
from echolib.evaluation.kinds.influence import InfluenceSpec, influences
from echolib.training.recipes.segment import Segment
from tests.data import fakes


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("influence")
    splits = ("TRAIN", "VAL", "TEST", "TEST", "TEST")
    return pack(echonet.read(fakes.write_echonet(folder / "data", splits=splits)), folder / "store", size=32, channels=1,
                progress=False)


class Weighted(nn.Module):
    """Logits of every frame: itself times a, the frame before times b."""

    def __init__(self, own: float, before: float) -> None:
        super().__init__()
        self.own, self.before, self.none = own, before, nn.Parameter(torch.zeros(1))

    def forward(self, clip):
        grey = clip[:, 1:2]
        return self.own * grey + self.before * torch.roll(grey, 1, 2) + self.none


def test_only_the_frames_that_are_looked_at_count_and_by_their_weight(store):
    by = influences(Weighted(1.0, 2.0), store, ClipSpec(frames=5), "test", 2, "cpu").groupby("place").change
    assert list(by.groups) == [-2, -1, 0, 1, 2] and set(by.size()) == {6}
    means = by.mean()
    assert means[-2] == means[1] == means[2] == 0 and 1.6 < means[-1] / means[0] < 2.4
    own = influences(Weighted(1.0, 0.0), store, ClipSpec(frames=5), "test", 1, "cpu")
    assert (own.change[own.place != 0] == 0).all()
    row = own[own.place == 0].iloc[0]  # the next study's middle frame takes its place
    after = store.studies.index[list(store.studies.index).index(row.study) + 1]
    mine, theirs = (store.video(study)[frame].astype(float) for study, frame in (
        (row.study, row.frame), (after, store.studies.frames[after] // 2)))
    assert row.change == pytest.approx(((theirs - mine) ** 2).mean() ** 0.5 / mine.std(ddof=1), rel=1e-4)


def test_a_clip_that_is_shifted_has_fewer_places_and_one_study_has_no_other(store):
    found = influences(Weighted(1.0, 1.0), store, ClipSpec(frames=2), "test", 2, "cpu")
    assert set(found.place) == {-1, 0}
    with pytest.raises(DataError, match="no other study.*1 study in the val split"):
        influences(Weighted(1.0, 1.0), store, ClipSpec(frames=2), "val", 2, "cpu")


def test_the_evaluation(store):
    data = DataSpec(layout="echonet", size=32, channels=1)
    run = RunSpec(recipe=Segment(), data=data, model=ModelSpec(name="sscf", width=0.25), clip=ClipSpec(frames=3),
                  train=TrainSpec(epochs=1))
    spec = InfluenceSpec(run=run, data=data, reach=1)
    model = Weighted(1.0, 1.0).train()
    found = spec.compute(Inputs(store, None, lambda: None, lambda: model, lambda items, total: iter(items)))
    assert (found.studies, found.frames, len(found.tables["studies"])) == (3, 6, 18) and model.training
    assert spec.predicted_frames(3, 100) == 6 * 3 * 4 and "influence" in spec.label
