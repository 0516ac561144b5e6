"""The runs of PKEcho-Net as a profile sizes them, and of the networks that stand beside it on CAMUS."""

from __future__ import annotations

from echolib.config.profile import PKEchoSize, Profile, StageSize
from echolib.config.specs import AugmentSpec, ClipSpec, DataSpec, ModelSpec, OptimiserSpec, RunSpec, SubsetSpec, TrainSpec
from echolib.errors import ConfigError
from echolib.evaluation.kinds.traced import TracedSpec
from echolib.papers.cohorts import training_cohort
from echolib.papers.sscf.runs import other_run, sscf_run
from echolib.training.recipes.clip_dense import ClipDense

#: Frames of a clip; the period is that of centred clips and of whole videos: some twenty frames lie between ED and ES.
CLIP = ClipSpec(frames=10, period=2)
DATASETS = ("CAMUS", "EchoNet-Dynamic")
#: Attentions of the kernels by their name in a profile -> options of the network.
KERNELS = {"gate": {"hybrid": "gate", "temporal": False}, "hybrid": {"temporal": False}, "temporal": {"hybrid": "gate"},
           "both": {}}


def size_of(profile: Profile) -> PKEchoSize:
    """The profile's sizes for PKEcho-Net. ConfigError if it runs none."""
    if profile.pkecho is None:
        raise ConfigError(f"profile {profile.name!r} runs no PKEcho-Net; expected the option 'pkecho'")
    return profile.pkecho


def data_of(profile: Profile, dataset: str) -> DataSpec | None:
    """The cohort that stands for a data set of the paper; None where the profile does not train on it."""
    return training_cohort(profile, dataset, size_of(profile).camus_px)


def subset_of(profile: Profile, dataset: str, seed: int) -> SubsetSpec:
    """How a data set is divided: CAMUS in the paper's proportions, anew for each seed; EchoNet-Dynamic as it comes."""
    return SubsetSpec() if dataset == "EchoNet-Dynamic" else SubsetSpec(parts=size_of(profile).parts, seed=seed)


def pkecho_run(profile: Profile, backbone: int, *, seed: int, data: DataSpec, subset: SubsetSpec | None = None,
               train: StageSize | None = None, network: dict | None = None, **recipe: object) -> RunSpec:
    """The specification of a run of PKEcho-Net.

    Args:
        profile: width, engine, sizes.
        backbone: 18, 34 or 50.
        seed: of the run.
        data: the cohort.
        subset: how the cohort is divided; None: as it is.
        train: schedule; None: the profile's for this layout.
        network: options of the network beside those that the frames' size asks for.
        recipe: options of :class:`~echolib.training.recipes.clip_dense.ClipDense`.
    """
    size = size_of(profile)
    train = train or (size.camus or size.train if data.layout == "camus" else size.train)
    if data.phantom is None:  # a real video may have its tracings too close together; pages say how many studies are tested
        recipe = {"too_short": "leave_out"} | recipe
    return RunSpec(
        recipe=ClipDense(network=fitted(data, size.inner) | (network or {}), **recipe), data=data, clip=CLIP, seed=seed,
        model=ModelSpec(name=f"pkecho_r{backbone}", width=profile.width, imagenet=profile.imagenet),
        subset=subset or SubsetSpec(), engine=profile.engine,
        precision=profile.precision if profile.engine == "fast" else "32-true",
        train=TrainSpec(epochs=train.epochs, batch=train.batch, steps=train.steps,
                        optimiser=OptimiserSpec(name="adam", lr=train.lr or 1e-3, weight_decay=0.0, schedule="polynomial"),
                        augment=AugmentSpec(jitter=0.15, clahe_p=0.0, rotation=20.0, pad=0, flip_p=0.5)))


def fitted(data: DataSpec, inner: int | None) -> dict[str, object]:
    """Options that bring a cohort's frames to a size that the network takes."""
    if inner is not None and data.size < inner:
        return {"fit": "resize", "inner": inner}
    return {"fit": "resize"} if data.size % 32 else {}


def beside(profile: Profile, model: str, *, seed: int, data: DataSpec, subset: SubsetSpec) -> RunSpec:
    """Another network of this book on the cohort of PKEcho-Net, for as many steps with as many traced frames in each."""
    size = size_of(profile)
    train = size.camus or size.train
    train = train.model_copy(update={"batch": 2 * train.batch, "lr": None})
    if model == "sscf":
        lr = profile.sscf.train.lr if profile.sscf else None
        return sscf_run(profile, "full", seed=seed, data=data, subset=subset, train=train.model_copy(update={"lr": lr}))
    lr = (profile.segment if model.startswith("unet3d") else profile.framewise).lr
    return other_run(profile, model, seed=seed, data=data, subset=subset, train=train.model_copy(update={"lr": lr}))


def tested(run: RunSpec, clips: str = "ends") -> TracedSpec:
    """A run on the test split of its own cohort."""
    return TracedSpec(run=run, data=run.data, clips=clips)
