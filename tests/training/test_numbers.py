"""Recipes of networks that give the ejection fraction: clips and masks, teacher and student, rivals, resumed, bad input."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from echolib.config import AugmentSpec, ClipSpec, ModelSpec, OptimiserSpec, RunSpec, SubsetSpec
from echolib.data.frame_masks import MASKS
from echolib.errors import DataError, TrainingError, WeightsError
from echolib.evaluation.scores import score_table, summarise
from echolib.models import load_weights, save_weights
from echolib.models.video_resnet import FIRST, with_channels
from echolib.training.engine import fit
from echolib.training.number_batches import NumberBatches, UnlabelledClips, with_ef
from echolib.training.predict import numbers_of, with_masks
from echolib.training.recipe import Parent, Recipe, recipe_class, skeleton
from echolib.training.recipes.distil import Distil
from echolib.training.recipes.regress import Regress
from echolib.training.recipes.regress_pseudo import RegressPseudo, disturbed
from echolib.training.recipes.segment import Segment
from tests.training.css_standin import EFStore, store
from tests.training.standin import run_spec
from tests.training.test_batches import CPU, numbers

#: Of five training studies the first three, as the stand-in store hides the others.
LABELLED = SubsetSpec(labelled=(3, 5), seed=22)
QUIET = dict(progress=False, device="cpu", checkpoint_seconds=0)
SEGMENTER = run_spec(recipe=Segment(), model=ModelSpec(name="nnunet2d", width=0.125), clip=ClipSpec(frames=1))


def spec_of(kind=Regress, **changes) -> RunSpec:
    options = {name: changes.pop(name) for name in list(changes) if name in kind.model_fields}
    return run_spec(**{"recipe": kind(**options), "clip": ClipSpec(frames=4, period=2), "subset": LABELLED,
                       "train_epochs": 2, "train_augment": None, "train_optimiser": OptimiserSpec(lr=1e-3),
                       "model": ModelSpec(name="r2plus1d_18", width=0.125), **changes})


@pytest.fixture
def product(tmp_path) -> Parent:
    """A segmenter whose masks are the frames' parity: all of an even frame, nothing of an odd one."""
    cohort, folder = store(), tmp_path / "product"
    folder.mkdir()
    rows = np.concatenate([np.arange(n) % 2 == 0 for n in cohort.studies.frames])
    np.save(folder / MASKS, np.where(rows[:, None], 255, 0).astype(np.uint8) * np.ones((1, 128), np.uint8))
    return Parent(SEGMENTER, tmp_path / "none.safetensors", folder)


def parent_of(spec: RunSpec, folder, seed: int = 0) -> Parent:
    """A finished run with the weights that its network begins with."""
    path = folder / f"{spec.key}.safetensors"
    torch.manual_seed(seed)
    save_weights(skeleton(spec), path, {"spec": spec.key})
    return Parent(spec, path)


def multi(**changes) -> RunSpec:
    return spec_of(parents={"masks": SEGMENTER}, **changes)


def student(teacher: RunSpec, **changes) -> RunSpec:
    return spec_of(Distil, parents={"teacher": teacher, **teacher.parents}, unlabelled=2, **changes)


def made(spec: RunSpec, parents: dict[str, Parent] | None = None, cohort: EFStore | None = None) -> Recipe:
    return recipe_class(spec.recipe)(spec, cohort or store(), parents or {})


# -- what a step holds ------------------------------------------------------------------------------------------------

def test_every_labelled_study_once_per_epoch_with_its_ejection_fraction():
    cohort, spec = store(), spec_of(train_batch=1)
    batches = made(spec, cohort=cohort).batches()
    for epoch in range(4):
        found = [(b.studies[0], b.ef.item(), b.clip.shape) for b in batches.epoch(epoch, CPU)]
        assert sorted(found) == [(f"train{k}", cohort.studies.ef[f"train{k}"], (1, 3, 4, 32, 32)) for k in range(3)]


def test_a_mask_is_that_of_its_frame_and_moves_with_it(product):
    for batch in made(multi(), {"masks": product}).batches().epoch(0, CPU):
        assert batch.clip.shape == (2, 4, 4, 32, 32)
        frames = torch.tensor(numbers(batch.clip[:, :3]))
        assert torch.equal(batch.clip[:, 3, :, 16, 16], 1 - 2 * (frames % 2.0))
    moved = multi(train_augment=AugmentSpec(jitter=0, jitter_p=0, clahe_p=0, rotation=0, pad=6))
    padded = 0
    for epoch in range(6):
        for batch in made(moved, {"masks": product}).batches().epoch(epoch, CPU):
            for frame, mask in zip(batch.clip[:, 0].flatten(0, 1), batch.clip[:, 3].flatten(0, 1), strict=True):
                outside = (frame == frame.min()).all(1)  # rows of padding
                padded += int(outside.sum())
                assert (mask[outside] == -1).all() and len(set(mask[~outside].flatten().tolist())) <= 2
                if mask.max() == 1:
                    assert ((mask == 1).any(1) == ~outside).all(), "the mask of a whole frame ends where the frame does"
    assert padded > 50


