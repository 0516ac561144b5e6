"""Half cycles as clips: which frames, which phase, how they are filled up and resized; and the evaluation made of them."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from echolib.config import ECHONET_MEAN, ECHONET_STD, Profile
from echolib.config.specs import canonical
from echolib.data import camus
from echolib.data.store import pack
from echolib.errors import RecordError
from echolib.evaluation import half_cycles
from echolib.evaluation.half_cycles import letterbox, phases_of, predict, scores, tables
from echolib.evaluation.kinds.half_cycle import HalfCycleSpec
from echolib.evaluation.kinds.video import VideoSpec
from echolib.evaluation.metrics import dice
from echolib.ledger import evaluations, examples
from echolib.ledger.evaluations import all_committed, commit
from echolib.ledger.ledger import Ledger
from echolib.ledger.workspace import Workspace
from echolib.papers.simlvseg.runs import segment_run
from echolib.phantom import cohort as phantoms
from tests.data import fakes
from tests.ledger.standin import untrained_runs


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Patients 1 to 4: 10, 11, 12 and 13 frames, qualities Good, Medium, Poor, Good; even ones have ES first."""
    return camus.read(fakes.write_camus(tmp_path_factory.mktemp("camus") / "data", views=("4CH",), height=80, width=64))


@pytest.fixture(scope="module")
def store(cohort, tmp_path_factory):
    return pack(cohort, tmp_path_factory.mktemp("store") / "s", size=48, channels=1, progress=False)


