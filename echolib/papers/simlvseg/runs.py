"""The runs of SimLVSeg as a profile sizes them: stage 1 (temporal masking), stage 2 (weak supervision), and its baselines."""

from __future__ import annotations

from echolib.config.profile import Profile, StageSize
from echolib.config.protocols import Protocol, switches
from echolib.config.specs import AugmentSpec, ClipSpec, ModelSpec, OptimiserSpec, RunSpec, TrainSpec
from echolib.errors import ConfigError
from echolib.training.recipes.reconstruct import Reconstruct
from echolib.training.recipes.segment import Segment


def segment_run(profile: Profile, model: str, *, seed: int, pretrained: bool = False, clip: ClipSpec | None = None,
                mask_ratio: float = 0.6, protocol: Protocol = "paper", ablation: bool = False) -> RunSpec:
    """The specification of a stage-2 run (weak supervision), with its stage-1 run as a parent when ``pretrained``.

    Args:
        profile: data, width, sizes of the stages.
        model: a network of ``models.build``.
        seed: of both stages.
        pretrained: reconstruct masked clips first.
        clip: frames and period; None: those of the main experiments.
        mask_ratio: share of the frames that stage 1 masks.
        protocol: ``paper`` or ``released``; see :func:`echolib.config.protocols.switches`.
        ablation: take the profile's schedule of the ablations in place of the main experiments'.

    Raises:
        ConfigError: the profile has no such schedule.
    """
    clip = clip or profile.clip_for(model)
    if ablation and profile.ablation is None:
        raise ConfigError(f"profile {profile.name!r} has no option 'ablation'")
    stages = profile.ablation if ablation else profile
    size = profile.framewise if clip.frames == 1 else stages.segment
    option = switches(protocol, size.epochs)
    network = ModelSpec(name=model, width=profile.width, imagenet=profile.imagenet and model.startswith(("si_", "deeplab")))
    common = dict(data=profile.echonet, model=network, clip=clip, seed=seed, engine=profile.engine,
                  precision=profile.precision if profile.engine == "fast" else "32-true")
    parents = {}
    if pretrained:
        recipe = Reconstruct(ratio=mask_ratio, counts=option.si_counts if model.startswith("si_") else "masked",
                             target=option.reconstruct)
        train = stage(stages.pretrain, option.pretrain_optimiser, option.augment)
        parents["init"] = RunSpec(recipe=recipe, train=train, **common)
    if model == "deeplabv3_r50":  # EchoNet-Dynamic's own recipe: BCE summed, SGD, no augmentation
        sgd = OptimiserSpec(name="sgd", lr=1e-5, momentum=0.9, weight_decay=0.0)
        return RunSpec(recipe=Segment(loss="bce_sum", validation=option.mean_dice), train=stage(profile.framewise, sgd, None),
                       parents=parents, **common)
    return RunSpec(recipe=Segment(loss=option.loss, validation=option.mean_dice),
                   train=stage(size, option.segment_optimiser, option.augment), parents=parents, **common)


def stage(size: StageSize, optimiser: OptimiserSpec, augment: AugmentSpec | None) -> TrainSpec:
    """The schedule of one stage; a profile's learning rate, and how it falls, override AdamW's."""
    if optimiser.name == "adamw":
        asked = {"lr": size.lr, "schedule": size.schedule}
        optimiser = optimiser.model_copy(update={name: value for name, value in asked.items() if value is not None})
    return TrainSpec(epochs=size.epochs, batch=size.batch, steps=size.steps, optimiser=optimiser, augment=augment)
