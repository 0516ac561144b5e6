"""Tables 3 to 5: region proxies, attentions of the kernels, and their iterations, switched one at a time on CAMUS.

Own readings where the paper defines nothing: the baseline is the predictor's mask enlarged bilinearly; the vanilla region proxy
is one estimator on the last map; interval 2 takes layers 4 and 2, interval 3 layers 4 and 1. Tables 3 and 4 switch one part on
without the other, Table 5 counts iterations of the whole network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import HTML
from matplotlib.figure import Figure
from pydantic import Field

from echolib import published
from echolib.config.profile import Profile
from echolib.config.specs import RunSpec
from echolib.evaluation.kinds.traced import TracedSpec
from echolib.ledger.evaluations import Evaluation
from echolib.ledger.ledger import Ledger
from echolib.pages.experiment import Claim, Experiment, Options, SeedOptions
from echolib.pages.html import html_table
from echolib.pages.quantities import Asked, cells, estimate
from echolib.papers.pkecho.runs import KERNELS, pkecho_run, size_of, subset_of, tested
from echolib.papers.pkecho.table1 import QUANTITIES, STUDY_DICE, data_of_row
from echolib.papers.pkecho.table1_drawing import number
from echolib.plots import COLOURS, intervals

#: Columns of all three tables.
MEASURED = {name: QUANTITIES[name] for name in ("dsc", "hd95", "asd")}
HEADINGS = {name: (q.heading, q.decimals) for name, q in MEASURED.items()}
BASELINE, VANILLA = "neither", "one region proxy (VRP)"
PROXIES = {"none": BASELINE, "vanilla": VANILLA} | {f"interval_{n}": f"MRP, interval {n}" for n in (3, 2, 1)}
ATTENTIONS = {"gate": "KSS, neither attention", "hybrid": "KSS, hybrid attention", "temporal": "KSS, temporal attention",
              "both": "KSS, both attentions"}


class AblationOptions(SeedOptions):
    """The encoder whose parts are switched."""

    backbone: Literal[18, 34, 50] | None = Field(None, description="one of 18, 34, 50")

    def applied(self, profile: Profile) -> Profile:
        """The profile with another encoder."""
        profile = super().applied(profile)
        if self.backbone is None or profile.pkecho is None:
            return profile
        return profile.model_copy(update={"pkecho": profile.pkecho.model_copy(update={"ablated": self.backbone})})


def iterations_name(count: int) -> str:
    """The group of a number of iterations."""
    return f"{count} iteration{'s' if count > 1 else ''}"


def _proxies(profile: Profile) -> dict[str, dict]:
    return {PROXIES[kind]: {"iterations": 0} | ({} if kind == "interval_1" else {"proxies": kind})
            for kind in size_of(profile).proxies}


def _kernels(profile: Profile) -> dict[str, dict]:
    wanted = {BASELINE: {"iterations": 0, "proxies": "none"}} if "none" in size_of(profile).proxies else {}
    return wanted | {ATTENTIONS[kind]: KERNELS[kind] | {"proxies": "none"} for kind in size_of(profile).kernels}


def _iterations(profile: Profile) -> dict[str, dict]:
    return {iterations_name(n): {} if n == 3 else {"iterations": n} for n in size_of(profile).iterations}


def _groups(switched: Callable[[Profile], dict[str, dict]]) -> Callable[[Profile, int, Options], dict[str, RunSpec]]:
    """One seed's runs of a table, from the options of its networks."""
    def groups(profile: Profile, seed: int, options: Options) -> dict[str, RunSpec]:
        profile = options.applied(profile)
        data = data_of_row(profile, "CAMUS")
        if data is None:
            return {}
        subset = subset_of(profile, "CAMUS", seed)
        return {name: pkecho_run(profile, size_of(profile).ablated, seed=seed, data=data, subset=subset, network=network)
                for name, network in switched(profile).items()}
    return groups


def _evaluations(groups: Callable) -> Callable[[Profile, Options], dict[str, list[TracedSpec]]]:
    def evaluations(profile: Profile, options: Options) -> dict[str, list[TracedSpec]]:
        found: dict[str, list[TracedSpec]] = {}
        for seed in profile.seeds:
            for name, run in groups(profile, seed, options).items():
                found.setdefault(name, []).append(tested(run))
        return found
    return evaluations


def group_of(table: str, entry: dict) -> tuple[str, str]:
    """(the group that answers a published row, what must be known to compare the two)."""
    if table == "pkecho_table3_mrp":
        interval = entry["interval"]
        return (f"MRP, interval {interval:g}" if interval == interval else VANILLA if "VRP" in entry["method"] else BASELINE), ""
    if table == "pkecho_table4_kss":
        kind = {"no": "gate", "yes": "both", "one of the two": "hybrid"}.get(entry["hybrid_attention"])
        lost = "the check marks of this row are lost in the transcript; the text names the hybrid attention first"
        return (ATTENTIONS[kind] if kind else BASELINE), lost * (kind == "hybrid")
    return iterations_name(int(entry["iterations"])), ""


def _cells(table: str, groups: Callable) -> Callable[[Ledger, Options], pd.DataFrame]:
    def measured(ledger: Ledger, options: Options) -> pd.DataFrame:
        profile, asked = ledger.workspace.profile, []
        found = {name: [e.tables for e in group] for name, group in _load(ledger, groups, options).items()}
        data = data_of_row(profile, "CAMUS")
        backbone = profile.pkecho.ablated if profile.pkecho else 50
        for entry in published.load(table).to_dict("records"):
            group, note = group_of(table, entry)
            told = [note] * bool(note) + [f"ours with ResNet-{backbone}"] * (backbone != 50)
            why = (f"profile {profile.name!r} does not train on CAMUS" if data is None else
                   f"not among the networks that profile {profile.name!r} runs")
            asked.append(Asked(group, entry, group if group in found else "", absent=why, data=data, note="; ".join(told)))
        return cells(asked, found, MEASURED, profile)
    return measured