class Recorder(nn.Module):
    """A network that calls dark pixels ventricle and remembers what came in."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        self.seen.append(clip.clone())
        return -clip[:, :1]


def test_phases_with_ed_first_and_with_es_first():
    numbers = np.arange(5)
    assert phases_of(numbers, 0, 4).tolist() == ["ED", "other", "middle", "other", "ES"]
    assert phases_of(numbers, 4, 0).tolist() == ["ES", "other", "middle", "other", "ED"]
    assert phases_of(np.arange(6), 0, 5).tolist() == ["ED", "other", "other", "middle", "other", "ES"]
    assert phases_of(np.array([0, 2, 4, 6, 8]), 8, 0).tolist() == ["ES", "other", "middle", "other", "ED"]  # thinned
    assert phases_of(np.arange(2), 0, 1).tolist() == ["ED", "ES"] and phases_of(np.arange(3), 0, 1).tolist() == [
        "ED", "ES", "other"], "a frame that is ED or ES is not the middle"


def test_a_short_half_cycle_is_filled_up_and_a_long_one_is_thinned(store, cohort):
    first, second, *_, last = half_cycles.half_cycles(store, 12)
    assert first.numbers.tolist() == list(range(10)) and first.phases[[0, 5, 9]].tolist() == ["ED", "middle", "ES"]
    assert second.phases[[0, 10]].tolist() == ["ES", "ED"]
    assert first.clip.shape == (12, 48, 48, 1) and (first.clip[10:] == 0).all() and np.array_equal(
        first.clip[:10], store.video("patient0001_4CH"))
    assert all(np.array_equal(m, store.mask("patient0001_4CH", n)) for n, m in zip(first.numbers, first.masks, strict=True))
    assert last.numbers.tolist() == [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12]  # 13 frames in 12 places, 12/11 apart, rounded
    assert set(first.phases) == {"ED", "ES", "middle", "other"} and len(last.masks) == 12


def test_kept_aspect_by_hand():
    tall = np.full((1, 4, 2, 3), 200, np.uint8)
    assert letterbox(tall, 4)[0, ..., 0].tolist() == [[0, 200, 200, 0]] * 4
    wide = np.ones((2, 20, 40), bool)
    boxed = letterbox(wide, 10)
    assert boxed.dtype == bool and boxed.sum() == 2 * 5 * 10 and boxed[0, 2:7].all()  # 10 x 5 px, two rows above, three below
    assert np.array_equal(letterbox(tall.repeat(2, 2)[:, :4, :4], 4), tall.repeat(2, 2))


def test_a_kept_aspect_changes_the_pictures_and_not_the_choice_of_frames(store, cohort):
    squares, kept = (list(half_cycles.half_cycles(store, 16, c)) for c in (None, cohort))
    for square, one in zip(squares, kept, strict=True):
        assert one.numbers.tolist() == square.numbers.tolist() and one.phases.tolist() == square.phases.tolist()
        assert (one.clip[:, :, [0, -1]] == 0).all() and one.clip.shape == square.clip.shape  # 80 x 64: bars left and right
        rows, columns = np.nonzero(one.masks[0])
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert height / width == pytest.approx(0.27 * 80 / (0.16 * 64), rel=0.12)
        assert square.masks[0].sum() == pytest.approx(one.masks[0].sum() * 80 / 64, rel=0.05)


@pytest.mark.parametrize("padding", ["before", "after"])
def test_padding_before_normalisation_is_black_and_after_it_is_zero(store, padding):
    model = Recorder()
    model.train()
    found = list(predict(model, half_cycles.half_cycles(store, 12), padding, device="cpu"))
    assert model.training and [one.study for one, _ in found] == list(store.studies.index)
    assert [len(masks) for _, masks in found] == [10, 11, 12, 12]
    black = [-m / s for m, s in zip(ECHONET_MEAN, ECHONET_STD, strict=True)]
    filled = model.seen[0][0, :, 10:]
    assert filled.amax((1, 2, 3)).tolist() == pytest.approx(black if padding == "before" else [0, 0, 0], abs=1e-6)
    assert torch.equal(filled.amax((1, 2, 3)), filled.amin((1, 2, 3)))
    values = store.video("patient0001_4CH")[..., 0] / 255
    assert np.allclose(model.seen[0][0, 0, :10].numpy(), (values - ECHONET_MEAN[0]) / ECHONET_STD[0], atol=1e-5)
    assert np.array_equal(found[0][1], values < ECHONET_MEAN[0])


def test_on_a_gpu_s_batches_the_same_masks_come_out(store, monkeypatch):
    one_by_one = list(predict(Recorder(), half_cycles.half_cycles(store, 12), "after", device="cpu"))
    monkeypatch.setattr(half_cycles, "FRAMES_PER_PASS", 36)
    assert [len(b) for b in half_cycles._batches(half_cycles.half_cycles(store, 12), None)] == [3, 1]
    monkeypatch.setattr(half_cycles, "_batches", lambda cycles, batch: [list(cycles)])
    together = list(predict(Recorder(), half_cycles.half_cycles(store, 12), "after", device="cpu"))
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(one_by_one, together, strict=True))


def test_tables_and_scores_by_hand(store):
    found = []
    for one in half_cycles.half_cycles(store, 16):
        masks = one.masks.copy()
        masks[0] = False  # nothing found on the first frame
        masks[1, :24] = False  # and the upper half missed on the second
        found.append((one, masks))
    made = tables(store, found)
    assert made["studies"]["first"].tolist() == ["ED", "ES", "ED", "ES"]
    assert made["studies"].quality.tolist() == ["Good", "Medium", "Poor", "Good"]
    assert made["studies"].split.tolist() == ["train", "val", "train", "test"], "nobody was trained on: every split counts"
    assert made["studies"].scored.tolist() == [10, 11, 12, 13] and len(made["frames"]) == 46
    table = scores(made["studies"], made["frames"])
    part = table[table.study == "patient0002_4CH"].set_index("frame")
    assert part.dice[0] == 0 and (part.dice.loc[2:] == 1).all() and part.phase[0] == "ES" and set(part.patient) == {"patient0002"}
    one, masks = found[1]
    assert part.dice[1] == pytest.approx(dice(masks[1], one.masks[1])) and 0 < part.dice[1] < 1
    empty = made["frames"].assign(intersection=0, predicted_px=0, traced_px=0)
    assert (scores(made["studies"], empty).dice == 1).all(), "two empty masks agree"


# -- the evaluation ---------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    stage = {"epochs": 1, "batch": 1}
    profile = Profile.model_validate({
        "name": "tiny", "purpose": "a test", "quotable": False, "seeds": [0], "width": 0.125, "bootstrap": 200,
        "echonet": {"layout": "echonet", "size": 32, "channels": 1, "phantom": {"train": 1, "val": 1, "test": 1}},
        "camus": {"layout": "camus", "size": 32, "channels": 1, "phantom": {"preset": "camus", "train": 0, "val": 0, "test": 2}},
        "clip_3d": {"frames": 16}, "pretrain": stage, "segment": stage, "framewise": stage})
    root = tmp_path_factory.mktemp("half_cycles")
    return Workspace(root=root, profile=profile, build=root / "build" / "tiny")


@pytest.fixture
def ledger(workspace, monkeypatch):
    """A ledger on small CAMUS phantoms whose runs count as finished once they have weights; ``log`` holds its lines."""
    monkeypatch.setattr(phantoms, "write_camus", functools.partial(phantoms.write_camus, size=(72, 88)))
    monkeypatch.setenv("ECHOLIB_ENGINE", "fast")
    log: list[str] = []
    ledger = Ledger(workspace, say=log.append, progress=False)
    ledger.log = log

    untrained_runs(monkeypatch)
    return ledger


def spec_of(ledger, **options) -> HalfCycleSpec:
    profile = ledger.workspace.profile
    return HalfCycleSpec(run=segment_run(profile, "unet3d", seed=0), data=profile.camus, **options)


def test_a_phantom_cohort_is_evaluated_once_and_kept_with_its_frames(ledger, tmp_path, monkeypatch):
    spec = spec_of(ledger)
    one = ledger.evaluate([spec])[0]
    packed = ledger.store_of(spec.data)
    assert one.record.studies == len(one.studies) == 2 and one.record.unit == "px" and one.record.spec == spec
    assert set(packed.studies.split) == {"test"} and one.record.frames == len(one.frames) == one.studies.scored.sum()
    counts = one.frames.phase.value_counts()
    assert counts["ED"] == counts["ES"] == counts["middle"] == 2 and (one.studies["view"] == "4CH").all()
    by_hand = dict(predict_all(ledger, spec, packed))
    for row in one.frames.itertuples():
        mask = by_hand[row.study][row.frame]
        truth = packed.mask(row.study, row.frame)
        assert (row.predicted_px, row.traced_px, row.intersection) == (mask.sum(), truth.sum(), (mask & truth).sum())
    assert ledger.evaluate([spec])[0].record == one.record and len(ledger.log) == 1
    commit(one, tmp_path / "results" / "tiny")
    kept = all_committed(tmp_path)
    assert [k.record for k in kept] == [one.record] and kept[0].frames.equals(one.frames) and kept[0].studies.equals(one.studies)
    assert str(ledger.workspace.root) not in "".join(p.read_text() for p in (tmp_path / "results").rglob("*.*"))
    monkeypatch.setattr(evaluations, "modules_code", lambda modules: "0" * 16)
    assert ledger.evaluations.own(spec) == (None, "the code changed")


def predict_all(ledger, spec, store):
    """The masks of each study by frame number, straight from the network."""
    for one, masks in predict(ledger.model(spec.run), half_cycles.half_cycles(store, spec.run.clip.frames), device="cpu"):
        yield one.study, dict(zip(one.numbers.tolist(), masks, strict=True))


def test_options_are_other_evaluations_with_other_results(ledger):
    plain, zeros, kept = (spec_of(ledger, **o) for o in ({}, {"padding": "after"}, {"aspect": "kept"}))
    assert len({s.key for s in (plain, zeros, kept)}) == 3
    found = ledger.evaluate([plain, zeros, kept])
    assert found[2].frames.traced_px.sum() < found[0].frames.traced_px.sum(), "bars left and right: a smaller ventricle"
    assert found[0].frames[["study", "frame", "phase"]].equals(found[2].frames[["study", "frame", "phase"]])
    short = found[0].studies.set_index("study").scored < 16
    differs = (found[0].frames.predicted_px != found[1].frames.predicted_px).groupby(found[0].frames.study).any()
    assert not differs[~short].any(), "a half cycle that fills the clip is not padded"


@pytest.mark.parametrize("aspect", ["ignored", "kept"])
def test_frames_and_grey_levels_are_drawn_again_without_network_or_cohort(ledger, tmp_path, monkeypatch, aspect):
    one = ledger.evaluate([spec_of(ledger, aspect=aspect)])[0]
    table = one.frames[one.frames.phase.isin(["ED", "ES"])].set_index(["study", "frame"])
    found = examples.require(ledger, one, list(table.index), levels=True)
    for case, row in table.iterrows():
        picture = found.pictures[case]
        assert picture.picture.shape == (32, 32) and picture.picture.std() > 0
        assert (picture.mask.sum(), picture.exact.sum(), (picture.mask & picture.exact).sum()) == (
            row.predicted_px, row.traced_px, row.intersection)
    grey = np.asarray(ledger.store_of(one.record.spec.data).frames)
    assert found.levels == pytest.approx(np.bincount(grey.ravel(), minlength=256) / grey.size), "so few frames are all looked at"

    commit(one, tmp_path / "results" / "tiny")
    kept = all_committed(tmp_path)[0]
    monkeypatch.setattr(HalfCycleSpec, "pictures", None)  # from here on nothing may be segmented or counted
    monkeypatch.setattr(examples, "grey_levels", None)
    again = examples.require(ledger, kept, list(table.index), levels=True)
    assert np.array_equal(again.levels, found.levels) and again.pictures.keys() == found.pictures.keys()
    assert all((again.pictures[case].mask == found.pictures[case].mask).all() for case in found.pictures)
    assert examples.require(ledger, kept, []).levels is None

    examples.write(one.folder / evaluations.EXAMPLES, examples.Examples(found.pictures, {}), one)
    commit(one, tmp_path / "results" / "tiny")
    with pytest.raises(RecordError, match="was committed without the example grey levels"):
        examples.require(ledger, all_committed(tmp_path)[0], [], levels=True)


def test_what_is_no_half_cycle_is_refused(ledger):
    profile = ledger.workspace.profile
    run = segment_run(profile, "unet3d", seed=0, pretrained=True)
    with pytest.raises(ValidationError, match="half cycles come in CAMUS' layout, not in 'echonet'"):
        HalfCycleSpec(run=run, data=profile.echonet)
    with pytest.raises(ValidationError, match="must be a segmenter"):
        HalfCycleSpec(run=run.parents["init"], data=profile.camus)


def test_the_two_kinds_of_record_are_told_apart(ledger, tmp_path):
    spec = spec_of(ledger)
    one = ledger.evaluate([spec])[0]
    assert commit(one, tmp_path / "results" / "tiny")
    path = tmp_path / "results" / "tiny" / "evaluations" / f"{spec.key}.json"
    assert ledger.evaluations.read(path).spec.kind == "half_cycle"
    video = VideoSpec(run=spec.run, data=ledger.workspace.profile.echonet)
    assert set(video.model_dump()) == {"kind", "run", "data", "split", "studies", "overlap", "period"}
    assert "period" not in canonical(video), "its key would change"
    (path.with_name(f"{spec.key}.frames.csv")).unlink()
    with pytest.raises(RecordError, match="frames.csv is missing"):
        all_committed(tmp_path)


def test_a_row_of_a_kept_table_is_small(ledger):
    one = ledger.evaluate([spec_of(ledger)])[0]
    text = one.frames.to_csv(index=False)
    assert len(text) / len(one.frames) < 45 and pd.api.types.is_integer_dtype(one.frames.intersection)
