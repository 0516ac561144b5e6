"""The audit of SSCF: what its text claims against what its equations and its released network do, shown and measured."""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython.display import HTML
from matplotlib.figure import Figure
from torch import Tensor, nn

from echolib import models
from echolib.config.profile import Profile
from echolib.config.specs import RunSpec
from echolib.data.augment import normalise, to_float
from echolib.data.store import ClipStore
from echolib.evaluation.kinds.influence import InfluenceSpec, influences
from echolib.ledger.evaluations import Evaluation
from echolib.ledger.ledger import Ledger
from echolib.losses.sscf import divergences, printed_learning_rate
from echolib.models.sscf import PAPER, SSCF
from echolib.models.sscf_calibration import summarised
from echolib.pages.experiment import Experiment, Needs, Options, SeedOptions
from echolib.pages.html import html_table
from echolib.pages.quantities import Quantity, estimate
from echolib.papers.sscf.runs import DECAY, data_of, size_of, sscf_run
from echolib.plots import COLOURS
from echolib.training.recipe import recipe_class

BASE = "as in the tables"
#: Switches by their name in a profile -> (what is switched, options of the recipe, options of the network).
SWITCHES: dict[str, tuple[str, dict, dict]] = {
    "normalised": ("calibration normalised (ours)", {}, {"calibration": "normalised"}),
    "temperature": ("correlations over 84 (ours)", {}, {"temperature": 1 / 84}),
    "elementwise": ("A × G element by element", {}, {"product": "elementwise"}),
    "paper": ("the text's form: U-Net decoder, two rates", {}, PAPER),
    "mean": ("means over pixels, not sums", {"pixels": "mean"}, {}),
    "literal": ("divergence as printed", {"divergence": "literal"}, {}),
    "student": ("the student is kept, as the paper tests", {"keep": "student"}, {}),
    "guided": ("labelled frames guide the teacher", {"guided": "teacher"}, {}),
    "half": ("half as many steps", {}, {}),
    "decay": ("the teacher's average as printed, 0.99", {"decay": DECAY}, {})}
#: Which of them are asked whether the current frame is drowned.
ASKED = (BASE, SWITCHES["half"][0], SWITCHES["normalised"][0])
#: Frames on which the untrained network is looked at, px.
PX = 112
CHANGE = Quantity("change", "studies", "change")


