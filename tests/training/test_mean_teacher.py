"""The mean teacher: its average in closed form, what gets a gradient, views undone, resumed to the same bytes, bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from echolib.config import ClipSpec, ModelSpec, OptimiserSpec, RunSpec
from echolib.errors import DataError, TrainingError
from echolib.losses.sscf import consistency, supervised
from echolib.models import load_weights
from echolib.training.engine import fit
from echolib.training.recipe import recipe_class
from echolib.training.recipes.mean_teacher import MeanTeacher, MeanTeacherRecipe
from echolib.training.teacher_batches import TeacherBatches
from tests.training.standin import MemoryStore, TinyNet, run_spec, small_store
from tests.training.test_batches import CPU, numbers

QUIET = dict(progress=False, device="cpu", checkpoint_seconds=0)
SSCF = dict(model=ModelSpec(name="sscf", width=0.125), clip=ClipSpec(frames=3))


def spec_of(**changes) -> RunSpec:
    options = {name: changes.pop(name) for name in list(changes) if name in MeanTeacher.model_fields}
    return run_spec(**{"recipe": MeanTeacher(**options), "clip": ClipSpec(frames=3), "train_optimiser": OptimiserSpec(lr=1e-2),
                       **changes})


def recipe(spec: RunSpec, store: MemoryStore | None = None, student: nn.Module | None = None) -> MeanTeacherRecipe:
    """The recipe with a tiny network for a student (batch norm and dropout in it)."""
    made = recipe_class(spec.recipe)(spec, store or small_store())
    made.network = lambda run_dir: (made.taught(student or TinyNet(norm=True)), None)
    return made


class Pixelwise(nn.Module):
    """Each pixel by itself, so that every view of a clip gives the same."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, 1, 1)
        with torch.no_grad():  # weights that no earlier test decides
            self.conv.weight.copy_(torch.tensor([0.5, -0.2, 0.3]).view(1, 3, 1, 1, 1))
            self.conv.bias.fill_(0.1)

    def forward(self, clip):
        return self.conv(clip)


# -- what a step holds ------------------------------------------------------------------------------------------------

def test_a_step_has_labelled_clips_and_as_many_unlabelled_ones_around_untraced_frames():
    store, spec = small_store(), spec_of(train_augment=None, unlabelled=2)
    made = TeacherBatches(store, "train", spec)
    seen = set()
    for epoch in range(6):
        for batch in made.epoch(epoch, CPU):
            assert batch.clip.shape == (2, 3, 3, 32, 32) and batch.unlabelled.shape == (4, 3, 3, 32, 32)
            assert batch.views.shape == (4, 2, 4) and len(batch.studies) == 6
            for study, clip, place in zip(batch.studies[2:], numbers(batch.unlabelled), batch.place, strict=True):
                assert clip[place] not in (0, 4)
                seen.add((study, clip[place]))
                assert place == {0: 0, 12 + int(study[-1]) - 1: 2}.get(clip[place], 1), "centred, but for the video's ends"
            for clip, place, mask, study in zip(numbers(batch.clip), batch.position, batch.mask, batch.studies[:2], strict=True):
                assert (mask.numpy() == store.mask(study, clip[place])).all()
    assert {study for study, _ in seen} == {"train0", "train1", "train2"} and len(seen) > 15


def test_a_step_does_not_depend_on_where_the_epoch_began():
    made = TeacherBatches(small_store(), "train", spec_of())
    whole, rest = list(made.epoch(1, CPU)), list(made.epoch(1, CPU, first=1))
    for one, other in zip(whole[1:], rest, strict=True):
        for name in ("clip", "mask", "unlabelled", "place", "views"):
            assert torch.equal(getattr(one, name), getattr(other, name))
    assert not torch.equal(whole[0].unlabelled, list(made.epoch(0, CPU))[0].unlabelled)


def test_student_and_teacher_have_views_of_their_own():
    views = torch.cat([batch.views for batch in TeacherBatches(small_store(), "train", spec_of()).epoch(0, CPU)])
    assert (views[:, 0] != views[:, 1]).any(1).all()
    off = torch.cat([b.views for b in TeacherBatches(small_store(), "train", spec_of(flips=False, rotation=0)).epoch(0, CPU)])
    assert not off.any()


def test_only_untraced_videos_where_that_is_asked_for():
    with pytest.raises(TrainingError, match="every video of the 'train' split is traced, so there is no unlabelled one"):
        TeacherBatches(small_store(), "train", spec_of(source="videos"))
    store = small_store()
    store.labels = store.labels[store.labels["study"] != "train2"]
    batch = next(TeacherBatches(store, "train", spec_of(source="videos")).epoch(0, CPU))
    assert batch.studies[2:] == ["train2"] * 2


