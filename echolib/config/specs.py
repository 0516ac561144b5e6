"""What a result is made of: data, network, clip, schedule, recipe, and the run that names them all.

A :class:`RunSpec` says everything that decides the result of one training run; its :attr:`~Keyed.key` names the run's
directory. An unknown option or a value out of range is an error, never ignored.

What a run minimises and gives is its *recipe* (``echolib.training.recipes``): each recipe brings its own options, a subclass of
:class:`RecipeOptions` with its own ``kind``, so a new option of one recipe changes the key of no other recipe's runs.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny, model_validator

Layout = Literal["echonet", "camus"]
Split = Literal["train", "val", "test"]
Precision = Literal["32-true", "bf16-mixed"]
#: How a run is computed. ``fast``: batched augmentation, frames held near the network, the fastest kernels. ``plain``: one clip
#: after the other, frame by frame, float32, nothing compiled or fused. Both share one definition of each operation.
Engine = Literal["fast", "plain"]
#: What a trained network gives for a clip ``(B, 3, F, H, W)``: logits of masks ``(B, 1, F, H, W)``, one number ``(B,)``, or a
#: reconstructed clip ``(B, 1 or 3, F, H, W)``.
Output = Literal["masks", "number", "clip"]

#: Channel mean and standard deviation of EchoNet-Dynamic's training frames on the 0-1 scale (facts of the data set).
ECHONET_MEAN = (0.12741163, 0.1279413, 0.12912785)
ECHONET_STD = (0.19557191, 0.19562256, 0.1965878)


class Strict(BaseModel):
    """Immutable options; an unknown option is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Keyed(Strict):
    """Options that name a result by what they say."""

    @property
    def key(self) -> str:
        """16 hex digits of the SHA-256 of :func:`canonical` as JSON."""
        text = json.dumps(canonical(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def __hash__(self) -> int:
        return hash(self.key)


class OfKind(Strict):
    """Options of one of several kinds. The head of a family names it and starts an empty ``known``; a subclass of the head gives
    ``kind`` a literal default and is then known by it.

    Attributes:
        kind: which member of the family.
        family: one member in words, for messages.
        known: the family's members by kind.
    """

    kind: str
    family: ClassVar[str]
    known: ClassVar[dict[str, type[OfKind]]]

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: object) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if "known" in vars(cls):
            return
        kind = cls.model_fields["kind"].default
        other = cls.known.get(kind)
        if other is not None and (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
            raise TypeError(f"{cls.family} {kind!r} belongs to {other.__module__}.{other.__qualname__}")
        cls.known[kind] = cls

    @classmethod
    def named(cls, kind: object) -> type[Self]:
        """The family's member of this kind.

        Raises:
            ValueError: there is none.
        """
        if kind not in cls.known:
            raise ValueError(f"no {cls.family} {kind!r}; {cls.family}s: {', '.join(sorted(cls.known)) or 'none loaded'}")
        return cls.known[kind]

    @classmethod
    def of_its_kind(cls, value: object) -> object:
        """``value``, or where it is a mapping the options of its kind: what fields of the family are validated by.

        Raises:
            ValueError: no such kind, or not such options.
        """
        return cls.named(value.get("kind")).model_validate(value) if isinstance(value, dict) else value


def canonical(options: BaseModel) -> dict[str, Any]:
    """Options as plain JSON types, without those that have their default value; ``kind`` is always there.

    A new option with a default that leaves everything as it was therefore changes no key.
    """
    out = {}
    for name, field in type(options).model_fields.items():
        value = getattr(options, name)
        if name == "kind" or field.is_required() or value != field.get_default(call_default_factory=True):
            out[name] = _plain(value)
    return out


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return canonical(value)
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


# -- data -------------------------------------------------------------------------------------------------------------

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
    views: tuple[Literal["4CH", "2CH"], ...] = Field(("4CH",), min_length=1, description="of CAMUS: which views are studies")

    @property
    def cohort(self) -> str:
        """A short name for labels: the phantom's preset, or the layout of real data."""
        return self.layout if self.phantom is None else self.phantom.preset


class SubsetSpec(Strict):
    """Which studies of a cohort a run may learn from; see :func:`echolib.data.subsets.restricted`.

    ``labelled`` is a share of the training studies as (numerator, denominator): the tracings of the others cannot be reached.
    ``parts`` replaces the cohort's own split by one drawn at random over patients, in these proportions of training, validation
    and test; ``folds`` and ``fold`` replace it by cross-validation over patients.
    """

    labelled: tuple[int, int] | None = None
    parts: tuple[int, int, int] | None = None
    folds: int | None = Field(None, ge=2)
    fold: int | None = Field(None, ge=0)
    seed: int = Field(0, ge=0, description="which list of studies, which parts, and which folds")
    positions: bool = Field(False, description="the numbers of the traced frames of unlabelled studies stay known, though not "
                                               "what was traced there (CSS as released uses them)")

    @model_validator(mode="after")
    def _check(self) -> SubsetSpec:
        if self.labelled is not None and not 0 < self.labelled[0] <= self.labelled[1]:
            raise ValueError(f"'labelled' takes a share such as (1, 8), above 0 and at most 1, not {self.labelled}")
        if self.parts is not None and min(self.parts) < 1:
            raise ValueError(f"'parts' takes three numbers above 0, such as (7, 1, 2), not {self.parts}")
        if self.parts is not None and self.folds is not None:
            raise ValueError("'parts' and 'folds' are two ways to split the patients; expected one of them")
        if (self.folds is None) != (self.fold is None):
            raise ValueError("'folds' and 'fold' go together")
        if self.folds is not None and self.fold >= self.folds:
            raise ValueError(f"'fold' counts from 0, so with {self.folds} folds it is at most {self.folds - 1}, not {self.fold}")
        return self


# -- network, clip, schedule ------------------------------------------------------------------------------------------

class ModelSpec(Strict):
    """A network of ``models.build``. ``width`` multiplies channel counts (1 = as published)."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    width: float = Field(1.0, gt=0, le=1)
    imagenet: bool = Field(False, description="start the encoder from ImageNet weights (needs a network or --weights)")


class ClipSpec(Strict):
    """A clip is ``frames`` frames, each ``period`` frames of the video after the one before."""

    frames: int = Field(32, ge=1, le=256)
    period: int = Field(1, ge=1, le=32)


class OptimiserSpec(Strict):
    """AdamW, Adam or SGD; the learning rate falls in steps (``gamma`` at each of ``milestones``, in epochs) or, with every
    training step, as a polynomial: ``lr (1 - step / steps) ** power``."""

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = Field(3e-4, gt=0)
    weight_decay: float = Field(1e-5, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    amsgrad: bool = False
    momentum: float = Field(0.0, ge=0, lt=1)
    schedule: Literal["steps", "polynomial"] = "steps"
    milestones: tuple[int, ...] = ()
    gamma: float = Field(0.1, gt=0, le=1)
    power: float = Field(0.9, gt=0)


class AugmentSpec(Strict):
    """One draw per clip, the same for all its frames and for the masks."""

    jitter: float = Field(0.2, ge=0, description="half-width of brightness, contrast, saturation and hue jitter")
    jitter_p: float = Field(1.0, ge=0, le=1)
    clahe_p: float = Field(1.0, ge=0, le=1)
    rotation: float = Field(20.0, ge=0, description="degrees, either way")
    pad: int = Field(6, ge=0, description="px of black on every side before the random crop (6: 112 -> 124)")
    flip_p: float = Field(0.0, ge=0, le=1, description="chance of a left-right mirror image")


class TrainSpec(Strict):
    """How long and with what a stage trains. ``steps`` caps the steps of an epoch (None: the whole split)."""

    epochs: int = Field(ge=1)
    batch: int = Field(16, ge=1)
    steps: int | None = Field(None, ge=1)
    optimiser: OptimiserSpec = OptimiserSpec()
    augment: AugmentSpec | None = AugmentSpec()


# -- recipes and runs -------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Role:
    """What a run may name another run for.

    Attributes:
        takes: what the other run's network must give.
        required: must the run name one?
        same_network: must it be the same network in the same width?
        product: name of a product of the other run that is needed beside its weights, such as ``masks``; "" for none.
        channel: this run's network takes that product, masks of every frame, as a further channel of its clips.
    """

    takes: tuple[Output, ...]
    required: bool = False
    same_network: bool = False
    product: str = ""
    channel: bool = False


class RecipeOptions(OfKind):
    """Options of one recipe.

    Attributes:
        gives: what the trained network gives.
        roles: what other runs may be named for.
        stage: a word for labels, such as ``pretrain``.
    """

    gives: ClassVar[Output]
    roles: ClassVar[dict[str, Role]] = {}
    stage: ClassVar[str] = ""
    family: ClassVar[str] = "recipe"
    known: ClassVar[dict[str, type[RecipeOptions]]] = {}

    @property
    def mark(self) -> str:
        """How a run that builds on this one shows it in its label; "" for not at all."""
        return ""


class RunSpec(Keyed):
    """Everything that decides the result of one run.

    ``parents`` names the runs that this one builds on, by the role that they play for it.
    """

    recipe: Annotated[SerializeAsAny[RecipeOptions], BeforeValidator(RecipeOptions.of_its_kind)]
    data: DataSpec
    model: ModelSpec
    clip: ClipSpec
    train: TrainSpec
    subset: SubsetSpec = SubsetSpec()
    parents: dict[str, RunSpec] = {}
    seed: int = Field(0, ge=0)
    precision: Precision = "32-true"
    engine: Engine = "fast"

    __hash__ = Keyed.__hash__

    @model_validator(mode="after")
    def _check(self) -> RunSpec:
        if self.engine == "plain" and self.precision != "32-true":
            raise ValueError(f"engine 'plain' computes in precision '32-true', not {self.precision!r}")
        if self.model.name.startswith("si_") and round(self.clip.frames ** 0.5) ** 2 != self.clip.frames:
            raise ValueError(f"a super image needs a square number of frames, not {self.clip.frames}")
        roles = self.recipe.roles
        for name, parent in self.parents.items():
            if name not in roles:
                raise ValueError(f"recipe {self.recipe.kind!r} has no role {name!r} for another run; its roles: "
                                 f"{', '.join(roles) or 'none'}")
            _check_parent(self, name, parent, roles[name])
        missing = [name for name, role in roles.items() if role.required and name not in self.parents]
        if missing:
            raise ValueError(f"recipe {self.recipe.kind!r} needs a run as {missing[0]!r}")
        return self

    @property
    def label(self) -> str:
        """A short name for logs and progress bars, such as ``unet3d 32x1 ssl0.6 seed0``."""
        marks = [parent.recipe.mark for parent in self.parents.values()]
        words = [self.model.name, f"{self.clip.frames}x{self.clip.period}", self.recipe.stage, *marks, f"seed{self.seed}"]
        return " ".join(word for word in words if word)


def _check_parent(spec: RunSpec, name: str, parent: RunSpec, role: Role) -> None:
    if parent.recipe.gives not in role.takes:
        raise ValueError(f"{name!r} is a run of recipe {parent.recipe.kind!r}, which gives {parent.recipe.gives}; expected one "
                         f"that gives {' or '.join(role.takes)}")
    if role.same_network and (parent.model.name, parent.model.width) != (spec.model.name, spec.model.width):
        raise ValueError(f"{name!r} trained {parent.model.name} x{parent.model.width}, this run {spec.model.name} "
                         f"x{spec.model.width}")


def chain(spec: RunSpec) -> list[RunSpec]:
    """A run after all the runs that it builds on, each once."""
    found = {one.key: one for parent in spec.parents.values() for one in chain(parent)}
    return [*found.values(), spec]
