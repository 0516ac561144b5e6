"""The trainings behind the audit's effects: each of its rows that changes the training, switched to the released program alone.

Rows by their number in ``book/audit.md``. A switched run is the paper's run with the options of its rows copied from the run
of protocol ``released``, and nothing else changed: the epoch is still chosen by the paper's mean Dice (row 2).
"""

from __future__ import annotations

from dataclasses import dataclass

from echolib.config import Profile, RunSpec
from echolib.pages.experiment import Experiment, Needs, Options, SeedOptions
from echolib.papers.simlvseg.runs import segment_run
from echolib.papers.simlvseg.table1 import TABLE1


@dataclass(frozen=True)
class Difference:
    """A row of the audit that changes the training.

    Attributes:
        row: its number.
        model: the network that shows it.
        what: what is switched, in a few words.
        options: the options that it sets, ``stage.option``; stage 1 is ``pretrain``, stage 2 ``segment``.
    """

    row: int
    model: str
    what: str
    options: tuple[str, ...]


DIFFERENCES: tuple[Difference, ...] = (
    Difference(3, "unet3d", "one Dice over the batch", ("segment.recipe.loss",)),
    Difference(4, "unet3d", "optimisers and their schedule", ("pretrain.train.optimiser", "segment.train.optimiser")),
    Difference(6, "unet3d", "first channel reconstructed", ("pretrain.recipe.target",)),
    Difference(7, "si_uniformer_s", "ratio counts frames kept", ("pretrain.recipe.counts",)),
    Difference(8, "unet3d", "jitter and CLAHE half the time", ("pretrain.train.augment", "segment.train.augment")),
)
#: Network -> its name on the page.
NETWORKS: dict[str, str] = {"unet3d": "3D U-Net", "si_uniformer_s": "SI UniFormer-S"}


def paper_name(model: str) -> str:
    """The group of a network's runs by the text."""
    return f"{NETWORKS[model]}, as in the text"


def row_name(rows: tuple[Difference, ...]) -> str:
    """The group of the runs with some rows switched, such as ``3: one Dice over the batch`` or ``3, 4 together``."""
    return f"{rows[0].row}: {rows[0].what}" if len(rows) == 1 else f"{', '.join(str(d.row) for d in rows)} together"


def comparisons(profile: Profile) -> dict[str, tuple[Difference, ...]]:
    """Group name -> the rows that it switches: each row of ``profile.ablation.audit_rows`` alone, then a network's together."""
    if profile.ablation is None:
        return {}
    asked = [d for d in DIFFERENCES if d.row in profile.ablation.audit_rows]
    sets = [(d,) for d in asked]
    for model in NETWORKS:
        together = tuple(d for d in asked if d.model == model)
        sets += [together] if len(together) > 1 else []
    return {row_name(rows): rows for rows in sets}


def paper_run(profile: Profile, model: str, seed: int) -> RunSpec:
    """The run by the text, pre-trained, on the schedule of the ablations."""
    return segment_run(profile, model, seed=seed, pretrained=True, ablation=True)


def switched_run(profile: Profile, rows: tuple[Difference, ...], seed: int) -> RunSpec:
    """The paper's run with ``rows``, all of one network, switched to the released program.

    Raises:
        ValueError: the rows are of several networks.
    """
    if len({d.model for d in rows}) != 1:
        raise ValueError(f"rows {', '.join(str(d.row) for d in rows)} are shown by several networks; one run has one network")
    paper = paper_run(profile, rows[0].model, seed)
    released = segment_run(profile, rows[0].model, seed=seed, pretrained=True, ablation=True, protocol="released")
    spec = paper.model_dump()
    for option in (o for d in rows for o in d.options):
        stage, *path = option.split(".")
        source, target = released.model_dump(), spec
        if stage == "pretrain":
            source, target = source["parents"]["init"], target["parents"]["init"]
        for name in path[:-1]:
            source, target = source[name], target[name]
        target[path[-1]] = source[path[-1]]
    return RunSpec.model_validate(spec)


def groups(profile: Profile, seed: int, options: Options) -> dict[str, RunSpec]:
    """One seed's runs by group: the paper's run of each network that is needed, and every comparison."""
    wanted = comparisons(profile)
    models = dict.fromkeys(rows[0].model for rows in wanted.values())
    return ({paper_name(m): paper_run(profile, m, seed) for m in models}
            | {name: switched_run(profile, rows, seed) for name, rows in wanted.items()})


def changes(paper: RunSpec, switched: RunSpec) -> list[str]:
    """Every option in which two runs differ, such as ``stage 2, loss: dice_frame, dice_batch``."""
    def leaves(tree: dict, stage: str, above: str = "") -> dict[str, object]:
        out: dict[str, object] = {}
        for name, value in tree.items():
            if name == "parents":
                for parent in value.values():
                    out |= leaves(parent, "stage 1")
            elif isinstance(value, dict):
                out |= leaves(value, stage, name)
            else:
                out[f"{stage}, {name}"] = value
        return out

    a, b = (leaves(spec.model_dump(mode="json"), "stage 2") for spec in (paper, switched))
    return [f"{name}: {a.get(name)} → {b.get(name)}" for name in {**a, **b} if a.get(name) != b.get(name)]


def _more(profile: Profile, options: Options) -> Needs:
    """Rows 1 and 2 read Table 1's records again."""
    return Needs(tuple(spec for group in TABLE1.runs(profile).values() for spec in group))


#: Switches of the two protocols, one at a time. The paper prints nothing of it; rows 1 and 2 re-read the runs of Table 1.
AUDIT = Experiment(id="simlvseg_audit", number="Audit", title="What the released program's differences do", place=2,
                   notebook="simlvseg_audit", groups=groups, more=_more, options=SeedOptions(), prose=("book/audit",))

PAGES = (AUDIT,)
