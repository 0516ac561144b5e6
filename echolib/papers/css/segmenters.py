"""Tables III, V and VI, and Figure A3: segmenters by the ejection fraction that their masks help to, and by their Dice.

The paper had one untraced frame of each test video traced by hand for Table VI; a phantom's masks are exact on every frame,
so all frames that are neither ED nor ES count here.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from pydantic import Field

from echolib import published
from echolib.config.profile import Profile
from echolib.config.specs import RunSpec
from echolib.evaluation.evaluation import Case
from echolib.evaluation.kinds.lengths import LengthsSpec
from echolib.evaluation.kinds.video import VideoSpec
from echolib.ledger.evaluations import Evaluation
from echolib.ledger.ledger import Ledger
from echolib.pages.experiment import Experiment, Needs, Options, SeedOptions
from echolib.pages.quantities import Quantity, Tables
from echolib.pages.verdict import SMALL_DICE
from echolib.papers.css.measuring import (
    EF,
    NOT_RUN,
    Entry,
    Order,
    answered,
    compared,
    ef_tables,
    headings,
    judged_on,
    left_out,
)
from echolib.papers.css.runs import SEGMENTERS, data_of, multi_input, segmenter, size_of, student

TCCL_TABLE, EF_TABLE, DICE_TABLE = "css_table3_tccl", "css_table5_segmentation_for_ef", "css_table6_dice"
#: Column of Table VI -> how it is measured; the first two from the traced frames of a run, the third from whole videos.
DICE = {"ed": Quantity("Dice, ED, %", "frames", "dice", factor=100, decimals=1),
        "es": Quantity("Dice, ES, %", "frames", "dice", factor=100, decimals=1),
        "unlabeled": Quantity("Dice, other frames, %", "studies", "untraced_dice", factor=100, decimals=1)}
#: Columns of Tables III and V.
EF_HEADINGS = headings(f"{model} {metric}" for model in ("f_m", "f_e") for metric in EF)


class SegmenterOptions(SeedOptions):
    """How many of the worst untraced frames are shown."""

    worst: int = Field(4, ge=1, le=12, description="a whole number from 1 to 12")


def of(model: str, method: str) -> str:
    """The group of a network, ``f_m`` or ``f_e``, with the masks of a segmenter."""
    return f"{model} of {method}"


def methods_of(profile: Profile, table: str) -> tuple[str, ...]:
    """The segmenters of a published table that the profile runs."""
    printed = set(published.load(table)["method"])
    extra = () if profile.css is None else profile.css.segmenters
    return tuple(name for name in SEGMENTERS if name in printed and (name in ("Supervised", "CSS") or name in extra))


def segmenters(profile: Profile, seed: int) -> dict[str, RunSpec]:
    """One seed's segmenters at the base share by name: all that some table needs."""
    if profile.css is None:
        return {}
    names = dict.fromkeys([*methods_of(profile, DICE_TABLE), *methods_of(profile, TCCL_TABLE)])
    return {name: segmenter(profile, name, profile.css.base, seed) for name in names}


def _ef_groups(profile: Profile, seed: int, table: str) -> dict[str, RunSpec]:
    if profile.css is None:
        return {}
    out, cut = {}, segmenters(profile, seed)
    for name in methods_of(profile, table):
        teacher = multi_input(profile, cut[name], profile.css.base, seed)
        out[of("f_m", name)] = teacher
        out[of("f_e", name)] = student(profile, teacher, profile.css.base, seed)
    return out


def _ef_cells(ledger: Ledger, experiment: Experiment) -> pd.DataFrame:
    profile = ledger.workspace.profile
    runs, entries = experiment.runs(profile), []
    for row in published.load(experiment.published).itertuples():
        group = of(row.model, row.method)
        for metric, spread in (("mae", row.mae_sd), ("r2", row.r2_sd)):
            entries.append(Entry(row.method, f"{row.model} {metric}", EF[metric], getattr(row, metric), spread,
                                 group if group in runs else "", NOT_RUN.get(row.method) or left_out(profile, row.method),
                                 other=row.method in NOT_RUN))
    return answered(entries, {name: ef_tables(ledger, specs) for name, specs in runs.items()}, profile)


def on_videos(profile: Profile, options: Options) -> dict[str, list[VideoSpec]]:
    """Every segmenter on the whole test videos, by name, one a seed."""
    out: dict[str, list[VideoSpec]] = {}
    for seed in profile.seeds:
        for name, run in segmenters(profile, seed).items():
            out.setdefault(name, []).append(VideoSpec(run=run, data=data_of(profile)))
    return out


def lengths_spec(profile: Profile) -> LengthsSpec:
    """How many videos hold the clip of the cyclical loss."""
    cycle = size_of(profile).cycle
    return LengthsSpec(data=data_of(profile), frames=cycle.frames, period=cycle.period)


def _more(profile: Profile, options: Options) -> Needs:
    """The count of videos that are too short."""
    return Needs() if profile.css is None else Needs(evaluations=(lengths_spec(profile),))


