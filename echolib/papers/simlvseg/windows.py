"""How whole videos are cut into a network's windows on the pages, and what another way would have given.

The papers do not say how they covered whole videos. Here windows overlap by half and a frame's masks are averaged with more
weight in the middle of a window; laid side by side, every frame is seen once, and some at the very end of a window, where a
network has been taught least: a frame that is traced early in its video cannot be among the last of a training clip.
"""

from __future__ import annotations

import pandas as pd
from IPython.display import HTML

from echolib.config import Profile
from echolib.evaluation.bootstrap import paired_test
from echolib.evaluation.kinds.video import VideoSpec
from echolib.ledger.evaluations import Evaluation
from echolib.ledger.ledger import Ledger
from echolib.pages.html import html_table
from echolib.papers.simlvseg.table1 import TABLE1
from echolib.papers.simlvseg.videos import on_videos

#: The network whose windows are compared.
SHOWN = "SimLVSeg-3D"
OVERLAPPING, SIDE_BY_SIDE = "overlapping by half", "side by side"
#: Column of the studies -> heading and factor.
MEASURES = {"dice": ("Dice, %", 100.0), "worst_dice": ("Dice of the worst frame, %", 100.0),
            "area_rmse": ("Error of the area, % of the ED area", 1.0)}


def needed(profile: Profile) -> dict[str, list[VideoSpec]]:
    """The same runs on the same videos, both ways; one a seed."""
    return {way: on_videos(TABLE1.runs(profile)[SHOWN], profile.echonet, profile.probe.videos, overlap=way == OVERLAPPING)
            for way in (OVERLAPPING, SIDE_BY_SIDE)}


def load(ledger: Ledger) -> dict[str, list[Evaluation]]:
    """Both ways, computed where they are missing."""
    return {way: ledger.evaluate(specs) for way, specs in needed(ledger.workspace.profile).items()}


def window_table(groups: dict[str, list[Evaluation]]) -> pd.DataFrame:
    """Both ways, study by study, each the mean of the seeds; paired Wilcoxon test over patients.

    Returns:
        Columns ``measure`` (of :data:`MEASURES`), one for each way (means over studies, in the unit of the heading),
        ``difference`` (overlapping less side by side), ``p``, ``patients``. Measures that need exact masks are left out where
        there are none.
    """
    rows = []
    for measure, (_, factor) in MEASURES.items():
        sides = []
        for group in groups.values():
            seeds = pd.concat([e.studies.assign(frame=0, value=factor * e.studies[measure].astype(float)) for e in group])
            sides.append(seeds.groupby(["study", "patient", "frame"], as_index=False).value.mean().dropna(subset="value"))
        if not len(sides[0]):
            continue
        found = paired_test(*sides, "value")
        rows.append({"measure": measure} | {way: side.value.mean() for way, side in zip(groups, sides, strict=True)}
                    | {"difference": found.difference, "p": found.p_value, "patients": found.patients})
    return pd.DataFrame(rows, columns=["measure", *groups, "difference", "p", "patients"])


def window_html(table: pd.DataFrame, seeds: int) -> HTML:
    """:func:`window_table` for the page."""
    rows = [(MEASURES[r["measure"]][0], *(f"{r[way]:.2f}" for way in (OVERLAPPING, SIDE_BY_SIDE)),
             f"{r['difference']:+.2f} <small>(p = {r['p']:.2g})</small>", str(r["patients"])) for r in table.to_dict("records")]
    caption = (f"{SHOWN} over whole videos, its windows laid in two ways: means over videos, each the mean of {seeds} "
               f"seed{'s' if seeds > 1 else ''}; paired Wilcoxon test over patients")
    return HTML(html_table(caption, ("Measure", *(way[0].upper() + way[1:] for way in (OVERLAPPING, SIDE_BY_SIDE)), "Difference",
                                     "Patients"), rows, "echo-claims"))
