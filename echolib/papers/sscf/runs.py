"""The runs of SSCF as a profile sizes them: its ablations, windows of k frames, and the mean teacher or none."""

from __future__ import annotations

from echolib.config.profile import Profile, SSCFSize, StageSize
from echolib.config.specs import AugmentSpec, ClipSpec, DataSpec, ModelSpec, OptimiserSpec, RunSpec, SubsetSpec, TrainSpec
from echolib.errors import ConfigError
from echolib.papers.cohorts import training_cohort
from echolib.papers.simlvseg.runs import segment_run
from echolib.training.recipes.mean_teacher import MeanTeacher

#: Below this size the calibration's transformations are padded: without, a map of 3x3 leaves them a single pixel.
PADDED_BELOW = 64
#: The teacher's decay and the weight of the consistency as printed.
DECAY, WEIGHT = 0.99, 1.0
#: Row of the paper's ablation by its name in a profile -> network. The first is trained without a mean teacher.
NETWORKS = {"unet": "sscf_base", "baseline": "sscf_base", "tce": "sscf_tce", "bssf": "sscf_bssf", "full": "sscf"}
DATASETS = ("EchoNet-Dynamic", "CAMUS")


def size_of(profile: Profile) -> SSCFSize:
    """The profile's sizes for SSCF. ConfigError if it runs none."""
    if profile.sscf is None:
        raise ConfigError(f"profile {profile.name!r} runs no SSCF; expected the option 'sscf'")
    return profile.sscf


def data_of(profile: Profile, dataset: str) -> DataSpec | None:
    """The cohort that stands for a data set of the paper; None where the profile does not train on it."""
    return training_cohort(profile, dataset, size_of(profile).camus_px)


def subsets(profile: Profile, dataset: str, seed: int) -> tuple[SubsetSpec, ...]:
    """The folds of a data set, drawn over patients from the seed; the data set's own split where there is one fold."""
    count = size_of(profile).folds if dataset == "EchoNet-Dynamic" else size_of(profile).camus_folds
    return (SubsetSpec(),) if count == 1 else tuple(SubsetSpec(folds=count, fold=k, seed=seed) for k in range(count))


def sscf_run(profile: Profile, row: str, *, seed: int, data: DataSpec, frames: int = 3, subset: SubsetSpec | None = None,
             train: StageSize | None = None, network: dict | None = None, **recipe: object) -> RunSpec:
    """The specification of a run of SSCF or of an ablation of it.

    Args:
        profile: width, engine, sizes.
        row: of :data:`NETWORKS`; ``unet`` has no unlabelled clips.
        seed: of the run.
        data: the cohort.
        frames: k, of the window.
        subset: how the cohort is divided; None: as it is.
        train: schedule; None: the profile's for this layout, and its weight of the consistency.
        network: options of the network beside those that the frames' size asks for.
        recipe: options of :class:`~echolib.training.recipes.mean_teacher.MeanTeacher`.
    """
    size = size_of(profile) if train is None else None
    train = train or (size.camus or size.train if data.layout == "camus" else size.train)
    calibrated = row in ("bssf", "full") and frames > 1
    options = {"padded": True} if calibrated and data.size < PADDED_BELOW else {}
    weight = {}
    if size is not None and data.layout == "camus" and row != "unet" and size.camus_weight != WEIGHT:
        weight = {"weight": size.camus_weight}
    average = {} if profile.sscf is None or profile.sscf.decay == DECAY else {"decay": profile.sscf.decay}
    optimiser = OptimiserSpec(name="adam", lr=train.lr or 1e-4, weight_decay=1e-6, schedule="polynomial")
    return RunSpec(
        recipe=MeanTeacher(network=options | (network or {}),
                           **average | weight | ({"unlabelled": 0} if row == "unet" else {}) | recipe),
        data=data, model=ModelSpec(name=NETWORKS[row], width=profile.width), clip=ClipSpec(frames=frames), seed=seed,
        subset=subset or SubsetSpec(), engine=profile.engine,
        precision=profile.precision if profile.engine == "fast" else "32-true",
        train=TrainSpec(epochs=train.epochs, batch=train.batch, steps=train.steps, optimiser=optimiser,
                        augment=AugmentSpec(jitter=0.0, clahe_p=0.0, rotation=15.0, pad=0, flip_p=0.5)))


def other_run(profile: Profile, model: str, *, seed: int, data: DataSpec, subset: SubsetSpec, train: StageSize) -> RunSpec:
    """A network of this book with its own loss and optimiser on another cohort, division and schedule.

    Args:
        profile: width, engine.
        model: a network of ``models.build``.
        seed: of the run.
        data: the cohort.
        subset: how it is divided.
        train: epochs, batch and steps; the learning rate, where the network's own recipe takes AdamW's.
    """
    sized = profile.model_copy(update={"echonet": data, "framewise": train, "segment": train})
    clip = ClipSpec(frames=1) if model == "si_vit_b16" else None
    return RunSpec.model_validate(segment_run(sized, model, seed=seed, clip=clip).model_dump() | {"subset": subset.model_dump()})
