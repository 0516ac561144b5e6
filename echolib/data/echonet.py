"""Read EchoNet-Dynamic's layout: ``FileList.csv``, ``VolumeTracings.csv`` and ``Videos/<name>.avi``.

What the public data set is known to hold, and what is made of it:

- File names with or without ``.avi`` in either CSV file: both are accepted.
- A name in VolumeTracings.csv that FileList.csv lacks: its rows are left out (known quirk).
- Videos without a tracing, all of odd sizes: dropped (known quirk). An untraced video of 112 x 112 px is damage.
- Traces with another number of rows than 21: used as they are, noted (known quirk).
- The container holds more frames than FileList.csv says: repaired, the container counts. Fewer is damage.
- Which of the two traced frames is end-diastole: the one with the larger area, whatever the order in the file.

Row numbers are lines of the file, the header being line 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from rich.progress import track
from skimage import draw

from echolib.data.cohort import (
    Cohort,
    Report,
    fingerprint,
    label_table,
    read_rows,
    report_empty_splits,
    require_file,
    study_table,
    unsafe_name,
)
from echolib.data.video import VideoInfo, probe, read_video
from echolib.errors import DataError

FILE_LIST, TRACINGS, VIDEOS = "FileList.csv", "VolumeTracings.csv", "Videos"
FILE_LIST_COLUMNS = ("FileName", "EF", "ESV", "EDV", "FrameHeight", "FrameWidth", "FPS", "NumberOfFrames", "Split")
TRACING_COLUMNS = ("FileName", "X1", "Y1", "X2", "Y2", "Frame")
TRACE_ROWS = 21  # the long axis and 20 chords
FRAME_PX = 112
BORDER_PX = 1.0  # a trace may leave the frame by this much: it is clipped at the border and noted
EF_TOLERANCE = 0.5  # points by which EF may differ from 100 (EDV - ESV) / EDV


@dataclass
class EchonetCohort(Cohort):
    """A cohort in EchoNet-Dynamic's layout. ``traces`` maps (study, frame) to rows (n, 4) of X1, Y1, X2, Y2 in px; ``variant`` is
    the data set whose columns the tables have."""

    traces: dict[tuple[str, int], np.ndarray] = field(default_factory=dict, repr=False)
    variant: str = "EchoNet-Dynamic"

    def video(self, study: str) -> np.ndarray:
        row = self.row(study)
        video = read_video(self.root / row.file, file=row.file, expected_frames=int(row.frames))
        if video.shape[:3] != (row.frames, row.height, row.width):
            raise DataError("the video decodes to another shape than its container says", file=row.file, value=video.shape[:3],
                            expected=f"{(int(row.frames), int(row.height), int(row.width))}")
        return video

    def mask(self, study: str, frame: int) -> np.ndarray:
        row = self.row(study)
        if (study, int(frame)) not in self.traces:
            raise DataError("the frame has no trace", file=row.file, row=int(frame) + 1)
        return polygon_mask(self.traces[study, int(frame)], int(row.height), int(row.width))


def polygon_mask(traces: np.ndarray, height: int, width: int) -> np.ndarray:
    """Fill a traced contour as EchoNet-Dynamic's masks are filled; other fill rules differ at the border.

    Row 0, the long axis, is left out. The polygon is all (X1, Y1) in order, then all (X2, Y2) in reverse, rounded half to
    even, scan-line filled by :func:`skimage.draw.polygon`.

    Args:
        traces: (n, 4) X1, Y1, X2, Y2 in px; row 0 is the long axis, the others chords from apex to annulus.
        height: of the frame, px.
        width: of the frame, px.

    Returns:
        (height, width) bool; what lies outside the frame is clipped. Fewer than two chords, or points that all lie on one
        line, enclose nothing.
    """
    chords = np.asarray(traces, dtype=float)[1:]
    mask = np.zeros((height, width), dtype=bool)
    x = np.rint(np.concatenate([chords[:, 0], chords[::-1, 2]]))
    y = np.rint(np.concatenate([chords[:, 1], chords[::-1, 3]]))
    if np.linalg.matrix_rank(np.stack([x - x[:1].sum(), y - y[:1].sum()])) == 2:
        mask[draw.polygon(y, x, mask.shape)] = True
    return mask


def read(root: str | Path, *, progress: bool = False) -> EchonetCohort:
    """Read a folder in EchoNet-Dynamic's layout; videos are probed, not decoded.

    Args:
        root: the folder that holds FileList.csv.
        progress: show a progress bar.

    Returns:
        The cohort. Its report lists every study dropped or repaired, and why.

    Raises:
        DataError: the folder as a whole is unusable: a CSV file or ``Videos`` is missing, or a header is wrong.
    """
    root, report = Path(root), Report()
    listing = read_rows(require_file(root, FILE_LIST), FILE_LIST, FILE_LIST_COLUMNS, report)
    rows = read_rows(require_file(root, TRACINGS), TRACINGS, TRACING_COLUMNS, report)
    if not (root / VIDEOS).is_dir():
        raise DataError("the folder is missing", file=VIDEOS, expected="a folder with one .avi file a study")
    listing = _study_names(listing, FILE_LIST, report)
    listed = set(listing["study"])
    on_disk = sorted(p.name for p in (root / VIDEOS).glob("*.avi"))
    for name in (n for n in on_disk if n[:-len(".avi")] not in listed):
        report.add(None, f"{VIDEOS}/{name}", None, "noted", f"the video is not in {FILE_LIST} and is not used")

    found = _studies(root, _unique(listing, report), report, progress)
    traces = _traces(_study_names(rows, TRACINGS, report), listed, found, report)
    studies, labels = [], []
    for study, row in found.items():
        frames = {frame: polygon_mask(trace, row["height"], row["width"]).sum() for frame, trace in traces.get(study, {}).items()}
        if _usable(study, row, frames, report):
            # the larger area is end-diastole; on a tie the frame that is listed first
            row["ed_frame"], row["es_frame"] = max(frames, key=frames.get), min(reversed(frames), key=frames.get)
            phases = {row["ed_frame"]: "ED", row["es_frame"]: "ES"}
            labels += [(study, frame, phases.get(frame, "other"), area) for frame, area in frames.items()]
            studies.append(row)
    table = study_table(studies)
    report_empty_splits(table, dict.fromkeys(("train", "val", "test"), FILE_LIST), report)
    names = [FILE_LIST, TRACINGS, *(f"{VIDEOS}/{name}" for name in on_disk)]
    return EchonetCohort(layout="echonet", root=root, studies=table, labels=label_table(labels), report=report,
                         fingerprint=fingerprint(root, names, {"layout": "echonet"}),
                         traces={(s, f): t for s in table.index for f, t in traces[s].items()})


def _study_names(table: pd.DataFrame, file: str, report: Report) -> pd.DataFrame:
    """Add the column ``study``: FileName without ``.avi``. Rows whose name is not a plain file name are reported and left out."""
    table = table.assign(study=table["FileName"].str.removesuffix(".avi"))
    why = {name: unsafe_name(name) for name in table["study"].unique()}
    bad = table["study"].map(lambda name: why[name] is not None).astype(bool)
    for name, group in table[bad].groupby("study"):
        report.add(None, file, int(group["line"].iloc[0]), "dropped", why[name], value=group["FileName"].iloc[0],
                   expected="a plain file name")
    return table[~bad]


def _unique(listing: pd.DataFrame, report: Report) -> pd.DataFrame:
    """One row a study: a row that repeats another is left out, rows that contradict each other drop the study."""
    for study, group in listing[listing["study"].duplicated(keep=False)].groupby("study"):
        same = len(group.drop(columns=["line", "FileName"]).drop_duplicates()) == 1
        first, second = group["line"].iloc[:2]
        report.add(study, FILE_LIST, int(second), "repaired" if same else "dropped",
                   f"the study is listed twice, {'with the same values' if same else 'with other values'}, first in row {first}",
                   value=study)
        listing = listing.drop(index=group.index[1:] if same else group.index)
    return listing


def _studies(root: Path, listing: pd.DataFrame, report: Report, progress: bool) -> dict[str, dict]:
    """Check each row of FileList.csv against its video. Gives the values of the usable studies by name."""
    numbers = {c: pd.to_numeric(listing[c], errors="coerce").to_numpy(float, copy=True)
               for c in ("EF", "ESV", "EDV", "FrameHeight", "FrameWidth", "FPS", "NumberOfFrames")}
    found = {}
    rows = track(list(enumerate(listing.itertuples())), "Reading EchoNet-Dynamic", disable=not progress, transient=True)
    for position, row in rows:
        value = {c: numbers[c][position] for c in numbers}
        study, file, line = row.study, f"{VIDEOS}/{row.study}.avi", row.line
        split = row.Split.lower()
        if split not in ("train", "val", "test"):
            report.add(study, FILE_LIST, line, "dropped", "unknown split", value=row.Split, expected="TRAIN, VAL or TEST")
            continue
        try:
            info = probe(root / file, file=file)
        except DataError as error:
            report.add_error(error, study)
            continue
        wanted = value["NumberOfFrames"]
        if info.frames == 0 or info.frames < wanted:  # false for NaN, which is repaired below
            report.add(study, file, None, "dropped", f"the video is shorter than {FILE_LIST} row {line} says",
                       value=f"{info.frames} frames", expected=f"{row.NumberOfFrames} frames")
            continue
        _repair_from_container(report, row, value, info)
        ef, edv, esv = _clinical(report, row, value)
        found[study] = dict(study=study, split=split, patient=study, file=file, frames=info.frames, fps=value["FPS"],
                            height=info.height, width=info.width, ef=ef, edv=edv, esv=esv, spacing_mm=np.nan, view="4CH",
                            quality="", ed_frame=-1, es_frame=-1)
    return found


def _repair_from_container(report: Report, row, value: dict[str, float], info: VideoInfo) -> None:
    for column, true in (("NumberOfFrames", info.frames), ("FrameHeight", info.height), ("FrameWidth", info.width)):
        if value[column] != true:
            report.add(row.study, FILE_LIST, row.line, "repaired", f"{column} is not the video's", value=getattr(row, column),
                       expected=f"{true}, which was used")
    if not (np.isfinite(value["FPS"]) and value["FPS"] > 0):
        value["FPS"] = info.fps
        report.add(row.study, FILE_LIST, row.line, "repaired", "FPS is not a positive number", value=row.FPS,
                   expected=f"{info.fps:g} as in the video, which was used")


def _clinical(report: Report, row, value: dict[str, float]) -> tuple[float, float, float]:
    """EF (%), EDV, ESV (mL); NaN where the file holds no possible value. They do not decide whether a study is used."""
    for column, top in (("EF", 100.0), ("EDV", np.inf), ("ESV", np.inf)):
        if not (np.isfinite(value[column]) and 0 <= value[column] <= top):
            report.add(row.study, FILE_LIST, row.line, "noted", f"{column} is not possible and is taken as unknown",
                       value=getattr(row, column), expected="a number from 0 to 100" if column == "EF" else "a number of mL")
            value[column] = np.nan
    ef, edv, esv = value["EF"], value["EDV"], value["ESV"]
    if esv > edv:
        report.add(row.study, FILE_LIST, row.line, "noted", f"ESV is larger than EDV ({row.EDV})", value=row.ESV)
    elif edv > 0 and abs(ef - 100 * (edv - esv) / edv) > EF_TOLERANCE:
        report.add(row.study, FILE_LIST, row.line, "noted", "EF contradicts ESV and EDV", value=row.EF,
                   expected=f"{100 * (edv - esv) / edv:.2f} from ESV {row.ESV} and EDV {row.EDV}")
    return ef, edv, esv


def _traces(rows: pd.DataFrame, listed: set[str], found: dict[str, dict], report: Report) -> dict[str, dict[int, np.ndarray]]:
    """Traces by study and frame, frames in the order of the file. A study with one bad row loses all its traces."""
    for name, group in rows[~rows["study"].isin(listed)].groupby("study"):
        report.add(name, TRACINGS, int(group["line"].iloc[0]), "dropped",
                   f"{len(group)} rows trace a video that is not in {FILE_LIST}", value=name, known_quirk=True)
    rows = rows[rows["study"].isin(found.keys())]  # the others have been reported
    twice = rows.duplicated([*TRACING_COLUMNS[1:], "study"])
    _report_rows(report, rows, twice, "repaired", "the row repeats an earlier one and is left out", TRACING_COLUMNS[1:])
    rows = rows[~twice]

    number = {c: pd.to_numeric(rows[c], errors="coerce") for c in TRACING_COLUMNS[1:]}
    known = {k: rows["study"].map({s: r[k] for s, r in found.items()}).astype(float) for k in ("frames", "height", "width")}
    bad = pd.Series(False, index=rows.index)
    for c in ("X1", "Y1", "X2", "Y2"):
        side = known["width" if c[0] == "X" else "height"]
        wrong = ~np.isfinite(number[c])
        outside = (number[c] < -BORDER_PX) | (number[c] > side + BORDER_PX)
        over = ((number[c] < 0) | (number[c] > side)) & ~outside
        _report_rows(report, rows, wrong, "dropped", f"{c} is not a number", (c,))
        _report_rows(report, rows, outside & ~wrong, "dropped", f"the trace lies outside the frame: {c}", (c,), side)
        _report_rows(report, rows, over & ~wrong, "noted", f"the trace leaves the frame and is clipped: {c}", (c,), side)
        bad |= wrong | outside
    wrong = ~np.isfinite(number["Frame"]) | (number["Frame"] % 1 != 0)
    outside = ~wrong & ((number["Frame"] < 0) | (number["Frame"] >= known["frames"]))
    _report_rows(report, rows, wrong, "dropped", "Frame is not a whole number", ("Frame",))
    _report_rows(report, rows, outside, "dropped", "the trace lies outside the video: Frame", ("Frame",), known["frames"] - 1)
    broken = set(rows["study"][bad | wrong | outside])

    good = ~rows["study"].isin(broken).to_numpy()
    names, frames = rows["study"].to_numpy()[good], number["Frame"].to_numpy()[good].astype(int)
    points = np.stack([number[c].to_numpy(float)[good] for c in ("X1", "Y1", "X2", "Y2")], axis=1)
    groups = pd.DataFrame({"study": names, "frame": frames}).groupby(["study", "frame"], sort=False).indices
    traces: dict[str, dict[int, np.ndarray]] = {study: {} for study in broken}
    for study, frame in groups:
        traces.setdefault(study, {})[int(frame)] = points[groups[study, frame]]
    for study in broken:  # reported with the row above: no second finding for having no trace
        found.pop(study)
    _report_counts(report, traces, rows)
    return traces


def _report_rows(report: Report, rows: pd.DataFrame, bad, action, problem: str, columns: tuple[str, ...], top=None) -> None:
    """One finding a study: its first bad row, with the value and how many more there are."""
    if not bad.any():
        return
    for study, group in rows[bad.to_numpy()].groupby("study"):
        more = f" (and {len(group) - 1} more rows of this study)" if len(group) > 1 else ""
        expected = None if top is None else f"0 to {top[group.index[0]]:g}"
        report.add(study, TRACINGS, int(group["line"].iloc[0]), action, problem + more,
                   value=",".join(group[c].iloc[0] for c in columns), expected=expected)


def _report_counts(report: Report, traces: dict[str, dict[int, np.ndarray]], rows: pd.DataFrame) -> None:
    odd = [(s, f, len(t)) for s, frames in traces.items() for f, t in frames.items() if len(t) != TRACE_ROWS]
    if odd:
        first = rows.groupby("study")["line"].min()
        for study, frame, count in odd:
            report.add(study, TRACINGS, int(first[study]), "noted", f"the number of rows that trace frame {frame} is unusual",
                       value=count, expected=f"{TRACE_ROWS} (the long axis and {TRACE_ROWS - 1} chords)", known_quirk=True)


def _usable(study: str, row: dict, areas: dict[int, int], report: Report) -> bool:
    if not areas:
        odd = (row["height"], row["width"]) != (FRAME_PX, FRAME_PX)
        report.add(study, TRACINGS, None, "dropped", "the video has no trace", value=study, expected="two traced frames",
                   known_quirk=odd)
        return False
    empty = [frame for frame, area in areas.items() if area == 0]
    if empty:
        report.add(study, TRACINGS, None, "dropped", f"the trace of frame {empty[0]} encloses no pixel", value=study,
                   expected="at least two chords that enclose an area")
        return False
    if len(areas) == 1:
        report.add(study, TRACINGS, None, "dropped", "only one frame is traced", value=f"{study}, frame {next(iter(areas))}",
                   expected="two traced frames")
        return False
    if len(areas) > 2:
        report.add(study, TRACINGS, None, "noted", "more than two frames are traced; the largest is ED, the smallest ES",
                   value=f"{study}, frames {sorted(areas)}", expected="two traced frames")
    elif len(set(areas.values())) == 1:
        report.add(study, TRACINGS, None, "noted", "both traced areas are equal; the first listed is taken as ED",
                   value=f"{study}, frames {list(areas)}")
    return True
