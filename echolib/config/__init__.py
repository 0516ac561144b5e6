"""Every option of the project, validated; nothing else."""

from echolib.config.parsing import parse
from echolib.config.profile import AblationSize, ProbeSpec, Profile, StageSize, Wanted, load_profile
from echolib.config.protocols import Protocol, Switches, switches
from echolib.config.specs import (
    ECHONET_MEAN,
    ECHONET_STD,
    AugmentSpec,
    ClipSpec,
    DataSpec,
    Engine,
    Keyed,
    Layout,
    ModelSpec,
    OptimiserSpec,
    Output,
    PhantomSpec,
    RecipeOptions,
    Role,
    RunSpec,
    Split,
    Strict,
    SubsetSpec,
    TrainSpec,
    canonical,
    chain,
)

__all__ = [
    "ECHONET_MEAN", "ECHONET_STD", "AblationSize", "AugmentSpec", "ClipSpec", "DataSpec", "Engine", "Keyed", "Layout",
    "ModelSpec", "OptimiserSpec", "Output", "PhantomSpec", "ProbeSpec", "Profile", "Protocol", "RecipeOptions", "Role",
    "RunSpec", "Split", "StageSize", "Strict", "SubsetSpec", "Switches", "TrainSpec", "Wanted", "canonical", "chain",
    "load_profile", "parse", "switches"]
