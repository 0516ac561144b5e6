"""The cyclic recipe and cross pseudo supervision: a step, both terms, the log, resumed to the same bytes, bad input."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from echolib.config import ClipSpec, ModelSpec, OptimiserSpec, RunSpec, SubsetSpec
from echolib.data.subsets import restricted
from echolib.errors import DataError, TrainingError
from echolib.losses.css import aligned, cyclical, halves
from echolib.models import load_weights
from echolib.training.engine import fit
from echolib.training.recipe import Recipe, recipe_class
from echolib.training.recipes.cross_pseudo import CrossPseudo
from echolib.training.recipes.cyclic import Cyclic, gradient_ratio
from echolib.training.twins import SECOND
from tests.training.css_standin import EFStore, frame_wise, store
from tests.training.standin import run_spec
from tests.training.test_batches import CPU, numbers

QUIET = dict(progress=False, device="cpu", checkpoint_seconds=0)
#: A cycle that fits into 12 frames: 5 of template, a search of 4, a buffer of 3.
SHORT = dict(frames=12, period=2, template=5, length=2, offset=2, scale=1.0, temperature=1.0)


def spec_of(kind=Cyclic, **changes) -> RunSpec:
    options = {name: changes.pop(name) for name in list(changes) if name in kind.model_fields}
    options = (SHORT | options) if kind is Cyclic else options
    return run_spec(**{"recipe": kind(**options), "clip": ClipSpec(frames=1), "model": ModelSpec(name="deeplabv3_r50"),
                       "train_augment": None, "train_optimiser": OptimiserSpec(name="sgd", lr=1e-4, momentum=0.9), **changes})


def recipe(spec: RunSpec, cohort: EFStore | None = None) -> Recipe:
    """The recipe with a tiny network."""
    made = recipe_class(spec.recipe)(spec, cohort or store())
    made.build = lambda spec, *, seed=0, **_: frame_wise(seed)
    return made


def first_step(made: Recipe):
    model, _ = made.network(None)
    return model, next(made.batches().epoch(0, CPU))


# -- what a step holds ------------------------------------------------------------------------------------------------

def test_a_step_has_both_traced_frames_of_labelled_studies_and_one_clip_of_any():
    cohort, spec = store(), spec_of()
    made, seen, starts = recipe(spec, cohort).batches(), set(), set()
    for epoch in range(20):
        visited = []
        for batch in made.epoch(epoch, CPU):
            assert batch.clip.shape == (2, 3, 2, 32, 32) and batch.beside.shape == (1, 3, 12, 32, 32)
            assert all(pair == [0, 4] for pair in numbers(batch.clip)), "ED and ES"
            for study, masks in zip(batch.studies[:2], batch.masks, strict=True):
                assert all((masks[k].numpy() == cohort.mask(study, frame)).all() for k, frame in enumerate((0, 4)))
            visited += batch.studies[:2]
            assert np.diff(numbers(batch.beside)[0]).tolist() == [2] * 11
            seen.add(batch.studies[2])
            starts.add(int(batch.start))
        assert len(visited) == len(set(visited)) == 2
    assert seen == {f"train{k}" for k in range(5)} and starts == {0, 1, 2}, "every video, every start of the template"
    assert set(cohort.asked) == {"train0", "train1", "train2"}, "tracings of labelled studies alone"


def test_only_unlabelled_clips_where_that_is_asked_for():
    made = recipe(spec_of(clips="unlabelled")).batches()
    assert {batch.studies[2] for epoch in range(8) for batch in made.epoch(epoch, CPU)} == {"train3", "train4"}
    with pytest.raises(TrainingError, match="recipe 'cyclic' with clips='unlabelled' needs unlabelled videos, but every video of "
                                            "the 'train' split is labelled; expected a labelled share below 1"):
        recipe(spec_of(clips="unlabelled"), store(unlabelled=0)).batches()


def test_videos_that_are_too_short_are_left_out_and_counted():
    cohort = store()  # 24 to 28 frames
    made = recipe(spec_of(frames=13), cohort).batches()
    assert made.beside.short == 1 and {item.study for item in made.beside.items} == {f"train{k}" for k in range(1, 5)}
    with pytest.raises(TrainingError, match="0 of 5 videos of the 'train' split are 37 frames long, as a clip of 13 frames at "
                                            "period 3 needs; expected at least 1"):
        recipe(spec_of(frames=13, period=3), cohort).batches()


def test_a_step_does_not_depend_on_where_the_epoch_began():
    made = recipe(spec_of(train_batch=1)).batches()
    whole, rest = list(made.epoch(1, CPU)), list(made.epoch(1, CPU, first=1))
    for one, other in zip(whole[1:], rest, strict=True):
        assert one.step == other.step and all(torch.equal(getattr(one, n), getattr(other, n)) for n in
                                              ("clip", "masks", "beside", "start"))


def test_a_labelled_study_with_one_phase_is_named():
    cohort = store()
    cohort.labels = cohort.labels[~((cohort.labels.study == "train1") & (cohort.labels.phase == "ES"))]
    with pytest.raises(DataError, match="study train1: only one of the two phases is traced.*ED.*an ED and an ES frame"):
        recipe(spec_of(), cohort).batches()


def test_tracings_of_unlabelled_studies_are_out_of_reach_of_a_whole_run(tmp_path):
    """On a packed phantom: the run sees a store in which neither masks, nor volumes, nor the traced frames' numbers are left."""
    from echolib.config import PhantomSpec
    from echolib.data import echonet
    from echolib.data.store import pack
    from echolib.phantom.cohort import write_echonet
    write_echonet(tmp_path / "data", PhantomSpec(train=6, val=1, test=1, seed=1, frames=(24, 26)), progress=False)
    whole = pack(echonet.read(tmp_path / "data"), tmp_path / "store", size=32, channels=1, progress=False)
    spec = spec_of(subset=SubsetSpec(labelled=(1, 3)), train_epochs=1)
    seen = restricted(whole, spec.subset)
    labelled = {item.study for item in recipe(spec, seen).batches().items}
    hidden = set(seen.studies.index[seen.studies.split == "train"]) - labelled
    assert len(labelled) == 2 and len(hidden) == 4
    assert seen.studies.loc[sorted(hidden), ["ef", "edv", "esv"]].isna().all(None)
    assert (seen.studies.loc[sorted(hidden), ["ed_frame", "es_frame"]] == -1).all(None)
    for study, frame in whole.labels.loc[whole.labels.study.isin(hidden), ["study", "frame"]].itertuples(index=False):
        with pytest.raises(DataError, match="the frame has no label"):
            seen.mask(study, frame)
    assert fit(recipe(spec, seen), tmp_path / "run", **QUIET).finished


