"""Read CAMUS' NIfTI layout: ``database_nifti/patientXXXX/`` and ``database_split/subgroup_*.txt``.

The video of a study is its half sequence, labelled on every frame: 0 background, 1 left ventricular cavity, 2 myocardium,
3 left atrium. ED and ES come from ``Info_<view>.cfg`` (1-based there, 0-based here); either may come first.

Axis order and spacing: see :mod:`echolib.data.nifti`.

The single-frame files ``..._ED`` and ``..._ES`` repeat frames of the half sequence: they are not read, but one that is
missing or has another shape is noted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.progress import track

from echolib.data.cohort import (
    Cohort,
    Report,
    fingerprint,
    label_table,
    report_empty_splits,
    require_file,
    study_table,
    unsafe_name,
)
from echolib.data.nifti import geometry, open_nifti, read_labels_nifti, read_video_nifti
from echolib.errors import DataError

DATABASE, SPLIT_FOLDER = "database_nifti", "database_split"
SPLIT_FILES = {"train": f"{SPLIT_FOLDER}/subgroup_training.txt", "val": f"{SPLIT_FOLDER}/subgroup_validation.txt",
               "test": f"{SPLIT_FOLDER}/subgroup_testing.txt"}
VIEWS = ("4CH", "2CH")
QUALITIES = ("Good", "Medium", "Poor")
LABELS = ("background", "left ventricular cavity", "myocardium", "left atrium")


@dataclass
class CamusCohort(Cohort):
    """A cohort in CAMUS' layout: every frame of every study is labelled. ``variant`` says which release it is."""

    variant: str = "CAMUS"
    _last: tuple[str, np.ndarray] = field(default=("", np.empty(0)), repr=False)

    def video(self, study: str) -> np.ndarray:
        row = self.row(study)
        video = read_video_nifti(self.root, row.file)
        if video.shape != (row.frames, row.height, row.width):
            raise DataError("the image has changed since the cohort was read", file=row.file, value=video.shape,
                            expected=f"{(int(row.frames), int(row.height), int(row.width))}")
        return np.repeat(video[..., None], 3, axis=-1)

    def mask(self, study: str, frame: int) -> np.ndarray:
        return self.labels3(study, frame) == 1

    def labels3(self, study: str, frame: int) -> np.ndarray:
        """The full label map of a frame (0-based), (H, W) uint8 of 0-3, see ``LABELS``.

        Raises:
            DataError: no such study or frame, or the label file has become unreadable.
        """
        row = self.row(study)
        file = _label_file(row.file)
        name, labels = self._last  # one file holds all frames: neighbours ask for the same one
        if name != study:
            labels = read_labels_nifti(self.root, file)
            self._last = (study, labels)
        if not 0 <= frame < len(labels):
            raise DataError("no such frame", file=file, row=int(frame) + 1, expected=f"a frame from 1 to {len(labels)}")
        return labels[frame]