def test_a_short_video_ends_in_black_without_a_mask(product):
    spec = multi(clip=ClipSpec(frames=20, period=2))
    batch = next(made(spec, {"masks": product}).batches().epoch(0, CPU))
    beyond = batch.clip[:, :, 15:]  # 24 to 28 frames: at most 14 at period 2
    assert (beyond[:, 3] == -1).all() and beyond[:, 0].std() < 1e-6


def test_clips_with_a_traced_frame_need_its_number():
    spec = spec_of(clips="traced")
    for batch in made(spec).batches().epoch(0, CPU):
        assert all({0, 4} & set(frames) for frames in numbers(batch.clip))
    with pytest.raises(DataError, match="study train3: which of its frames were traced is not known.*positions=True"):
        UnlabelledClips(store(), spec, 1, 1, 2, clips="traced")


def test_the_network_begins_at_the_mean_of_the_labelled_studies():
    for spread in (1.0, 10.0):
        model, news = made(spec_of(spread=spread)).network(None)
        assert news == "starts from random weights; 3 labelled studies, mean EF 43.00 %"
        assert model.fc.bias.item() * spread == pytest.approx(43) and model.spread == spread


def test_kinetics_weights_come_from_a_file_at_the_published_width_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("ECHOLIB_IMAGENET", str(tmp_path))
    with pytest.raises(Exception, match="Kinetics weights fit the published width only: r2plus1d_18 ends in 64 channels"):
        made(spec_of(start="kinetics")).network(None)
    spec = multi(start="kinetics", model=ModelSpec(name="r2plus1d_18"))
    from torchvision.models.video import r2plus1d_18
    torch.save(r2plus1d_18(num_classes=7).state_dict(), tmp_path / "r2plus1d_18.pth")
    folder = tmp_path / "m"
    folder.mkdir()
    np.save(folder / MASKS, np.zeros((len(store().frames), 128), np.uint8))
    model, news = made(spec, {"masks": Parent(SEGMENTER, tmp_path / "none", folder)}).network(None)
    assert news.startswith("starts from Kinetics-400 weights (r2plus1d_18.pth)")
    state = load_weights(tmp_path / "r2plus1d_18.pth")
    assert torch.equal(model.state_dict()[FIRST][:, :3], state[FIRST])
    assert torch.equal(model.state_dict()["layer4.1.conv2.0.3.weight"], state["layer4.1.conv2.0.3.weight"])


def test_kinetics_weights_that_cannot_be_had_say_what_to_do(monkeypatch):
    from urllib.error import URLError

    from torchvision.models.video import R2Plus1D_18_Weights

    def fail(self, **_):
        raise URLError("no network")
    monkeypatch.delenv("ECHOLIB_IMAGENET", raising=False)
    monkeypatch.setattr(R2Plus1D_18_Weights, "get_state_dict", fail)
    with pytest.raises(WeightsError, match="cannot fetch .*r2plus1d_18.*name the folder with.*or start at random"):
        made(spec_of(start="kinetics", model=ModelSpec(name="r2plus1d_18"))).network(None)


# -- teacher and student ----------------------------------------------------------------------------------------------

def test_the_student_is_its_teacher_with_an_empty_fourth_channel(product, tmp_path):
    teacher = parent_of(multi(), tmp_path)
    model, news = made(student(teacher.spec), {"teacher": teacher, "masks": product}).network(None)
    assert news == f"starts from its teacher, run {teacher.spec.key}"
    theirs, seen = teacher.network(), torch.randn(2, 3, 4, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(seen), theirs(torch.cat([seen, torch.zeros(2, 1, 4, 32, 32)], 1)))
    fresh, news = made(student(teacher.spec, start="random"), {"teacher": teacher, "masks": product}).network(None)
    assert news.startswith("starts from random weights") and not torch.equal(fresh.stem[0].weight, model.stem[0].weight)