def groups(profile: Profile, seed: int, options: Options) -> dict[str, RunSpec]:
    """One seed's runs on EchoNet-Dynamic's own split: nothing switched, and each switch alone."""
    if profile.sscf is None:
        return {}
    size, data = size_of(profile), data_of(profile, "EchoNet-Dynamic")
    out = {BASE: sscf_run(profile, "full", seed=seed, data=data)}
    for name in size.audit:
        what, recipe, network = SWITCHES[name]
        train = size.train.model_copy(update={"epochs": max(1, size.train.epochs // 2)}) if name == "half" else size.train
        out[what] = sscf_run(profile, "full", seed=seed, data=data, network=network, train=train, **recipe)
    return out


def asked(profile: Profile) -> dict[str, list[InfluenceSpec]]:
    """The evaluations that replace frames, by group, one a seed."""
    runs = [groups(profile, seed, Options()) for seed in profile.seeds]
    return {name: [InfluenceSpec(run=of[name], data=of[name].data, reach=1) for of in runs] for name in ASKED
            if runs and name in runs[0]}


# -- what needs no training -------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Level:
    """One level of the calibration in an untrained network: the second singular value of the calibrated map over the first, its
    root mean square over that of the current frame's map, and the share of A below 0.01 or above 0.99."""

    rank: float
    drowned: float
    saturated: float


@torch.no_grad()
def levels(model: SSCF, clip: Tensor) -> list[Level]:
    """:class:`Level` of the four levels, direction t-1 to t.

    Args:
        model: with calibration.
        clip: ``(B, 3, 3, H, W)`` normalised.
    """
    model, out = model.eval(), []
    before, current = (model.encoders[min(place, len(model.encoders) - 1)](clip[:, 1:2, place]) for place in (0, 1))
    for level, pair in enumerate(zip(before, current, strict=True)):
        calibration = model.calibrations[level][0]
        found = calibration(*pair)
        values = torch.linalg.svdvals(found.flatten(2))
        logits = summarised(calibration.query(pair[0])) @ summarised(calibration.key(pair[1])).transpose(1, 2)
        share = (logits * calibration.temperature).sigmoid()
        out.append(Level(float((values[:, 1] / values[:, 0]).mean()),
                         float(found.square().mean().sqrt() / pair[1].square().mean().sqrt()),
                         float(((share < 0.01) | (share > 0.99)).float().mean())))
    return out


def untrained(**options: object) -> SSCF:
    """The network at full width with its initial weights."""
    return models.build("sscf", frames=3, size=PX, seed=0, options=options)


def least_divergence(teacher: float) -> tuple[float, float]:
    """The student's probability at which the divergence is lowest, as printed and of Bernoulli distributions."""
    student = torch.linspace(-8, 8, 16001, dtype=torch.float64)
    other = torch.full_like(student, float(np.log(teacher / (1 - teacher))))
    return tuple(float(student[divergences(student, other, how).argmin()].sigmoid()) for how in ("literal", "bernoulli"))


def steps_to(share: float, steps: int) -> int:
    """Steps after which the learning rate, as printed, has fallen to a share of its start."""
    return next(t for t in range(1, steps) if printed_learning_rate(1.0, t, steps) <= share)


# -- as page elements -------------------------------------------------------------------------------------------------

def levels_html(clip: Tensor) -> HTML:
    """The calibration at the start: released and normalised."""
    found = {"released": levels(untrained(), clip), "normalised (ours)": levels(untrained(calibration="normalised"), clip)}
    rows = [(f"{name}, level {k}", f"{one.rank:.1g}", f"{one.drowned:.3g}", f"{100 * one.saturated:.0f} %")
            for name, each in found.items() for k, one in enumerate(each, start=1)]
    return HTML(html_table("A neighbour's calibrated map in the untrained network of full width", (
        "Form and level", "Second over first singular value", "Size, over the current frame's map", "A saturated"), rows))


def equations_html(teacher: float = 0.8, steps: int = 100_000) -> HTML:
    """Printed equations by what they do."""
    (literal, meant), fallen = least_divergence(teacher), steps_to(1 / np.e, steps)
    rows = [("eq. 9, divergence: the foreground's term alone",
             f"lowest for a student of {literal:.2f} where the teacher says {teacher:g} (p / e = {teacher / np.e:.2f}): it "
             "shrinks masks", f"of two Bernoulli distributions: lowest at {meant:.2f}"),
            ("learning rate l(t) = l(t − 1) (1 − t / T)^0.9", f"a product: 1 / e after {fallen:,} of {steps:,} steps",
             "l(0) (1 − t / T)^0.9"),
            ("eq. 5 and 9 are sums over pixels, eq. 6 and 8 are not",
             f"at 256 px they outweigh Dice and the squared error by up to {256 ** 2:,}", "sums as printed; means as a switch"),
            ("“labelled frames only guide the teacher”", "eq. 12: the teacher only averages",
             "they train the student; the other reading as a switch"),
            ("eq. 11 and eq. 7 both write λ", "the ramp of the consistency, and the weight decay 1e-6", "each by its own name")]
    return HTML(html_table("The equations as printed", ("Printed", "What it does", "Here"), rows, "echo-table echo-audit"))


def start_change(ledger: Ledger, profile: Profile) -> dict[str, pd.DataFrame]:
    """Influence of frames before training, released and normalised, first seed."""
    store, _ = ledger.sample()
    out = {}
    for name in (BASE, SWITCHES["normalised"][0]):
        run = groups(profile, profile.seeds[0], Options()).get(name)
        if run is not None:
            out[name] = influences(_fresh(run), store, run.clip, "test", 1)
    return out


def _fresh(run: RunSpec) -> nn.Module:
    return recipe_class(run.recipe).build(run, seed=run.seed)


def influence_table(ledger: Ledger, trained: dict[str, list[Evaluation]]) -> pd.DataFrame:
    """Change of the logits by network, before or after training, and place: columns network, when, place, value, low, high."""
    profile, rows = ledger.workspace.profile, []
    found = {(name, "at the start"): [{"studies": table}] for name, table in start_change(ledger, profile).items()}
    found |= {(name, "trained"): [e.tables for e in group] for name, group in trained.items()}
    for (name, when), tables in found.items():
        for place in (-1, 0, 1):
            part = [{"studies": t["studies"][t["studies"].place == place]} for t in tables]
            one = estimate(part, CHANGE, profile.bootstrap)
            rows.append({"network": name, "when": when, "place": place, "value": one.value, "low": one.low, "high": one.high})
    return pd.DataFrame(rows)


def influence_figure(table: pd.DataFrame, data: str) -> Figure:
    """Change of the logits when the frame before, the frame itself or the frame after is another patient's."""
    rows = list(dict.fromkeys(zip(table.network, table.when, strict=True)))
    figure, axis = plt.subplots(figsize=(8.6, 0.62 * len(rows) + 1.1), layout="constrained")
    for line, (name, when) in enumerate(rows):
        part = table[(table.network == name) & (table.when == when)].set_index("place")
        for place, colour, label in ((-1, COLOURS["other"], "frame before"), (0, COLOURS["here"], "the frame itself"),
                                     (1, COLOURS["truth"], "frame after")):
            one = part.loc[place]
            axis.plot([one.low, one.high], [line + 0.2 * place] * 2, color=colour, lw=2)
            axis.plot(one.value, line + 0.2 * place, "o", color=colour, ms=5, label=label if line == 0 else None)
    axis.set_yticks(range(len(rows)), [f"{name},\n{when}" for name, when in rows], fontsize=8)
    axis.set_ylim(len(rows) - 0.5, -0.6)
    axis.set(xlabel="change of the logits, in their standard deviations", xlim=(0, None))
    axis.set_title(f"replaced by another patient's; {data}", fontsize=9, loc="left")
    axis.legend(frameon=False, fontsize=8, loc="lower right")
    axis.grid(axis="x", color="#dddddd", lw=0.6)
    return figure


def sample_clip(store: ClipStore) -> Tensor:
    """Three successive frames of the first studies at :data:`PX`, ``(4, 3, 3, PX, PX)`` normalised."""
    frames = np.stack([store.clip(study, np.arange(3)) for study in sorted(store.studies.index)[:4]])
    clip = normalise(to_float(torch.from_numpy(frames))).contiguous()
    return nn.functional.interpolate(clip.flatten(1, 2), (PX, PX), mode="bilinear").view(4, 3, 3, PX, PX)


def _more(profile: Profile, options: Options) -> Needs:
    return Needs(evaluations=tuple(spec for group in asked(profile).values() for spec in group))


AUDIT = Experiment(id="sscf_audit", number="Audit", title="Text, program and arithmetic", place=1, notebook="sscf_audit",
                   groups=groups, more=_more, options=SeedOptions())

PAGES = (AUDIT,)
