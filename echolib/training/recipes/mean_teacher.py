"""Mean teacher for any segmenter: a loss on traced frames, agreement with an average of one's own past on the others.

SSCF (Wu, Liu et al., MedIA 2022, section 3.4) after Tarvainen and Valpola (NeurIPS 2017). Each step has clips around traced
frames, with Dice and cross-entropy, and clips of unlabelled frames, which student and teacher see in views of their own (flips,
transposition, rotation); their logits are turned back before they are compared. The weight of that comparison rises as
``(t / t_max)^2``. The teacher is the exponential moving average of the student's weights; batch norms' running averages are
copied; it predicts in evaluation mode and gets no gradient.

Own readings where paper and printed equations leave something open: see :mod:`echolib.losses.sscf`. "Labelled frames only guide
the teacher" (section 3.4) contradicts eq. 12, by which the teacher only averages; with ``guided="teacher"`` the labelled loss
updates the teacher by backpropagation, the consistency the student, and the average follows each step. The paper tests the
student; the average is validated and kept here unless ``keep`` says otherwise.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from echolib.config.specs import RecipeOptions, Role, RunSpec
from echolib.data.augment import normalise
from echolib.data.views import maps_of, seen, turned, turned_back
from echolib.errors import TrainingError
from echolib.losses.simlvseg import select_traced
from echolib.losses.sscf import consistency, ramp, supervised
from echolib.training.predict import mean_dice, traced_frames
from echolib.training.recipe import Recipe
from echolib.training.recipes.segment import start_from
from echolib.training.teacher_batches import STREAM, TeacherBatch, TeacherBatches


class MeanTeacher(RecipeOptions):
    """Both losses, the views, the average, and which network is kept."""

    kind: Literal["mean_teacher"] = "mean_teacher"
    network: dict[str, bool | int | float | str | list[int]] = Field({}, description="options of the network's constructor")
    decay: float = Field(0.99, ge=0, le=1)
    unlabelled: int = Field(1, ge=0, description="unlabelled clips for each labelled one; 0: supervised alone")
    source: Literal["frames", "videos"] = Field("frames", description="unlabelled are the untraced frames of all training videos "
                                                                      "(paper), or only videos without any tracing")
    clips: Literal["centred", "random"] = Field("centred", description="place of the frame in question in its clip")
    pixels: Literal["sum", "mean"] = Field("sum", description="cross-entropy and divergence over pixels; 'sum' as printed")
    divergence: Literal["bernoulli", "literal"] = "bernoulli"
    ramp: Literal["quadratic", "none"] = "quadratic"
    weight: float = Field(1.0, ge=0, description="of the consistency at the end of the ramp")
    flips: bool = True
    rotation: float = Field(15.0, ge=0, description="degrees, either way")
    guided: Literal["student", "teacher"] = "student"
    keep: Literal["teacher", "student"] = "teacher"
    validation: Literal["per_frame", "pooled"] = "per_frame"

    gives = "masks"
    roles = {"init": Role(takes=("clip", "masks"), same_network=True)}


class Both(nn.Module):
    """Student and teacher as one network, where both are trained by backpropagation."""

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.student, self.teacher = student, copy.deepcopy(student)
        self.one_frame = getattr(student, "one_frame", False)
        self.unused = tuple(f"{half}.{prefix}" for half in ("student", "teacher") for prefix in getattr(student, "unused", ()))

    def forward(self, clip: Tensor, *, teacher: bool = False, **how: object) -> Tensor:
        """What one of them gives for a clip."""
        return (self.teacher if teacher else self.student)(clip, **how)


class MeanTeacherRecipe(Recipe):
    """Trains a segmenter on traced and untraced frames; the epoch of best validation Dice is kept."""

    Options = MeanTeacher
    stream = STREAM

    def __init__(self, *given: object, **named: object) -> None:
        super().__init__(*given, **named)
        self.done, self.total = 0, 1
        self.teacher: nn.Module | None = None
        self.one_frame = False

    @classmethod
    def build(cls, spec: RunSpec, **initial: object) -> nn.Module:
        """The network with the recipe's options for it."""
        return super().build(spec, options=spec.recipe.network, **initial)

    def check(self) -> None:
        """An empty validation split is found now, not after the first epoch."""
        traced_frames(self.store, "val")

    def network(self, run_dir: Path) -> tuple[nn.Module, str | None]:
        """The student, and the teacher beside it or, where both are trained, with it."""
        source = self.parents.get("init")
        model = self.build(self.spec, imagenet=self.spec.model.imagenet and source is None, seed=self.spec.seed)
        news = None if source is None else start_from(model, source, run_dir)
        return self.taught(model), news

    def taught(self, student: nn.Module) -> nn.Module:
        """What is trained, given a student; its teacher starts from the same weights."""
        self.one_frame = getattr(student, "one_frame", False)
        if self.options.guided == "teacher":
            both = Both(student)
            self.teacher = both.teacher
            return both
        self.teacher = copy.deepcopy(student).requires_grad_(False).eval()
        return student

    def batches(self) -> TeacherBatches:
        """Labelled and unlabelled clips of the training split."""
        made = TeacherBatches(self.store, "train", self.spec)
        self.total = self.spec.train.epochs * made.steps
        return made

    def place(self, device: torch.device) -> None:
        """The teacher, if it is not part of what is trained."""
        self.teacher.to(device)

    def rate(self) -> float:
        """Weight of the consistency in the step to do."""
        return self.options.weight * (ramp(self.done, self.total) if self.options.ramp == "quadratic" else 1.0)

    def loss(self, network: nn.Module, batch: TeacherBatch) -> Tensor:
        """Supervised loss of the traced frames plus consistency of the others."""
        options, apart = self.options, self.options.guided == "teacher"
        if batch.unlabelled is None:
            return supervised(self._frame(network, batch.clip, batch.position, apart), batch.mask, pixels=options.pixels)
        maps = [maps_of(view) for view in batch.views.unbind(1)]
        black = normalise(torch.zeros(1, 3, 1, 1, 1, device=batch.clip.device)).flatten()
        student_sees, teacher_sees = (turned(batch.unlabelled, one, black) for one in maps)
        if apart:  # the labelled frames go to the teacher
            labelled = self._frame(network, batch.clip, batch.position, True)
            own = self._raw(network, student_sees, batch.place)
        else:  # one pass, so that batch norms see both kinds
            count = len(batch.clip)
            logits = self._raw(network, torch.cat([batch.clip, student_sees]), torch.cat([batch.position, batch.place]))
            labelled = logits[:count, 0, 0] if self.one_frame else select_traced(logits[:count], batch.position)
            own = logits[count:]
        with torch.no_grad():
            theirs = self._taught(teacher_sees, batch.place)
        side = batch.clip.shape[-1]
        own, theirs = (turned_back(logits.float(), one)[:, 0].flatten(0, 1)
                       for logits, one in zip((own, theirs), maps, strict=True))                # (U F, H, W)
        both = (seen(maps[0], side) & seen(maps[1], side)).repeat_interleave(len(own) // len(maps[0]), 0)
        agreement = consistency(own, theirs, both, pixels=options.pixels, divergence=options.divergence)
        return supervised(labelled, batch.mask, pixels=options.pixels) + self.rate() * agreement

    def _raw(self, network: nn.Module, clip: Tensor, place: Tensor, **how: object) -> Tensor:
        """Logits ``(B, 1, F, H, W)``, or of the one frame ``(B, 1, 1, H, W)`` where the network can be asked for it."""
        return network(clip, at=place, **how) if self.one_frame else network(clip, **how)

    def _frame(self, network: nn.Module, clip: Tensor, place: Tensor, teacher: bool) -> Tensor:
        """Logits ``(B, H, W)`` of the frame in question."""
        logits = self._raw(network, clip, place, **({"teacher": True} if teacher else {}))
        return logits[:, 0, 0] if self.one_frame else select_traced(logits, place)

    def _taught(self, clip: Tensor, place: Tensor) -> Tensor:
        """The teacher's logits, in evaluation mode and in the run's precision."""
        training = self.teacher.training
        self.teacher.eval()
        with torch.autocast(clip.device.type, torch.bfloat16) if self.spec.precision == "bf16-mixed" else nullcontext():
            logits = self._raw(self.teacher, clip, place)
        self.teacher.train(training)
        return logits

    @torch.no_grad()
    def after_step(self, model: nn.Module, step: int, steps: int) -> None:
        """theta' = decay theta' + (1 - decay) theta (eq. 12); running averages are copied to a teacher that only averages."""
        apart = self.options.guided == "teacher"
        student = model.student if apart else model
        for mine, new in zip(self.teacher.parameters(), student.parameters(), strict=True):
            mine.lerp_(new, 1 - self.options.decay)
        for mine, new in zip(self.teacher.buffers(), student.buffers(), strict=True):
            if not apart:
                mine.copy_(new)
        self.done, self.total = step, steps

    def state(self) -> dict[str, Tensor]:
        """The step, for the ramp, and the teacher where it is not part of what is trained."""
        own = {} if self.options.guided == "teacher" else self.teacher.state_dict()
        return {"done": torch.tensor(self.done), **{f"teacher.{name}": tensor for name, tensor in own.items()}}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up :meth:`state`. TrainingError if the checkpoint holds another teacher."""
        own = {} if self.options.guided == "teacher" else self.teacher.state_dict()
        if set(state) != {"done", *(f"teacher.{name}" for name in own)}:
            raise TrainingError(f"{self.spec.label}: the checkpoint holds no teacher of this network; delete it to start over")
        self.done = int(state["done"])
        if own:
            self.teacher.load_state_dict({name: state[f"teacher.{name}"] for name in own})

    def kept(self, model: nn.Module) -> nn.Module:
        """The teacher, or the student."""
        if self.options.keep == "teacher":
            return self.teacher
        return model.student if self.options.guided == "teacher" else model

    def validate(self, model: nn.Module, device: torch.device) -> float:
        """Dice of the validation split."""
        return mean_dice(model, self.store, self.spec, split="val", device=device, pooled=self.options.validation == "pooled")
