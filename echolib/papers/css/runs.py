"""The runs of CSS as a profile sizes them: segmenter, masks of every frame, teacher f_m, student f_e, and their rivals.

Where the text says something it is followed, where it is silent the released program; the audit switches one to the other.
"""

from __future__ import annotations

from fractions import Fraction

from echolib.config.profile import CSSSize, LabelShare, Profile, StageSize
from echolib.config.specs import AugmentSpec, ClipSpec, DataSpec, ModelSpec, OptimiserSpec, RunSpec, SubsetSpec, TrainSpec
from echolib.errors import ConfigError
from echolib.training.recipes.cross_pseudo import CrossPseudo
from echolib.training.recipes.cyclic import Cyclic
from echolib.training.recipes.distil import Distil
from echolib.training.recipes.regress import Regress
from echolib.training.recipes.regress_pseudo import RegressPseudo

#: Segmenters of Tables III, V and VI that are trained here, by their published names.
SEGMENTERS = ("Supervised", "CSS", "TCCL", "CPS")
BACKBONE = "r2plus1d_18"
#: Published backbone -> network.
BACKBONES = {"R2+1D": BACKBONE, "R3D": "r3d_18", "MC3": "mc3_18"}
#: Rivals of Table I that are trained here -> where their pseudo-labels come from.
RIVALS = {"Ji et al.": "average", "Xu et al.": "twin"}
#: Seed of the lists of labelled studies: the same for every run, a smaller share part of a larger one.
LIST_SEED = 0
#: SGD as the paper has it; what its text leaves open (weight decay, a step after 15 of 25 epochs) is the released program's.
_SGD = {"segment": OptimiserSpec(name="sgd", lr=1e-5, momentum=0.9, weight_decay=0.0),
        "number": OptimiserSpec(name="sgd", lr=1e-4, momentum=0.9, weight_decay=1e-4)}
#: px of padding on every side before the random crop, of a frame of 112 px.
_PAD, _PADDED = 12, 112


def size_of(profile: Profile) -> CSSSize:
    """The profile's sizes for CSS. ConfigError if it runs none."""
    if profile.css is None:
        raise ConfigError(f"profile {profile.name!r} runs no CSS; expected the option 'css'")
    return profile.css


def data_of(profile: Profile) -> DataSpec:
    """The cohort that CSS is trained and tested on."""
    return size_of(profile).data or profile.echonet


def external_of(profile: Profile) -> DataSpec | None:
    """The cohort of half cycles, four-chamber views, that networks are tested on without having seen it; None: there is none."""
    if profile.camus is None:
        return None
    return profile.camus.model_copy(update={"size": data_of(profile).size, "views": ("4CH",)})


def subset_of(share: LabelShare, *, positions: bool = False) -> SubsetSpec:
    """The labelled studies of a share."""
    exact = Fraction(share)
    if exact == 1:
        return SubsetSpec()
    return SubsetSpec(labelled=(exact.numerator, exact.denominator), seed=LIST_SEED, positions=positions)


def segmenter(profile: Profile, method: str, share: LabelShare, seed: int, **recipe: object) -> RunSpec:
    """Step 1 by one of :data:`SEGMENTERS`; ``recipe`` are options of :class:`Cyclic` in place of its own."""
    size = size_of(profile)
    if method == "CPS":
        options = CrossPseudo()
    else:
        cycle = {"frames": size.cycle.frames, "period": size.cycle.period, "template": size.template}
        own = {"Supervised": {"weight": 0.0}, "CSS": {}, "TCCL": {"other_video": True, "offset": 0}}[method]
        options = Cyclic(**(cycle | own | recipe))
    model = ModelSpec(name="deeplabv3_r50", width=profile.width, imagenet=profile.imagenet)
    return RunSpec(recipe=options, model=model, clip=ClipSpec(frames=1), train=_stage(size.segment, "segment", None),
                   **_common(profile, share, seed))


def video_only(profile: Profile, share: LabelShare, seed: int, backbone: str = BACKBONE) -> RunSpec:
    """The ejection fraction from frames alone, labelled studies alone: Ouyang et al."""
    return _regress(profile, share, seed, backbone)


def multi_input(profile: Profile, masks: RunSpec, share: LabelShare, seed: int, backbone: str = BACKBONE) -> RunSpec:
    """f_m: frames and the masks of a segmenter."""
    return _regress(profile, share, seed, backbone, parents={"masks": masks})


def student(profile: Profile, teacher: RunSpec, share: LabelShare, seed: int, *, positions: bool = False, **recipe: object
            ) -> RunSpec:
    """f_e, taught by an f_m; ``recipe`` are options of :class:`Distil` in place of its own."""
    size = size_of(profile)
    options = Distil(**({"unlabelled": size.unlabelled, "spread": size.spread} | recipe))
    common = _common(profile, share, seed) | {"subset": subset_of(share, positions=positions)}
    return RunSpec(recipe=options, model=teacher.model, clip=size.clip, parents={"teacher": teacher, **teacher.parents},
                   train=_stage(size.distil or size.regress, "number", _augment(profile)), **common)


def rival(profile: Profile, name: str, share: LabelShare, seed: int, backbone: str = BACKBONE) -> RunSpec:
    """A semi-supervised rival of Table I."""
    size = size_of(profile)
    options = RegressPseudo(labels=RIVALS[name], unlabelled=size.unlabelled, spread=size.spread,
                            start="kinetics" if size.kinetics else "random")
    return RunSpec(recipe=options, model=ModelSpec(name=backbone, width=profile.width), clip=size.clip,
                   train=_stage(size.distil or size.regress, "number", _augment(profile)), **_common(profile, share, seed))


def taught(profile: Profile, masks: RunSpec, share: LabelShare, seed: int, backbone: str = BACKBONE, **recipe: object) -> RunSpec:
    """The student at the end of a whole chain, from its segmenter on."""
    return student(profile, multi_input(profile, masks, share, seed, backbone), share, seed, **recipe)


def _regress(profile: Profile, share: LabelShare, seed: int, backbone: str, parents: dict[str, RunSpec] | None = None) -> RunSpec:
    size = size_of(profile)
    options = Regress(start="kinetics" if size.kinetics else "random", spread=size.spread)
    return RunSpec(recipe=options, model=ModelSpec(name=backbone, width=profile.width), clip=size.clip, parents=parents or {},
                   train=_stage(size.regress, "number", _augment(profile)), **_common(profile, share, seed))


def _common(profile: Profile, share: LabelShare, seed: int) -> dict[str, object]:
    return dict(data=data_of(profile), subset=subset_of(share), seed=seed, engine=profile.engine,
                precision=profile.precision if profile.engine == "fast" else "32-true")


def _augment(profile: Profile) -> AugmentSpec:
    """Padding and a random crop, no more; the padding is black, that of the released program grey."""
    pad = round(_PAD * data_of(profile).size / _PADDED)
    return AugmentSpec(jitter=0.0, jitter_p=0.0, clahe_p=0.0, rotation=0.0, pad=pad)


def _stage(size: StageSize, stage: str, augment: AugmentSpec | None) -> TrainSpec:
    if size.lr is not None:
        optimiser = OptimiserSpec(lr=size.lr, schedule=size.schedule or "steps")
    else:
        optimiser = _SGD[stage]
        if stage == "number":
            optimiser = optimiser.model_copy(update={"milestones": (max(1, round(0.6 * size.epochs)),)})
    return TrainSpec(epochs=size.epochs, batch=size.batch, steps=size.steps, optimiser=optimiser, augment=augment)
