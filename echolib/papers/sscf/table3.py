"""Tables 3 and 4 with Figure 6, SSCF beside other networks on both data sets, and Table 6: the ejection fraction."""

from __future__ import annotations

from typing import Literal

import pandas as pd
from pydantic import Field

from echolib import published
from echolib.config.profile import Profile
from echolib.config.specs import RunSpec, SubsetSpec
from echolib.ledger.ledger import Ledger
from echolib.pages.experiment import Claim, Experiment, Groups, Measure, Options, SeedOptions
from echolib.pages.quantities import Quantity
from echolib.pages.verdict import SMALL_EF
from echolib.papers.sscf.folds import HEADINGS, QUANTITIES, asked_row, compared, judged, laid_out, on, published_cells, tested
from echolib.papers.sscf.runs import DATASETS, data_of, other_run, size_of, sscf_run

TABLES = {"EchoNet-Dynamic": "sscf_table3_echonet", "CAMUS": "sscf_table4_camus"}
#: Published method -> network here.
NAMES = {"SSCF": "SSCF", "Echo-Net": "DeepLabV3", "TransUNet": "ViT-B/16 with a U-Net decoder"}
MODELS = {"DeepLabV3": "deeplabv3_r50", NAMES["TransUNet"]: "si_vit_b16"}
NOTES = {"TransUNet": "ours is not TransUNet: a ViT-B/16 with MONAI's UNETR decoder, one frame at a time",
         "Echo-Net": "DeepLabV3-ResNet-50 by its own recipe, as EchoNet-Dynamic trains it"}
#: Columns of Table 6, by the method of disks.
FRACTIONS = {"ef_corr": Quantity("EF: r", "studies", "ef_disks", "ef", "r", decimals=3),
             "ef_abs_bias": Quantity("EF: |bias|, points", "studies", "ef_disks", "ef", "size", decimals=1),
             "ef_std": Quantity("EF: sd, points", "studies", "ef_disks", "ef", "sd", decimals=1)}
EF_ERROR = Measure("ef_error", "points of EF", less=True, small=SMALL_EF)


class Table3Options(SeedOptions):
    """Which data sets, and how many frames are shown."""

    datasets: tuple[Literal[DATASETS], ...] | None = Field(
        None, description=f"a list of different data sets: {', '.join(DATASETS)}")
    shown: int = Field(3, ge=1, le=12, description="a whole number from 1 to 12")


def run(profile: Profile, name: str, dataset: str, seed: int, subset: SubsetSpec) -> RunSpec:
    """The run of a network on one fold; others take as many steps with as many traced frames in each."""
    size, data = size_of(profile), data_of(profile, dataset)
    if name == "SSCF":
        return sscf_run(profile, "full", seed=seed, data=data, subset=subset)
    train = size.camus or size.train if dataset == "CAMUS" else size.train
    return other_run(profile, MODELS[name], seed=seed, data=data, subset=subset,
                     train=train.model_copy(update={"lr": profile.framewise.lr}))


def groups(profile: Profile, seed: int, options: Options) -> Groups:
    """One seed's runs by group and fold."""
    asked = () if profile.sscf is None else profile.sscf.others
    others = {"deeplabv3_r50": NAMES["Echo-Net"], "vit": NAMES["TransUNet"]}
    names = ["SSCF", *(others[name] for name in asked)]
    return laid_out(profile, seed, names, run, getattr(options, "datasets", None) or DATASETS)


def _cells(tables: dict[str, str], quantities: dict[str, Quantity]):
    def measured(ledger: Ledger, options: Options) -> pd.DataFrame:
        profile, rows = ledger.workspace.profile, []
        ran = groups(profile, profile.seeds[0], options)
        for dataset, table in tables.items():
            for entry in published.load(table).to_dict("records"):
                if entry.get("dataset", dataset) != dataset:
                    continue
                name = NAMES.get(entry["method"], "")
                answered = name in ("SSCF", *MODELS) and any(one.startswith(on(name, dataset)) for one in ran)
                rows.append(asked_row(profile, entry, name, dataset, ran, mine=entry["method"] == "SSCF" or answered,
                                      note=NOTES.get(entry["method"], ""), columns=quantities))
        return published_cells(ledger, rows, EVALUATIONS(profile, options), quantities)
    return measured


def _claims(dataset: str) -> tuple[Claim, ...]:
    return tuple(Claim(f"SSCF scores above {name}, {dataset}", on("SSCF", dataset), on(name, dataset)) for name in MODELS)


def _judging(name: str, claims: tuple[Claim, ...]) -> dict[str, object]:
    """How the entry of that id judges its claims."""
    def judge(ledger: Ledger, options: Options) -> pd.DataFrame:
        entry = next(page for page in PAGES if page.id == name)
        return judged(ledger, claims, entry.turned(options.changed))
    return dict(id=name, judge=judge, compares=lambda profile, options: compared(claims, EVALUATIONS(profile, options)))


EVALUATIONS = tested(groups)
_COMMON = dict(place=3, notebook="sscf_table3", groups=groups, evaluations_of=EVALUATIONS, options=Table3Options())
TABLE3, TABLE4 = (
    Experiment(number=f"Table {number}", title=f"SSCF beside other networks, {dataset}", published=TABLES[dataset],
               measure=_cells({dataset: TABLES[dataset]}, QUANTITIES), headings=HEADINGS,
               **_judging(f"sscf_table{number}", _claims(dataset)), **_COMMON)
    for number, dataset in ((3, "EchoNet-Dynamic"), (4, "CAMUS")))
FIGURE6 = Experiment(id="sscf_figure6", number="Figure 6", title="Outlines of several networks", published=TABLES["CAMUS"],
                     draws="sscf_table3", **_COMMON)
TABLE6 = Experiment(
    number="Table 6", title="Ejection fraction", published="sscf_table6_ef",
    measure=_cells(dict.fromkeys(DATASETS, "sscf_table6_ef"), FRACTIONS),
    headings={name: (q.heading, q.decimals) for name, q in FRACTIONS.items()},
    **_judging("sscf_table6", tuple(
        Claim(f"SSCF has the smaller EF error, against {name}, {dataset}", on("SSCF", dataset), on(name, dataset),
              measure=EF_ERROR) for dataset in DATASETS for name in MODELS)), **_COMMON)

PAGES = (TABLE3, TABLE4, FIGURE6, TABLE6)
