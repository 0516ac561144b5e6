"""The traced frames measured: which clips are taken, distances in px and mm, both ejection fractions, and what is undefined."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import rankdata
from torch import nn

from echolib.config import ClipSpec, DataSpec, ModelSpec, RunSpec, SubsetSpec, TrainSpec
from echolib.data import camus, echonet
from echolib.data.store import ClipStore, pack
from echolib.data.truth import read_truth
from echolib.errors import DataError
from echolib.evaluation.ejection import disk_volume, ejection_fraction
from echolib.evaluation.evaluation import Inputs
from echolib.evaluation.folland import triangle_volume
from echolib.evaluation.kinds.traced import TracedSpec
from echolib.evaluation.kinds.video import own_split
from echolib.evaluation.metrics import all_surface_distances, surface_distances
from echolib.evaluation.rank_sum import rank_sum
from echolib.evaluation.traced import FRAME_COLUMNS, STUDY_COLUMNS, Found, measured, mm_of, predicted
from echolib.training.recipes.clip_dense import ClipDense
from tests.data import fakes

DATA = DataSpec(layout="camus", size=64, channels=1, views=("4CH", "2CH"))


@pytest.fixture(scope="module")
def half_cycles(tmp_path_factory) -> ClipStore:
    folder = tmp_path_factory.mktemp("traced")
    return pack(camus.read(fakes.write_camus(folder / "data"), views=DATA.views), folder / "store", size=64, channels=1,
                progress=False)


class Brightness(nn.Module):
    """Dark is ventricle: logits are how far a blurred frame lies below its mean, so each frame has its own."""

    def __init__(self) -> None:
        super().__init__()
        self.none, self.seen = nn.Parameter(torch.zeros(1)), []

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        self.seen.append(clip.detach().numpy().copy())
        grey = clip[:, 1].flatten(0, 1)[:, None]
        smooth = nn.functional.avg_pool2d(grey, 5, 1, 2).view(clip.shape[0], 1, *clip.shape[2:])
        return smooth.mean((-2, -1), keepdim=True) - smooth - 0.3 + self.none


def perfect(store: ClipStore, study: str) -> Found:
    about = store.studies.loc[study]
    frames = np.array([about.ed_frame, about.es_frame])
    logits = np.stack([np.where(store.mask(study, f), 2.0, -2.0) for f in frames]).astype(np.float32)
    return Found(study, frames, np.array(["ED", "ES"]), logits, np.zeros(0, int), np.zeros((0, 64, 64), bool))


def test_a_perfect_outline(half_cycles):
    for study in half_cycles.studies.index:
        rows, row = measured(half_cycles, None, perfect(half_cycles, study))
        assert [list(r) for r in rows] == [list(FRAME_COLUMNS)] * 2 and tuple(row) == STUDY_COLUMNS
        for one in rows:
            assert one["dice"] == one["auc"] == 1 and one["intersection"] == one["predicted_px"] == one["traced_px"]
            assert [one[f"{d}_{unit}"] for d in ("hd", "hd95", "asd") for unit in ("px", "mm")] == [0] * 6
        assert row["ef_disks"] == row["traced_ef_disks"] > 0 and row["ef_triangle"] == row["traced_ef_triangle"]
        assert row["ef"] == half_cycles.studies.ef[study] and np.isnan(row["dice_between"])
        assert row["ef_error"] == abs(row["ef_disks"] - row["ef"]) and np.isnan(row["exact_edv"])
        assert row["esv"] / row["edv"] == pytest.approx(1 - row["ef_disks"] / 100)
        height, width = 0.54 * 80 * 0.308, 0.32 * 64 * 0.308  # of the ellipse at ED, mm; ES is three quarters as large
        assert row["edv"] == pytest.approx(np.pi / 6 * height * width ** 2 / 1000, rel=0.1)


def test_distances_areas_and_ejection_fractions_by_hand(half_cycles):
    study = "patient0004_2CH"
    found = perfect(half_cycles, study)
    found.logits[0] = np.roll(found.logits[0], 3, axis=0)      # ED three rows down
    found.logits[1, :, 30:] = -5                               # ES cut in half: scores of the lost half below the background's
    rows, row = measured(half_cycles, None, found)
    ed, es = rows
    assert (ed["phase"], ed["frame"], es["phase"], es["frame"]) == ("ED", 12, "ES", 0)
    spacing = 0.308 * 80 / 64, 0.308 * 64 / 64                 # 80 x 64 px squeezed into 64 x 64
    assert mm_of(half_cycles, study, None) == pytest.approx(spacing, rel=1e-5)
    assert ed["hd_px"] == 3 and ed["hd_mm"] == pytest.approx(3 * spacing[0], rel=1e-5)
    masks = [half_cycles.mask(study, f) for f in (12, 0)]
    for one, logits, traced in zip(rows, found.logits, masks, strict=True):
        assert one["dice"] == 2 * (traced & (logits > 0)).sum() / (traced.sum() + (logits > 0).sum())
        assert (one["hd95_px"], one["asd_px"]) == surface_distances(logits > 0, traced)
        assert (one["hd_mm"], one["hd95_mm"], one["asd_mm"]) == all_surface_distances(logits > 0, traced, mm_of(
            half_cycles, study, None))
        ranks, n = rankdata(logits)[traced.ravel()], traced.sum()
        assert one["auc"] == pytest.approx((ranks.sum() - n * (n + 1) / 2) / (n * (traced.size - n)))
    tall = [np.repeat(m, 5, 0).reshape(64, 5, 64).transpose(0, 2, 1).reshape(64, 320)[:, 2::6][:, :51] for m in masks]
    for method, volume in (("disks", disk_volume), ("triangle", triangle_volume)):
        aspect_kept = ejection_fraction(*(volume(m, 1.0) for m in tall))
        assert row[f"traced_ef_{method}"] == pytest.approx(aspect_kept, abs=4)
    assert row["ef_disks"] > row["traced_ef_disks"] + 20 and row["dice"] == pytest.approx((ed["dice"] + es["dice"]) / 2)


def test_what_is_not_defined_is_nan(half_cycles):
    found = perfect(half_cycles, "patient0001_4CH")
    found.logits[0] = -1.0
    rows, row = measured(half_cycles, None, found)
    assert rows[0]["dice"] == 0 and np.isnan([rows[0]["hd95_px"], rows[0]["asd_mm"], row["ef_disks"], row["ef_triangle"]]).all()
    assert row["hd95_px"] == 0, "the mean of the frames that have a distance"
    found.logits[0, 20, 20] = 1.0                              # a pixel has a volume by disks and no triangle
    assert np.isfinite(measured(half_cycles, None, found)[1]["ef_disks"])
    assert np.isnan(measured(half_cycles, None, found)[1]["ef_triangle"])


def test_clips_from_ed_to_es(half_cycles):
    network = Brightness()
    found = {one.study: one for one in predicted(network, half_cycles, ClipSpec(frames=5), "test", "ends", batch=1)}
    assert list(found) == ["patient0004_2CH", "patient0004_4CH"] and network.seen[0].shape[2] == 5
    one = found["patient0004_4CH"]
    assert one.frames.tolist() == [12, 0] and one.phases.tolist() == ["ED", "ES"] and one.between.tolist() == [3, 6, 9]
    logits = Brightness()(torch.from_numpy(network.seen[1])).detach()[0, 0]
    assert np.allclose(one.logits, logits[[0, -1]], atol=1e-5), "the clip runs from ED to ES"
    assert (one.between_masks == (logits[[3, 2, 1]] > 0).numpy()).all()
    between = [2 * (m & t).sum() / (m.sum() + t.sum()) for m, t in zip(one.between_masks, (
        half_cycles.mask(one.study, f) for f in (3, 6, 9)), strict=True)]
    assert measured(half_cycles, None, one)[1]["dice_between"] == pytest.approx(np.mean(between)) and np.mean(between) > 0.5


def test_short_clips_repeat_frames_that_count_once(half_cycles):
    one = next(predicted(Brightness(), half_cycles, ClipSpec(frames=30), "val", "ends"))
    assert one.between.tolist() == list(range(1, 10)) and len(one.between_masks) == 9


def test_centred_clips_hold_each_traced_frame_alone(half_cycles):
    network = Brightness()
    found = list(predicted(network, half_cycles, ClipSpec(frames=3), "train", "centred", batch=3))
    assert [one.study for one in found] == sorted(half_cycles.studies.index[half_cycles.studies.split == "train"])
    assert sum(len(seen) for seen in network.seen) == 8 and all(len(one.frames) == 2 and not len(one.between) for one in found)
    assert found[0].frames.tolist() == [0, 9] and found[0].phases.tolist() == ["ED", "ES"]


def run(**changes) -> RunSpec:
    fields = dict(recipe=ClipDense(), data=DATA, model=ModelSpec(name="pkecho_r18", width=0.125), clip=ClipSpec(frames=4),
                  train=TrainSpec(epochs=1, batch=1))
    return RunSpec(**fields | changes)


def inputs(store: ClipStore, model: nn.Module) -> Inputs:
    return Inputs(store=store, truth=None, cohort=lambda: None, model=lambda: model, shown=lambda items, total: iter(items))


def test_an_evaluation_takes_the_test_split_of_the_run_s_subset(half_cycles):
    subset = SubsetSpec(folds=4, fold=1)
    spec = TracedSpec(run=run(subset=subset), data=DATA, clips="ends")
    computed = spec.compute(inputs(half_cycles, Brightness()))
    tested = own_split(half_cycles, spec.run, DATA).studies.query("split == 'test'").index
    assert set(computed.tables["studies"].study) == set(tested) and computed.studies == 2 and computed.frames == 4
    other = DATA.model_copy(update={"channels": 3})
    elsewhere = TracedSpec(run=run(subset=subset), data=other).compute(inputs(half_cycles, Brightness())).tables["studies"]
    assert set(elsewhere.patient) == {"patient0004"}, "of another cohort its own test split"
    pictures = spec.pictures(inputs(half_cycles, Brightness()), [(tested[0], int(half_cycles.studies.es_frame[tested[0]]))])
    (case, picture), = pictures.items()
    assert (picture.exact == half_cycles.mask(*case)).all() and picture.mask.any() and picture.picture.shape == (64, 64)
    assert spec.predicted_frames(10, 20) == 40 and TracedSpec(run=run(), data=DATA).predicted_frames(10, 20) == 80
    assert "from ED to ES" in spec.label


def test_clips_see_each_other_only_where_a_network_can(half_cycles):
    model = Brightness()
    with pytest.raises(DataError, match="cannot see each other in pkecho_r18"):
        TracedSpec(run=run(), data=DATA, across=True).compute(inputs(half_cycles, model))
    model.across_at_test = "alone"
    TracedSpec(run=run(), data=DATA, across=True).compute(inputs(half_cycles, model))
    assert model.across_at_test == "batch"
    with pytest.raises(ValueError, match="must be a segmenter"):
        from echolib.training.recipes.reconstruct import Reconstruct
        TracedSpec(run=run(recipe=Reconstruct(), model=ModelSpec(name="unet3d")), data=DATA)


def test_phantoms_are_measured_against_exact_values(tmp_path):
    from echolib.config import PhantomSpec
    from echolib.phantom.cohort import write_echonet

    write_echonet(tmp_path / "data", PhantomSpec(train=0, val=0, test=1, frames=(40, 44)), progress=False)
    store = pack(echonet.read(tmp_path / "data"), tmp_path / "store", size=64, channels=1, progress=False)
    study = store.studies.index[0]
    true = read_truth(tmp_path / "data", study)
    one = next(predicted(Brightness(), store, ClipSpec(frames=4), "test", "ends"))
    rows, row = measured(store, tmp_path / "data", one)
    assert (row["ef"], row["exact_edv"], row["exact_esv"]) == (true.ef, true.edv, true.esv)
    assert np.isfinite(row["dice_between"]) and np.isnan(measured(store, None, one)[1]["dice_between"])
    assert rows[0]["hd_mm"] == pytest.approx(rows[0]["hd_px"] * true.spacing_mm * 112 / 64)
    assert np.isnan(measured(store, None, one)[0][0]["hd_mm"]), "EchoNet-Dynamic gives no pixel spacing"


def test_the_rank_sum_by_hand():
    # 1 2 3 against 4 5 6: U = 0, mean 4.5, variance 3 * 3 * 7 / 12
    assert rank_sum([1, 2, 3], [4, 5, 6]) == pytest.approx(0.0495, abs=1e-4)
    assert rank_sum([1, 1], [1, 1]) == 1 and rank_sum([3, 1, 2], [2, 3, 1]) == pytest.approx(1)
    with pytest.raises(ValueError, match="not 0 and 2"):
        rank_sum([], [1, 2])