def _load(ledger: Ledger, groups: Callable, options: Options) -> dict[str, list[Evaluation]]:
    specs = _evaluations(groups)(ledger.workspace.profile, options)
    return {name: ledger.evaluate(each) for name, each in specs.items()}


def load(ledger: Ledger, options: Options) -> dict[str, dict[str, list[Evaluation]]]:
    """All evaluations of the page by table, computed where they are missing."""
    return {number: _load(ledger, groups, options) for number, groups in (("Table 3", PROXY), ("Table 4", KERNEL),
                                                                          ("Table 5", ITERATION))}


PROXY, KERNEL, ITERATION = _groups(_proxies), _groups(_kernels), _groups(_iterations)


def estimates(group: dict[str, list[Evaluation]], resamples: int) -> pd.DataFrame:
    """Dice (%) of each group: columns value, low, high; index name."""
    found = {name: estimate([e.tables for e in each], MEASURED["dsc"], resamples) for name, each in group.items()}
    return pd.DataFrame({name: [f.value, f.low, f.high] for name, f in found.items()}, index=["value", "low", "high"]).T


def figure(results: dict[str, dict[str, list[Evaluation]]], profile: Profile, data: str) -> Figure:
    """Published and ours, a row of panels for each table."""
    shown = {table: group for table, group in results.items() if group}
    tables = {"Table 3": "pkecho_table3_mrp", "Table 4": "pkecho_table4_kss", "Table 5": "pkecho_table5_iterations"}
    heights = [len(group) for group in shown.values()]
    figure, axes = plt.subplots(len(shown), 2, figsize=(8.6, 0.5 * sum(heights) + 0.8 * len(shown)), height_ratios=heights,
                                layout="constrained", squeeze=False, sharey="row")
    for (left, right), (table, group) in zip(axes, shown.items(), strict=True):
        ours = estimates(group, profile.bootstrap)
        printed = {group_of(tables[table], e)[0]: e["dsc"] for e in published.load(tables[table]).to_dict("records")}
        known = pd.DataFrame({"value": pd.Series(printed), "low": float("nan"), "high": float("nan")}).reindex(ours.index)
        for axis, values, title, colour in ((left, known, f"{table}, published, CAMUS", COLOURS["published"]),
                                            (right, ours, f"{table}, this book, {data}", COLOURS["here"])):
            intervals(axis, values, colour)
            axis.set_title(title, fontsize=9, loc="left", color=colour)
            axis.margins(x=0.15)
    for axis in axes[-1]:
        axis.set_xlabel("Dice of the traced frames (%)")
    return figure


def between_html(results: dict[str, dict[str, list[Evaluation]]], resamples: int) -> HTML:
    """Dice of the traced frames and of the frames between, for each network of the page once."""
    once = {name: group for table in results.values() for name, group in table.items()}
    between = QUANTITIES["dsc"].__class__("between", "studies", "dice_between", factor=100)
    rows = [(name, *(number(estimate([e.tables for e in group], q, resamples), 2) for q in (MEASURED["dsc"], between)))
            for name, group in once.items()]
    caption = "Dice in % of the traced frames and of the frames between them, which no loss touches; 95 % intervals"
    return HTML(html_table(caption, ("Network", "Traced frames", "Frames between"), rows, "echo-table echo-sortable"))


def _table(number: int, title: str, name: str, groups: Callable, claims: tuple[Claim, ...]) -> Experiment:
    return Experiment(id=f"pkecho_table{number}", number=f"Table {number}", place=4, title=title, published=name,
                      notebook="pkecho_ablations", groups=groups, evaluations_of=_evaluations(groups),
                      measure=_cells(name, groups), claims=claims, headings=HEADINGS, options=AblationOptions())


def _claim(text: str, better: str, worse: str | tuple[str, ...]) -> Claim:
    return Claim(text, better, worse, measure=STUDY_DICE)


TABLE3 = _table(3, "Region proxies", "pkecho_table3_mrp", PROXY, (
    _claim("Multi-scale region proxies help", "MRP, interval 1", BASELINE),
    _claim("One region proxy helps", VANILLA, BASELINE),
    _claim("Multi-scale region proxies beat one", "MRP, interval 1", VANILLA),
    _claim("Fewer layers between proxies are better: 1 over 2", "MRP, interval 1", "MRP, interval 2"),
    _claim("Fewer layers between proxies are better: 2 over 3", "MRP, interval 2", "MRP, interval 3")))
TABLE4 = _table(4, "Attentions of the kernels", "pkecho_table4_kss", KERNEL, (
    _claim("Shared kernels help", ATTENTIONS["both"], BASELINE),
    _claim("Hybrid attention beats the gate", ATTENTIONS["hybrid"], ATTENTIONS["gate"]),
    _claim("Temporal attention helps", ATTENTIONS["both"], ATTENTIONS["hybrid"]),
    _claim("Hybrid attention helps beside the temporal one", ATTENTIONS["both"], ATTENTIONS["temporal"])))
TABLE5 = _table(5, "Iterations", "pkecho_table5_iterations", ITERATION, (
    _claim("Two iterations beat one", iterations_name(2), iterations_name(1)),
    _claim("Three iterations beat two", iterations_name(3), iterations_name(2)),
    _claim("A fourth iteration costs Dice", iterations_name(3), iterations_name(4))))

PAGES = (TABLE3, TABLE4, TABLE5)