def read(root: str | Path, *, views: Sequence[str] = ("4CH",), quality: Sequence[str] = QUALITIES,
         progress: bool = False) -> CamusCohort:
    """Read a folder in CAMUS' layout. Labels are read and checked; images are opened, not decoded.

    A study is one view of a patient, named ``patientXXXX_4CH``. EDV and ESV are not in this layout: NaN.

    Args:
        root: the folder that holds ``database_nifti`` and ``database_split``.
        views: which of ``4CH`` and ``2CH``.
        quality: which of ``Good``, ``Medium`` and ``Poor``; what is left out for it is noted.
        progress: show a progress bar.

    Returns:
        The cohort. Its report lists every study dropped or repaired, and why.

    Raises:
        DataError: the folder as a whole is unusable: ``database_nifti`` or a split file is missing.
        ValueError: an unknown view or quality.
    """
    root, report = Path(root), Report()
    for asked, known in ((views, VIEWS), (quality, QUALITIES)):
        if not asked or not set(asked) <= set(known):
            raise ValueError(f"expected some of {known}, not {asked}")
    if not (root / DATABASE).is_dir():
        raise DataError("the folder is missing", file=DATABASE, expected="a folder with one folder a patient")
    split_of = _splits(root, report)
    for folder in sorted(p.name for p in (root / DATABASE).iterdir() if p.is_dir() and p.name not in split_of):
        report.add(None, f"{DATABASE}/{folder}", None, "dropped", "the patient is in no split file", value=folder,
                   expected=f"its name in one of {', '.join(SPLIT_FILES.values())}")
    studies, labels, left_out = [], [], {}
    for patient in track(list(split_of), "Reading CAMUS", disable=not progress, transient=True):
        split, line = split_of[patient]
        if not (root / DATABASE / patient).is_dir():
            report.add(patient, SPLIT_FILES[split], line, "dropped", f"no folder {DATABASE}/{patient}", value=patient)
            continue
        for view in views:
            study = f"{patient}_{view}"
            try:
                row, rows = _study(root, patient, view, split, report)
            except DataError as error:
                report.add_error(error, study)
                continue
            if row["quality"] in quality:
                studies.append(row)
                labels += rows
            else:
                left_out[row["quality"]] = left_out.get(row["quality"], 0) + 1
    for name, count in sorted(left_out.items()):
        report.add(None, DATABASE, None, "noted", f"{count} studies of image quality {name} left out, as asked for")
    table = study_table(studies)
    report_empty_splits(table, SPLIT_FILES, report)
    names = [*SPLIT_FILES.values(), *(p.relative_to(root).as_posix() for p in (root / DATABASE).glob("*/*")
                                      if p.name.endswith((".cfg", ".nii.gz")))]
    options = {"layout": "camus", "views": sorted(views), "quality": sorted(quality)}
    return CamusCohort(layout="camus", root=root, studies=table, labels=label_table(labels), report=report,
                       fingerprint=fingerprint(root, names, options))


def _splits(root: Path, report: Report) -> dict[str, tuple[str, int]]:
    """Patient -> (split, line of the split file)."""
    split_of: dict[str, tuple[str, int]] = {}
    clash = set()
    for split, file in SPLIT_FILES.items():
        try:
            lines = require_file(root, file).read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise DataError("the file is not UTF-8 text", file=file, value=f"byte {error.start}") from None
        for line, name in ((n, text.strip()) for n, text in enumerate(lines, start=1) if text.strip()):
            why = unsafe_name(name)
            if why or not re.fullmatch(r"patient\d+", name):
                report.add(None, file, line, "dropped", why or "not a patient's name", value=name,
                           expected="patient0001 and so on")
            elif name in split_of and split_of[name][0] == split:
                report.add(name, file, line, "repaired", "the patient is listed twice", value=name)
            elif name in split_of:
                other, row = split_of[name]
                report.add(name, file, line, "dropped", f"the patient is in two splits, see {SPLIT_FILES[other]} row {row}",
                           value=name)
                clash.add(name)
            else:
                split_of[name] = (split, line)
    return {name: place for name, place in split_of.items() if name not in clash}


def _study(root: Path, patient: str, view: str, split: str, report: Report) -> tuple[dict, list[tuple]]:
    """One row of ``studies`` and its rows of ``labels``; a DataError drops the study."""
    folder, study = f"{DATABASE}/{patient}", f"{patient}_{view}"
    cfg_file, file = f"{folder}/Info_{view}.cfg", f"{folder}/{study}_half_sequence.nii.gz"
    info = _Info(root, cfg_file, study, report)
    frames, height, width, spacing = geometry(root, file, study, report)
    label_file = _label_file(file)
    labels = read_labels_nifti(root, label_file)
    if labels.shape != (frames, height, width):
        raise DataError("the mask has another shape than the image", file=label_file, value=labels.shape,
                        expected=f"{(frames, height, width)} (T, H, W) as in {file}")
    promised = info.integer("NbFrame", 1, None)
    if promised > frames:
        raise DataError(f"the sequence is shorter than {cfg_file} says", file=file, value=f"{frames} frames",
                        expected=f"{promised} frames")
    if promised < frames:
        report.add(study, cfg_file, info.line("NbFrame"), "repaired", "NbFrame is not the sequence's", value=promised,
                   expected=f"{frames}, which was used")
    ed, es = info.integer("ED", 1, frames) - 1, info.integer("ES", 1, frames) - 1
    if ed == es:
        raise DataError("ED and ES are the same frame", file=cfg_file, row=info.line("ES"), value=es + 1)
    areas = (labels == 1).sum(axis=(1, 2))
    for name, frame in (("ED", ed), ("ES", es)):
        if areas[frame] == 0:
            raise DataError(f"the {name} frame has no left ventricle (label 1)", file=label_file, row=frame + 1)
    empty = [int(f) + 1 for f in np.flatnonzero(areas == 0)]
    if empty:
        report.add(study, label_file, empty[0], "noted", "frames without a left ventricle (label 1)", value=empty)
    if areas[ed] <= areas[es]:
        report.add(study, cfg_file, info.line("ED"), "noted", "the ventricle is not larger at ED than at ES",
                   value=f"{areas[ed]} and {areas[es]} px")
    _check_stills(root, folder, study, (height, width), report)
    row = dict(study=study, split=split, patient=patient, file=file, frames=frames, fps=info.number("FrameRate", 0.1, 1000),
               height=height, width=width, ef=info.number("EF", 0, 100), edv=np.nan, esv=np.nan, spacing_mm=spacing, view=view,
               quality=info.choice("ImageQuality", QUALITIES), ed_frame=ed, es_frame=es)
    phases = {ed: "ED", es: "ES"}
    return row, [(study, f, phases.get(f, "other"), int(area)) for f, area in enumerate(areas)]