def test_the_teacher_sees_masks_the_student_does_not_and_neither_changes(product, tmp_path):
    teacher = parent_of(multi(), tmp_path)
    recipe = made(student(teacher.spec, weight=3.0, halved=True), {"teacher": teacher, "masks": product})
    model, _ = recipe.network(None)
    batch = next(recipe.batches().epoch(0, CPU))
    assert batch.clip.shape[:2] == (2, 3) and batch.beside.shape == (2, 4, 4, 32, 32)
    assert set(batch.studies[:2]) <= {"train0", "train1", "train2"} and set(batch.studies[2:]) == {"train3", "train4"}
    before = {name: value.clone() for name, value in recipe.teacher.state_dict().items()}
    loss = recipe.loss(model.eval(), batch)
    with torch.no_grad():
        labelled = (model(batch.clip) - batch.ef).square().mean()
        apart = (model(batch.beside[:, :3]) - recipe.teacher(batch.beside)).square().mean()
    torch.testing.assert_close(loss, labelled + 1.5 * apart)
    loss.backward()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    optimiser.step()
    assert all(torch.equal(value, before[name]) for name, value in recipe.teacher.state_dict().items())
    assert all(p.grad is None and not p.requires_grad for p in recipe.teacher.parameters()) and not recipe.teacher.training


def test_without_a_weight_the_gradient_is_that_of_the_labels_alone(product, tmp_path):
    teacher = parent_of(multi(), tmp_path)
    recipe = made(student(teacher.spec, weight=0.0), {"teacher": teacher, "masks": product})
    model, _ = recipe.network(None)
    batch = next(recipe.batches().epoch(0, CPU))
    grads = []
    for loss in (recipe.loss(model.eval(), batch), (model(batch.clip) - batch.ef).square().mean()):
        model.zero_grad()
        loss.backward()
        grads.append([p.grad.clone() for p in model.parameters()])
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other)


def test_distilling_a_constant_teacher_drives_unlabelled_predictions_to_it(tmp_path):
    teacher = parent_of(spec_of(), tmp_path)
    spec = student(teacher.spec, start="random", spread=10.0, weight=20.0)
    recipe = made(spec, {"teacher": teacher})
    recipe.teacher = lambda clip: torch.full((len(clip),), 70.0)
    model, _ = recipe.network(None)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for epoch in range(40):
        for batch in recipe.batches().epoch(epoch, CPU):
            optimiser.zero_grad()
            recipe.loss(model.train(), batch).backward()
            optimiser.step()
    with torch.no_grad():
        found = model(batch.beside)
    assert (found - 70).abs().max() < 5, "labels of 40 to 46 % pull the other way"


def test_a_teacher_without_its_masks_is_refused(product, tmp_path):
    teacher = parent_of(multi(), tmp_path)
    alone = spec_of(Distil, parents={"teacher": teacher.spec})
    with pytest.raises(TrainingError, match=f"trained with masks, those of run {SEGMENTER.key}, and is to teach with none"):
        made(alone, {"teacher": teacher})
    (product.product / MASKS).unlink()
    with pytest.raises(DataError, match="product/masks.npy: the masks cannot be read.*delete it and run again"):
        made(student(teacher.spec), {"teacher": teacher, "masks": product}).batches()
    with pytest.raises(ValueError, match="recipe 'distil' needs a run as 'teacher'"):
        spec_of(Distil)


def test_no_unlabelled_study_at_fraction_one(tmp_path):
    teacher = parent_of(spec_of(subset=SubsetSpec()), tmp_path)
    with pytest.raises(TrainingError, match="recipe 'distil' needs unlabelled videos, but every video of the 'train' split is "
                                            "labelled; expected a labelled share below 1"):
        made(student(teacher.spec, subset=SubsetSpec()), {"teacher": teacher}, store(unlabelled=0)).batches()


@pytest.mark.parametrize("value", [np.nan, -3.0, 130.0])
def test_an_impossible_ejection_fraction_names_file_row_and_value(value):
    cohort = store()
    cohort.studies.loc["train1", "ef"] = value
    cohort.report = pd.DataFrame({"study": ["train1"], "file": ["FileList.csv"], "row": [7], "action": ["noted"], "problem": [
        "EF is not possible and is taken as unknown (found '130'); expected a number from 0 to 100"]})
    with pytest.raises(DataError, match=r"FileList.csv, row 7: study train1 has no ejection fraction.*found '130'"):
        made(spec_of(), cohort=cohort).check()
    assert with_ef(store(), spec_of(), "train") == ["train0", "train1", "train2"]


# -- rivals -----------------------------------------------------------------------------------------------------------

