"""A profile: which data and how much of the protocol; ``profiles/*.yml``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args

import yaml
from pydantic import Field, field_validator, model_validator

from echolib.config.parsing import parse
from echolib.config.specs import ClipSpec, DataSpec, Engine, PhantomSpec, Precision, Strict
from echolib.errors import ConfigError


class StageSize(Strict):
    """How much of one stage a profile runs."""

    epochs: int = Field(ge=1)
    batch: int = Field(ge=1)
    steps: int | None = Field(None, ge=1)
    lr: float | None = Field(None, gt=0, description="overrides AdamW's learning rate (short schedules)")
    schedule: Literal["steps", "polynomial"] | None = Field(
        None, description="overrides how AdamW's learning rate falls; a short run that ends at a high rate ends anywhere")


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


class PKEchoSize(Strict):
    """How much of PKEcho-Net a profile runs. Batches count clips, each with two traced frames.

    CAMUS is divided by ``parts`` over patients, EchoNet-Dynamic as the data set divides it; ``other_split`` adds the smallest
    network under the paper's 7 : 1 : 2 there, to show what the split does.
    """

    train: StageSize
    camus: StageSize | None = Field(None, description="None: as 'train'")
    camus_px: int = Field(320, ge=32, multiple_of=16, description="frames of CAMUS are stored at this size")
    inner: int | None = Field(None, ge=32, multiple_of=32, description="frames are brought to this size inside the network; "
                                                                       "None: to the next multiple of 32")
    parts: tuple[int, int, int] = (7, 1, 2)
    backbones: tuple[Literal[18, 34, 50], ...] = Field((18, 34, 50), min_length=1)
    other_split: bool = True
    ablated: Literal[18, 34, 50] = Field(50, description="whose ablations are run")
    proxies: tuple[Literal["none", "vanilla", "interval_3", "interval_2", "interval_1"], ...] = (
        "none", "vanilla", "interval_3", "interval_2", "interval_1")
    kernels: tuple[Literal["gate", "hybrid", "temporal", "both"], ...] = Field(
        ("gate", "hybrid", "temporal", "both"), description="attentions of the kernels; gate: neither")
    iterations: tuple[Annotated[int, Field(ge=1, le=4)], ...] = (1, 2, 3, 4)
    others: tuple[Literal["deeplabv3_r50", "nnunet2d", "unet3d", "sscf"], ...] = Field(
        ("deeplabv3_r50", "nnunet2d", "unet3d", "sscf"), description="other networks trained on CAMUS")
    audit: tuple[Literal["diagonal", "dice", "mean", "alone", "last", "paper"], ...] = Field(
        ("diagonal", "dice", "mean", "alone", "last", "paper"), description="switches of the audit, each alone")
    timed_px: int = Field(320, ge=32, multiple_of=32, description="frames on which the time of a pass is measured")


#: Switches of SSCF's audit.
SSCFSwitch = Literal["normalised", "temperature", "elementwise", "paper", "mean", "literal", "student", "guided", "half",
                     "decay"]


class SSCFSize(Strict):
    """How much of SSCF a profile runs. ``folds`` 1 is the data set's own split; more are cross-validation over patients."""

    train: StageSize
    camus: StageSize | None = Field(None, description="None: as 'train'")
    camus_px: int = Field(256, ge=32, multiple_of=16, description="frames of CAMUS are stored at this size")
    folds: int = Field(5, ge=1, le=10, description="of EchoNet-Dynamic; 1 or at least 3")
    camus_folds: int = Field(5, ge=3, le=10, description="of CAMUS, which phantoms do not divide")
    rows: tuple[Literal["unet", "baseline", "tce", "bssf", "full"], ...] = ("unet", "baseline", "tce", "bssf", "full")
    frames: tuple[Literal[1, 3, 5, 7, 9, 11], ...] = (1, 3, 5, 7, 9, 11)
    others: tuple[Literal["deeplabv3_r50", "vit"], ...] = ("deeplabv3_r50", "vit")
    decay: float = Field(0.99, ge=0, lt=1, description="of the teacher's average; it spans 1 / (1 - decay) steps, which must be "
                                                       "few beside those of a run, or it holds the untrained network to the end")
    camus_weight: float = Field(1.0, ge=0, description="of the consistency on CAMUS at the end of its ramp. The printed 1 is "
                                                       "for tens of thousands of steps; where it rises within a few hundred, "
                                                       "networks that have learned nothing yet agree on empty masks")
    audit: tuple[SSCFSwitch, ...] = Field(get_args(SSCFSwitch)[:-1], description="switches of the audit, each alone; 'decay': "
                                                                                 "0.99, where the profile has another")
    timed_px: int = Field(256, ge=32, multiple_of=16, description="frames on which the time of a pass is measured")

    @model_validator(mode="after")
    def _check(self) -> SSCFSize:
        if self.folds == 2:
            raise ValueError("'folds' takes 1 (the data set's own split) or at least 3, of which one validates, not 2")
        return self


