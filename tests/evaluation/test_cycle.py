"""The soft match against the true phase: features that know it, features that do not, distances, the embedding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from echolib.config import DataSpec, PhantomSpec
from echolib.errors import DataError
from echolib.evaluation.cycle import clip_features, distances, embedding, match_table, phase_correlation, separation, wrapped
from echolib.evaluation.evaluation import Inputs
from echolib.evaluation.kinds.cycle import CycleSpec
from echolib.losses.css import Cycle
from tests.training.css_standin import frame_wise, store

CPU = torch.device("cpu")
CYCLE = Cycle(scale="spread")


def beating(period: float = 18.0, frames: int = 40, at: float = 0.1) -> tuple[torch.Tensor, np.ndarray]:
    phase = (at + np.arange(frames) / period) % 1
    angle = torch.from_numpy(2 * np.pi * phase).float()
    return torch.stack([angle.cos(), angle.sin()], 1), phase


def test_distance_of_phases_goes_round():
    assert wrapped(np.array([0.0, 0.3, 0.5, 0.9, -0.2, 1.1])).tolist() == pytest.approx([0, 0.3, 0.5, 0.1, 0.2, 0.1])


def test_features_that_are_the_phase_match_it_to_the_frame():
    features, phase = beating()
    table = match_table("a", "p", features, phase, CYCLE)
    assert len(table) == 13 and (table.error < 0.5 / 18 + 1e-9).all() and (table.soft_error < 0.05).all()
    assert (table.came_round == 1).all() and table.beats_in_template.iloc[0] == pytest.approx(14 / 18)
    assert table.phase.tolist() == pytest.approx(phase[:13].tolist())


def test_features_without_a_beat_are_wrong_by_a_quarter_on_average():
    errors, generator = [], torch.Generator().manual_seed(0)
    for _ in range(40):
        table = match_table("a", "p", torch.randn(40, 8, generator=generator), beating()[1], CYCLE)
        errors += table.error.tolist()
    assert np.mean(errors) == pytest.approx(0.25, abs=0.02)


def test_correlation_with_the_phase_from_beat_to_beat():
    features, phase = beating()
    assert phase_correlation(features, phase) > 0.98
    noise = torch.randn(40, 8, generator=torch.Generator().manual_seed(1))
    assert abs(phase_correlation(noise, phase)) < 0.25
    assert np.isnan(phase_correlation(torch.ones(40, 3), phase)) and np.isnan(phase_correlation(features, phase * 0 + 0.1))


def test_distances_show_the_diagonals_of_a_beat():
    found = distances(beating(period=10)[0])
    assert found.max() == 1 and np.allclose(found, found.T) and np.allclose(np.diag(found), 0)
    assert np.allclose(np.diag(found, 10), 0, atol=1e-6) and np.diag(found, 5).min() > 0.9
    assert (distances(torch.ones(4, 2)) == 0).all()


def test_studies_that_lie_apart():
    features, _ = beating()
    assert separation([features, features]) == pytest.approx(separation([features, features.flip(0)]), rel=1e-5)
    assert 0.9 < separation([features, features]) < 1.05
    assert separation([features, features + 10]) > 5


def test_the_embedding_keeps_studies_together():
    pytest.importorskip("sklearn", reason="t-SNE is scikit-learn's")
    clouds = [beating()[0] + torch.tensor([20.0 * k, 0.0]) for k in range(3)]
    points = embedding(clouds)
    assert points.shape == (120, 2) and np.array_equal(points, embedding(clouds))
    centres = points.reshape(3, 40, 2).mean(1)
    own = np.linalg.norm(points.reshape(3, 40, 2) - centres[:, None], axis=-1).mean()
    assert own < min(np.linalg.norm(centres[a] - centres[b]) for a, b in ((0, 1), (0, 2), (1, 2)))


def test_pixels_and_a_network_s_features_of_a_clip():
    cohort, indices = store(), np.arange(0, 24, 2)
    pixels = clip_features(None, cohort, "test0", indices, CPU)
    frame = torch.from_numpy(cohort.clip("test0", indices)[3]).float().flatten()
    assert pixels.shape == (12, 1024) and torch.allclose(pixels[3] * 255, frame, atol=1e-3)
    assert clip_features(frame_wise().eval(), cohort, "test0", indices, CPU).shape == (12, 6)


def test_the_evaluation_on_a_phantom(tmp_path):
    pytest.importorskip("sklearn", reason="t-SNE is scikit-learn's")
    from echolib.data import echonet
    from echolib.data.store import pack
    from echolib.phantom.cohort import write_echonet
    phantom = PhantomSpec(train=1, val=1, test=3, seed=2, frames=(60, 64))
    write_echonet(tmp_path / "data", phantom, progress=False)
    cohort = pack(echonet.read(tmp_path / "data"), tmp_path / "store", size=32, channels=1, progress=False)
    inputs = Inputs(store=cohort, truth=tmp_path / "data", cohort=lambda: None, model=lambda: None, shown=lambda x, total: x)
    data = DataSpec(layout="echonet", size=32, channels=1, phantom=phantom)
    spec = CycleSpec(data=data, frames=20, template=8, drawn=2)
    made = spec.compute(inputs)
    assert set(made.tables) == set(spec.tables) and set(made.bulk) == set(spec.bulk) and made.studies == 3
    assert len(made.tables["matches"]) == 3 * 6 and len(made.tables["embedding"]) == 40 and len(made.bulk["distances"]) == 2 * 400
    assert made.tables["studies"].error.between(0, 0.5).all() and made.tables["apart"].short[0] == 0
    with pytest.raises(DataError, match="no video of the test split holds 40 frames at period 3.*expected 118 frames"):
        CycleSpec(data=data).compute(inputs)
    with pytest.raises(ValueError, match="known of phantoms alone"):
        CycleSpec(data=DataSpec(layout="echonet"))


def test_videos_that_are_too_short_are_counted_by_split():
    from echolib.evaluation.kinds.lengths import LengthsSpec
    inputs = Inputs(store=store(), truth=None, cohort=lambda: None, model=lambda: None, shown=lambda x, total: x)
    made = LengthsSpec(data=DataSpec(layout="echonet", size=32), frames=13, period=2).compute(inputs)
    assert made.tables["splits"].to_numpy().tolist() == [["train", 5, 1], ["val", 2, 1], ["test", 2, 1]]
