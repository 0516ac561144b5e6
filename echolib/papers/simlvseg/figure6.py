"""The page of Figure 6: four kinds of challenging clips, every network on all of them, and the worst cases of each.

The paper shows one clip of each kind. Here a kind is a preset of the phantom, so there are as many clips as the profile
asks for, all with exact masks on every frame, and the clips that are shown are those on which a network does worst.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from IPython.display import HTML
from pydantic import Field

from echolib.config import Profile
from echolib.evaluation.bootstrap import paired_test
from echolib.evaluation.evaluation import Picture
from echolib.evaluation.kinds.video import VideoSpec
from echolib.ledger.evaluations import Evaluation
from echolib.ledger.examples import require as require_examples
from echolib.ledger.ledger import Ledger
from echolib.pages.estimates import cube, estimate
from echolib.pages.experiment import Claim, Experiment, Measure, Options, SeedOptions
from echolib.pages.html import html_table
from echolib.pages.verdict import SMALL_DICE
from echolib.papers.simlvseg.table1 import TABLE1
from echolib.papers.simlvseg.tables import label_of, pooled
from echolib.papers.simlvseg.videos import on_videos

#: The network whose worst cases are shown, beside those of the frame-wise one.
OURS = "SimLVSeg-3D"
#: The profile's own test videos, to see what a challenge costs; only phantoms have exact masks on every frame.
ORDINARY = "ordinary clips"
Presets = dict[str, dict[str, list[Evaluation]]]
#: The frame-wise network that the paper's figures set against SimLVSeg.
FRAMEWISE = "nnU-Net"
#: Presets of the phantom that stand for the challenging cases of Figure 6 -> their names in words, in the figure's order.
CHALLENGES = {"foreshortening": "foreshortening", "poor_quality": "poor image quality", "effusion": "effusion",
              "arrhythmia": "arrhythmia"}
#: Mean Dice over all frames of a video, against exact masks.
VIDEO_DICE = Measure("dice", "Dice points", factor=100.0, small=SMALL_DICE)


class Figure6Options(SeedOptions):
    """Which kinds of challenging clips are probed."""

    presets: tuple[Literal[tuple(CHALLENGES)], ...] | None = Field(
        None, description=f"a list of different kinds of clips: {', '.join(CHALLENGES)}")


def presets_of(options: Options) -> tuple[str, ...]:
    """The presets that are probed."""
    return tuple(CHALLENGES) if options.presets is None else options.presets


def on_preset(network: str, preset: str) -> str:
    """The group name of a network on a preset, such as ``nnU-Net on effusion``."""
    return f"{network} on {CHALLENGES.get(preset, preset)}"


@dataclass(frozen=True)
class Case:
    """A network's worst video of a preset, and its worst frame.

    Attributes:
        preset: of the phantom.
        worst: the network that does worst on it.
        study, frame: which.
        place: index of the seed whose run does so.
        dice: by network, mean Dice over all frames of that video by the run of that seed.
    """

    preset: str
    worst: str
    study: str
    frame: int
    place: int
    dice: dict[str, float]


def networks(profile: Profile) -> dict[str, list]:
    """The runs of Table 1 by the network's name on this page, one a seed."""
    runs = TABLE1.runs(profile)
    return {label_of(row.published): runs[row.published] for row in TABLE1.rows}


def needed(profile: Profile, options: Options) -> dict[str, list[VideoSpec]]:
    """Evaluations by :func:`on_preset`, one a seed; ordinary clips first, on phantoms."""
    cohorts = [(ORDINARY, profile.echonet, profile.probe.videos)] if profile.echonet.phantom is not None else []
    cohorts += [(preset, profile.probe_data(preset), None) for preset in presets_of(options)]
    return {on_preset(name, preset): on_videos(specs, data, studies)
            for preset, data, studies in cohorts for name, specs in networks(profile).items()}


def load(ledger: Ledger, options: Options) -> Presets:
    """All evaluations of the page by preset and network, computed where they are missing."""
    profile = ledger.workspace.profile
    specs = needed(profile, options)
    return {preset: {name: ledger.evaluate(specs[on_preset(name, preset)]) for name in networks(profile)}
            for preset in (ORDINARY, *presets_of(options)) if on_preset(OURS, preset) in specs}


def dice_table(presets: Presets, resamples: int) -> pd.DataFrame:
    """Mean Dice (%) over all frames of each video: columns preset, network, value, low, high, videos, seeds.

    The 95 % interval resamples seeds and patients, the same ones for every network of a preset.
    """
    rows = []
    for preset, groups in presets.items():
        found = estimate(cube({name: [e.studies for e in group] for name, group in groups.items()}), resamples)
        rows += [{"preset": preset, "network": name, "value": row.value, "low": row.low, "high": row.high,
                  "videos": len(groups[name][0].studies), "seeds": len(groups[name])} for name, row in found.iterrows()]
    return pd.DataFrame(rows)


