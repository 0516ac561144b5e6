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
#: Those that say which frames were traced.
POSITIONS = ("ed_frame", "es_frame")


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


def part_splits(studies: pd.DataFrame, parts: tuple[int, int, int], seed: int = 0) -> pd.Series:
    """Split of every study where the patients are divided at random in these proportions, whatever the cohort's own split is.

    Args:
        studies: table with the index ``study`` and the column ``patient``; all studies of a patient come into one part.
        parts: of training, validation and test, such as (7, 1, 2); numbers of patients by the largest remainder.
        seed: of the division.

    Raises:
        DataError: a part is left without a patient.
    """
    patients = np.array(sorted(studies["patient"].unique()), dtype=object)
    exact = len(patients) * np.array(parts) / sum(parts)
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[:len(patients) - counts.sum()]] += 1
    if counts.min() < 1:
        raise DataError("the patients cannot be divided", value=f"{' : '.join(map(str, parts))} of {len(patients)} patients",
                        expected="at least one patient in each part")
    order = np.random.default_rng([seed, 3]).permutation(len(patients))
    split = np.repeat(["train", "val", "test"], counts)
    return studies["patient"].map(dict(zip(patients[order], split, strict=True)))


def restricted(store: ClipStore, subset: SubsetSpec) -> ClipStore:
    """The store as a run with this subset may see it; the frames are the same memory map.

    Tracings and volumes of the training studies that are not labelled are gone, and unless the subset has ``positions``
    the numbers of the traced frames as well; of the studies outside the test split all labels but those of ED and ES are
    gone: :meth:`ClipStore.mask` raises for them.

    Raises:
        DataError: as :func:`labelled_studies`, :func:`part_splits` and :func:`fold_splits`.
    """
    studies, labels = store.studies, store.labels
    if subset.folds is not None:
        studies = studies.assign(split=fold_splits(studies, subset.folds, subset.fold, subset.seed))
    elif subset.parts is not None:
        studies = studies.assign(split=part_splits(studies, subset.parts, subset.seed))
    between = (labels["phase"] == "other") & ~labels["study"].isin(studies.index[studies["split"] == "test"])
    if subset == SubsetSpec() and not between.any():
        return store
    labels = labels[~between]
    if subset.labelled is None:
        return store.view(studies, labels)
    hidden = set(studies.index[studies["split"] == "train"]) - set(labelled_studies(studies, subset.labelled, subset.seed))
    studies = studies.copy()
    studies.loc[sorted(hidden), [c for c in VOLUMES if c in studies.columns]] = np.nan
    if not subset.positions:
        studies.loc[sorted(hidden), [c for c in POSITIONS if c in studies.columns]] = -1
    return store.view(studies, labels[~labels["study"].isin(hidden)])
