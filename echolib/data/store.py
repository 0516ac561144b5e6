"""The packed form of a cohort: all frames of all studies in one memory-mapped array.

A folder with

- ``frames.npy``: (N, size, size, channels) uint8, studies one after the other, sorted by name;
- ``masks.npy``: (M, ceil(size * size / 8)) uint8, one row a labelled frame, bits packed as by ``np.packbits``;
- ``studies.parquet``, ``labels.parquet``, ``report.parquet``: the tables of the cohort;
- ``manifest.json``: fingerprint, sizes, and the SHA-256 of every study and table. It is written last: a folder without one
  is no store.

While packing, arrays grow under ``*.part`` names and ``packing.jsonl`` takes one line a finished study, so that an interrupted
packing goes on where it stopped; what it left is trusted only where its checksum agrees.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from io import BytesIO
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from rich.progress import track

from echolib.data.cohort import Cohort
from echolib.data.resumable import GrowingArray, finished, note, study_sum
from echolib.errors import DataError
from echolib.files import DAMAGED_ARRAY, locked, read_json, write_atomic, write_json

FORMAT = 1
FRAMES, MASKS, MANIFEST, JOURNAL = "frames.npy", "masks.npy", "manifest.json", "packing.jsonl"
TABLES = ("studies.parquet", "labels.parquet", "report.parquet")


@dataclass
class ClipStore:
    """A packed cohort; see :func:`pack` and :meth:`open`.

    Attributes:
        path: its folder.
        studies: as in :class:`echolib.data.cohort.Cohort`, plus ``first``: the offset of the study's first frame in ``frames``.
            ``height``, ``width`` and ``spacing_mm`` are those of the original frames.
        labels: as in Cohort, plus ``row``: the row of the packed masks. ``area_px`` counts original pixels.
        report: the table of the cohort's report.
        frames: (N, size, size, channels) uint8, memory-mapped, read-only.
        size: frame height and width in px.
        channels: 1 (grey) or 3 (RGB).
        fingerprint: of the cohort that was packed.
        layout: ``echonet`` or ``camus``.
    """

    path: Path
    studies: pd.DataFrame
    labels: pd.DataFrame
    report: pd.DataFrame
    frames: np.memmap
    size: int
    channels: int
    fingerprint: str
    layout: str
    _masks: np.ndarray = field(repr=False)
    _span: dict[str, tuple[int, int]] = field(repr=False)
    _row: dict[tuple[str, int], int] = field(repr=False)

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = False) -> ClipStore:
        """Open a store; nothing is read until it is asked for.

        Args:
            path: the folder.
            verify: read everything once and compare all checksums.

        Raises:
            DataError: no store, an unfinished one, or one whose files do not fit its manifest; with ``verify``, the study
                or table whose bytes have changed is named.
        """
        path = Path(path)
        if not (path / MANIFEST).is_file():
            unfinished = (path / JOURNAL).exists()
            raise DataError("packing was interrupted" if unfinished else "not a store", file=path.name,
                            expected="pack the cohort again: it goes on where it stopped" if unfinished else MANIFEST)
        try:
            manifest = read_json(path / MANIFEST)
            shape, rows = tuple(manifest["frames"]), tuple(manifest["masks"])
            tables, sums = dict(manifest["tables"]), dict(manifest["studies"])
            origin = {name: str(manifest[name]) for name in ("fingerprint", "layout")}
            if manifest["format"] != FORMAT:
                raise DataError("the store has another format", file=MANIFEST, value=manifest["format"], expected=str(FORMAT))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"the manifest is damaged: {type(error).__name__}", file=MANIFEST) from None
        for name in TABLES:  # small: always compared
            if not (path / name).is_file() or _sha256((path / name).read_bytes()) != tables.get(name):
                raise DataError("the table is missing or has changed since it was packed", file=name)
        studies, labels, report = (pd.read_parquet(path / name) for name in TABLES)
        frames, masks = _mapped(path, FRAMES, shape), _mapped(path, MASKS, rows)
        store = cls(path=path, studies=studies, labels=labels, report=report, frames=frames, size=shape[1], channels=shape[3],
                    _masks=masks, **origin,
                    _span={s: (int(f), int(n))
                           for s, f, n in zip(studies.index, studies["first"], studies["frames"], strict=True)},
                    _row={(s, int(f)): int(r) for s, f, r in zip(labels["study"], labels["frame"], labels["row"], strict=True)})
        if verify:
            store._verify(sums)
        return store

    def view(self, studies: pd.DataFrame, labels: pd.DataFrame) -> ClipStore:
        """The same frames under other tables: other splits, or fewer labels. A mask that ``labels`` lacks is not given."""
        rows = {(s, int(f)): int(r) for s, f, r in zip(labels["study"], labels["frame"], labels["row"], strict=True)}
        return replace(self, studies=studies, labels=labels.reset_index(drop=True), _row=rows)

    def _verify(self, sums: dict[str, str]) -> None:
        rows = {study: group["row"].to_numpy() for study, group in self.labels.groupby("study")}
        for study in self.studies.index:
            if study_sum(np.asarray(self.video(study)), self._masks[rows[study]]) != sums.get(study):
                raise DataError(f"the frames or masks of study {study} have changed since they were packed", file=FRAMES,
                                row=self._span[study][0] + 1, value=study, expected="a store packed anew")

    def _of(self, study: str) -> tuple[int, int]:
        if study not in self._span:
            raise DataError("no such study in the store", value=study)
        return self._span[study]

    def video(self, study: str) -> np.ndarray:
        """All frames of a study, (T, size, size, channels) uint8: a view of the file, read-only."""
        first, count = self._of(study)
        return self.frames[first:first + count]

    def clip(self, study: str, indices: np.ndarray) -> np.ndarray:
        """Frames of a study by 0-based index, as a copy.

        Args:
            study: its name.
            indices: (F,) int; -1 gives a black frame.

        Returns:
            (F, size, size, channels) uint8.

        Raises:
            DataError: no such study, or an index that is not from -1 to the last frame.
        """
        rows = self.rows(study, indices)
        if (rows >= 0).all():
            return self.frames[rows]
        clip = np.zeros((len(rows), *self.frames.shape[1:]), np.uint8)
        clip[rows >= 0] = self.frames[rows[rows >= 0]]
        return clip

    def rows(self, study: str, indices: np.ndarray) -> np.ndarray:
        """Where a study's frames lie in ``frames``: as :meth:`clip`, but (F,) int; -1 stays -1."""
        first, count = self._of(study)
        indices = np.asarray(indices)
        low, high = (int(indices.min()), int(indices.max())) if len(indices) else (0, 0)
        if low < -1 or high >= count:
            raise DataError("no such frame", file=study, value=high if high >= count else low, expected=f"-1 to {count - 1}")
        return np.where(indices >= 0, first + indices, -1)

    def mask(self, study: str, frame: int) -> np.ndarray:
        """The left ventricle on a labelled frame (0-based), (size, size) bool.

        Raises:
            DataError: no such study, or the frame has no label.
        """
        self._of(study)
        if (study, int(frame)) not in self._row:
            raise DataError("the frame has no label", file=study, row=int(frame) + 1)
        bits = np.unpackbits(self._masks[self._row[study, int(frame)]], count=self.size * self.size)
        return bits.reshape(self.size, self.size).astype(bool)