def _label_file(file: str) -> str:
    return file.removesuffix(".nii.gz") + "_gt.nii.gz"


def _check_stills(root: Path, folder: str, study: str, size: tuple[int, int], report: Report) -> None:
    for file in (f"{folder}/{study}_{phase}{kind}.nii.gz" for phase in ("ED", "ES") for kind in ("", "_gt")):
        try:
            shape = open_nifti(root, file).shape[1::-1]
        except DataError as error:
            report.add_error(error, study, action="noted")
            continue
        if shape != size:
            report.add(study, file, None, "noted", "the still has another shape than the half sequence", value=shape,
                       expected=f"{size} (H, W)")


class _Info:
    """``Info_<view>.cfg``: lines of ``Key: value``. What a study cannot do without raises, the rest becomes NaN and is noted."""

    def __init__(self, root: Path, file: str, study: str, report: Report) -> None:
        self.file, self.study, self.report = file, study, report
        self.values: dict[str, tuple[str, int]] = {}
        try:
            lines = require_file(root, file).read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise DataError("the file is not UTF-8 text", file=file, value=f"byte {error.start}") from None
        for number, text in ((n, t.strip()) for n, t in enumerate(lines, start=1) if t.strip()):
            key, colon, value = (part.strip() for part in text.partition(":"))
            if not colon:
                raise DataError("not a line of this file", file=file, row=number, value=text, expected="'Key: value'")
            if key in self.values:
                raise DataError(f"{key} is given twice", file=file, row=number, value=value)
            self.values[key] = (value, number)

    def line(self, key: str) -> int | None:
        return self.values[key][1] if key in self.values else None

    def _text(self, key: str, expected: str) -> str:
        if key not in self.values:
            raise DataError(f"the key {key} is missing", file=self.file, expected=f"'{key}: {expected}'")
        return self.values[key][0]

    def integer(self, key: str, low: int, high: int | None) -> int:
        expected = f"a whole number from {low}" + (f" to {high}" if high else "")
        text = self._text(key, expected)
        if not re.fullmatch(r"\d{1,9}", text) or int(text) < low or (high is not None and int(text) > high):
            raise DataError(f"{key} is out of range", file=self.file, row=self.line(key), value=text, expected=expected)
        return int(text)

    def choice(self, key: str, known: Sequence[str]) -> str:
        text = self._text(key, " or ".join(known))
        if text not in known:
            raise DataError(f"unknown {key}", file=self.file, row=self.line(key), value=text, expected=" or ".join(known))
        return text

    def number(self, key: str, low: float, high: float) -> float:
        text = self.values.get(key, ("", None))[0]
        if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text) and low <= float(text) <= high:
            return float(text)
        self.report.add(self.study, self.file, self.line(key), "noted", f"{key} is missing or not possible; taken as unknown",
                        value=text, expected=f"a number from {low:g} to {high:g}")
        return np.nan