#: Labelled shares of CSS's Tables I and IV; 1 is all labels.
LabelShare = Literal["3/32", "1/8", "3/16", "1/4", "1/2", "1"]


class CSSSize(Strict):
    """How much of CSS a profile runs. Batches count studies; ``steps`` caps an epoch, so that a short schedule has as many steps
    at every labelled share.

    A learning rate of a stage means AdamW with it; without one a stage has the paper's SGD.
    """

    data: DataSpec | None = Field(None, description="the cohort; None: the profile's EchoNet-style one")
    segment: StageSize
    regress: StageSize
    distil: StageSize | None = Field(None, description="None: as 'regress'")
    unlabelled: int = Field(10, ge=1, description="unlabelled clips of a step of distillation")
    clip: ClipSpec = Field(ClipSpec(frames=32, period=2), description="of networks that give the ejection fraction")
    cycle: ClipSpec = Field(ClipSpec(frames=40, period=3), description="of the cyclical loss")
    template: int = Field(15, ge=2, description="of its frames, those in which a phase may begin at first")
    kinetics: bool = Field(False, description="start from Kinetics-400 weights (needs a network or a file)")
    spread: float = Field(1.0, gt=0, description="points of EF that the last layer's unit stands for")
    base: LabelShare = Field("1/8", description="the labelled share of all tables but I, IV and IX")
    labels: tuple[LabelShare, ...] = Field(("1/8", "1/4", "1/2", "1"), min_length=1, description="of Tables I and IX")
    ablated: tuple[LabelShare, ...] = Field(("3/32", "1/8", "3/16", "1/4", "1/2", "1"), min_length=1, description="of Table IV")
    segmenters: tuple[Literal["TCCL", "CPS"], ...] = Field(("TCCL", "CPS"), description="beside supervised and CSS")
    rivals: tuple[Literal["Ji et al.", "Xu et al."], ...] = ("Ji et al.", "Xu et al.")
    backbones: tuple[Literal["R3D", "MC3"], ...] = Field(("R3D", "MC3"), description="beside R2+1D")
    rival_backbones: bool = Field(True, description="the rivals on these backbones too")
    css_weights: tuple[Literal[0.02, 0.005], ...] = Field((0.02, 0.005), description="beside 0.01")
    student_weights: tuple[Literal[10, 2], ...] = Field((10, 2), description="beside 5")
    lengths: tuple[Literal[2, 4, 5], ...] = Field((2, 4, 5), description="s of Figure 7, beside 3")
    offsets: tuple[Literal[1, 3, 4, 5], ...] = Field((1, 3, 4, 5), description="c of Figure 7, beside 2")
    temperatures: tuple[Literal[1, 5, 50, 100], ...] = Field((1, 5, 50, 100), description="of Figure 7, beside 10")
    audit: tuple[Literal["scale", "clips", "traced", "start", "halved", "candidates"], ...] = Field(
        ("scale", "clips", "traced", "start", "halved", "candidates"), description="switches of the audit, each alone")
    stride: int = Field(16, ge=1, description="frames between the clips of a test video")
    looked_at: int | None = Field(None, ge=1, description="test studies whose attention is measured; None: all")
    copies: int = Field(8, ge=1, description="noisy copies of a clip whose attention is measured")
    followed: int | None = Field(None, ge=1, description="test studies whose phases are matched; None: all")

    @field_validator("base")
    @classmethod
    def _some_unlabelled(cls, base: str) -> str:
        if base == "1":
            raise ValueError("a share of 1 leaves no unlabelled study to distil from; expected a share below 1")
        return base


