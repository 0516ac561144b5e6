"""Entries of the registry whose runs are ablations: Figure 7 (frames and period), Figure 8 (mask ratio), Table 2 (backbones).

Ablation runs are named by their specification alone, so that pages that need the same run share it.
"""

from __future__ import annotations

from echolib import published
from echolib.config import ClipSpec, ModelName, Profile, RunSpec
from echolib.pages.entries import Claim, Experiment, Printed

# -- Figure 7: frames and period --------------------------------------------------------------------------------------

#: The paper's two approaches by their name in the published CSV of Figure 7.
APPROACHES: dict[str, ModelName] = {"SI UniFormer-S": "si_uniformer_s", "3D U-Net": "unet3d"}


def grid_name(approach: str, frames: int, period: int) -> str:
    """The group name of one cell of Figure 7, such as ``3D U-Net 32x1``."""
    return f"{approach} {frames}x{period}"


def _figure7_groups(profile: Profile, seed: int) -> dict[str, RunSpec]:
    size = profile.ablation
    if size is None:
        return {}
    return {grid_name(approach, f, t): profile.segment_run(model, seed=seed, clip=ClipSpec(frames=f, period=t), ablation=True)
            for approach, model in APPROACHES.items()
            for f in (size.frames_si if model.startswith("si_") else size.frames_3d) for t in size.periods}


def _figure7_cells(profile: Profile) -> list[Printed]:
    ran, out = _figure7_groups(profile, profile.seeds[0]), []
    for entry in published.load("simlvseg_figure7_frames_period").to_dict("records"):
        name = grid_name(entry["approach"], entry["frames"], entry["period"])
        out.append(Printed(name, "dsc_overall", entry["dsc_overall"], group=name if name in ran else "",
                           absent="" if name in ran else _left_out(profile, "F and T")))
    return out


def _left_out(profile: Profile, what: str) -> str:
    if profile.ablation is None:
        return f"profile {profile.name!r} runs no ablations"
    return f"not among the values of {what} that profile {profile.name!r} runs"


#: Axes of the figure; written here so that a missing CSV stops this entry's page and not the whole registry.
FIGURE7_FRAMES = {"SI UniFormer-S": (4, 9, 16, 25), "3D U-Net": (16, 32)}
FIGURE7_PERIODS = (1, 2, 3, 5)


def _rivals(approach: str, best: str) -> tuple[str, ...]:
    names = [grid_name(approach, f, t) for f in FIGURE7_FRAMES[approach] for t in FIGURE7_PERIODS]
    return tuple(n for n in names if n != best)


FIGURE7 = Experiment(
    id="simlvseg_figure7", paper="simlvseg", number="Figure 7", title="Number of frames and sampling period",
    published="simlvseg_figure7_frames_period", notebook="simlvseg_figure7", groups=_figure7_groups, cells=_figure7_cells,
    claims=(
        Claim("For super images 16 frames at period 5 score best", "SI UniFormer-S 16x5",
              _rivals("SI UniFormer-S", "SI UniFormer-S 16x5")),
        Claim("For the 3D U-Net 32 frames at period 1 score best", "3D U-Net 32x1", _rivals("3D U-Net", "3D U-Net 32x1")),
        Claim("With 32 frames the 3D U-Net loses by a longer period", "3D U-Net 32x1",
              tuple(grid_name("3D U-Net", 32, t) for t in (2, 3, 5))),
    ),
)

# -- Figure 8: mask ratio ---------------------------------------------------------------------------------------------

#: Every ratio of the figure's axis; the paper's text prints two of them.
RATIOS = ("none", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9")


def ratio_name(ratio: str | float) -> str:
    """The group name of one mask ratio: ``no pre-training`` or ``mask 60 %``."""
    return "no pre-training" if ratio == "none" else f"mask {round(100 * float(ratio))} %"


def _figure8_groups(profile: Profile, seed: int) -> dict[str, RunSpec]:
    if profile.ablation is None:
        return {}
    return {ratio_name(r): profile.segment_run("si_uniformer_s", seed=seed, ablation=True) if r == "none" else
            profile.segment_run("si_uniformer_s", seed=seed, ablation=True, pretrained=True, mask_ratio=r)
            for r in profile.ablation.ratios}


def _figure8_cells(profile: Profile) -> list[Printed]:
    ran, out = _figure8_groups(profile, profile.seeds[0]), []
    for entry in published.load("simlvseg_figure8_mask_ratio").to_dict("records"):
        name = ratio_name(entry["mask_ratio"])
        out.append(Printed(name, "dsc_overall", entry["dsc_overall"], group=name if name in ran else "",
                           absent="" if name in ran else _left_out(profile, "the ratio")))
    return out


FIGURE8 = Experiment(
    id="simlvseg_figure8", paper="simlvseg", number="Figure 8", title="How much to mask",
    published="simlvseg_figure8_mask_ratio", notebook="simlvseg_figure8", groups=_figure8_groups, cells=_figure8_cells,
    claims=(
        Claim("Pre-training with 60 % masked frames helps SimLVSeg-SI", ratio_name(0.6), ratio_name("none")),
        Claim("Pre-training helps at every ratio", ratio_name("none"), tuple(map(ratio_name, RATIOS[1:])), every=True),
        Claim("60 % is the best ratio", ratio_name(0.6), tuple(ratio_name(r) for r in RATIOS if r != "0.6")),
    ),
)

# -- Table 2: backbones -----------------------------------------------------------------------------------------------

#: Published backbone -> network, and the paper's full-size network of the same approach that it is measured against.
BACKBONES: dict[str, tuple[ModelName, str]] = {
    "MobileNetV3": ("si_mobilenetv3", "UniFormer-S"), "ResNet-18": ("si_resnet18", "UniFormer-S"),
    "ViT-B/16": ("si_vit_b16", "UniFormer-S"), "3D U-Net-S": ("unet3d_s", "3D U-Net")}
#: The two that Table 2's networks are measured against; their Dice is printed with Figure 7.
FULL_SIZE: dict[str, ModelName] = {"UniFormer-S": "si_uniformer_s", "3D U-Net": "unet3d"}
#: Dice points that count as "on a par"; the paper's own largest loss is 0.23 (ViT-B/16 against UniFormer-S).
PAR = 0.5


def _table2_groups(profile: Profile, seed: int) -> dict[str, RunSpec]:
    if profile.ablation is None:
        return {}
    networks = {name: model for name, (model, _) in BACKBONES.items()} | FULL_SIZE
    return {name: profile.segment_run(model, seed=seed, ablation=True) for name, model in networks.items()}


def _table2_cells(profile: Profile) -> list[Printed]:
    ran, out = profile.ablation is not None, []
    for entry in published.load("simlvseg_table2_backbones").to_dict("records"):
        name = entry["backbone"]
        out.append(Printed(name, "dsc_overall", entry["dsc_overall"], group=name if ran else "",
                           absent="" if ran else _left_out(profile, "the backbone")))
        out += [Printed(name, column, entry[column], network=BACKBONES[name][0])
                for column in ("params_m", "gflops_single_pass", "gflops_per_frame")]
    return out


TABLE2 = Experiment(
    id="simlvseg_table2", paper="simlvseg", number="Table 2", title="Encoder backbones",
    published="simlvseg_table2_backbones", notebook="simlvseg_table2", groups=_table2_groups, cells=_table2_cells,
    claims=tuple(Claim(f"{name} stays within {PAR} Dice points of {full}", name, full, margin=PAR)
                 for name, (_, full) in BACKBONES.items()),
)