def test_a_video_shorter_than_the_window_is_named():
    store = MemoryStore({"train": 2, "val": 1}, length=6)
    with pytest.raises(DataError, match="study train0.*6 frames.*at least 7, or clips='random'"):
        TeacherBatches(store, "train", spec_of(clip=ClipSpec(frames=7)))
    assert TeacherBatches(store, "train", spec_of(clip=ClipSpec(frames=7), clips="random")).steps == 2


def test_two_processes_share_both_kinds_of_clips():
    from echolib.training.share import Share
    whole = TeacherBatches(small_store(), "train", spec_of())
    parts = [TeacherBatches(small_store(), "train", spec_of()) for _ in range(2)]
    for rank, part in enumerate(parts):
        part.share = Share(rank, 2)
    for one, *others in zip(whole.epoch(0, CPU), *(part.epoch(0, CPU) for part in parts), strict=True):
        for name in ("clip", "mask", "unlabelled", "views"):
            assert torch.equal(getattr(one, name), torch.cat([getattr(other, name) for other in others]))


# -- the losses -------------------------------------------------------------------------------------------------------

def test_the_first_step_is_the_supervised_one():
    made = recipe(spec_of(), student=Pixelwise())
    model, _ = made.network(None)
    batch = next(made.batches().epoch(0, CPU))
    logits = model(batch.clip)[torch.arange(2), 0, batch.position]
    torch.testing.assert_close(made.loss(model, batch), supervised(logits, batch.mask))
    assert made.rate() == 0
    made.done = made.total
    assert made.rate() == 1


def test_views_are_undone_before_the_masks_are_compared():
    """A network that sees each pixel alone agrees with itself in every view: exactly after flips, nearly after rotations."""
    for rotation, bound in ((0.0, 1e-6), (15.0, 0.02)):
        made = recipe(spec_of(rotation=rotation, pixels="mean", ramp="none", weight=1000.0), student=Pixelwise())
        model, _ = made.network(None)
        for batch in made.batches().epoch(0, CPU):
            logits = model(batch.clip)[torch.arange(2), 0, batch.position]
            apart = (made.loss(model, batch) - supervised(logits, batch.mask, pixels="mean")) / 1000
            assert abs(apart.item()) < bound
    not_undone = consistency(model(batch.unlabelled)[:, 0, 1], model(batch.unlabelled.flip(-1))[:, 0, 1], pixels="mean")
    assert not_undone > 1e-4


def test_the_teacher_gets_no_gradient_and_predicts_in_evaluation_mode():
    made = recipe(spec_of(ramp="none"))
    model, _ = made.network(None)
    batch = next(made.batches().epoch(0, CPU))
    before = {name: value.clone() for name, value in made.teacher.state_dict().items()}
    made.loss(model.train(), batch).backward()
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in made.teacher.parameters())
    assert all(torch.equal(value, before[name]) for name, value in made.teacher.state_dict().items())
    assert not made.teacher.training and all(parameter.grad is not None for parameter in model.parameters())


def test_where_labels_guide_the_teacher_each_loss_reaches_one_network():
    made = recipe(spec_of(guided="teacher", ramp="none"))
    model, _ = made.network(None)
    batch = next(made.batches().epoch(0, CPU))
    made.done = 0
    made.loss(model.train(), batch).backward()
    assert all(one.grad is not None for one in (*model.student.parameters(), *model.teacher.parameters()))
    alone = recipe(spec_of(guided="teacher", weight=0.0))
    model, _ = alone.network(None)
    alone.loss(model.train(), batch).backward()
    assert all(one.grad is None or one.grad.abs().max() == 0 for one in model.student.parameters())
    assert model.teacher.last.weight.grad.abs().max() > 0


# -- the average ------------------------------------------------------------------------------------------------------

def test_the_average_after_n_steps_is_the_closed_form():
    made = recipe(spec_of(decay=0.9))
    model, _ = made.network(None)
    rng, start = np.random.default_rng(0), model.first.weight.detach().clone()
    path = [torch.from_numpy(rng.normal(size=start.shape)).float() for _ in range(7)]
    for step, value in enumerate(path, 1):
        with torch.no_grad():
            model.first.weight.copy_(value)
            model.norm.running_mean.fill_(step)
        made.after_step(model, step, 7)
    wanted = 0.9 ** 7 * start + sum(0.1 * 0.9 ** (7 - step) * value for step, value in enumerate(path, 1))
    torch.testing.assert_close(made.teacher.first.weight, wanted)
    assert (made.teacher.norm.running_mean == 7).all() and made.done == 7


