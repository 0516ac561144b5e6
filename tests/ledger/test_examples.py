"""Examples beside an evaluation: what was segmented then is drawn again, stored once, kept while small."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from echolib.config import Profile
from echolib.errors import RecordError
from echolib.evaluation.kinds.video import VideoSpec
from echolib.ledger import evaluations, examples
from echolib.ledger.evaluations import EXAMPLES, FORMER, all_committed, commit
from echolib.ledger.ledger import Ledger
from echolib.ledger.workspace import Workspace
from echolib.papers.simlvseg.runs import segment_run
from tests.ledger.standin import untrained_runs


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("examples")


@pytest.fixture
def ledger(root, monkeypatch):
    """A ledger whose runs count as finished once they have weights."""
    profile = Profile.model_validate({
        "name": "tiny", "purpose": "a test", "quotable": False, "seeds": [0], "width": 0.125, "bootstrap": 200,
        "echonet": {"layout": "echonet", "size": 64, "channels": 1,
                    "phantom": {"train": 1, "val": 1, "test": 1, "frames": [40, 44]}},
        "clip_3d": {"frames": 16}, "pretrain": {"epochs": 1, "batch": 1}, "segment": {"epochs": 1, "batch": 1},
        "framewise": {"epochs": 1, "batch": 2}})

    untrained_runs(monkeypatch)
    return Ledger(Workspace(root=root, profile=profile, build=root / "build" / "tiny"), say=lambda line: None, progress=False)


def test_examples_are_those_of_the_evaluation_and_outlive_its_weights(ledger, root, monkeypatch):
    profile = ledger.workspace.profile
    spec = VideoSpec(run=segment_run(profile, "unet3d", seed=0), data=profile.echonet)
    one = ledger.evaluate([spec])[0]
    study = one.studies.study[0]
    table = one.frames.set_index("frame")
    assert one.studies.worst_frame[0] == table.dice.idxmin() and np.isfinite(one.studies.valve_contrast[0])
    found = examples.require(ledger, one, [(study, 3), (study, 17)], [study])
    for (_, frame), picture in found.pictures.items():
        assert picture.mask.sum() == table.area_px[frame] and picture.exact.sum() == table.exact_area_px[frame]
        assert np.array_equal(picture.picture, np.asarray(ledger.store_of(spec.data).video(study)[frame])[..., 0])
    assert np.array_equal(found.curves[study], table[["area_px", "exact_area_px"]].to_numpy(float).T)

    commit(one, root / "results" / "tiny")
    kept = all_committed(root)[0]
    monkeypatch.setattr(VideoSpec, "pictures", None)  # from here on nothing may be segmented
    for evaluation in (one, kept):
        again = examples.require(ledger, evaluation, [(study, 17)], [study])
        assert list(again.pictures) == [(study, 17)]
        for part in ("picture", "mask", "exact"):
            assert np.array_equal(getattr(again.pictures[study, 17], part), getattr(found.pictures[study, 17], part))
    with pytest.raises(RecordError, match=r"committed without the example \('.*', 5\); .*echolib run"):
        examples.require(ledger, kept, [(study, 5)])

    (kept.folder / f"{spec.key}.{EXAMPLES}").unlink()
    monkeypatch.setattr(evaluations, "EXAMPLES_BYTES", 100)
    commit(one, root / "results" / "tiny")
    assert not (kept.folder / f"{spec.key}.{EXAMPLES}").is_file(), "too large to be kept"


def test_exact_masks_and_damaged_files(ledger):
    spec = VideoSpec(run=None, data=ledger.workspace.profile.echonet)
    one = ledger.evaluate([spec])[0]
    case = (one.studies.study[0], 0)
    picture = examples.require(ledger, one, [case]).pictures[case]
    assert picture.mask.any() and np.array_equal(picture.mask, picture.exact)
    other = evaluations.Evaluation(one.record.model_copy(update={"key": "f" * 16}), one.tables, one.folder)
    assert examples.read((one.folder / EXAMPLES).read_bytes(), other) == examples.Examples({}, {}), "of another evaluation"
    (one.folder / EXAMPLES).write_bytes(b"PK no archive")
    with pytest.raises(RecordError, match="not a file of examples"):
        examples.require(ledger, one, [case])
    (one.folder / EXAMPLES).unlink()


def again(ledger, one):
    (one.folder / "record.json").unlink()
    return ledger.evaluate([one.record.spec])[0]


def earlier(one):
    was = one.record.provenance.model_copy(update={"finished": "1999-12-31T23:59:59Z"})
    return replace(one, record=one.record.model_copy(update={"provenance": was}))


@pytest.mark.parametrize(("how", "seed"), [("asked", 1), ("renewed", 3)])
def test_an_evaluation_made_anew_loses_no_page_its_pictures(ledger, how, seed):
    """One page asked for two frames and a curve, another for one frame; after --anew of the second all come back."""
    spec = VideoSpec(run=segment_run(ledger.workspace.profile, "unet3d", seed=seed), data=ledger.workspace.profile.echonet)
    one = ledger.evaluate([spec])[0]
    study = one.studies.study[0]
    first = examples.require(ledger, one, [(study, 3), (study, 17)], [study], levels=True)
    new = again(ledger, one)
    assert new.examples() is None, "pictures of the former state are not shown"
    if how == "asked":
        new = again(ledger, new)  # twice, with nothing asked in between
    if how == "asked":
        examples.require(ledger, new, [(study, 5)])
    else:
        examples.renew(ledger, new)
    found = examples.read(new.examples(), new)
    assert not (new.folder / FORMER).exists()
    assert set(found.pictures) == {(study, 3), (study, 17)} | ({(study, 5)} if how == "asked" else set())
    assert np.array_equal(found.curves[study], first.curves[study]) and np.array_equal(found.levels, first.levels)


def test_what_a_committed_file_had_drawn_is_drawn_again(ledger):
    """In a checkout that had only the committed evaluation, and asked of the new one something else."""
    spec = VideoSpec(run=segment_run(ledger.workspace.profile, "unet3d", seed=2), data=ledger.workspace.profile.echonet)
    one = ledger.evaluate([spec])[0]
    study = one.studies.study[0]
    examples.require(ledger, one, [(study, 3)])
    committed = one.examples()
    (one.folder / EXAMPLES).unlink()
    new = again(ledger, one)
    examples.renew(ledger, new)
    assert new.examples() is None, "nobody asked for anything"
    examples.require(ledger, new, [(study, 5)])
    examples.renew(ledger, new, committed)
    assert set(examples.read(new.examples(), new).pictures) == {(study, 3), (study, 5)}


def test_a_former_state_that_showed_more_than_there_is_now(ledger):
    """A cohort whose clips are shorter now, or has other studies: what is gone is not asked for."""
    one = ledger.evaluate([VideoSpec(run=None, data=ledger.workspace.profile.echonet)])[0]
    study = one.studies.study[0]
    picture = examples.require(ledger, one, [(study, 2)]).pictures[study, 2]
    more = dict.fromkeys([(study, 2), (study, 9000), ("gone", 1)], picture)
    examples.write(one.folder / EXAMPLES, examples.Examples(more, {"gone": np.zeros((2, 3))}), earlier(one))
    examples.renew(ledger, one)
    assert set(examples.read(one.examples(), one).pictures) == {(study, 2)}


def test_the_columns_of_the_studies(ledger):
    one = ledger.evaluate([VideoSpec(run=None, data=ledger.workspace.profile.echonet)])[0]
    assert {"dice", "flicker", "area_rmse", "slope_rmse", "worst_frame", "jump_frame", "valve_contrast"} <= set(one.studies)
    assert one.studies.area_rmse.tolist() == [0.0] and one.studies.slope_rmse.tolist() == [0.0]
    assert isinstance(one.studies, pd.DataFrame) and len(one.studies) == one.record.studies
