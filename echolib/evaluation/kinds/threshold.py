"""The threshold-and-fill baseline on the traced frames of the test split: what a program without training reaches.

It takes seconds to compute and needs every test video, so its table is kept beside the runs: a book made from kept records
then needs no cohort.
"""

from __future__ import annotations

import hashlib
import io
import time
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from echolib.config import DataSpec
from echolib.data.store import ClipStore
from echolib.errors import RecordError
from echolib.files import parse_json
from echolib.ledger import committed as kept
from echolib.ledger.ledger import Ledger
from echolib.ledger.provenance import Provenance, code_fingerprint, collect

#: Parts of the package that decide the baseline.
CODE = ("data", "evaluation", "ledger/baseline.py")
TABLE = "scores.csv"


class BaselineRecord(BaseModel):
    """Where a kept table of the baseline came from."""

    model_config = ConfigDict(extra="forbid")

    key: str
    data: DataSpec
    provenance: Provenance


def key_of(data: DataSpec) -> str:
    """16 hex digits that name the baseline of a cohort."""
    return hashlib.sha256(f"baseline {data.model_dump_json()}".encode()).hexdigest()[:16]


def baseline_scores(ledger: Ledger) -> pd.DataFrame:
    """Scores of the baseline on the profile's test split, in the columns of ``score_split``: kept ones, else computed.

    Raises:
        RecordError: the kept table is damaged.
    """
    shelf, record = _usable(ledger)
    if record is not None:
        return pd.read_csv(io.BytesIO(shelf.read(record.key, TABLE)), dtype={"study": str, "patient": str})
    return scores_of(ledger.store)


def is_kept(ledger: Ledger) -> bool:
    """Is there a kept table, so that :func:`baseline_scores` reads no cohort?

    Raises:
        RecordError: as :func:`baseline_scores`.
    """
    return _usable(ledger)[1] is not None


def _usable(ledger: Ledger) -> tuple[kept.Shelf | None, BaselineRecord | None]:
    data, shelf = ledger.workspace.profile.echonet, ledger.shelf("baselines")
    record = None if shelf is None else shelf.record(key_of(data), _parse, (TABLE,))
    if record is None or not ledger.kept_why(record.provenance, data, code_fingerprint(CODE))[0]:
        return shelf, None
    return shelf, record


def scores_of(store: ClipStore) -> pd.DataFrame:
    """Scores of the baseline on the traced test frames of a store, one row a frame."""
    from echolib.evaluation.baseline import threshold_and_fill
    from echolib.evaluation.metrics import dice

    rows = []
    for study, frames in store.labels.groupby("study"):
        if store.studies.split[study] != "test":
            continue
        masks = threshold_and_fill(np.asarray(store.video(study)))
        for label in frames.itertuples():
            truth = store.mask(study, label.frame)
            both = int((masks[label.frame] & truth).sum())
            rows.append({"study": study, "patient": store.studies.patient[study], "frame": label.frame, "phase": label.phase,
                         "dice": dice(masks[label.frame], truth), "intersection": both,
                         "predicted_px": int(masks[label.frame].sum()), "traced_px": int(truth.sum())})
    return pd.DataFrame(rows)


def keep_baseline(ledger: Ledger, store: ClipStore, results: Path) -> bool:
    """Compute the baseline on the profile's ``store`` and keep it in ``results`` (a profile's folder there).

    Returns:
        was anything written?
    """
    data, began, folder = ledger.workspace.profile.echonet, time.perf_counter(), results / "baselines"
    code = code_fingerprint(CODE)
    table = scores_of(store).to_csv(index=False, float_format="%.5g").encode()
    try:
        old = kept.Shelf(folder).record(key_of(data), _parse, (TABLE,))
    except RecordError:  # damaged: it is written again
        old = None
    if old is not None and (old.provenance.code, old.provenance.data) == (code, store.fingerprint):
        return False
    record = BaselineRecord(key=key_of(data), data=data, provenance=collect(ledger.workspace.root, store.fingerprint,
                                                                            time.perf_counter() - began, code))
    return kept.put(folder, record.key, {kept.RECORD: kept.as_json(record), TABLE: table})


def _parse(content: bytes, name: str) -> BaselineRecord:
    try:
        record = BaselineRecord.model_validate(parse_json(content))
    except (ValueError, ValidationError) as error:
        raise RecordError(f"{name}: not a record of the baseline: {error}") from None
    if key_of(record.data) != record.key:
        raise RecordError(f"{name}: says key {record.key}, but its cohort has {key_of(record.data)}")
    return record
