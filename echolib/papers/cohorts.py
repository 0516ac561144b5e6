"""The cohorts that stand for the data sets of the papers that train on both."""

from __future__ import annotations

from echolib.config.profile import Profile
from echolib.config.specs import DataSpec


def training_cohort(profile: Profile, dataset: str, camus_px: int) -> DataSpec | None:
    """The cohort that a paper's data set is trained on; None where the profile does not train on it.

    Args:
        profile: whose cohorts they are.
        dataset: ``EchoNet-Dynamic``, or CAMUS by any other name.
        camus_px: side of CAMUS' frames.
    """
    if dataset == "EchoNet-Dynamic":
        return profile.echonet
    return None if profile.camus_training is None else profile.camus_training.model_copy(update={"size": camus_px})