def open_verified(path: str | Path) -> ClipStore:
    """Open a store and compare all its checksums, unless that was done and no file has changed its size or time since.

    What was compared is noted beside the folder, in ``.<name>.verified``.

    Raises:
        DataError: as ``ClipStore.open(path, verify=True)``.
        OSError: the note cannot be written.
    """
    path = Path(path)
    note_file = path.with_name(f".{path.name}.verified")
    files = [path / name for name in (FRAMES, MASKS, MANIFEST) if (path / name).is_file()]
    state = json.dumps({file.name: [file.stat().st_size, file.stat().st_mtime_ns] for file in files})
    known = note_file.is_file() and note_file.read_bytes() == state.encode()
    store = ClipStore.open(path, verify=not known)
    if not known:
        write_atomic(note_file, state)
    return store


def pack(cohort: Cohort, out: str | Path, *, size: int = 112, channels: int = 3, progress: bool = True, workers: int = 1,
         replace: bool = False) -> ClipStore:
    """Decode a cohort once and write it as a store. Interrupted, it goes on where it stopped, to the same bytes.

    Frames of another size are resized without regard to their aspect: by area when they shrink, linearly when they grow;
    masks by nearest neighbour. A finished store of the same cohort, size and channels is opened, not made again; of two
    processes that pack to one folder the second waits for the first.

    Args:
        cohort: what to pack.
        out: the folder to write to.
        size: frame height and width in px.
        channels: 3, or 1 for grey.
        progress: show a progress bar.
        workers: threads that decode ahead.
        replace: pack over a finished store of another cohort, size or number of channels.

    Raises:
        DataError: the cohort is empty, a video does not decode (it is named; what was packed stays for the next attempt), or
            ``out`` holds another store and ``replace`` is not set.
        ValueError: another number of channels than 1 or 3.
    """
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 or 3, not {channels}")
    if cohort.studies.empty:
        raise DataError("the cohort has no usable study", file=cohort.root.name)
    out = Path(out)
    wanted = {"format": FORMAT, "fingerprint": cohort.fingerprint, "size": size, "channels": channels}
    finished_store = _finished(out, wanted, replace)  # asked before the lock, which a read-only folder does not allow
    if finished_store is None:
        with locked(out.with_name(f".{out.name}.lock")):
            finished_store = _finished(out, wanted, replace)
            if finished_store is None:
                _pack(cohort, out, wanted, progress, workers)
    return finished_store or ClipStore.open(out)


