"""CAMUS' layout: axis order, phases, views, quality, splits."""

from __future__ import annotations

import shutil

import nibabel
import numpy as np
import pytest

from echolib.data import camus
from echolib.data.check import check, detect_layout
from echolib.errors import DataError
from tests.data import fakes


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return fakes.write_camus(tmp_path_factory.mktemp("camus") / "data")


def test_the_table_of_studies(folder):
    cohort = camus.read(folder)
    assert cohort.report.findings == []
    assert list(cohort.studies.index) == [f"patient{n:04d}_4CH" for n in range(1, 5)]
    assert cohort.studies["split"].tolist() == ["train", "val", "train", "test"]
    row = cohort.studies.loc["patient0003_4CH"]
    assert row.file == "database_nifti/patient0003/patient0003_4CH_half_sequence.nii.gz"
    assert (row.patient, row.frames, row.height, row.width, row.ef, row.fps) == ("patient0003", 12, 80, 64, 53, 47.5)
    assert (row["view"], row.quality) == ("4CH", "Poor") and np.isnan(row.edv) and np.isnan(row.esv)
    assert row.spacing_mm == pytest.approx(0.308, rel=1e-5)


def test_ed_first_and_es_first(folder):
    """Odd patients start at ED, even ones at ES; cfg counts from 1, the cohort from 0."""
    studies = camus.read(folder).studies
    assert studies["ed_frame"].tolist() == [0, 10, 0, 12]
    assert studies["es_frame"].tolist() == [9, 0, 11, 0]


def test_every_frame_is_labelled_and_ed_is_the_largest(folder):
    cohort = camus.read(folder)
    for study, row in cohort.studies.iterrows():
        labels = cohort.labels[cohort.labels["study"] == study]
        assert labels["frame"].tolist() == list(range(row.frames))
        assert labels.loc[labels["phase"] == "ED", "frame"].tolist() == [row.ed_frame]
        assert labels.loc[labels["phase"] == "ES", "frame"].tolist() == [row.es_frame]
        assert labels["area_px"].max() == labels["area_px"].iloc[row.ed_frame]
        assert set(labels["phase"]) == {"ED", "ES", "other"}
        assert [cohort.mask(study, f).sum() for f in labels["frame"]] == labels["area_px"].tolist()


def test_axis_order(tmp_path):
    """A pixel at x = 5, y = 40, t = 2 of the NIfTI file is frame 2, row 40, column 5."""
    root = fakes.write_camus(tmp_path / "data", views=("4CH",))
    file = root / "database_nifti/patient0001/patient0001_4CH_half_sequence.nii.gz"
    image = nibabel.load(file)
    array = np.zeros(image.shape, np.uint8)
    array[5, 40, 2] = 200
    nibabel.save(nibabel.Nifti1Image(array, image.affine), file)
    video = camus.read(root).video("patient0001_4CH")
    assert video.shape == (10, 80, 64, 3)
    assert np.argwhere(video).tolist() == [[2, 40, 5, c] for c in range(3)] and video[2, 40, 5, 0] == 200


def test_labels_and_mask_agree(folder):
    cohort = camus.read(folder)
    labels = cohort.labels3("patient0002_4CH", 3)
    assert labels.shape == (80, 64) and set(np.unique(labels)) == {0, 1, 2, 3}
    assert np.array_equal(cohort.mask("patient0002_4CH", 3), labels == 1)
    rows, _ = np.nonzero(labels == 3)
    assert rows.mean() > np.nonzero(labels == 1)[0].mean()  # the atrium lies below the ventricle
    with pytest.raises(DataError, match="row 12: no such frame"):
        cohort.labels3("patient0002_4CH", 11)


def test_both_views_are_studies_of_one_patient(folder):
    cohort = camus.read(folder, views=("2CH", "4CH"))
    assert len(cohort.studies) == 8 and cohort.studies.groupby("patient").size().tolist() == [2] * 4
    assert cohort.studies.groupby("patient")["split"].nunique().max() == 1
    assert not np.array_equal(cohort.video("patient0001_2CH"), cohort.video("patient0001_4CH"))


def test_what_is_left_out_for_its_quality_is_noted(folder):
    cohort = camus.read(folder, quality=("Good", "Medium"))
    assert set(cohort.studies["quality"]) == {"Good", "Medium"} and len(cohort.studies) == 3
    assert [f.action for f in cohort.report.findings] == ["noted"]
    assert "1 studies of image quality Poor" in cohort.report.findings[0].problem


@pytest.mark.parametrize("options", [{"views": ("3CH",)}, {"views": ()}, {"quality": ("good",)}])
def test_unknown_options_are_refused(folder, options):
    with pytest.raises(ValueError, match="expected some of"):
        camus.read(folder, **options)


def test_the_fingerprint_covers_options_and_text_but_not_the_place(tmp_path, folder):
    shutil.copytree(folder, tmp_path / "elsewhere")
    first = camus.read(folder).fingerprint
    assert camus.read(tmp_path / "elsewhere").fingerprint == first
    assert camus.read(folder, views=("2CH",)).fingerprint != first
    cfg = tmp_path / "elsewhere/database_nifti/patient0001/Info_4CH.cfg"
    cfg.write_text(cfg.read_text().replace("EF: 51", "EF: 52"))
    assert camus.read(tmp_path / "elsewhere").fingerprint != first


def test_float_images_are_rounded(tmp_path):
    root = fakes.write_camus(tmp_path / "data", views=("4CH",))
    file = root / "database_nifti/patient0001/patient0001_4CH_half_sequence.nii.gz"
    fakes.save_nifti(file, np.full((10, 80, 64), 17.6, np.float32))
    assert (camus.read(root).video("patient0001_4CH") == 18).all()


def test_the_layout_is_told_from_the_names(tmp_path, folder):
    assert detect_layout(folder) == "camus"
    assert detect_layout(fakes.write_echonet(tmp_path / "e", splits=("TRAIN",))) == "echonet"


def test_check_reads_the_views_that_are_there(tmp_path, folder):
    shutil.copytree(folder, tmp_path / "both")
    (tmp_path / "both/database_nifti/patient0002/Info_2CH.cfg").unlink()
    report = check(tmp_path / "both", progress=False)
    assert [(f.study, f.file) for f in report.findings] == [("patient0002_2CH", "database_nifti/patient0002/Info_2CH.cfg")]
    assert check(fakes.write_camus(tmp_path / "one", views=("4CH",)), progress=False).findings == []
