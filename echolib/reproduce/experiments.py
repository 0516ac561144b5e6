"""The registry: each table and figure of a paper, its published CSV, its notebook, the runs it needs, its claims."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from echolib.config import ModelName, Profile, RunSpec


@dataclass(frozen=True)
class Row:
    """One row of a published table that this repository can run.

    Attributes:
        published: the row's name in the published CSV.
        model: the network of ``models.build``.
        pretrained: with temporal masking first.
        exact: the published parameter and FLOP counts are those of this very network, so they can be checked exactly.
        note: what a reader must know to compare the two.
    """

    published: str
    model: ModelName
    pretrained: bool
    exact: bool
    note: str = ""


@dataclass(frozen=True)
class Claim:
    """A statement of the paper about an order: ``better`` scores above ``worse`` (names of :class:`Row` or ablations)."""

    text: str
    better: str
    worse: str


@dataclass(frozen=True)
class Experiment:
    """A table or figure of a paper."""

    id: str
    paper: str
    number: str
    published: str
    notebook: str
    rows: tuple[Row, ...]
    claims: tuple[Claim, ...]
    extra: Callable[[Profile, int], dict[str, RunSpec]]

    def runs(self, profile: Profile) -> dict[str, list[RunSpec]]:
        """Runs by row name, one for each seed of the profile."""
        out: dict[str, list[RunSpec]] = {}
        for seed in profile.seeds:
            for row in self.rows:
                out.setdefault(row.published, []).append(
                    profile.segment_run(row.model, seed=seed, pretrained=row.pretrained))
            for name, spec in self.extra(profile, seed).items():
                out.setdefault(name, []).append(spec)
        return out


def _without_pretraining(profile: Profile, seed: int) -> dict[str, RunSpec]:
    return {"SimLVSeg-3D, no pre-training": profile.segment_run("unet3d", seed=seed)}


TABLE1 = Experiment(
    id="simlvseg_table1", paper="simlvseg", number="Table 1", published="simlvseg_table1", notebook="simlvseg_table1",
    rows=(
        Row("EchoNet-Dynamic", "deeplabv3_r50", pretrained=False, exact=True,
            note="DeepLabV3-ResNet-50 on single frames, EchoNet-Dynamic's own recipe"),
        Row("nnU-Net", "nnunet2d", pretrained=False, exact=True,
            note="a 2-D U-Net of nnU-Net's design on single frames; the authors' plans are not public, so a count may differ"),
        Row("SimLVSeg-SI", "si_uniformer_s", pretrained=True, exact=True,
            note="super image, UniFormer-S encoder, temporal masking first"),
        Row("SimLVSeg-3D", "unet3d", pretrained=True, exact=True, note="3D U-Net, temporal masking first"),
    ),
    claims=(
        Claim("SimLVSeg-3D scores above the frame-wise DeepLabV3", "SimLVSeg-3D", "EchoNet-Dynamic"),
        Claim("SimLVSeg-SI scores above the frame-wise DeepLabV3", "SimLVSeg-SI", "EchoNet-Dynamic"),
        Claim("SimLVSeg-3D scores above nnU-Net", "SimLVSeg-3D", "nnU-Net"),
        Claim("SimLVSeg-SI scores above nnU-Net", "SimLVSeg-SI", "nnU-Net"),
        Claim("Pre-training by temporal masking helps the 3D U-Net", "SimLVSeg-3D", "SimLVSeg-3D, no pre-training"),
    ),
    extra=_without_pretraining,
)

REGISTRY: dict[str, Experiment] = {TABLE1.id: TABLE1}