def paired_table(presets: Presets, ours: tuple[str, ...] = (OURS, "SimLVSeg-SI")) -> pd.DataFrame:
    """Each of ``ours`` against each frame-wise network, video by video (the mean of the seeds); Wilcoxon test over patients.

    Returns:
        Columns preset, network, against, difference (Dice points; positive: ours is better), p, patients.
    """
    rows = []
    for preset, groups in presets.items():
        means = {name: pooled(group, "studies").assign(frame=0).groupby(["study", "patient", "frame"], as_index=False).dice.mean()
                 for name, group in groups.items()}
        for name in ours:
            for other in (n for n in groups if n not in ("SimLVSeg-3D", "SimLVSeg-SI")):
                found = paired_test(means[name], means[other])
                rows.append({"preset": preset, "network": name, "against": other, "difference": 100 * found.difference,
                             "p": found.p_value, "patients": found.patients})
    return pd.DataFrame(rows)


def worst_cases(presets: Presets, shown: tuple[str, str] = (OURS, FRAMEWISE)) -> list[Case]:
    """For each challenging preset the video on which each of two networks does worst, over all seeds, by its mean Dice alone.

    Of equal videos the first by seed and name is taken; the frame is the one with that network's lowest Dice.
    """
    out = []
    for preset in (name for name in presets if name in CHALLENGES):
        groups = presets[preset]
        for worst in shown:
            tables = [e.studies.sort_values("study").reset_index(drop=True) for e in groups[worst]]
            place = int(np.argmin([table.dice.min() for table in tables]))
            row = tables[place].loc[tables[place].dice.idxmin()]
            dice = {name: float(groups[name][place].studies.set_index("study").dice[row.study]) for name in shown}
            out.append(Case(preset, worst, str(row.study), int(row.worst_frame), place, dice))
    return out


def pictures(ledger: Ledger, presets: Presets, cases: list[Case]) -> list[dict[str, Picture]]:
    """The frame of each case as each of its two networks outlines it, by network, both of the same seed."""
    asked: dict[tuple[str, str, int], list[tuple[str, int]]] = {}
    for case in cases:
        for name in case.dice:
            asked.setdefault((case.preset, name, case.place), []).append((case.study, case.frame))
    found = {key: require_examples(ledger, presets[key[0]][key[1]][key[2]], frames) for key, frames in asked.items()}
    return [{name: found[case.preset, name, case.place].pictures[case.study, case.frame] for name in case.dice} for case in cases]


def worst_html(cases: list[Case], presets: Presets) -> HTML:
    """Which videos the worst cases are, and how both networks do on the whole of them."""
    names = list(cases[0].dice)
    rows = [(html.escape(f"{words(case.preset)}, worst of {case.worst}"), html.escape(case.study), str(case.frame),
             str(presets[case.preset][case.worst][case.place].record.spec.run.seed),
             *(f"{100 * case.dice[name]:.1f}" for name in names)) for case in cases]
    caption = "The worst videos: mean Dice in % over all their frames"
    return HTML(html_table(caption, ("Case", "Video", "Frame shown", "Seed", *map(html.escape, names)), rows, "echo-table"))


def words(preset: str) -> str:
    """A preset's name on the page."""
    return CHALLENGES.get(preset, preset)


def dice_html(table: pd.DataFrame) -> HTML:
    """:func:`dice_table` for the page, a row a preset."""
    names = list(dict.fromkeys(table.network))
    rows = []
    for preset, part in table.groupby("preset", sort=False):
        by = part.set_index("network")
        rows.append((html.escape(words(preset)), *(f"{by.value[n]:.2f} <small>({by.low[n]:.2f}–{by.high[n]:.2f})</small>"
                                                   for n in names), str(part.videos.iloc[0]), str(part.seeds.iloc[0])))
    caption = "Dice in %, mean over all frames of each video against exact masks; 95 % interval, seeds and patients resampled"
    return HTML(html_table(caption, ("Clips", *map(html.escape, names), "Videos", "Seeds"), rows, "echo-table"))


def paired_html(table: pd.DataFrame) -> HTML:
    """:func:`paired_table` for the page, a row a preset and a column a pair."""
    table = table.assign(pair=table.network + " − " + table.against)
    pairs = list(dict.fromkeys(table.pair))
    rows = [(html.escape(words(preset)), *(f"{r.difference:+.2f} <small>(p = {r.p:.2g})</small>" for r in part.itertuples()),
             str(part.patients.max())) for preset, part in table.groupby("preset", sort=False)]
    caption = ("Differences in Dice points on the same videos, each the mean of its seeds; paired Wilcoxon test over patients, "
               "not corrected for their number")
    return HTML(html_table(caption, ("Clips", *map(html.escape, pairs), "Patients"), rows, "echo-claims"))


FIGURE6 = Experiment(
    id="simlvseg_figure6", number="Figure 6", place=4, title="Challenging cases", notebook="simlvseg_figure6",
    options=Figure6Options(), evaluations_of=needed,
    claims=tuple(Claim(f"SimLVSeg-3D scores above the frame-wise network on {words}", on_preset(OURS, preset),
                       on_preset(FRAMEWISE, preset), measure=VIDEO_DICE) for preset, words in CHALLENGES.items()),
)

PAGES = (FIGURE6,)