def test_an_average_s_labels_count_after_the_warm_up():
    recipe = made(spec_of(RegressPseudo, unlabelled=2, warm_up=0.5, noise=0.0))
    model, _ = recipe.network(None)
    batch = next(recipe.batches().epoch(0, CPU))
    assert recipe.total == 2
    plain = (model.eval()(batch.clip) - batch.ef).square().mean()
    torch.testing.assert_close(recipe.loss(model, batch), plain)
    with torch.no_grad():
        model.fc.bias.add_(4)
    recipe.after_step(model, 1, 2)
    assert recipe.teacher.fc.bias.item() == pytest.approx(model.fc.bias.item() - 4 * 0.99)
    assert recipe.loss(model, batch) > (model(batch.clip) - batch.ef).square().mean() + 1


def test_twins_learn_from_each_other():
    recipe = made(spec_of(RegressPseudo, labels="twin", unlabelled=2, noise=0.0, weight=2.0))
    model, _ = recipe.network(None)
    batch = next(recipe.batches().epoch(0, CPU))
    model.eval()
    torch.manual_seed(0)
    loss = recipe.loss(model, batch)
    torch.manual_seed(0)
    seen = disturbed(batch.beside, 0.0)
    with torch.no_grad():
        first, second = (lambda clip, which=which: model(clip, second=which) for which in (False, True))
        wanted = sum((one(batch.clip) - batch.ef).square().mean() for one in (first, second)) + 2 * (
            (first(seen) - second(batch.beside)).square().mean() + (second(seen) - first(batch.beside)).square().mean())
    torch.testing.assert_close(loss, wanted)


def test_disturbed_frames_are_neighbours_and_noise_has_its_size():
    clip = torch.arange(8.0)[None, None, :, None, None].expand(2, 3, 8, 16, 16)
    seen = disturbed(clip, 0.0)
    assert (seen - clip).abs().max() == 1 and torch.equal(seen, seen[:, :, :, :1, :1].expand_as(seen))
    assert not torch.equal(seen[0], seen[1])
    assert (disturbed(clip, 0.5) - disturbed(clip, 0.0).round()).std() > 0.3


# -- whole runs -------------------------------------------------------------------------------------------------------

def specs(product, folder):
    teacher = parent_of(multi(), folder)
    yield multi(), {"masks": product}
    yield student(teacher.spec), {"teacher": teacher, "masks": product}
    yield spec_of(RegressPseudo, unlabelled=2), {}
    yield spec_of(RegressPseudo, unlabelled=2, labels="twin"), {}


@pytest.mark.parametrize("which", range(4))
def test_a_run_stopped_and_resumed_gives_the_same_bytes(product, tmp_path, which):
    spec, parents = list(specs(product, tmp_path))[which]
    train = spec.train.model_copy(update={"epochs": 3, "augment": AugmentSpec(pad=2)})
    spec = spec.model_copy(update={"train": train})
    whole = fit(made(spec, parents), tmp_path / "whole", **QUIET)
    for cut in (1, 2):
        assert not fit(made(spec, parents), tmp_path / f"{cut}", stop_after_steps=cut, **QUIET).finished
        assert fit(made(spec, parents), tmp_path / f"{cut}", **QUIET).weights.read_bytes() == whole.weights.read_bytes()
    assert whole.best_score < 0 and RunSpec.model_validate_json(spec.model_dump_json()).key == spec.key


def test_scores_take_the_masks_along(product, tmp_path):
    recipe = made(multi(), {"masks": product})
    model, _ = recipe.network(None)
    table = score_table(model, recipe.store, recipe.spec, device="cpu", beside=recipe.beside())
    assert list(table.study) == ["test0", "test1"] and np.isfinite(table.predicted_ef).all()
    assert set(summarise("number", table, 100)) == {"ef"}
    indices = np.array([9, 11, 13, -1])
    got = numbers_of(model.eval(), recipe.store, ["test0"], [indices], CPU, recipe.beside())
    from echolib.data.augment import normalise, to_float
    clip = normalise(to_float(torch.from_numpy(recipe.store.clip("test0", indices))[None]))
    masks = torch.zeros(1, 4, 32, 32, dtype=torch.bool)
    masks[:, :3] = torch.tensor([f % 2 == 0 for f in indices[:3]])[:, None, None]
    with torch.no_grad():
        assert got[0] == pytest.approx(model(with_masks(clip, masks)).item(), rel=1e-4)
    assert with_channels(model.state_dict(), 3)[FIRST].shape[1] == 3 and NumberBatches(recipe.store, recipe.spec, 1).masks is None
