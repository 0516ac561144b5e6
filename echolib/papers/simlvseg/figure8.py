"""Figure 8: how much to mask."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from echolib import published
from echolib.config.profile import Profile
from echolib.config.specs import RunSpec
from echolib.pages.experiment import Claim, Experiment, Options, Printed, SeedOptions, with_ablation
from echolib.papers.simlvseg.ablation import left_out
from echolib.papers.simlvseg.runs import segment_run

#: The paper's network, and the others that see several frames at once and so can reconstruct a masked one.
NETWORK = "si_uniformer_s"
MASKED = (NETWORK, "si_resnet18", "si_mobilenetv3", "si_vit_b16", "unet3d", "unet3d_s")


class Figure8Options(SeedOptions):
    """Which mask ratios, and the network that is pre-trained."""

    ratios: tuple[Literal["none"] | Annotated[float, Field(gt=0, lt=1)], ...] | None = Field(
        None, description='a list of different shares between 0 and 1, with "none" for no pre-training')
    network: Literal[MASKED] | None = Field(None, description=f"a network that sees several frames, one of {', '.join(MASKED)}")

    def applied(self, profile: Profile) -> Profile:
        """The profile with other ratios."""
        return with_ablation(super().applied(profile), {"ratios": self.ratios})


def network_of(options: Options) -> str:
    """The network that is pre-trained."""
    return options.network or NETWORK


#: Every ratio of the figure's axis; the paper's text prints two of them.
RATIOS = ("none", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9")


def ratio_name(ratio: str | float) -> str:
    """The group name of one mask ratio: ``no pre-training`` or ``mask 60 %``."""
    return "no pre-training" if ratio == "none" else f"mask {round(100 * float(ratio), 6):g} %"


def _figure8_groups(profile: Profile, seed: int, options: Options) -> dict[str, RunSpec]:
    if profile.ablation is None:
        return {}
    return {ratio_name(r): segment_run(profile, network_of(options), seed=seed, ablation=True) if r == "none" else
            segment_run(profile, network_of(options), seed=seed, ablation=True, pretrained=True, mask_ratio=r)
            for r in profile.ablation.ratios}


def _figure8_cells(profile: Profile, options: Options) -> list[Printed]:
    ran, out = _figure8_groups(profile, profile.seeds[0], options), []
    if network_of(options) != NETWORK:
        ran = {}  # the printed values are the paper's network's
    for entry in published.load("simlvseg_figure8_mask_ratio").to_dict("records"):
        name = ratio_name(entry["mask_ratio"])
        out.append(Printed(name, "dsc_overall", entry["dsc_overall"], group=name if name in ran else "",
                           absent="" if name in ran else "another network was asked for"
                           if network_of(options) != NETWORK else left_out(profile, "the ratio", options)))
    return out


FIGURE8 = Experiment(
    id="simlvseg_figure8", number="Figure 8", place=6, title="How much to mask",
    published="simlvseg_figure8_mask_ratio", notebook="simlvseg_figure8", groups=_figure8_groups, cells=_figure8_cells,
    options=Figure8Options(),
    claims=(
        Claim("Pre-training with 60 % masked frames helps", ratio_name(0.6), ratio_name("none")),
        Claim("Pre-training helps at every ratio", ratio_name("none"), tuple(map(ratio_name, RATIOS[1:])), every=True),
        Claim("60 % is the best ratio", ratio_name(0.6), tuple(ratio_name(r) for r in RATIOS if r != "0.6")),
    ),
)

PAGES = (FIGURE8,)
