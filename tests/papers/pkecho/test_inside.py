"""What the pages show of a network: regions, attention, the audit's measurements, and the windows of whole videos."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from echolib import models
from echolib.config import ClipSpec, ModelSpec, RunSpec, TrainSpec
from echolib.data import echonet
from echolib.data.store import pack
from echolib.models.pkecho_propagation import propagate
from echolib.pages.timing import Timing
from echolib.papers import switched
from echolib.papers.pkecho import audit, inside, inside_drawing, length
from echolib.papers.pkecho.table1 import STUDY_DICE
from echolib.training.phases import traced_pairs
from echolib.training.recipes.clip_dense import ClipDense
from tests.data import fakes
from tests.papers.standin import PROFILES, StandIn

FRAMES = 4


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inside")
    return pack(echonet.read(fakes.write_echonet(folder / "data")), folder / "store", size=64, channels=1, progress=False)


def network(**options):
    return models.build("pkecho_r18", width=0.125, frames=FRAMES, size=64, seed=0, options=options).eval()


@pytest.fixture(scope="module")
def looked(store):
    return inside.look(network(), store, traced_pairs(store, "test")[0])


def test_regions_are_the_largest_share_of_a_one_hot_coarse_map(store, looked):
    model = network()
    clip = audit.clips_of(store, FRAMES, 1).clip
    with torch.no_grad():
        maps, whole = model.encoder(model.fitted(clip).transpose(1, 2).flatten(0, 1)), []
        for pixel in range(4):
            owner = torch.zeros(FRAMES, 1, 2, 2)
            owner.view(FRAMES, -1)[:, pixel] = 1
            for layer, factor in ((4, 2), (3, 2), (2, 2), (1, 4)):
                owner = propagate(owner, model.proxies[f"layer{layer}"](maps[layer]), factor)
            whole.append(owner[:, 0])
    share = torch.stack(whole, 1)
    assert torch.allclose(share.sum(1), torch.ones(1), atol=1e-5), "the regions divide the frame"
    assert (looked.regions == share.argmax(1).numpy()).all() and looked.regions.shape == (FRAMES, 64, 64)
    even = -(share * share.log()).sum(1) / np.log(4)
    assert np.allclose(looked.spread, even, atol=1e-4) and 0 < looked.spread.max() <= 1 + 1e-6


def test_masks_attention_and_kernels_are_those_of_the_forward_pass(store, looked):
    model, pair = network(), traced_pairs(store, "test")[0]
    clip = audit.clips_of(store, FRAMES, 1).clip
    stages = [one[0, 0].sigmoid() for one in model(clip, stages=True)]
    assert np.allclose(looked.masks, torch.stack(stages).detach().numpy(), atol=1e-5) and looked.masks.shape[0] == 4
    assert looked.attention.shape == (3, FRAMES, FRAMES) and np.allclose(looked.attention.sum(-1), 1, atol=1e-5)
    assert looked.likeness.shape == (4, FRAMES, FRAMES) and np.allclose(looked.likeness[0], 1, atol=1e-5), "one kernel for all"
    assert np.allclose(np.diagonal(looked.likeness, axis1=1, axis2=2), 1, atol=1e-5) and (looked.likeness[1] < 0.999).any()
    assert looked.study == pair.study and (looked.traced == [store.mask(pair.study, f) for f in (pair.ed, pair.es)]).all()
    assert [f.shape for f in looked.steps.values()] == [(FRAMES, n, n) for n in (2, 4, 8, 16, 64)]
    assert list(looked.steps) == [1, 2, 4, 8, 32]


def test_figures_are_drawn_and_a_network_without_temporal_attention_too(store, looked):
    for figure in (inside_drawing.proxy_figure, inside_drawing.restored_figure, inside_drawing.kernel_figure):
        assert len(figure(looked).axes) >= 8
    assert "to itself" in inside_drawing.words(looked)
    none = inside.look(network(temporal=False), store, traced_pairs(store, "test")[0])
    assert len(none.attention) == 0 and "no attention" in inside_drawing.words(none)
    inside_drawing.kernel_figure(none)


def test_the_audit_s_measurements(store):
    clips = audit.clips_of(store, FRAMES, 2)
    idle, blocks = audit.idle_parameters(network(), clips)
    assert idle == 12_672 and all(".hybrid." in block and block.rpartition(".")[2] in ("query", "key") for block in blocks)
    assert len(blocks) == 12 and audit.idle_parameters(network(hybrid="gate"), clips)[0] == 0
    assert "modified by an inplace operation" in audit.released_backward()
    assert np.flatnonzero(audit.frames_with_a_loss(network(), clips)).tolist() == [0, FRAMES - 1]
    sizes = audit.group_sizes(network(), clips)
    assert sizes[320][0] / sizes[64][0] > 5 * sizes[320][1] / sizes[64][1]
    assert all(total == pytest.approx(mean * (side // 32) ** 2, rel=1e-5) for side, (total, mean) in sizes.items())
    losses = audit.loss_shares(network(), clips)
    assert losses["boundary, px"][0] == pytest.approx(64 * 2 ** 0.5 * losses["boundary, diagonal"][0], rel=1e-4)
    assert losses["boundary, px"][1] > losses["Dice"][1]
    assert audit.company(network(), clips) > 1e-4
    copies = audit.Clips(clips.clip[:1].expand(2, -1, -1, -1, -1), clips.masks)
    assert audit.company(network(), copies) == pytest.approx(0, abs=1e-5)


def test_each_switch_changes_one_thing():
    profile = PROFILES["paper"]
    runs = audit.groups(profile, 0, audit.SeedOptions())
    base = runs.pop(audit.BASE)
    assert len(runs) == len(audit.SWITCHES)
    for name, run in runs.items():
        dump, other = base.model_dump(), run.model_dump()
        assert {k for k in dump if dump[k] != other[k]} == {"recipe"}, name
        changed = {k for k in dump["recipe"] if dump["recipe"][k] != other["recipe"][k]}
        assert len(changed) == 1, name
    assert run.recipe.kind == "clip_dense" and [one.across for one in audit.together(profile)[0]] == [False, True]


def test_effects_are_paired_and_judged():
    ledger = StandIn("desk", gain={'"boundary_scale":"diagonal"': 0.04})
    runs = audit.AUDIT.runs(ledger.workspace.profile)
    found = switched.effects(ledger, runs, audit.BASE)
    assert found.status["boundary loss over the frame's diagonal"] == "raises" and found.value.iloc[0] == pytest.approx(4, abs=1)
    assert found.low.iloc[0] > 0 and (found.dice - found.base).iloc[0] == pytest.approx(found.value.iloc[0])
    assert "raises" in switched.words(found) and len(switched.effects(ledger, {}, audit.BASE)) == 0
    assert len(switched.effects_figure(found, "phantoms").axes) == 1 and "points" in switched.effects_html(found, audit.BASE).data


def test_windows_of_whole_videos():
    profile = PROFILES["desk"]
    specs = length.evaluations(profile, length.LengthOptions())
    assert {s[0].period for n, s in specs.items() if n.startswith(length.NETWORK)} == {None, 1, 4}
    assert {s[0].data for s in specs.values()} == {profile.echonet} and len({s[0].key for s in specs.values()}) == len(specs)
    passes = {name: length.passes_per_frame(group[0]) for name, group in specs.items()}
    assert passes[length.OWN] == 2 and passes[length.windows(2, False)] == passes["nnU-Net"] == 1
    assert passes["SSCF"] == pytest.approx(32 / 30) and length.windows(1, True) == "PKEcho-Net, every frame, overlapping by half"
    assert specs[length.windows(1, True)][0].clip == ClipSpec(frames=10, period=1) and specs[length.OWN][0].clip.period == 2
    own = specs[length.OWN][0]
    assert own.key == own.model_copy(update={"period": None}).key


def test_the_length_table_has_every_measure(monkeypatch):
    clock = {name: Timing(name, 10, 64, 2.0, 0.1, 3, "p", 0.0, "d", "c")
             for name in ("PKEcho-Net R18", "SimLVSeg-3D", "nnU-Net", "SSCF")}
    monkeypatch.setattr(length.table2, "times", lambda *_: clock)
    ledger = StandIn("desk")
    found = length.table(ledger, length.load(ledger, length.LengthOptions()), length.LengthOptions())
    assert len(found) == 7 * len(length.MEASURES) and set(found[found.name == length.OWN].ms) == {4.0}
    assert length.table_html(found).data.count("<tr>") == 8 and len(length.figure(found, "phantoms").axes) == 2
    assert STUDY_DICE.column == "dice" and isinstance(found, pd.DataFrame)


def test_a_run_of_the_page_is_small_enough_to_be_committed():
    run = inside.run_of(PROFILES["desk"])
    assert run.model == ModelSpec(name="pkecho_r18", width=0.25) and isinstance(run.recipe, ClipDense)
    assert isinstance(run, RunSpec) and isinstance(run.train, TrainSpec) and run.seed == 0