# -- the loss ---------------------------------------------------------------------------------------------------------

def test_the_loss_is_both_cross_entropies_and_the_weighted_cycle():
    made = recipe(spec_of(weight=0.5))
    model, batch = first_step(made)
    model.eval()
    got = made.loss(model, batch)
    logits = [model(batch.clip[:, :, k:k + 1])[:, 0, 0] for k in (0, 1)]
    supervised = halves(*logits, batch.masks)
    match = cyclical(model(batch.beside, features=True)[0].T, int(batch.start), made.options.cycle)
    torch.testing.assert_close(got, supervised + 0.5 * match.loss)
    noted = dict(zip(made.columns, made.notes().tolist(), strict=True))
    assert noted["supervised"] == pytest.approx(supervised.item()) and noted["cyclical"] == pytest.approx(match.loss.item())
    assert noted["entropy"] == pytest.approx(match.entropy.item())
    assert noted["came_round"] == float(match.beta.argmax() == batch.start + 2)


def test_the_ratio_of_gradients_is_that_of_two_backward_passes():
    made = recipe(spec_of(weight=0.5))
    model, batch = first_step(made)
    made.loss(model, batch)
    ratio = made.notes()[-1].item()
    norms = []
    for part in ("cycle", "labels"):
        model.zero_grad()
        if part == "cycle":
            (0.5 * made.match(model, batch).loss).backward()
        else:
            halves(*[model(batch.clip[:, :, k:k + 1])[:, 0, 0] for k in (0, 1)], batch.masks).backward()
        shared = [p.grad.square().sum() for name, p in model.named_parameters() if "last" not in name]
        norms.append(torch.stack(shared).sum().sqrt())
    assert ratio == pytest.approx((norms[0] / norms[1]).item(), rel=1e-4) and 0 < ratio < float("inf")
    assert gradient_ratio(2 * made.match(model, batch).loss, made.match(model, batch).loss, model).item() == pytest.approx(2)


def test_gradients_are_compared_every_so_many_steps():
    made = recipe(spec_of(measured=2, train_batch=1))
    model, _ = made.network(None)
    ratios = []
    for batch in made.batches().epoch(0, CPU):
        made.loss(model, batch)
        ratios.append(made.notes()[-1].item())
    assert np.isfinite(ratios).tolist() == [True, False, True]


def test_without_a_weight_no_clip_is_read_and_the_loss_is_the_labels():
    made = recipe(spec_of(weight=0.0))
    model, batch = first_step(made)
    assert batch.beside is None and made.batches().beside is None and len(batch.studies) == 2
    logits = [model.eval()(batch.clip[:, :, k:k + 1])[:, 0, 0] for k in (0, 1)]
    torch.testing.assert_close(made.loss(model, batch), halves(*logits, batch.masks))
    assert np.isnan(made.notes()[1:].numpy()).all() and made.notes()[0] > 0


def test_temporal_cycle_consistency_searches_in_a_second_video():
    made = recipe(spec_of(other_video=True, offset=0))
    model, batch = first_step(made)
    assert batch.beside.shape[0] == 2 and batch.studies[2] != batch.studies[3]
    model.eval()
    features = model(batch.beside, features=True)
    wanted = aligned(features[0].T[:6], features[1].T[5:], int(batch.start[0]), made.options.cycle)
    torch.testing.assert_close(made.match(model, batch).loss, wanted.loss)
    with pytest.raises(ValueError, match="a search in another video has no offset"):
        Cyclic(other_video=True)


