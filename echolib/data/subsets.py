"""Which studies a run may learn from: a labelled share of the training studies, or folds over patients.

Both are drawn from a seed, so they are the same for every run that names the same :class:`~echolib.config.specs.SubsetSpec`.
A smaller labelled share is part of a larger one.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from echolib.config.specs import SubsetSpec
from echolib.data.store import ClipStore
from echolib.errors import DataError

#: Columns of the table of studies that are labels as much as tracings are.
VOLUMES = ("ef", "edv", "esv")


def labelled_studies(studies: pd.DataFrame, share: tuple[int, int], seed: int = 0) -> list[str]:
    """The training studies of a labelled share, sorted by name.

    Args:
        studies: table with the index ``study`` and the column ``split``.
        share: numerator and denominator; the number of studies is rounded to the nearest, ties to even.
        seed: of the order in which studies become labelled.

    Raises:
        DataError: the share holds no study.
    """
    names = np.array(sorted(studies.index[studies["split"] == "train"]), dtype=object)
    count = round(len(names) * share[0] / share[1])
    if count < 1:
        raise DataError("the labelled share holds no study", value=f"{share[0]}/{share[1]} of {len(names)} training studies",
                        expected="a share of at least one study")
    order = np.random.default_rng([seed, 1]).permutation(len(names))
    return sorted(names[order[:count]])


def fold_splits(studies: pd.DataFrame, folds: int, fold: int, seed: int = 0) -> pd.Series:
    """Split of every study in one fold of a cross-validation: ``test`` the fold itself, ``val`` the next one, ``train`` the rest.

    Folds are drawn over patients, so that no patient is on two sides; their sizes differ by at most one patient.

    Raises:
        DataError: more folds than patients, or fewer than three, which leaves nothing to train on.
    """
    patients = np.array(sorted(studies["patient"].unique()), dtype=object)
    if not 3 <= folds <= len(patients):
        raise DataError("the patients cannot be divided", value=f"{folds} folds, {len(patients)} patients",
                        expected="at least 3 folds and no more than there are patients")
    place = np.empty(len(patients), int)
    place[np.random.default_rng([seed, 2]).permutation(len(patients))] = np.arange(len(patients)) % folds
    of = studies["patient"].map(dict(zip(patients, place, strict=True)))
    return of.map(lambda number: "test" if number == fold else "val" if number == (fold + 1) % folds else "train")


def restricted(store: ClipStore, subset: SubsetSpec) -> ClipStore:
    """The store as a run with this subset may see it; the frames are the same memory map.

    Tracings and volumes of the training studies that are not labelled are gone: :meth:`ClipStore.mask` raises for them.

    Raises:
        DataError: as :func:`labelled_studies` and :func:`fold_splits`.
    """
    if subset == SubsetSpec():
        return store
    studies = store.studies
    if subset.folds is not None:
        studies = studies.assign(split=fold_splits(studies, subset.folds, subset.fold, subset.seed))
    if subset.labelled is None:
        return store.view(studies, store.labels)
    hidden = set(studies.index[studies["split"] == "train"]) - set(labelled_studies(studies, subset.labelled, subset.seed))
    studies = studies.copy()
    studies.loc[sorted(hidden), [c for c in VOLUMES if c in studies.columns]] = np.nan
    return store.view(studies, store.labels[~store.labels["study"].isin(hidden)])
