"""Table 2: lighter and heavier backbones."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from echolib import published
from echolib.config.profile import Profile
from echolib.config.specs import RunSpec
from echolib.pages.experiment import Claim, Experiment, Options, Printed, SeedOptions
from echolib.papers.simlvseg.ablation import left_out
from echolib.papers.simlvseg.runs import segment_run

#: Published backbone -> network, and the paper's full-size network of the same approach that it is measured against.
BACKBONES: dict[str, tuple[str, str]] = {
    "MobileNetV3": ("si_mobilenetv3", "UniFormer-S"), "ResNet-18": ("si_resnet18", "UniFormer-S"),
    "ViT-B/16": ("si_vit_b16", "UniFormer-S"), "3D U-Net-S": ("unet3d_s", "3D U-Net")}
#: The two that Table 2's networks are measured against; their Dice is printed with Figure 7.
FULL_SIZE: dict[str, str] = {"UniFormer-S": "si_uniformer_s", "3D U-Net": "unet3d"}
NAMES = (*BACKBONES, *FULL_SIZE)
#: Dice points that count as "on a par"; the paper's own largest loss is 0.23 (ViT-B/16 against UniFormer-S).
PAR = 0.5


class Table2Options(SeedOptions):
    """Which backbones are trained, and which of the full-size networks that they replace."""

    backbones: tuple[Literal[NAMES], ...] | None = Field(None, description=f"a list of different backbones: {', '.join(NAMES)}")


def _table2_groups(profile: Profile, seed: int, options: Options) -> dict[str, RunSpec]:
    if profile.ablation is None:
        return {}
    networks = {name: model for name, (model, _) in BACKBONES.items()} | FULL_SIZE
    if options.backbones is not None:
        networks = {name: networks[name] for name in options.backbones}
    return {name: segment_run(profile, model, seed=seed, ablation=True) for name, model in networks.items()}


def _table2_cells(profile: Profile, options: Options) -> list[Printed]:
    ran, out = _table2_groups(profile, profile.seeds[0], options), []
    for entry in published.load("simlvseg_table2_backbones").to_dict("records"):
        name = entry["backbone"]
        out.append(Printed(name, "dsc_overall", entry["dsc_overall"], group=name if name in ran else "",
                           absent="" if name in ran else left_out(profile, "the backbone", options)))
        out += [Printed(name, column, entry[column], network=BACKBONES[name][0])
                for column in ("params_m", "gflops_single_pass", "gflops_per_frame")]
    return out


TABLE2 = Experiment(
    id="simlvseg_table2", number="Table 2", place=8, title="Encoder backbones",
    published="simlvseg_table2_backbones", notebook="simlvseg_table2", groups=_table2_groups, cells=_table2_cells,
    options=Table2Options(),
    claims=tuple(Claim(f"{name} stays within {PAR} Dice points of {full}", name, full, margin=PAR)
                 for name, (_, full) in BACKBONES.items()),
)

PAGES = (TABLE2,)
