"""Frames with outlines, area curves and grey levels that pages draw, stored beside an evaluation so that drawing them needs no
weights and no cohort.

A page chooses its cases by a rule on the tables of several evaluations and asks each evaluation for the same frames. They
lie in ``examples.npz`` in the evaluation's folder; what is missing there is computed from the run's weights and the cohort.
The choice rests on tables alone, so a committed evaluation holds the frames that its page asks for.

An evaluation that is computed again puts the file aside. The next one that asks, or ``echolib keep``, has everything in it drawn
anew, so that a page loses nothing when another one asked for the evaluation.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from echolib.data.store import ClipStore
from echolib.errors import RecordError
from echolib.evaluation.evaluation import Case, Picture
from echolib.files import DAMAGED_ARRAY, locked, write_atomic
from echolib.ledger.committed import Shelf
from echolib.ledger.evaluations import EXAMPLES, FORMER, Evaluation, inputs_of
from echolib.ledger.ledger import Ledger

#: Arrays that every file of examples has.
WRITTEN = ("of", "studies", "frames", "pictures", "masks", "exact", "has_exact", "curve_studies")


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
        RecordError: the file is damaged, or a committed evaluation lacks something that was asked for.
    """
    cases, curves, key = list(dict.fromkeys(cases)), list(dict.fromkeys(curves)), evaluation.record.key
    if evaluation.committed:
        content = evaluation.examples()
        found = Examples({}, {}) if content is None else read(content, evaluation)
        lacking = [*(c for c in cases if c not in found.pictures), *(s for s in curves if s not in found.curves),
                   *["grey levels"] * (levels and found.levels is None)]
        if lacking:
            raise RecordError(f"evaluation {key} was committed without the example {lacking[0]}; "
                              f"{Shelf(evaluation.folder).remedy(key)}")
    else:
        with locked(evaluation.folder / ".examples.lock"):
            found = _complete(ledger, evaluation, cases, curves, levels)
    return Examples({c: found.pictures[c] for c in cases}, {s: found.curves[s] for s in curves}, found.levels if levels else None)


def renew(ledger: Ledger, evaluation: Evaluation, committed: bytes | None = None) -> None:
    """Draw again what an earlier state of this machine's evaluation, or the committed file that it replaces, had drawn.

    Args:
        ledger: of the profile.
        evaluation: one of this machine's own.
        committed: the committed file of examples under the same key.

    Raises:
        RecordError: a file is damaged, or the run's weights are not here.
    """
    with locked(evaluation.folder / ".examples.lock"):
        _complete(ledger, evaluation, [], [], False, committed)


def _complete(ledger: Ledger, evaluation: Evaluation, cases: list[Case], curves: list[str], levels: bool,
              committed: bytes | None = None) -> Examples:
    content, before = evaluation.examples(), evaluation.folder / FORMER
    found = Examples({}, {}) if content is None else read(content, evaluation)
    files = [content, committed, before.read_bytes() if before.is_file() else None]
    former = _former(ledger, evaluation, [one for one in files if one is not None], found)
    frames = [c for c in dict.fromkeys([*cases, *former.cases]) if c not in found.pictures]
    studies = [s for s in dict.fromkeys([*curves, *former.curves]) if s not in found.curves]
    levels = (levels or former.levels) and found.levels is None
    if not frames and not studies and not levels:
        return found
    more = {}
    if studies:
        table = evaluation.frames
        more = {s: table.loc[table.study == s, ["area_px", "exact_area_px"]].to_numpy(float).T for s in studies}
    shares = grey_levels(ledger.store_of(evaluation.record.spec.data)) if levels else found.levels
    spec = evaluation.record.spec
    pictures = spec.pictures(inputs_of(ledger, ledger.runs, spec.run, spec.data, spec.label), frames) if frames else {}
    found = Examples(found.pictures | pictures, found.curves | more, shares)
    write(evaluation.folder / EXAMPLES, found, evaluation)
    before.unlink(missing_ok=True)
    return found


@dataclass(frozen=True)
class _Asked:
    """What pages had asked an earlier state of an evaluation for."""

    cases: list[Case]
    curves: list[str]
    levels: bool


def _former(ledger: Ledger, evaluation: Evaluation, contents: list[bytes], found: Examples) -> _Asked:
    """What files of examples hold, whatever state they are of, and ``found`` does not. Another cohort may lack some of it."""
    files = [_parts(content, evaluation) for content in contents]
    cases = [(str(s), int(f)) for parts in files for s, f in zip(parts["studies"], parts["frames"], strict=True)]
    cases = [case for case in dict.fromkeys(cases) if case not in found.pictures]
    curves = [s for s in dict.fromkeys(str(s) for parts in files for s in parts["curve_studies"]) if s not in found.curves]
    if cases or curves:
        store = ledger.store_of(evaluation.record.spec.data)
        cases = [(s, f) for s, f in cases if s in store.studies.index and f < len(store.video(s))]
        curves = [s for s in curves if s in store.studies.index]
    return _Asked(cases, curves, any("levels" in parts for parts in files))


def grey_levels(store: ClipStore, frames: int = 200) -> np.ndarray:
    """``(256,)`` float: the share of pixels (of the first channel) at each grey level, over evenly spaced frames of a cohort."""
    rows = np.unique(np.linspace(0, len(store.frames) - 1, min(frames, len(store.frames))).astype(int))
    counts = np.bincount(np.asarray(store.frames[rows][..., 0]).ravel(), minlength=256)
    return counts / counts.sum()


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
    parts = _parts(content, evaluation)
    if parts["of"].tolist() != [evaluation.record.key, evaluation.record.provenance.finished]:
        return Examples({}, {})
    try:
        width = parts["pictures"].shape[-1] if len(parts["pictures"]) else 0
        masks, exact = (np.unpackbits(parts[name], axis=-1, count=width).astype(bool) for name in ("masks", "exact")) \
            if width else ([], [])
        pictures = {(str(s), int(f)): Picture(p, m, e if has else None) for s, f, p, m, e, has in zip(
            parts["studies"], parts["frames"], parts["pictures"], masks, exact, parts["has_exact"], strict=True)}
        curves = {str(s): parts[f"curve_{i}"] for i, s in enumerate(parts["curve_studies"])}
        return Examples(pictures, curves, parts.get("levels"))
    except DAMAGED_ARRAY as error:
        raise _damaged(evaluation, error) from None


def _parts(content: bytes, evaluation: Evaluation) -> dict[str, np.ndarray]:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            parts = {name: archive[name] for name in archive.files}
        return {name: parts[name] for name in WRITTEN} | parts
    except DAMAGED_ARRAY as error:
        raise _damaged(evaluation, error) from None


def _damaged(evaluation: Evaluation, error: Exception) -> RecordError:
    return RecordError(f"{EXAMPLES} of evaluation {evaluation.record.key}: not a file of examples ({type(error).__name__}); "
                       "delete it and run again")
