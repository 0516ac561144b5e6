"""What every data set becomes: a table of studies, a table of labelled frames, and a report of all that was found wrong."""

from __future__ import annotations

import csv
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from echolib.errors import DataError

PHASES = ("ED", "ES", "other")
SPLITS = ("train", "val", "test")

#: Bytes of a study's name: file systems take 255, and endings come after it.
LONGEST_NAME = 200

#: Part of every fingerprint: raise it when a reader starts to read the same files differently.
READER_VERSION = 1

STUDY_COLUMNS = {"split": str, "patient": str, "file": str, "frames": int, "fps": float, "height": int, "width": int, "ef": float,
                 "edv": float, "esv": float, "spacing_mm": float, "view": str, "quality": str, "ed_frame": int, "es_frame": int}
LABEL_COLUMNS = {"study": str, "frame": int, "phase": str, "area_px": int}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong in a data folder, and what was done about it.

    Attributes:
        study: the study it concerns; None when it concerns the folder.
        file: file name relative to the data folder.
        row: 1-based line of a text file, or 1-based frame of a video or NIfTI file; None where neither applies.
        action: ``dropped``: what it concerns cannot be used and was left out; ``repaired``: a value was replaced by the
            right one and the study is used; ``noted``: used as it is.
        problem: what is wrong, with the offending value and what would be right.
        known_quirk: the published data set is known to have it. A dropped study that is a known quirk is no damage:
            it does not make the folder unusable.
    """

    study: str | None
    file: str
    row: int | None
    action: Literal["dropped", "repaired", "noted"]
    problem: str
    known_quirk: bool = False


@dataclass
class Report:
    """All findings about a data folder."""

    findings: list[Finding] = field(default_factory=list)

    @property
    def unusable(self) -> bool:
        """Was something dropped that is not a known quirk of the published data set?"""
        return any(f.action == "dropped" and not f.known_quirk for f in self.findings)

    def add(self, study: str | None, file: str, row: int | None, action: Literal["dropped", "repaired", "noted"], problem: str, *,
            value: object = None, expected: str | None = None, known_quirk: bool = False) -> None:
        """Append a finding; ``value`` and ``expected`` become part of its text."""
        text = problem if value is None else f"{problem} (found {value!r})"
        text += f"; expected {expected}" if expected else ""
        self.findings.append(Finding(study, file, row, action, text, known_quirk))

    def add_error(self, error: DataError, study: str | None = None, *,
                  action: Literal["dropped", "repaired", "noted"] = "dropped") -> None:
        """Append an error that a reader caught."""
        self.add(study, str(error.file or ""), error.row, action, error.problem, value=error.value, expected=error.expected)

    def table(self) -> pd.DataFrame:
        """One row a finding: ``study, file, row, action, problem``; what was dropped comes first."""
        rows = sorted(self.findings, key=lambda f: (("dropped", "repaired", "noted").index(f.action), f.known_quirk))
        return pd.DataFrame({"study": [f.study or "" for f in rows], "file": [f.file for f in rows],
                             "row": pd.array([f.row for f in rows], dtype="Int64"),
                             "action": [f.action + (" (known quirk)" if f.known_quirk else "") for f in rows],
                             "problem": [f.problem for f in rows]})


@dataclass
class Cohort(ABC):
    """A data set as read; pixels are decoded on demand.

    Attributes:
        layout: ``echonet`` or ``camus``.
        root: the data folder.
        studies: index ``study`` (str). Columns ``split`` (train, val, test), ``patient``, ``file`` (relative to the root),
            ``frames``, ``fps`` (NaN unknown), ``height``, ``width`` (px), ``ef`` (%), ``edv``, ``esv`` (mL), ``spacing_mm``
            (NaN unknown), ``view`` (4CH, 2CH), ``quality`` ('' unknown), ``ed_frame``, ``es_frame`` (0-based).
        labels: one row a labelled frame. Columns ``study``, ``frame`` (0-based), ``phase`` (ED, ES, other), ``area_px`` (of the
            left ventricle, in px of the video's own frame).
        report: every study dropped or repaired and why.
        fingerprint: 64 hex digits that change when the folder's files, or what was asked of them, change.
    """

    layout: Literal["echonet", "camus"]
    root: Path
    studies: pd.DataFrame
    labels: pd.DataFrame
    report: Report
    fingerprint: str

    def row(self, study: str) -> pd.Series:
        """The row of a study.

        Raises:
            DataError: there is no such study, or it was dropped.
        """
        if study not in self.studies.index:
            why = next((f"; it was dropped: {f.problem}" for f in self.report.findings if f.study == study), "")
            raise DataError(f"no such study in the cohort{why}", value=study)
        return self.studies.loc[study]

    @abstractmethod
    def video(self, study: str) -> np.ndarray:
        """The frames of a study, (T, H, W, 3) uint8 RGB.

        Raises:
            DataError: they do not decode, or are not as many as ``studies.frames`` says.
        """

    @abstractmethod
    def mask(self, study: str, frame: int) -> np.ndarray:
        """The left ventricle on a labelled frame, (H, W) bool in the video's own pixels.

        Raises:
            DataError: the frame (0-based) has no label.
        """


def study_table(rows: list[dict]) -> pd.DataFrame:
    """Rows (dicts of ``study`` and STUDY_COLUMNS) as the table of a Cohort, sorted by study."""
    table = pd.DataFrame(rows, columns=["study", *STUDY_COLUMNS]).astype({"study": str, **STUDY_COLUMNS})
    return table.set_index("study").sort_index()


def label_table(rows: list[tuple[str, int, str, int]]) -> pd.DataFrame:
    """Rows (study, frame, phase, area_px) as the table of a Cohort, sorted by study and frame."""
    table = pd.DataFrame(rows, columns=list(LABEL_COLUMNS)).astype(LABEL_COLUMNS)
    return table.sort_values(["study", "frame"], kind="stable").reset_index(drop=True)


def require_file(root: Path, name: str) -> Path:
    """The path of a file that the layout cannot do without.

    Raises:
        DataError: it is missing; a file whose name differs only in case or spelling nearby is mentioned.
    """
    path = root / name
    if path.is_file():
        return path
    if not root.is_dir():
        raise DataError("no such folder", file=root.name)
    stem = path.stem.lower()
    near = sorted(p.name for p in path.parent.glob("*") if p.suffix.lower() == path.suffix and (
        p.stem.lower().startswith(stem) or stem.startswith(p.stem.lower()))) if path.parent.is_dir() else []
    raise DataError("the file is missing", file=name, value=", ".join(near) or None, expected=f"a file named {path.name}")


def read_rows(path: Path, name: str, columns: tuple[str, ...], report: Report) -> pd.DataFrame:
    """Read a CSV file as text, each cell stripped; a row with another number of fields is reported and left out.

    Args:
        path: the file.
        name: its name relative to the data folder.
        columns: the columns that must be there, in any order; more are noted and ignored.
        report: takes the findings.

    Returns:
        ``columns`` as str plus ``line``, the 1-based line of the file.

    Raises:
        DataError: not UTF-8 text, not CSV, or a header that lacks or repeats a column.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            header = [cell.strip() for cell in next(reader, [])]
            lines = [(reader.line_num, row) for row in reader if row]
    except UnicodeDecodeError as error:
        raise DataError("the file is not UTF-8 text", file=name, value=f"byte {error.start}") from None
    except csv.Error as error:
        raise DataError(f"the file is not CSV: {error}", file=name, row=reader.line_num) from None
    missing = [c for c in columns if c not in header]
    if missing:
        raise DataError(f"the header lacks {', '.join(missing)}", file=name, row=1, value=",".join(header)[:200],
                        expected=",".join(columns))
    if len(set(header)) < len(header):
        raise DataError("the header names a column twice", file=name, row=1, value=",".join(header)[:200],
                        expected=",".join(columns))
    extra = [c for c in header if c not in columns]
    if extra:
        report.add(None, name, 1, "noted", "columns that are not part of the layout are ignored", value=",".join(extra))
    whole = []
    for line, row in lines:
        if len(row) == len(header):
            whole.append((line, row))
        elif any(cell.strip() for cell in row):
            report.add(None, name, line, "dropped", "the row has another number of fields than the header",
                       value=",".join(row)[:120], expected=f"{len(header)} fields")
    table = pd.DataFrame([row for _, row in whole], columns=header, dtype=str)[list(columns)]
    table = table.apply(lambda column: column.str.strip())
    return table.assign(line=np.array([line for line, _ in whole], dtype=int))


def unsafe_name(name: str) -> str | None:
    """Why ``name`` may not be used as a file name inside the data folder, or None when it may."""
    if not name:
        return "the file name is empty"
    if name in (".", "..") or any(c in name for c in "/\\:\0"):
        return "the file name climbs out of the data folder"
    if len(name.encode()) > LONGEST_NAME:
        return "the file name is too long"
    return None


def report_empty_splits(studies: pd.DataFrame, files: dict[str, str], report: Report) -> None:
    """Report every split that no usable study is left in; ``files`` says which file lists the split."""
    for split in SPLITS:
        if not (studies["split"] == split).any():
            report.add(None, files[split], None, "dropped", f"the split {split!r} is empty: no usable study is in it",
                       value=0, expected="at least one study")


def fingerprint(root: Path, names: Iterable[str], options: dict[str, object]) -> str:
    """SHA-256 over names, sizes, and for text files (csv, cfg, txt) the content; independent of where the folder lies.

    Args:
        root: the data folder.
        names: file names relative to it; the order does not matter.
        options: what was asked of the reader.

    Returns:
        64 hex digits.
    """
    total = hashlib.sha256(f"reader {READER_VERSION} {sorted(options.items())}".encode())
    for name in sorted(set(names)):
        path = root / name
        content = ""
        if path.suffix in (".csv", ".cfg", ".txt"):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"\n{name}\t{path.stat().st_size}\t{content}".encode())
    return total.hexdigest()