def _finished(out: Path, wanted: dict[str, object], replace: bool) -> ClipStore | None:
    """The store in ``out`` where it is the one that is wanted; None where there is none, or another that may be replaced."""
    if not (out / MANIFEST).is_file():
        return None
    store = ClipStore.open(out)
    held = {"format": FORMAT, "fingerprint": store.fingerprint, "size": store.size, "channels": store.channels}
    if held == wanted:
        return store
    if not replace:
        raise DataError("the folder holds the store of another cohort, size or number of channels", file=out.name,
                        value=f"{store.fingerprint[:12]} {store.size} px x{store.channels}",
                        expected=f"{wanted['fingerprint'][:12]} {wanted['size']} px x{wanted['channels']}, or an empty folder")
    return None


def _pack(cohort: Cohort, out: Path, wanted: dict[str, object], progress: bool, workers: int) -> None:
    size, channels = wanted["size"], wanted["channels"]
    out.mkdir(parents=True, exist_ok=True)
    (out / MANIFEST).unlink(missing_ok=True)
    for part in out.glob(".*.part"):  # of a process that was killed while it wrote; we hold the lock
        part.unlink()
    studies = cohort.studies.copy()
    studies["first"] = studies["frames"].cumsum() - studies["frames"]
    labels = cohort.labels.copy()
    labels["row"] = np.arange(len(labels))
    shape = (int(studies["frames"].sum()), size, size, channels)
    rows = (len(labels), (size * size + 7) // 8)
    with GrowingArray(out / f"{FRAMES}.part", shape) as frames, GrowingArray(out / f"{MASKS}.part", rows) as masks:
        label_rows = {study: group for study, group in labels.groupby("study", sort=False)}
        sums = finished(out / JOURNAL, wanted, studies, label_rows, frames, masks)
        todo = [study for study in studies.index if study not in sums]
        with open(out / JOURNAL, "a", encoding="utf-8") as journal:
            if journal.tell() == 0:
                note(journal, wanted)
            ready = _ahead(((cohort, study, label_rows[study], size, channels) for study in todo), workers)
            for study, (video, bits) in zip(todo, track(ready, f"Packing {cohort.layout}", total=len(todo), disable=not progress,
                                                        transient=True), strict=True):
                frames.write(int(studies["first"][study]), video)
                masks.write(int(label_rows[study]["row"].iloc[0]), bits)
                sums[study] = study_sum(video, bits)
                note(journal, {"study": study, "sha256": sums[study]})
    tables = {}
    for name, table in zip(TABLES, (studies, labels, cohort.report.table()), strict=True):
        buffer = BytesIO()
        table.to_parquet(buffer)
        write_atomic(out / name, buffer.getvalue())
        tables[name] = _sha256(buffer.getvalue())
    for name in (FRAMES, MASKS):
        os.replace(out / f"{name}.part", out / name)
    (out / JOURNAL).unlink()  # no use without the parts; before the manifest, which says that the folder is finished
    write_json(out / MANIFEST, {**wanted, "layout": cohort.layout, "frames": shape, "masks": rows, "tables": tables,
                                "studies": {study: sums[study] for study in studies.index}})


def _prepared(cohort: Cohort, study: str, labels: pd.DataFrame, size: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames (T, size, size, channels) uint8 and packed masks of a study."""
    video = cohort.video(study)
    masks = np.stack([cohort.mask(study, frame) for frame in labels["frame"]]).astype(np.uint8)
    if channels == 1:  # grey is the same in all three channels, and stays exactly what it is
        video = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in video])[..., None]
    if video.shape[1:3] != (size, size):
        way = cv2.INTER_AREA if min(video.shape[1:3]) >= size else cv2.INTER_LINEAR
        video = np.stack([cv2.resize(frame, (size, size), interpolation=way) for frame in video])
        video = video.reshape(len(video), size, size, channels)
        masks = np.stack([cv2.resize(m, (size, size), interpolation=cv2.INTER_NEAREST_EXACT) for m in masks])
    return np.ascontiguousarray(video), np.packbits(masks.reshape(len(masks), -1), axis=1)


def _ahead(tasks: Iterable[tuple], workers: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Prepared studies in order, at most ``2 * workers`` of them decoded ahead."""
    if workers == 1:
        yield from (_prepared(*task) for task in tasks)
        return
    tasks = iter(tasks)
    with ThreadPoolExecutor(workers) as pool:
        waiting = [pool.submit(_prepared, *task) for task in islice(tasks, 2 * workers)]
        while waiting:
            yield waiting.pop(0).result()
            waiting += [pool.submit(_prepared, *task) for task in islice(tasks, 1)]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _mapped(path: Path, name: str, shape: tuple[int, ...]) -> np.memmap:
    try:
        array = np.load(path / name, mmap_mode="r", allow_pickle=False)
    except DAMAGED_ARRAY as error:
        raise DataError(f"the array is missing or damaged: {type(error).__name__}", file=name) from None
    if array.shape != shape or array.dtype != np.uint8:
        raise DataError("the array does not fit the manifest", file=name, value=f"{array.shape} {array.dtype}",
                        expected=f"{shape} uint8")
    return array