class FamilySize(Strict):
    """The picture of all methods: one budget for each, in steps and in traced frames of a step (``batch``)."""

    train: StageSize
    methods: tuple[str, ...] | None = Field(None, description="names of the methods that are run; None: all")
    presets: tuple[Literal["poor_quality", "foreshortening", "effusion", "arrhythmia"], ...] = (
        "poor_quality", "foreshortening", "arrhythmia")
    timed_px: int = Field(112, ge=32, multiple_of=16, description="frames on which the time of a pass is measured")


class Wanted(Strict):
    """Runs that are made before others: those of a table or figure, or of some of its groups; all groups of a seed, then the
    next seed."""

    entry: str = Field(description="a table's or figure's id, such as those that `echolib run` takes")
    groups: tuple[str, ...] | None = Field(None, min_length=1, description="names of its groups of runs; None: all")


class FurtherSeeds(Strict):
    """Seeds beyond the profile's, for the claims between some groups of runs of a table or figure.

    A claim whose groups are all named is tested on these seeds too. What the page shows of each group stays that of the
    profile's seeds, so that all of its rows rest on as many.
    """

    entry: str = Field(description="a table's or figure's id, such as those that `echolib run` takes")
    groups: tuple[str, ...] = Field(min_length=2, description="names of its groups of runs")
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1, description="none of the profile's own")


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
    precision: Precision = "32-true"
    engine: Engine = "fast"
    clip_3d: ClipSpec = ClipSpec(frames=32, period=1)
    clip_si: ClipSpec = ClipSpec(frames=16, period=5)
    pretrain: StageSize
    segment: StageSize
    framewise: StageSize
    ablation: AblationSize | None = Field(None, description="None: the ablations are not run")
    camus_training: DataSpec | None = Field(None, description="the CAMUS cohort to train on; None: no training on CAMUS")
    pkecho: PKEchoSize | None = Field(None, description="None: PKEcho-Net is not run")
    sscf: SSCFSize | None = Field(None, description="None: SSCF is not run")
    css: CSSSize | None = Field(None, description="None: CSS is not run")
    family: FamilySize | None = Field(None, description="None: the methods are not compared")
    bootstrap: int = Field(10_000, ge=100, description="resamples of a bootstrap interval")
    probe: ProbeSpec = ProbeSpec()
    further: tuple[FurtherSeeds, ...] = Field((), description="more seeds where a claim hangs on them")
    order: tuple[Wanted, ...] = Field((), description="what is computed first, most wanted first; then whatever else the book "
                                                      "needs, in its own order")

    @model_validator(mode="after")
    def _further_seeds(self) -> Profile:
        for one in self.further:
            twice = sorted(set(one.seeds) & set(self.seeds)) or [s for s in one.seeds if one.seeds.count(s) > 1]
            if twice:
                raise ValueError(f"further: {one.entry}: seed {twice[0]} is there already; expected others than "
                                 f"{', '.join(map(str, self.seeds))}, each once")
        return self

    def probe_data(self, preset: str) -> DataSpec:
        """The cohort of a probed preset: test studies only, frames stored as those of the main cohort."""
        phantom = PhantomSpec(preset=preset, train=0, val=0, test=self.probe.studies, seed=self.probe.seed,
                              frames=self.probe.frames)
        return DataSpec(layout="echonet", phantom=phantom, size=self.echonet.size, channels=self.echonet.channels)

    def clip_for(self, model: str) -> ClipSpec:
        """Frames and period of a network in the main experiments (Table 1); 1 frame for the frame-wise baselines."""
        if model.startswith("si_"):
            return self.clip_si
        return self.clip_3d if model.startswith("unet3d") else ClipSpec(frames=1, period=1)


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
