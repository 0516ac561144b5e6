"""Every option of the project, in one validated place.

A :class:`Profile` (``profiles/*.yml``) says which data and how much of the protocol. A :class:`RunSpec` says all that
decides the result of one training run; its :attr:`RunSpec.key` names the run's directory. An unknown key or a value
out of range is an error, never ignored.

``protocol`` is ``paper`` (what SimLVSeg's text says) or ``released`` (what the authors' program does); the two differ in
the rows that the audit page lists, and :func:`switches` turns a protocol into the options that each row controls.
"""

from __future__ import annotations

import hashlib
import json
import reprlib
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from echolib.errors import ConfigError

Protocol = Literal["paper", "released"]
Layout = Literal["echonet", "camus"]
Split = Literal["train", "val", "test"]
#: How a run is computed. ``fast``: batched augmentation, frames held near the network, the fastest kernels. ``plain``: one clip
#: after the other, frame by frame, float32, nothing compiled or fused. Both share one definition of each operation.
Engine = Literal["fast", "plain"]
ModelName = Literal["unet3d", "unet3d_s", "si_uniformer_s", "si_resnet18", "si_mobilenetv3", "si_vit_b16",
                    "deeplabv3_r50", "nnunet2d", "nnunet25d"]

#: Channel mean and standard deviation of EchoNet-Dynamic's training frames on the 0-1 scale (facts of the data set).
ECHONET_MEAN = (0.12741163, 0.1279413, 0.12912785)
ECHONET_STD = (0.19557191, 0.19562256, 0.1965878)