@pytest.mark.parametrize(("options", "words"), [
    ({"frames": 20}, "expected at least 21 frames"), ({"scale": -1.0}, "'scale' takes a number above 0 or 'spread'"),
    ({"template": 5, "candidates": "inside", "length": 4}, "has no starting point")])
def test_options_that_leave_no_room_are_refused_at_once(options, words):
    with pytest.raises(ValueError, match=words):
        Cyclic(**options)


def test_a_network_whose_frames_have_no_features_is_refused(tmp_path):
    made = recipe_class(spec_of().recipe)(spec_of(model=ModelSpec(name="si_resnet18", width=0.125)), store())
    with pytest.raises(TrainingError, match="si_resnet18 does not segment frame by frame.*expected deeplabv3_r50 or nnunet2d"):
        made.network(tmp_path)


# -- whole runs -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", [Cyclic, CrossPseudo])
def test_a_run_stopped_and_resumed_gives_the_same_bytes_and_log(tmp_path, kind):
    spec = spec_of(kind, train_batch=1)
    whole = fit(recipe(spec), tmp_path / "whole", **QUIET)
    log = pd.read_csv(tmp_path / "whole" / "log.csv").drop(columns="seconds")
    for cut in (1, 4, 8):
        assert not fit(recipe(spec), tmp_path / f"{cut}", stop_after_steps=cut, **QUIET).finished
        assert fit(recipe(spec), tmp_path / f"{cut}", **QUIET).weights.read_bytes() == whole.weights.read_bytes()
        pd.testing.assert_frame_equal(pd.read_csv(tmp_path / f"{cut}" / "log.csv").drop(columns="seconds"), log)
    assert whole.best_score < 0, "minus the loss"


def test_the_log_shows_both_terms_the_entropy_and_the_ratio(tmp_path):
    fit(recipe(spec_of(weight=0.5, measured=2)), tmp_path, **QUIET)
    log = pd.read_csv(tmp_path / "log.csv")
    assert list(log.columns)[-5:] == ["supervised", "cyclical", "entropy", "came_round", "gradient_ratio"] and len(log) == 3
    np.testing.assert_allclose(log.loss, log.supervised + 0.5 * log.cyclical, rtol=1e-5)
    assert log.entropy.between(0, 1).all() and set(log.came_round) <= {0, 1} and (log.gradient_ratio > 0).all()


@pytest.mark.parametrize("kind", [Cyclic, CrossPseudo])
def test_the_precision_of_a_graphics_card_and_of_desk_trains_too(tmp_path, kind):
    """In mixed precision Fabric allows its own backward pass alone, and gradients are compared by two others."""
    spec = spec_of(kind, precision="bf16-mixed", engine="fast")
    assert fit(recipe(spec), tmp_path / "mixed", **QUIET).finished
    if kind is Cyclic:
        mixed = pd.read_csv(tmp_path / "mixed" / "log.csv")
        fit(recipe(spec_of(precision="32-true", engine="fast")), tmp_path / "whole", **QUIET)
        whole = pd.read_csv(tmp_path / "whole" / "log.csv")
        assert mixed.gradient_ratio.notna().sum() == whole.gradient_ratio.notna().sum() == spec.train.epochs
        np.testing.assert_allclose(mixed.gradient_ratio[0], whole.gradient_ratio[0], rtol=0.3)
        np.testing.assert_allclose(mixed.supervised[0], whole.supervised[0], rtol=0.02)
        assert mixed.gradient_ratio[0] != whole.gradient_ratio[0], "the precision is the run's"


@pytest.mark.parametrize("name", ["deeplabv3_r50", "nnunet2d"])
@pytest.mark.parametrize("kind", [Cyclic, CrossPseudo])
def test_the_real_networks_train_by_it(tmp_path, name, kind):
    spec = spec_of(kind, model=ModelSpec(name=name, width=0.125), train_epochs=1)
    made = recipe_class(spec.recipe)(spec, store())
    assert fit(made, tmp_path, **QUIET).finished
    assert RunSpec.model_validate_json(spec.model_dump_json()).key == spec.key


# -- cross pseudo supervision -----------------------------------------------------------------------------------------

def test_twins_differ_and_the_first_is_kept(tmp_path):
    made = recipe(spec_of(CrossPseudo, train_epochs=1))
    model, batch = first_step(made)
    assert batch.beside.shape == (4, 3, 1, 32, 32) and {s for s in batch.studies[2:]} == {"train3", "train4"}
    assert torch.equal(model.first.network.first.weight, frame_wise(0).network.first.weight)
    assert torch.equal(model.second.network.first.weight, frame_wise(SECOND).network.first.weight)
    made.loss(model, batch).backward()
    assert all(p.grad is not None for p in model.parameters())
    weights = load_weights(fit(recipe(spec_of(CrossPseudo, train_epochs=1)), tmp_path, **QUIET).weights)
    assert set(weights) == set(frame_wise().state_dict())


def test_without_an_unlabelled_video_it_says_so():
    with pytest.raises(TrainingError, match="recipe 'cross_pseudo' needs unlabelled videos"):
        recipe(spec_of(CrossPseudo), store(unlabelled=0)).batches()
