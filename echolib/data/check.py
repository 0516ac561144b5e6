"""Check a data folder: read it, then decode every file, and report all that is wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.progress import track

from echolib.config import Layout
from echolib.data import camus, echonet
from echolib.data.camus import CamusCohort
from echolib.data.cohort import Cohort, Report
from echolib.data.echonet import EchonetCohort
from echolib.data.video import damaged_frames
from echolib.errors import DataError


@dataclass
class Checked(Report):
    """All findings about a data folder, and what it is.

    Attributes:
        variant: the data set whose layout it has, such as ``EchoNet-Dynamic``; empty when it could not be read.
        studies: how many can be used.
    """

    variant: str = ""
    studies: int = 0


def detect_layout(root: str | Path) -> Layout:
    """``echonet`` or ``camus``, from the names of the folder's files.

    Raises:
        DataError: no such folder, or it has neither layout or both.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError("no such folder", file=root.name, expected="a folder in the layout of EchoNet-Dynamic or CAMUS")
    marks = {"echonet": (echonet.FILE_LIST, echonet.TRACINGS, echonet.VIDEOS), "camus": (camus.DATABASE, camus.SPLIT_FOLDER)}
    found = [layout for layout, names in marks.items() if any((root / name).exists() for name in names)]
    if len(found) != 1:
        raise DataError("the folder has both layouts" if found else "the folder has no known layout", file=root.name,
                        value=", ".join(sorted(p.name for p in root.iterdir())[:8]) or "nothing",
                        expected=f"either {', '.join(marks['echonet'])} or {', '.join(marks['camus'])}")
    return found[0]


def check(root: str | Path, *, progress: bool = True) -> Checked:
    """Check a folder in either layout, decoding every video and image as packing would.

    Args:
        root: the data folder.
        progress: show progress bars.

    Returns:
        The report. A folder that cannot be read at all gives a report too, with the error as its finding.
    """
    root = Path(root)
    try:
        cohort = read(root, progress=progress, all_views=True)
    except DataError as error:
        report = Checked()
        report.add_error(error)
        return report
    report = Checked(cohort.report.findings, cohort.variant, len(cohort.studies))
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:  # the decoders release Python's lock
        decoded = pool.map(_decode(cohort), cohort.studies.index)
        for study, problem in zip(cohort.studies.index, track(decoded, "Decoding", total=len(cohort.studies),
                                                              disable=not progress, transient=True), strict=True):
            if isinstance(problem, DataError):
                report.add_error(problem, study)
                report.studies -= 1
            elif problem:
                report.add(study, cohort.studies.file[study], problem[0], "noted",
                                  "frames whose JPEG data is damaged; they are used as they decode", value=problem)
    return report


def read(root: str | Path, *, progress: bool = False, all_views: bool = False) -> EchonetCohort | CamusCohort:
    """Read a folder in any known layout.

    Args:
        root: the data folder.
        progress: show a progress bar.
        all_views: of CAMUS, every view that is there instead of the four-chamber view alone.

    Raises:
        DataError: no known layout, or the folder as a whole is unusable.
    """
    root = Path(root)
    if detect_layout(root) == "echonet":
        return echonet.read(root, progress=progress)
    views = [view for view in camus.VIEWS if any((root / camus.DATABASE).glob(f"*/*{view}*"))] if all_views else []
    return camus.read(root, views=views or camus.VIEWS[:1], progress=progress)


def _decode(cohort: Cohort) -> Callable[[str], DataError | list[int]]:
    """A function of a study: the error that its video gives, or its damaged frames (1-based)."""
    def decode(study: str) -> DataError | list[int]:
        try:
            cohort.video(study)
            file = cohort.studies.file[study]
            return damaged_frames(cohort.root / file, file=file) if cohort.layout == "echonet" else []
        except DataError as error:
            return error
    return decode
