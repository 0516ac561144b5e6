"""Labelled shares and folds: drawn from a seed, nested, by patient, and what is hidden cannot be reached."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from echolib.config import SubsetSpec
from echolib.data import camus, echonet
from echolib.data.store import pack
from echolib.data.subsets import fold_splits, labelled_studies, part_splits, restricted
from echolib.errors import DataError, TrainingError
from echolib.training.predict import traced_frames
from tests.data import fakes


def table(patients: int = 20, views: int = 2) -> pd.DataFrame:
    rows = [(f"p{i:02d}v{k}", f"p{i:02d}", "train" if i < 16 else "test") for i in range(patients) for k in range(views)]
    return pd.DataFrame(rows, columns=["study", "patient", "split"]).set_index("study")


def test_a_smaller_share_is_part_of_a_larger_one_and_a_seed_makes_another_list():
    eighth, quarter, half, whole = (labelled_studies(table(), (1, n)) for n in (8, 4, 2, 1))
    assert [len(part) for part in (eighth, quarter, half, whole)] == [4, 8, 16, 32]
    assert set(eighth) < set(quarter) < set(half) < set(whole) and set(table().split[whole]) == {"train"}
    assert labelled_studies(table(), (1, 8)) == eighth != labelled_studies(table(), (1, 8), seed=1)


def test_a_share_without_a_study_is_named():
    with pytest.raises(DataError, match="the labelled share holds no study.*1/100 of 32 training studies"):
        labelled_studies(table(), (1, 100))


def test_folds_divide_patients_not_studies_and_every_patient_is_tested_once():
    found = [fold_splits(table(), 5, fold) for fold in range(5)]
    tested = pd.concat([table().patient[splits == "test"] for splits in found])
    assert sorted(tested) == sorted(table().patient)
    for splits in found:
        by = table().assign(split=splits).groupby("patient").split.nunique()
        assert (by == 1).all() and splits.value_counts().to_dict() == {"train": 24, "val": 8, "test": 8}
    with pytest.raises(DataError, match="25 folds, 20 patients"):
        fold_splits(table(), 25, 0)


def test_hidden_tracings_and_volumes_cannot_be_reached(tmp_path):
    store = pack(echonet.read(fakes.write_echonet(tmp_path / "data")), tmp_path / "store", size=32, channels=1, progress=False)
    train = sorted(store.studies.index[store.studies.split == "train"])
    assert len(train) > 1 and restricted(store, SubsetSpec()) is store
    seen = restricted(store, SubsetSpec(labelled=(1, len(train))))
    labelled = labelled_studies(store.studies, (1, len(train)))
    assert set(traced_frames(seen, "train").study) == set(labelled) and len(labelled) == 1
    for study in set(train) - set(labelled):
        frame = int(store.labels.frame[store.labels.study == study].iloc[0])
        assert store.mask(study, frame).any() and np.isnan(seen.studies.ef[study])
        with pytest.raises(DataError, match="the frame has no label"):
            seen.mask(study, frame)
        assert np.array_equal(seen.video(study), store.video(study)), "the frames themselves are there to learn from"
        assert (seen.studies.loc[study, ["ed_frame", "es_frame"]] == -1).all(), "nor which frames were traced"
        told = restricted(store, SubsetSpec(labelled=(1, len(train)), positions=True))
        assert (told.studies.loc[study, ["ed_frame", "es_frame"]] == store.studies.loc[study, ["ed_frame", "es_frame"]]).all()
        assert np.isnan(told.studies.ef[study])
    for split in ("val", "test"):
        assert traced_frames(seen, split).equals(traced_frames(store, split)), "only training labels are hidden"


def test_splits_of_a_fold_replace_the_cohorts(tmp_path):
    store = pack(echonet.read(fakes.write_echonet(tmp_path / "data")), tmp_path / "store", size=32, channels=1, progress=False)
    seen = restricted(store, SubsetSpec(folds=3, fold=1))
    assert set(seen.studies.split) == {"train", "val", "test"} and not seen.studies.split.equals(store.studies.split)
    assert seen.frames is store.frames
    with pytest.raises(TrainingError, match="holds no traced frame"):
        traced_frames(seen, "nosuch")


def test_parts_divide_patients_by_the_largest_remainder():
    for patients, counts in ((20, (14, 2, 4)), (10_030, (7021, 1003, 2006)), (450, (315, 45, 90)), (6, (4, 1, 1))):
        of = table(patients).assign(split=part_splits(table(patients), (7, 1, 2)))
        by = of.groupby("patient").split
        assert (by.nunique() == 1).all() and by.first().value_counts()[["train", "val", "test"]].tolist() == list(counts)
    one, other = part_splits(table(), (7, 1, 2)), part_splits(table(), (7, 1, 2), seed=1)
    assert one.equals(part_splits(table().sample(frac=1, random_state=3), (7, 1, 2)).reindex(one.index)) and not one.equals(other)
    with pytest.raises(DataError, match="7 : 1 : 2 of 2 patients.*at least one patient in each part"):
        part_splits(table(2), (7, 1, 2))


def test_between_ed_and_es_only_the_test_split_is_labelled(tmp_path):
    cohort = camus.read(fakes.write_camus(tmp_path / "data"), views=("4CH", "2CH"))
    store = pack(cohort, tmp_path / "store", size=32, channels=1, progress=False)
    for subset in (SubsetSpec(), SubsetSpec(folds=4, fold=2), SubsetSpec(parts=(2, 1, 1), seed=5)):
        seen = restricted(store, subset)
        phases = seen.labels.join(seen.studies.split, on="study").groupby("split").phase.agg(set)
        assert phases["train"] == phases["val"] == {"ED", "ES"} and phases["test"] == {"ED", "ES", "other"}
        for study, row in seen.studies.iterrows():
            labelled = seen.labels.frame[seen.labels.study == study].tolist()
            assert labelled == (list(range(row.frames)) if row.split == "test" else sorted((row.ed_frame, row.es_frame)))
            if row.split != "test":
                with pytest.raises(DataError, match="the frame has no label"):
                    seen.mask(study, 4)
        assert seen.studies.groupby("patient").split.nunique().eq(1).all(), "both views of a patient lie on one side"
    assert len(store.labels) == store.studies.frames.sum(), "the store itself is as it was"


@pytest.mark.parametrize(("options", "words"), [
    (dict(parts=(7, 0, 2)), "'parts' takes three numbers above 0"), (dict(parts=(7, 1, 2), folds=5, fold=0), "two ways"),
    (dict(labelled=(0, 8)), "'labelled' takes a share such as"), (dict(labelled=(9, 8)), "at most 1, not"),
    (dict(folds=5), "go together"), (dict(folds=5, fold=5), "at most 4, not 5")])
def test_a_bad_subset_is_one_sentence(options, words):
    with pytest.raises(ValueError, match=words):
        SubsetSpec(**options)
