"""Frames with outlines, area curves and grey levels that pages draw, kept beside an evaluation so that drawing them needs no
weights and no cohort.

A page chooses its cases by a rule on the tables of several evaluations and asks each evaluation for the same frames. They
lie in ``examples.npz`` in the evaluation's folder; what is missing there is computed from the run's weights and the cohort.
The choice rests on kept tables alone, so a kept evaluation holds the frames that its page asks for.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from echolib.data.store import ClipStore
from echolib.data.truth import read_truth
from echolib.errors import RecordError
from echolib.evaluation.half_cycles import half_cycles, predict
from echolib.evaluation.inference import segment_videos
from echolib.evaluation.whole_video import FRAMES_PER_PASS
from echolib.files import DAMAGED_ARRAY, locked, write_atomic
from echolib.ledger.committed import Shelf
from echolib.ledger.evaluations import EXAMPLES, Evaluation
from echolib.ledger.ledger import Ledger

Case = tuple[str, int]


@dataclass(frozen=True)
class Picture:
    """One frame: ``picture`` (H, W) uint8, ``mask`` and ``exact`` (H, W) bool; ``exact`` is None where nothing is traced."""

    picture: np.ndarray
    mask: np.ndarray
    exact: np.ndarray | None


@dataclass(frozen=True)
class Examples:
    """Frames by (study, frame); by study the (2, T) area in px, found and exact (NaN on real data); and the share of the
    cohort's pixels at each of the 256 grey levels (:func:`grey_levels`), None where it was not asked for."""

    pictures: dict[Case, Picture]
    curves: dict[str, np.ndarray]
    levels: np.ndarray | None = None


def require(ledger: Ledger, evaluation: Evaluation, cases: Iterable[Case], curves: Iterable[str] = (),
            levels: bool = False) -> Examples:
    """The asked frames and curves of an evaluation and, with ``levels``, its cohort's grey levels; computed and stored where they
    are missing. Frames of half cycles are given by their number in the half cycle, and must be among those that its clip holds.

    Raises:
        RecordError: the file is damaged, or a kept evaluation lacks something that was asked for.
    """
    cases, curves, key = list(dict.fromkeys(cases)), list(dict.fromkeys(curves)), evaluation.record.key
    if evaluation.kept:
        content = evaluation.examples()
        found = Examples({}, {}) if content is None else read(content, evaluation)
        lacking = [*(c for c in cases if c not in found.pictures), *(s for s in curves if s not in found.curves),
                   *["grey levels"] * (levels and found.levels is None)]
        if lacking:
            raise RecordError(f"evaluation {key} was kept without the example {lacking[0]}; "
                              f"{Shelf(evaluation.folder).remedy(key)}")
    else:
        with locked(evaluation.folder / ".examples.lock"):
            found = _complete(ledger, evaluation, cases, curves, levels)
    return Examples({c: found.pictures[c] for c in cases}, {s: found.curves[s] for s in curves}, found.levels if levels else None)


def _complete(ledger: Ledger, evaluation: Evaluation, cases: list[Case], curves: list[str], levels: bool) -> Examples:
    content = evaluation.examples()
    found = Examples({}, {}) if content is None else read(content, evaluation)
    frames, studies = [c for c in cases if c not in found.pictures], [s for s in curves if s not in found.curves]
    if not frames and not studies and not (levels and found.levels is None):
        return found
    more = {}
    if studies:
        table = evaluation.frames
        more = {s: table.loc[table.study == s, ["area_px", "exact_area_px"]].to_numpy(float).T for s in studies}
    shares = grey_levels(ledger.store_of(evaluation.record.spec.data)) if levels and found.levels is None else found.levels
    segmented = _half_cycles if evaluation.record.spec.kind == "half_cycle" else _whole_videos
    pictures = segmented(ledger, evaluation, frames) if frames else {}
    found = Examples(found.pictures | pictures, found.curves | more, shares)
    write(evaluation.folder / EXAMPLES, found, evaluation)
    return found


def grey_levels(store: ClipStore, frames: int = 200) -> np.ndarray:
    """``(256,)`` float: the share of pixels (of the first channel) at each grey level, over evenly spaced frames of a cohort."""
    rows = np.unique(np.linspace(0, len(store.frames) - 1, min(frames, len(store.frames))).astype(int))
    counts = np.bincount(np.asarray(store.frames[rows][..., 0]).ravel(), minlength=256)
    return counts / counts.sum()