def dice_cells(ledger: Ledger, options: Options) -> pd.DataFrame:
    """Every published cell of Table VI."""
    profile = ledger.workspace.profile
    runs, videos, entries = TABLE6.runs(profile), TABLE6.evaluations(profile), []
    results: dict[str, Tables] = {}
    for name, specs in runs.items():
        scores = [ledger.scores(spec) for spec in specs]
        results |= {f"{name} {phase.lower()}": [{"frames": t[t.phase == phase]} for t in scores] for phase in ("ED", "ES")}
        results[f"{name} unlabeled"] = [e.tables for e in ledger.evaluate(videos[name])]
    for row in published.load(DICE_TABLE).itertuples():
        group = f"{row.method} {row.frame}"
        entries.append(Entry(row.method, f"dice {row.frame}", DICE[row.frame], row.dice, row.sd,
                             group if group in results else "", NOT_RUN.get(row.method) or left_out(profile, row.method),
                             other=row.method in NOT_RUN))
    return answered(entries, results, profile)


def worst_cases(evaluations: dict[str, list[Evaluation]], count: int) -> list[Case]:
    """The untraced test frames on which the supervised network of the first seed does worst, the worst of each study.

    The rule looks at one network alone, so that no method is chosen by its own failures against another.
    """
    table = evaluations["Supervised"][0].studies.sort_values(["worst_dice", "study"], kind="stable")
    return [(str(row.study), int(row.worst_frame)) for row in table.head(count).itertuples()]


def ef_orders() -> list[Order]:
    """The claims of Table V."""
    return [Order(f"Masks of CSS help {model} to a smaller error of the EF than those of {name}", of(model, "CSS"),
                  (of(model, name),)) for model in ("f_m", "f_e") for name in ("Supervised", "CPS")]


def tccl_orders() -> list[Order]:
    """The claims of Table III."""
    return [Order(f"A search in the same video helps {model} more than one in another video", of(model, "CSS"),
                  (of(model, "TCCL"),)) for model in ("f_m", "f_e")]


def dice_orders() -> list[Order]:
    """The claims of Table VI."""
    return [*(Order(f"CSS has a higher Dice on ED and ES frames than {name}", "CSS", (name,), of="dice")
              for name in ("Supervised", "CPS")),
            *(Order(f"CSS has a higher Dice on frames that nobody traced than {name}", "CSS", (name,), of="untraced_dice",
                    unit="Dice points", factor=100.0, small=SMALL_DICE) for name in ("Supervised", "CPS"))]


def gain_table(evaluations: dict[str, list[Evaluation]]) -> pd.DataFrame:
    """Dice on traced and on other frames, a row a segmenter and seed, and the gain over the supervised one of the same seed.

    Returns:
        Columns ``method``, ``seed``, ``traced``, ``untraced`` (%), ``gain_traced``, ``gain_untraced`` (points).
    """
    rows = []
    for name, group in evaluations.items():
        for one, base in zip(group, evaluations["Supervised"], strict=True):
            means = [100 * e.studies[c].mean() for e in (one, base) for c in ("traced_dice", "untraced_dice")]
            rows.append((name, one.record.spec.run.seed, means[0], means[1], means[0] - means[2], means[1] - means[3]))
    return pd.DataFrame(rows, columns=["method", "seed", "traced", "untraced", "gain_traced", "gain_untraced"]).replace(
        [np.inf, -np.inf], np.nan)


TABLE3 = Experiment(
    id="css_table3", number="Table III", place=3, title="A search in another video", published=TCCL_TABLE,
    notebook="css_segmenters", groups=lambda profile, seed, options: _ef_groups(profile, seed, TCCL_TABLE),
    measure=lambda ledger, options: _ef_cells(ledger, TABLE3), headings=EF_HEADINGS, options=SegmenterOptions(),
    judge=lambda ledger, options: judged_on(TABLE3, tccl_orders(), ledger, options),
    compares=lambda profile, options: compared(tccl_orders()))
TABLE5 = Experiment(
    id="css_table5", number="Table V", place=3, title="Segmenters by the ejection fraction", published=EF_TABLE,
    notebook="css_segmenters", groups=lambda profile, seed, options: _ef_groups(profile, seed, EF_TABLE),
    measure=lambda ledger, options: _ef_cells(ledger, TABLE5), headings=EF_HEADINGS, options=SegmenterOptions(),
    judge=lambda ledger, options: judged_on(TABLE5, ef_orders(), ledger, options),
    compares=lambda profile, options: compared(ef_orders()))
TABLE6 = Experiment(
    id="css_table6", number="Table VI", place=3, title="Segmenters by Dice", published=DICE_TABLE, notebook="css_segmenters",
    groups=lambda profile, seed, options: segmenters(profile, seed), evaluations_of=on_videos, measure=dice_cells,
    more=_more, headings=headings(f"dice {frame}" for frame in DICE),
    judge=lambda ledger, options: judged_on(TABLE6, dice_orders(), ledger, options),
    compares=lambda profile, options: compared(dice_orders()), options=SegmenterOptions())
FIGURE_A3 = Experiment(
    id="css_figureA3", number="Figure A3", place=3, title="Masks on frames that nobody traced", notebook="css_segmenters",
    evaluations_of=on_videos, options=SegmenterOptions())

PAGES = (TABLE6, TABLE5, TABLE3, FIGURE_A3)