class Strict(BaseModel):
    """Immutable options; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PhantomSpec(Strict):
    """A simulated cohort: how many studies of which kind, from which seed."""

    preset: Literal["echonet", "camus", "wide", "foreshortening", "poor_quality", "effusion", "arrhythmia"] = "echonet"
    train: int = Field(ge=0)
    val: int = Field(ge=0)
    test: int = Field(ge=0)
    seed: int = Field(0, ge=0)
    frames: tuple[int, int] | None = Field(None, description="shortest and longest clip; None: the data set's own")


class DataSpec(Strict):
    """Which cohort, and how its frames are stored. ``phantom=None`` means the real data set, found through the profile."""

    layout: Layout
    phantom: PhantomSpec | None = None
    size: int = Field(112, ge=32, multiple_of=16, description="frame height and width in px")
    channels: Literal[1, 3] = 3


class ModelSpec(Strict):
    """A network of ``models.build``. ``width`` multiplies channel counts (1 = as published)."""

    name: ModelName
    width: float = Field(1.0, gt=0, le=1)
    imagenet: bool = Field(False, description="start the encoder from ImageNet weights (needs a network or --weights)")


class ClipSpec(Strict):
    """A clip is ``frames`` frames, each ``period`` frames of the video after the one before."""

    frames: int = Field(32, ge=1, le=256)
    period: int = Field(1, ge=1, le=32)


class OptimiserSpec(Strict):
    """AdamW or SGD with step decay (``gamma`` at each of ``milestones``, in epochs)."""

    name: Literal["adamw", "sgd"] = "adamw"
    lr: float = Field(3e-4, gt=0)
    weight_decay: float = Field(1e-5, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    amsgrad: bool = False
    momentum: float = Field(0.0, ge=0, lt=1)
    milestones: tuple[int, ...] = ()
    gamma: float = Field(0.1, gt=0, le=1)


class AugmentSpec(Strict):
    """One draw per clip, the same for all its frames and for the mask."""

    jitter: float = Field(0.2, ge=0, description="half-width of brightness, contrast, saturation and hue jitter")
    jitter_p: float = Field(1.0, ge=0, le=1)
    clahe_p: float = Field(1.0, ge=0, le=1)
    rotation: float = Field(20.0, ge=0, description="degrees, either way")
    pad: int = Field(6, ge=0, description="px of black on every side before the random crop (6: 112 -> 124)")


class MaskingSpec(Strict):
    """Temporal masking (SimLVSeg eq. 1): which share of the frames is blanked and what is reconstructed."""

    ratio: float = Field(0.6, ge=0, le=1)
    counts: Literal["masked", "kept"] = Field("masked", description="'kept': the released SI class, audit row 7")
    target: Literal["clip", "first_channel"] = Field("clip", description="'first_channel': released, audit row 6")


class TrainSpec(Strict):
    """How long and with what a stage trains. ``steps`` caps the steps of an epoch (None: the whole split)."""

    epochs: int = Field(ge=1)
    batch: int = Field(16, ge=1)
    steps: int | None = Field(None, ge=1)
    optimiser: OptimiserSpec = OptimiserSpec()
    augment: AugmentSpec | None = AugmentSpec()


class Keyed(Strict):
    """Options that name a result by what they say."""

    @property
    def key(self) -> str:
        """16 hex digits of the SHA-256 of the canonical JSON of this specification."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class RunSpec(Keyed):
    """All that decides the result of one run. ``init`` is the run whose weights this one starts from."""

    task: Literal["reconstruct", "segment"]
    data: DataSpec
    model: ModelSpec
    clip: ClipSpec
    train: TrainSpec
    protocol: Protocol = "paper"
    masking: MaskingSpec | None = None
    loss: Literal["mse", "dice_frame", "dice_batch", "bce_sum"]
    init: RunSpec | None = None
    seed: int = Field(0, ge=0)
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    engine: Engine = "fast"

    @model_validator(mode="after")
    def _check(self) -> RunSpec:
        if self.engine == "plain" and self.precision != "32-true":
            raise ValueError(f"engine 'plain' computes in precision '32-true', not {self.precision!r}")
        if (self.task == "reconstruct") != (self.masking is not None):
            raise ValueError("'masking' belongs to task 'reconstruct' and to no other")
        if (self.task == "reconstruct") != (self.loss == "mse"):
            raise ValueError("task 'reconstruct' takes loss 'mse'; task 'segment' a Dice or BCE loss")
        if self.init is not None and (self.init.model.name, self.init.model.width) != (self.model.name, self.model.width):
            raise ValueError(f"'init' trained {self.init.model.name} x{self.init.model.width}, "
                             f"this run {self.model.name} x{self.model.width}")
        if self.model.name.startswith("si_") and round(self.clip.frames ** 0.5) ** 2 != self.clip.frames:
            raise ValueError(f"a super image needs a square number of frames, not {self.clip.frames}")
        return self

    @property
    def label(self) -> str:
        """A short name for logs and progress bars, such as ``unet3d 32x1 ssl0.6 seed0``."""
        ssl = f" ssl{self.init.masking.ratio:g}" if self.init is not None and self.init.masking else ""
        stage = " pretrain" if self.task == "reconstruct" else ""
        return f"{self.model.name} {self.clip.frames}x{self.clip.period}{stage}{ssl} seed{self.seed}"


class Switches(Strict):
    """The audit's rows 1-4 and 6-8 as options (SimLVSeg paper against released program).

    Of the other rows, 5 (epochs) is a profile's :class:`StageSize`, and 9 (which clip) is the same in both protocols.
    """

    interval: Literal["patients_95", "frames_90"]
    mean_dice: Literal["per_frame", "pooled"]
    loss: Literal["dice_frame", "dice_batch"]
    pretrain_optimiser: OptimiserSpec
    segment_optimiser: OptimiserSpec
    reconstruct: Literal["clip", "first_channel"]
    si_counts: Literal["masked", "kept"]
    augment: AugmentSpec