def _half_cycles(ledger: Ledger, evaluation: Evaluation, cases: list[Case]) -> dict[Case, Picture]:
    """Frames of half cycles with the outlines of the evaluation's run; each clip goes through the network as it did there."""
    spec, out, wanted = evaluation.record.spec, {}, {study for study, _ in cases}
    store = ledger.store_of(spec.data)
    cohort = ledger.workspace.cohort(spec.data, progress=ledger.progress) if spec.aspect == "kept" else None
    cycles = (one for one in half_cycles(store, spec.run.clip.frames, cohort) if one.study in wanted)
    for one, found in predict(ledger.model(spec.run), cycles, spec.padding):
        for place, number in enumerate(one.numbers.tolist()):
            if (one.study, number) in cases:
                out[one.study, number] = Picture(_grey(one.clip[place]), found[place], one.masks[place])
    return out


def _grey(frame: np.ndarray) -> np.ndarray:
    """(H, W, C) uint8 -> (H, W) uint8."""
    return frame.mean(-1).round().astype(np.uint8)


def _whole_videos(ledger: Ledger, evaluation: Evaluation, cases: list[Case]) -> dict[Case, Picture]:
    """The frames with the outlines of the evaluation's run; each video goes through the network as it did there."""
    spec, out = evaluation.record.spec, {}
    store, studies = ledger.store_of(spec.data), list(dict.fromkeys(study for study, _ in cases))
    truth = ledger.workspace.cohort_dir(spec.data) if spec.data.phantom is not None else None
    exact = {s: _at_size(read_truth(truth, s).masks, store.size) for s in studies} if truth is not None else {}
    if spec.run is None:
        masks = iter([exact[s] for s in studies])
    else:
        clip = spec.run.clip
        masks = segment_videos(ledger.model(spec.run), (store.video(s) for s in studies), clip.frames, clip.period, device="auto",
                               batch=max(1, FRAMES_PER_PASS // clip.frames), size=store.size, overlap=spec.overlap, masks=True)
    for study, found in zip(studies, masks, strict=True):
        traced = set(store.labels.frame[store.labels.study == study])
        for frame in (frame for other, frame in cases if other == study):
            true = exact[study][frame] if exact else store.mask(study, frame) if frame in traced else None
            out[study, frame] = Picture(_grey(np.asarray(store.video(study)[frame])), found[frame], true)
    return out


def _at_size(masks: np.ndarray, size: int) -> np.ndarray:
    """Masks at the size of the stored frames, as the store resizes tracings."""
    if masks.shape[1:] == (size, size):
        return masks
    return np.stack([cv2.resize(m.astype(np.uint8), (size, size), interpolation=cv2.INTER_NEAREST_EXACT) for m in masks]) > 0


def write(path: Path, examples: Examples, evaluation: Evaluation) -> None:
    """Write examples as one ``.npz`` without pickles; masks packed, 8 px a byte."""
    cases, pictures = list(examples.pictures), list(examples.pictures.values())
    none = np.zeros_like(pictures[0].mask) if pictures else None
    stream = io.BytesIO()
    np.savez_compressed(
        stream, of=np.array([evaluation.record.key, evaluation.record.provenance.finished]),
        studies=np.array([s for s, _ in cases], dtype=str), frames=np.array([f for _, f in cases], dtype=np.int64),
        pictures=np.array([p.picture for p in pictures], dtype=np.uint8),
        masks=np.packbits(np.array([p.mask for p in pictures], dtype=bool), axis=-1),
        exact=np.packbits(np.array([none if p.exact is None else p.exact for p in pictures], dtype=bool), axis=-1),
        has_exact=np.array([p.exact is not None for p in pictures], dtype=bool),
        curve_studies=np.array(list(examples.curves), dtype=str),
        **({} if examples.levels is None else {"levels": examples.levels}),
        **{f"curve_{i}": curve for i, curve in enumerate(examples.curves.values())})
    write_atomic(path, stream.getvalue())


def read(content: bytes, evaluation: Evaluation) -> Examples:
    """Read the content of a file that :func:`write` wrote; empty when it belongs to an earlier state of the evaluation.

    Raises:
        RecordError: the file is damaged.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            parts = {name: archive[name] for name in archive.files}
        if parts["of"].tolist() != [evaluation.record.key, evaluation.record.provenance.finished]:
            return Examples({}, {})
        width = parts["pictures"].shape[-1] if len(parts["pictures"]) else 0
        masks, exact = (np.unpackbits(parts[name], axis=-1, count=width).astype(bool) for name in ("masks", "exact")) \
            if width else ([], [])
        pictures = {(str(s), int(f)): Picture(p, m, e if has else None) for s, f, p, m, e, has in zip(
            parts["studies"], parts["frames"], parts["pictures"], masks, exact, parts["has_exact"], strict=True)}
        curves = {str(s): parts[f"curve_{i}"] for i, s in enumerate(parts["curve_studies"])}
        return Examples(pictures, curves, parts.get("levels"))
    except DAMAGED_ARRAY as error:
        raise RecordError(f"{EXAMPLES} of evaluation {evaluation.record.key}: not a file of examples ({type(error).__name__}); "
                          "delete it and run again") from None