def test_to_a_constant_student_the_teacher_comes_as_the_power_of_the_decay():
    made = recipe(spec_of())
    model, _ = made.network(None)
    with torch.no_grad():
        model.last.bias.add_(1)
    for step in range(1, 51):
        made.after_step(model, step, 100)
    torch.testing.assert_close(model.last.bias - made.teacher.last.bias, torch.full_like(model.last.bias, 0.99 ** 50))


# -- whole runs -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("guided", ["student", "teacher"])
def test_a_run_stopped_and_resumed_gives_the_same_bytes(tmp_path, guided):
    spec = spec_of(guided=guided, decay=0.9)
    whole = fit(recipe(spec), tmp_path / "whole", **QUIET)
    for cut in (1, 3, 5):
        assert not fit(recipe(spec), tmp_path / f"{cut}", stop_after_steps=cut, **QUIET).finished
        assert fit(recipe(spec), tmp_path / f"{cut}", **QUIET).weights.read_bytes() == whole.weights.read_bytes()
    lazy = {**QUIET, "checkpoint_seconds": 1e9}  # checkpoints at the ends of epochs only: steps are repeated
    assert not fit(recipe(spec), tmp_path / "late", stop_after_steps=5, **lazy).finished
    assert fit(recipe(spec), tmp_path / "late", **lazy).weights.read_bytes() == whole.weights.read_bytes()


def test_the_average_is_validated_and_kept_or_the_student(tmp_path):
    seen = {}
    for keep in ("teacher", "student"):
        made = recipe(spec_of(keep=keep, train_epochs=1, decay=0.9))
        validate, students = made.validate, []
        made.validate = lambda model, device, v=validate, k=keep: seen.setdefault(k, (model, v(model, device)))[1]
        taught = made.taught
        made.taught = lambda student, t=taught, s=students: (s.append(student), t(student))[1]
        outcome = fit(made, tmp_path / keep, **QUIET)
        weights = load_weights(outcome.weights)
        kept = made.teacher if keep == "teacher" else students[0]
        assert all(torch.equal(weights[name], value) for name, value in kept.state_dict().items())
        assert outcome.best_score == seen[keep][1]
    a, b = (load_weights(tmp_path / keep / "weights.safetensors") for keep in ("teacher", "student"))
    assert not torch.equal(a["last.weight"], b["last.weight"])


def test_a_checkpoint_of_another_teacher_is_refused():
    made = recipe(spec_of())
    made.network(None)
    state = made.state()
    assert {"done", "teacher.first.weight", "teacher.norm.running_mean"} <= set(state)
    with pytest.raises(TrainingError, match="holds no teacher of this network"):
        made.restore({name: value for name, value in state.items() if name != "teacher.first.weight"})


@pytest.mark.parametrize("options", [{"network": {"padded": True}}, {"network": {"padded": True}, "guided": "teacher"},
                                     {"network": {"padded": True}, "unlabelled": 0}], ids=str)
def test_sscf_trains_by_it_a_window_a_clip(tmp_path, options):
    spec = spec_of(**SSCF, **options, train_epochs=1, train_steps=1)
    made = recipe_class(spec.recipe)(spec, small_store())
    outcome = fit(made, tmp_path, **QUIET)
    assert made.one_frame and outcome.finished and 0 <= outcome.best_score <= 1
    assert RunSpec.model_validate_json(spec.model_dump_json()).key == spec.key


def test_a_plain_segmenter_trains_by_it_from_another_runs_weights(tmp_path):
    from echolib.training.recipe import Parent
    from echolib.training.recipes.segment import Segment
    net = dict(model=ModelSpec(name="nnunet2d", width=0.125), train_epochs=1, train_steps=1)
    first = run_spec(recipe=Segment(), clip=ClipSpec(frames=1), **net)
    weights = fit(recipe_class(first.recipe)(first, small_store()), tmp_path / "first", **QUIET).weights
    spec = spec_of(**net, init=first)
    made = recipe_class(spec.recipe)(spec, small_store(), {"init": Parent(first, weights)})
    model, news = made.network(tmp_path)
    assert news.startswith(f"starts from run {first.key}")
    state = load_weights(weights)
    for network in (model, made.teacher):
        assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    made = recipe_class(spec.recipe)(spec, small_store(), {"init": Parent(first, weights)})
    assert fit(made, tmp_path / "second", **QUIET).finished


def test_the_plain_path_sees_the_same_clips():
    spec = spec_of()
    plain = spec.model_copy(update={"engine": "plain"})
    for ours, theirs in zip(*(TeacherBatches(small_store(), "train", one).epoch(1, CPU) for one in (spec, plain)), strict=True):
        assert ours.studies == theirs.studies and torch.equal(ours.mask, theirs.mask) and torch.equal(ours.views, theirs.views)
        for name in ("clip", "unlabelled"):
            assert (getattr(ours, name) - getattr(theirs, name)).abs().mean() < 0.01
