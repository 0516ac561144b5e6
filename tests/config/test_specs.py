"""Options: unknown keys, bad values, keys of runs, and the two protocols."""

from __future__ import annotations

from pathlib import Path

import pytest

from echolib.config import ClipSpec, Profile, RunSpec, load_profile, switches
from echolib.errors import ConfigError
from echolib.papers.simlvseg.runs import segment_run

PROFILES = sorted((Path(__file__).parents[2] / "profiles").glob("*.yml"))


@pytest.fixture(scope="module")
def smoke() -> Profile:
    return load_profile(PROFILES[0].parent / "smoke.yml")


@pytest.mark.parametrize("path", PROFILES, ids=lambda p: p.stem)
def test_every_profile_loads_under_its_own_name(path):
    assert load_profile(path).name == path.stem


def test_a_missing_profile_is_named_with_those_that_exist(tmp_path):
    (tmp_path / "desk.yml").write_text("name: desk")
    with pytest.raises(ConfigError, match="no profile 'nosuch'; profiles here: desk"):
        load_profile(tmp_path / "nosuch.yml")


@pytest.mark.parametrize(("old", "new", "words"), [
    ("width: 0.25", "width: 1.5", "width"), ("width: 0.25", "widht: 0.25", "widht"),
    ("epochs: 2", "epochs: 0", "pretrain.epochs"), ("seeds: [0]", "seeds: []", "seeds"),
    ("layout: echonet", "layout: echo", "echonet.layout"), ("quotable: false", "quotable: perhaps", "quotable"),
    ('base: "1/4"', 'base: "1"', "css.base.*a share of 1 leaves no unlabelled study .* expected a share below 1")])
def test_a_bad_option_is_named(tmp_path, old, new, words):
    text = (PROFILES[0].parent / "smoke.yml").read_text()
    assert old in text
    (tmp_path / "smoke.yml").write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError, match=words):
        load_profile(tmp_path / "smoke.yml")


def test_the_key_follows_every_option_and_nothing_else(smoke):
    first = segment_run(smoke, "unet3d", seed=0, pretrained=True)
    again = RunSpec.model_validate(first.model_dump(mode="json"))
    assert again == first and again.key == first.key
    others = [segment_run(smoke, "unet3d", seed=1, pretrained=True), segment_run(smoke, "unet3d", seed=0),
              segment_run(smoke, "unet3d", seed=0, pretrained=True, mask_ratio=0.5),
              segment_run(smoke, "unet3d", seed=0, pretrained=True, protocol="released"),
              segment_run(smoke, "unet3d", seed=0, pretrained=True, clip=ClipSpec(frames=32, period=1))]
    assert len({first.key, *(s.key for s in others)}) == 6


def test_contradictions_are_refused(smoke):
    run = segment_run(smoke, "unet3d", seed=0)
    with pytest.raises(ValueError, match="no recipe 'nosuch'; recipes: .*segment"):
        RunSpec.model_validate(run.model_dump() | {"recipe": {"kind": "nosuch"}})
    with pytest.raises(ValueError, match="ratio"):
        RunSpec.model_validate(run.model_dump() | {"recipe": {"kind": "segment", "ratio": 0.5}})
    with pytest.raises(ValueError, match="recipe 'segment' has no role 'teacher' for another run; its roles: init"):
        RunSpec.model_validate(run.model_dump() | {"parents": {"teacher": run.model_dump()}})
    with pytest.raises(ValueError, match="square number"):
        segment_run(smoke, "si_uniformer_s", seed=0, clip=ClipSpec(frames=8))
    other = segment_run(smoke, "unet3d_s", seed=0, pretrained=True)
    with pytest.raises(ValueError, match="'init' trained unet3d_s"):
        RunSpec.model_validate(run.model_dump() | {"parents": {"init": other.parents["init"].model_dump()}})


def test_the_protocols_differ_where_the_audit_says():
    paper, released = switches("paper"), switches("released")
    assert (paper.interval, released.interval) == ("patients_95", "frames_90")                     # row 1
    assert (paper.mean_dice, released.mean_dice) == ("per_frame", "pooled")                        # row 2
    assert (paper.loss, released.loss) == ("dice_frame", "dice_batch")                             # row 3
    assert paper.pretrain_optimiser == paper.segment_optimiser                                     # row 4
    assert released.pretrain_optimiser.weight_decay == 1e-3 and released.pretrain_optimiser.betas == (0.9, 0.95)
    assert released.segment_optimiser.milestones == (45, 60) and released.segment_optimiser.amsgrad
    assert (paper.reconstruct, released.reconstruct) == ("clip", "first_channel")                  # row 6
    assert (paper.si_counts, released.si_counts) == ("masked", "kept")                             # row 7
    assert (released.augment.jitter_p, released.augment.clahe_p, released.augment.rotation) == (0.5, 0.5, 20.0)   # row 8


def test_a_frame_wise_run_has_the_milestones_of_its_own_schedule(smoke):
    assert (smoke.segment.epochs, smoke.framewise.epochs) == (3, 6)
    clips, frames = (segment_run(smoke, name, seed=0, protocol="released").train for name in ("unet3d", "nnunet2d"))
    assert clips.optimiser.milestones == (2, 3) and frames.optimiser.milestones == (4, 5)


def test_a_shortened_schedule_keeps_the_place_of_its_milestones():
    assert switches("released", segment_epochs=14).segment_optimiser.milestones == (9, 12)
