"""A profile: which data and how much of the protocol; ``profiles/*.yml``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, model_validator

from echolib.config.parsing import parse
from echolib.config.specs import ClipSpec, DataSpec, Engine, PhantomSpec, Precision, Strict
from echolib.errors import ConfigError


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
    precision: Precision = "32-true"
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