def switches(protocol: Protocol, segment_epochs: int = 70) -> Switches:
    """The options of a protocol. ``released`` milestones (45 and 60 of 70 epochs) scale with the epochs of stage 2."""
    if protocol == "paper":
        both = OptimiserSpec(lr=3e-4, weight_decay=1e-5)
        return Switches(interval="patients_95", mean_dice="per_frame", loss="dice_frame", pretrain_optimiser=both,
                        segment_optimiser=both, reconstruct="clip", si_counts="masked", augment=AugmentSpec())
    milestones = tuple(sorted({max(1, round(segment_epochs * m / 70)) for m in (45, 60)}))  # a set: short schedules merge them
    return Switches(
        interval="frames_90", mean_dice="pooled", loss="dice_batch",
        pretrain_optimiser=OptimiserSpec(lr=3e-4, weight_decay=1e-3, betas=(0.9, 0.95), amsgrad=True),
        segment_optimiser=OptimiserSpec(lr=3e-4, weight_decay=1e-5, amsgrad=True, milestones=milestones),
        reconstruct="first_channel", si_counts="kept", augment=AugmentSpec(jitter_p=0.5, clahe_p=0.5))


class StageSize(Strict):
    """How much of one stage a profile runs."""

    epochs: int = Field(ge=1)
    batch: int = Field(ge=1)
    steps: int | None = Field(None, ge=1)
    lr: float | None = Field(None, gt=0, description="overrides AdamW's learning rate (short schedules)")


class ProbeSpec(Strict):
    """Simulated test studies of one kind (a preset) on which trained runs are probed, whatever they were trained on."""

    studies: int = Field(200, ge=1, description="test studies of each probed preset")
    seed: int = Field(1001, ge=0, description="apart from every seed of a training cohort")
    frames: tuple[int, int] | None = Field((128, 224), description="shortest and longest clip: several beats each")
    videos: int | None = Field(None, ge=1, description="whole videos of the main test split that are segmented; None: all")


class AblationSize(Strict):
    """The schedule of the ablations (Table 2, Figures 7 and 8) and which cells of the paper's grids are run.

    A cell of the same schedule as the main experiments has the same specification, so its run is shared with them.
    """

    pretrain: StageSize
    segment: StageSize
    frames_si: tuple[int, ...] = Field((4, 9, 16, 25), min_length=1)
    frames_3d: tuple[int, ...] = Field((16, 32), min_length=1)
    periods: tuple[int, ...] = Field((1, 2, 3, 5), min_length=1)
    ratios: tuple[Literal["none"] | float, ...] = Field(("none", 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9), min_length=1,
                                                        description="masked share of the frames; none: no pre-training")
    audit_rows: tuple[Literal[3, 4, 6, 7, 8], ...] = Field((3, 4, 6, 7, 8), description="rows of the audit, switched one by one")

    @model_validator(mode="after")
    def _check(self) -> AblationSize:
        if any(round(f ** 0.5) ** 2 != f for f in self.frames_si):
            raise ValueError(f"'frames_si' takes square numbers, not {self.frames_si}")
        if any(f < 16 or f % 16 for f in self.frames_3d):
            raise ValueError(f"'frames_3d' takes multiples of 16, not {self.frames_3d}")
        if any(r != "none" and not 0 < r < 1 for r in self.ratios):
            raise ValueError(f"'ratios' takes 'none' and shares between 0 and 1, not {self.ratios}")
        return self


