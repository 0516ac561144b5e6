"""Many clips, unattended: one line each, one bad clip never stops the rest, memory does not grow."""

from __future__ import annotations

import csv
import io
import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from echolib.clinic.ef_model import EFModel
from echolib.clinic.folders import clear_remains
from echolib.clinic.outputs import summary, write_outputs
from echolib.clinic.reading import clip_stem, open_clip
from echolib.clinic.segmentation import segment
from echolib.clinic.weights import Segmenter
from echolib.errors import DataError
from echolib.files import write_atomic
from echolib.words import counted

COLUMNS = ("clip", "status", "frames", "frames_per_second", "spacing_mm", "orientation", "ef_percent", "ef_low", "ef_high",
           "ef_sd", "beats", "ef_regressed_percent", "ef_regressed_sd", "ef_regressed_clips", "edv_ml", "esv_ml",
           "heart_rate_per_minute", "flags", "problem")


@dataclass(frozen=True)
class Row:
    """One line of ``cohort.csv``: values as text, empty where unknown.

    ``status`` is ``done``; ``refused`` for a clip that shows no ventricle, which has a report but no numbers; or ``failed``.
    """

    values: dict[str, str]

    @property
    def failed(self) -> bool:
        return self.values["status"] == "failed"

    @property
    def measured(self) -> bool:
        """Whether the clip was measured: neither failed nor refused."""
        return self.values["status"] == "done"


def segment_files(clips: Sequence[Path], out: Path, segmenter: Segmenter, *, anonymous: bool = False, fps: float = math.nan,
                  spacing_mm: float = math.nan, device: str = "auto", orientation: str = "auto",
                  ef_model: EFModel | None = None, say: Callable[[str], None] = print) -> list[Row]:
    """Segment clips one after the other and write a folder for each, and ``cohort.csv`` over all.

    The table is written anew after every clip, so a killed run leaves one that is true of what was done.

    Args:
        clips: files.
        out: where the folders go; one that is there from before is replaced.
        segmenter: the network.
        anonymous: call the clips ``clip-001`` ... everywhere instead of by their file names.
        fps: overrides what the files say; NaN does not.
        spacing_mm: the same for mm per px.
        device: where the network runs.
        orientation: of all clips, see :mod:`echolib.clinic.orientation`; ``auto``: each clip's is found.
        ef_model: a network that gives the ejection fraction beside the one from the masks.
        say: takes the line of progress.

    Raises:
        OSError: ``out`` cannot be written; this does stop the run, as it would strike every clip.
    """
    out.mkdir(parents=True, exist_ok=True)
    clear_remains(out / "cohort.csv")
    names = clip_names(clips, anonymous)
    rows: list[Row] = []
    for number, (path, name) in enumerate(zip(clips, names, strict=True), start=1):
        began = time.perf_counter()
        row = _one(path, out, name, segmenter, anonymous, fps, spacing_mm, device, orientation, ef_model)
        rows.append(row)
        write_atomic(out / "cohort.csv", _table(rows))
        say(f"[{number}/{len(clips)}] {_line(row, time.perf_counter() - began)}")
    return rows


def clip_names(clips: Sequence[Path], anonymous: bool) -> list[str]:
    """A folder name for each clip: ``clip-001`` ..., or the file's name without its ending, made unique and harmless."""
    if anonymous:
        width = max(3, len(str(len(clips))))
        return [f"clip-{number:0{width}d}" for number in range(1, len(clips) + 1)]
    names: list[str] = []
    for path in clips:
        stem = clip_stem(path)
        stem = re.sub(r"[^\w.-]+", "_", stem).strip("._") or "clip"
        name, count = stem, 1
        while name in names or name == "cohort.csv":
            count += 1
            name = f"{stem}-{count}"
        names.append(name)
    return names


def _one(path: Path, out: Path, name: str, segmenter: Segmenter, anonymous: bool, fps: float, spacing_mm: float,
         device: str, orientation: str, ef_model: EFModel | None) -> Row:
    try:
        clip = open_clip(path, shown_as=name if anonymous else None)
        result = segment(clip, clip.fps if math.isnan(fps) else fps, clip.spacing_mm if math.isnan(spacing_mm) else spacing_mm,
                         weights=segmenter, name=name, device=device, orientation=orientation, ef_model=ef_model)
    except DataError as error:
        return Row(dict.fromkeys(COLUMNS, "") | {"clip": name, "status": "failed", "problem": str(error)})
    except OSError as error:
        return Row(dict.fromkeys(COLUMNS, "") | {"clip": name, "status": "failed", "problem": f"{name}: {error.strerror}"})
    write_outputs(result, out / name)
    numbers = summary(result)
    interval = numbers["ef_percent"]["interval"] or {"low": None, "high": None}
    regressed = numbers["ef_regressed_percent"] or dict.fromkeys(("mean", "sd", "clips"))
    values = {"clip": name, "status": "refused" if result.refused else "done", "frames": numbers["frames"],
              "frames_per_second": numbers["frames_per_second"],
              "spacing_mm": numbers["spacing_mm"], "orientation": "" if result.refused else result.orientation.name,
              "ef_percent": numbers["ef_percent"]["mean"], "ef_low": interval["low"], "ef_high": interval["high"],
              "ef_sd": numbers["ef_percent"]["sd"], "beats": numbers["ef_percent"]["beats"],
              "ef_regressed_percent": regressed["mean"], "ef_regressed_sd": regressed["sd"],
              "ef_regressed_clips": regressed["clips"],
              "edv_ml": numbers["edv_ml"], "esv_ml": numbers["esv_ml"],
              "heart_rate_per_minute": numbers["heart_rate_per_minute"], "problem": result.refused,
              "flags": " ".join(flag.code for flag in result.flags)}
    return Row({key: "" if values[key] is None else str(values[key]) for key in COLUMNS})


def _line(row: Row, seconds: float) -> str:
    v = row.values
    if row.failed:
        return f"{v['clip']}: FAILED: {v['problem']}"
    if not row.measured:
        return f"{v['clip']}: REFUSED: {v['problem']}"
    beats = "1 beat" if v["beats"] == "1" else f"{v['beats']} beats"
    between = f", {float(v['ef_low']):.0f}-{float(v['ef_high']):.0f} %" if v["ef_low"] else ""
    ef = f"EF {float(v['ef_percent']):.0f} %{between} ({beats})" if v["ef_percent"] else f"no EF ({beats}{between})"
    if v["ef_regressed_percent"]:
        sd = f", SD {float(v['ef_regressed_sd']):.1f}" if v["ef_regressed_sd"] else ""
        ef += f", regressed EF {float(v['ef_regressed_percent']):.0f} % ({counted(int(v['ef_regressed_clips']), 'clip')}{sd})"
    ef += f", {v['orientation']}" if v["orientation"] != "upright" else ""
    flags = f"; {v['flags'].replace(' ', ', ')}" if v["flags"] else ""
    return f"{v['clip']}: {v['frames']} frames, {ef}, {seconds:.1f} s{flags}"


def _table(rows: list[Row]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(row.values for row in rows)
    return stream.getvalue()
