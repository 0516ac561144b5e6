"""The audit's effects: a switched run differs in its switch alone; differences and verdicts against hand-made scores."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from echolib.config import load_profile, switches
from echolib.pages.experiment import Options
from echolib.pages.lint import lint
from echolib.papers.book import BOOK
from echolib.papers.simlvseg import audit_effects
from echolib.papers.simlvseg.audit import AUDIT, DIFFERENCES, changes, comparisons, groups, switched_run
from echolib.papers.simlvseg.figure8 import FIGURE8, ratio_name
from echolib.papers.simlvseg.runs import segment_run
from echolib.papers.simlvseg.table1 import TABLE1
from echolib.training.recipes.reconstruct import Reconstruct

ROOT = Path(__file__).parents[3]
PAPER, SMOKE = (load_profile(ROOT / "profiles" / f"{name}.yml") for name in ("paper", "smoke"))
FIRST = "parents.init"
PAPERS = {"unet3d": "3D U-Net, as in the text", "si_uniformer_s": "SI UniFormer-S, as in the text"}


def leaves(spec, path: str = "") -> dict[str, object]:
    out = {}
    for name, value in spec.model_dump(mode="json").items() if not isinstance(spec, dict) else spec.items():
        out |= leaves(value, f"{path}{name}.") if isinstance(value, dict) else {f"{path}{name}": value}
    return out


@pytest.mark.parametrize(("row", "fields"), [
    (3, {"recipe.loss"}),
    (4, {*(f"{FIRST}.train.optimiser.{name}" for name in ("weight_decay", "betas", "amsgrad")), "train.optimiser.amsgrad",
         "train.optimiser.milestones"}),
    (6, {"parents.init.recipe.target"}), (7, {"parents.init.recipe.counts"}),
    (8, {f"{FIRST}.train.augment.jitter_p", f"{FIRST}.train.augment.clahe_p", "train.augment.jitter_p",
         "train.augment.clahe_p"})])
def test_a_switched_run_differs_in_its_switch_alone(row, fields):
    one = next(d for d in DIFFERENCES if d.row == row)
    runs, wanted = groups(PAPER, 2, Options()), comparisons(PAPER)
    name = next(n for n, rows in wanted.items() if rows == (one,))
    a, b = leaves(runs[PAPERS[one.model]]), leaves(runs[name])
    assert {k for k in a.keys() | b.keys() if a.get(k) != b.get(k)} == fields
    assert runs[name].seed == 2 and runs[name].key != runs[PAPERS[one.model]].key
    assert len(changes(runs[PAPERS[one.model]], runs[name])) == len(fields)


def test_the_values_are_those_of_the_released_protocol():
    together = groups(PAPER, 0, Options())["3, 4, 6, 8 together"]
    option = switches("released", PAPER.ablation.segment.epochs)
    assert together.recipe.loss == option.loss and together.train.optimiser == option.segment_optimiser
    assert together.parents["init"].train.optimiser == option.pretrain_optimiser
    assert together.parents["init"].recipe == Reconstruct(target="first_channel")
    assert together.train.augment == together.parents["init"].train.augment == option.augment
    released = segment_run(PAPER, "unet3d", seed=0, pretrained=True, protocol="released", ablation=True)
    assert changes(together, released) == ["stage 2, validation: per_frame → pooled"]


def test_a_short_profile_keeps_its_learning_rate_and_runs_the_rows_that_it_names():
    assert SMOKE.ablation.audit_rows == (3,)
    assert list(groups(SMOKE, 0, Options())) == [PAPERS["unet3d"], "3: one Dice over the batch"]
    every = SMOKE.model_copy(update={"ablation": SMOKE.ablation.model_copy(update={"audit_rows": (4, 7)})})
    runs = groups(every, 0, Options())
    assert list(runs) == [*PAPERS.values(), "4: optimisers and their schedule", "7: ratio counts frames kept"]
    four = runs["4: optimisers and their schedule"]
    assert four.train.optimiser.lr == SMOKE.ablation.segment.lr
    assert four.parents["init"].train.optimiser.lr == SMOKE.ablation.pretrain.lr
    assert groups(SMOKE.model_copy(update={"ablation": None}), 0, Options()) == {}
    with pytest.raises(ValueError, match="rows 3, 7 are shown by several networks"):
        switched_run(PAPER, (DIFFERENCES[0], DIFFERENCES[3]), 0)


def test_runs_that_other_pages_have_are_shared_and_all_are_planned_before_the_page():
    assert AUDIT.runs(PAPER)[PAPERS["unet3d"]] == TABLE1.runs(PAPER)["SimLVSeg-3D"]
    assert AUDIT.runs(PAPER)[PAPERS["si_uniformer_s"]] == FIGURE8.runs(PAPER)[ratio_name(0.6)]
    keys = {s.key for s in BOOK.needs("simlvseg_audit", PAPER).runs}
    assert keys == {s.key for entry in (AUDIT, TABLE1) for specs in entry.runs(PAPER).values() for s in specs}


def scores(*means: float, patients: int = 12) -> list[pd.DataFrame]:
    """A table a seed: ED and ES of every patient, spread around the mean by the same steps for every table."""
    step = np.linspace(-0.05, 0.05, patients)
    names = [f"p{k:02d}" for k in range(patients)]
    return [pd.DataFrame({"study": np.repeat(names, 2), "patient": np.repeat(names, 2), "frame": [0, 1] * patients,
                          "phase": ["ED", "ES"] * patients, "dice": np.repeat(mean + step, 2)}) for mean in means]


def test_what_two_runs_share_cancels_in_their_difference():
    groups_ = {"paper": scores(0.80, 0.84), "up": scores(0.81, 0.87), "same": scores(0.80, 0.84)}
    table = audit_effects.differences(groups_, "paper", 500)
    assert list(table.index) == ["up", "same"]
    assert table.value["up"] == pytest.approx(2.0) and table.sd["up"] == pytest.approx(np.sqrt(2))
    # seeds are drawn with replacement: +1 twice, +1 and +3, +3 twice; patients shift both runs alike
    assert table.low["up"] == pytest.approx(1.0) and table.high["up"] == pytest.approx(3.0)
    assert (table.loc["same", ["value", "low", "high"]].abs() < 1e-9).all()
    one = audit_effects.differences({"paper": scores(0.80), "up": scores(0.81)}, "paper", 200)
    assert np.isnan(one.sd["up"]) and one.low["up"] == pytest.approx(one.high["up"]) == pytest.approx(1.0)


@pytest.mark.parametrize(("switched", "quotable", "status", "why"), [
    ((0.82, 0.82, 0.83), True, "raises", "+2.33 Dice points over 3 seeds"),
    ((0.78, 0.79, 0.78), True, "lowers", "−1.67 Dice points"),
    ((0.82, 0.79, 0.80), True, "no difference found", "seeds would decide"),
    ((0.82, 0.82), True, "undecided", "at least 3 seeds are needed"),
    ((0.82, 0.82, 0.83), False, "undecided", "only proves that the path works")])
def test_the_verdict_in_words(switched, quotable, status, why):
    found = audit_effects.effect_verdict(scores(*switched), scores(*[0.80] * len(switched)), quotable=quotable)
    assert found.status == status and why in found.why


def fake_ledger(profile, shift: dict[str, float]) -> SimpleNamespace:
    name_of = {spec.key: (name, k) for name, specs in AUDIT.runs(profile).items() for k, spec in enumerate(specs)}

    def table(spec):
        name, seed = name_of[spec.key]
        return scores(0.8 + 0.01 * seed + shift.get(name, 0.0))[0]

    return SimpleNamespace(workspace=SimpleNamespace(profile=profile), scores=table)


def test_every_comparison_stands_in_the_table_with_its_network_and_options():
    profile = PAPER.model_copy(update={"bootstrap": 200})
    shift = {"3: one Dice over the batch": 0.02, "7: ratio counts frames kept": -0.01}
    found = audit_effects.effects(fake_ledger(profile, shift))
    assert list(found.index) == list(comparisons(PAPER)) and found.network["7: ratio counts frames kept"] == "SI UniFormer-S"
    assert found.value.round(6).tolist() == [2.0, 0.0, 0.0, -1.0, 0.0, 0.0]
    none = "no difference"
    assert found.status.tolist() == ["raises", none, none, "lowers", none, none]
    assert found.switched["3: one Dice over the batch"] == "stage 2, loss: dice_frame → dice_batch"
    text = audit_effects.effects_html(found)
    assert text.count("<tr>") == 7 and "+2.00 <small>(+2.00 to +2.00)</small>" in text and "−1.00" in text
    none = audit_effects.effects(fake_ledger(PAPER.model_copy(update={"ablation": None}), {}))
    assert none.empty and audit_effects.effects_html(none).count("<tr>") == 1


def test_the_effects_figure_draws_each_interval_beside_a_zero_line():
    found = pd.DataFrame({"value": [0.5, -0.2], "low": [0.1, -0.6], "high": [0.9, 0.2], "network": ["3D U-Net", "SI UniFormer-S"],
                          "status": ["raises", "no difference found"]}, index=["3: a", "7: b"])
    axis = audit_effects.effects_figure(found, "phantoms").axes[0]
    drawn = [tuple(line.get_xdata()) for line in axis.lines]
    assert (0, 0) in drawn and (0.1, 0.9) in drawn and (-0.6, 0.2) in drawn
    assert [t.get_text() for t in axis.texts] == ["+0.50  raises", "−0.20  no difference found"]
    assert [t.get_text() for t in axis.get_yticklabels()] == ["3: a\n3D U-Net", "7: b\nSI UniFormer-S"]
    audit_effects.effects_figure(audit_effects.effects(fake_ledger(PAPER.model_copy(update={"ablation": None}), {})), "x")
    plt.close("all")


def record(seed: int, **score: float) -> SimpleNamespace:
    return SimpleNamespace(spec=SimpleNamespace(seed=seed), dice=SimpleNamespace(**score))


WIDE = dict(mean=0.90, low=0.88, high=0.92, pooled=0.91, pooled_low=0.90, pooled_high=0.92)


def test_both_readings_of_a_record():
    found = audit_effects.readings({"a": [record(0, **WIDE)], "b": [record(1, **WIDE | {"pooled_low": 0.85})]})
    assert found.dice.tolist() == pytest.approx([1.0, 1.0]) and found.ratio.tolist() == pytest.approx([0.5, 1.75])
    assert audit_effects.narrower(found[:1]).status.tolist() == ["holds"]
    assert audit_effects.narrower(found[:1], quotable=False).status.tolist() == ["undecided"]
    claim = audit_effects.narrower(found).iloc[0]
    assert claim.status == "does not hold" and claim.why == "narrower in 1 of 2 runs, 0.50 to 1.75 times as wide"
    figure = audit_effects.readings_figure(found, "phantoms")
    assert [t.get_text() for axis in figure.axes for t in axis.texts] == ["+1.00", "+1.00", "0.50", "1.75"]
    text = audit_effects.readings_html(found)
    assert "<td>90.00</td><td>91.00</td><td>+1.00</td><td>4.00</td><td>2.00</td><td>0.50</td>" in text
    flat = audit_effects.readings({"a": [record(0, **WIDE | {"low": 0.9, "high": 0.9})]})
    assert np.isnan(flat.ratio[0]) and "–" in audit_effects.readings_html(flat)
    plt.close("all")


def test_the_page_s_notebook_is_thin_and_names_rows_that_the_audit_has():
    assert lint(ROOT / "notebooks" / "simlvseg_audit.ipynb") == []
    audit = (ROOT / "book" / "audit.md").read_text(encoding="utf-8")
    assert all(f'<tr><th scope="row">{d.row}</th>' in audit for d in DIFFERENCES)
    assert "simlvseg_audit.ipynb" in audit