class Profile(Strict):
    """Which data and how much of the protocol; see ``profiles/*.yml``."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    purpose: str
    quotable: bool = Field(description="may its numbers be quoted as results? smoke: no")
    seeds: tuple[int, ...] = Field(min_length=1)
    echonet: DataSpec
    camus: DataSpec | None = None
    width: float = Field(1.0, gt=0, le=1)
    imagenet: bool = False
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    engine: Engine = "fast"
    clip_3d: ClipSpec = ClipSpec(frames=32, period=1)
    clip_si: ClipSpec = ClipSpec(frames=16, period=5)
    pretrain: StageSize
    segment: StageSize
    framewise: StageSize
    ablation: AblationSize | None = Field(None, description="None: the ablations are not run")
    bootstrap: int = Field(10_000, ge=100, description="resamples of a bootstrap interval")
    probe: ProbeSpec = ProbeSpec()

    def probe_data(self, preset: str) -> DataSpec:
        """The cohort of a probed preset: test studies only, frames stored as those of the main cohort."""
        phantom = PhantomSpec(preset=preset, train=0, val=0, test=self.probe.studies, seed=self.probe.seed,
                              frames=self.probe.frames)
        return DataSpec(layout="echonet", phantom=phantom, size=self.echonet.size, channels=self.echonet.channels)

    def clip_for(self, model: ModelName) -> ClipSpec:
        """Frames and period of a network in the main experiments (Table 1); 1 frame for the frame-wise baselines."""
        if model.startswith("si_"):
            return self.clip_si
        return self.clip_3d if model.startswith("unet3d") else ClipSpec(frames=1, period=1)

    def segment_run(self, model: ModelName, *, seed: int, pretrained: bool = False, clip: ClipSpec | None = None,
                    mask_ratio: float = 0.6, protocol: Protocol = "paper", ablation: bool = False) -> RunSpec:
        """The specification of a stage-2 run (weak supervision), with its stage-1 run inside when ``pretrained``.

        ``ablation`` takes the schedules of :attr:`ablation` in place of the main experiments'.
        """
        clip = clip or self.clip_for(model)
        if ablation and self.ablation is None:
            raise ConfigError(f"profile {self.name!r} has no option 'ablation'")
        stages = self.ablation if ablation else self
        size = self.framewise if clip.frames == 1 else stages.segment
        option = switches(protocol, size.epochs)
        network = ModelSpec(name=model, width=self.width, imagenet=self.imagenet and model.startswith(("si_", "deeplab")))
        common = dict(data=self.echonet, model=network, clip=clip, protocol=protocol, seed=seed, engine=self.engine,
                      precision=self.precision if self.engine == "fast" else "32-true")
        init = None
        if pretrained:
            train = _stage(stages.pretrain, option.pretrain_optimiser, option.augment)
            init = RunSpec(task="reconstruct", loss="mse", train=train,
                           masking=MaskingSpec(ratio=mask_ratio, counts=option.si_counts if model.startswith("si_") else "masked",
                                               target=option.reconstruct), **common)
        if model == "deeplabv3_r50":  # EchoNet-Dynamic's own recipe: BCE summed, SGD, no augmentation
            sgd = OptimiserSpec(name="sgd", lr=1e-5, momentum=0.9, weight_decay=0.0)
            return RunSpec(task="segment", loss="bce_sum", train=_stage(self.framewise, sgd, None), init=init, **common)
        return RunSpec(task="segment", loss=option.loss, train=_stage(size, option.segment_optimiser, option.augment),
                       init=init, **common)


def _stage(size: StageSize, optimiser: OptimiserSpec, augment: AugmentSpec | None) -> TrainSpec:
    if size.lr is not None and optimiser.name == "adamw":
        optimiser = optimiser.model_copy(update={"lr": size.lr})
    return TrainSpec(epochs=size.epochs, batch=size.batch, steps=size.steps, optimiser=optimiser, augment=augment)


def load_profile(path: str | Path) -> Profile:
    """Read a profile.

    Raises:
        ConfigError: the file is missing, is not YAML, or has an unknown key or a bad value (each is named).
    """
    path = Path(path)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        have = ", ".join(sorted(p.stem for p in path.parent.glob("*.yml"))) or "none"
        raise ConfigError(f"no profile {path.stem!r}; profiles here: {have}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or a date or number that is none
        raise ConfigError(f"{path.name}: not YAML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path.name}: not YAML: it is nested too deeply") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path.name}: expected a mapping of options")
    return parse(Profile, raw, path.name)


def parse(kind: type[BaseModel], raw: dict, name: str):
    """Validate ``raw`` as ``kind``; every problem becomes one line of a ConfigError that starts with ``name``."""
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        lines = [f"{name}: {'.'.join(map(str, e['loc'])) or '(top)'}: {e['msg']} (found {_brief(e.get('input'))!r})"
                 for e in error.errors()]
        raise ConfigError("\n".join(lines)) from None


def _brief(value: object) -> str:
    """At most 80 characters of a value; containers only to a small depth: a YAML alias can stand for gigabytes of text."""
    return (reprlib.repr(value) if isinstance(value, (dict, list, tuple, set)) else str(value))[:80]
