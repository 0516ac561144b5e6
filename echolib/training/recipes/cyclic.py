"""Semi-supervised segmentation by the heart's cycle (CSS, Dai et al., IEEE TMI 2023, section III-A): step 1.

Every step has both traced frames of some labelled studies, with cross-entropy summed over pixels, and one clip of two beats or
more, labelled or not, whose encoder features are to come round again (:mod:`echolib.losses.css`). Any network that segments frame
by frame will do. Frames at ED, frames at ES and the clip go through the network one after the other, as in the released program,
so batch norms see three kinds of statistics. ``other_video`` searches in a second video instead of later in the same one:
temporal cycle consistency (TCCL, Dwibedi et al., CVPR 2019) as the paper compares with. Weight 0 is the supervised rival.

What text and released program do differently is an option: which videos clips come from (``clips``), which places the last search
has (``candidates``), how maps become a vector (``scale``). The log shows, beside the loss, both terms, how sharp the match is
(entropy of alpha over its largest possible value), whether it came round, and the norm of the weighted cyclical term's gradient
over that of the other one, on the parameters that both reach, at every ``measured``-th step.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from echolib.config.specs import RecipeOptions, Role
from echolib.errors import TrainingError
from echolib.losses.css import RELEASED_SCALE, Cycle, Match, aligned, cyclical, halves
from echolib.models.framewise import FrameWise
from echolib.training.cycle_batches import CycleClips, PairBatch, PairBatches
from echolib.training.predict import mean_dice, summed_entropy, traced_frames
from echolib.training.recipe import Recipe
from echolib.training.recipes.segment import start_from


class Cyclic(RecipeOptions):
    """The cyclical term, its clip, and how the best epoch is chosen."""

    kind: Literal["cyclic"] = "cyclic"
    weight: float = Field(0.01, ge=0, description="w_css; 0: supervised alone")
    frames: int = Field(40, ge=4, le=256, description="of the clip")
    period: int = Field(3, ge=1, le=32)
    template: int = Field(15, ge=2, description="frames of the template (P); the search region follows it")
    length: int = Field(3, ge=1, description="s: frames of a phase")
    offset: int = Field(2, ge=0, description="c: frames between the two questions")
    temperature: float = Field(10.0, gt=0)
    candidates: Literal["template", "inside"] = Field("template", description="'inside': released, 11 classes in place of 15")
    scale: float | Literal["spread"] = Field(RELEASED_SCALE, description="of mean features; 196: their sum at 112 px (released); "
                                                                         "'spread': divided by the clip's own spread")
    clips: Literal["all", "unlabelled"] = Field("all", description="'unlabelled': released")
    other_video: bool = Field(False, description="search in another video (TCCL); its offset is 0")
    validation: Literal["loss", "per_frame"] = Field("loss", description="the epoch of lowest loss (released), or of best Dice")
    measured: int = Field(10, ge=1, description="gradients are compared every so many steps of an epoch")

    gives = "masks"
    stage = "cyclic"
    roles = {"init": Role(takes=("clip", "masks"), same_network=True)}

    @property
    def cycle(self) -> Cycle:
        """What is matched with what."""
        return Cycle(length=self.length, offset=self.offset, temperature=self.temperature, template=self.template,
                     candidates=self.candidates, scale=self.scale)

    @model_validator(mode="after")
    def _check(self) -> Cyclic:
        if isinstance(self.scale, float) and not self.scale > 0:
            raise ValueError(f"'scale' takes a number above 0 or 'spread', not {self.scale}")
        if self.other_video and self.offset:
            raise ValueError(f"a search in another video has no offset: expected offset=0, not {self.offset}")
        self.cycle.searched(self.frames)
        return self


class CyclicRecipe(Recipe):
    """Trains a frame-by-frame segmenter; the epoch of lowest validation loss is kept."""

    Options = Cyclic
    stream = 11
    sums = True
    columns = ("supervised", "cyclical", "entropy", "came_round", "gradient_ratio")

    def __init__(self, *given: object, **named: object) -> None:
        super().__init__(*given, **named)
        self.score = "Dice" if self.options.validation == "per_frame" else "minus loss"
        self.noted: Tensor | None = None

    def check(self) -> None:
        """An empty validation split is found now, not after the first epoch."""
        traced_frames(self.store, "val")

    def network(self, run_dir: Path) -> tuple[nn.Module, str | None]:
        """A frame-by-frame segmenter, from ``init`` where there is one. TrainingError for any other network."""
        source = self.parents.get("init")
        model = self.build(self.spec, imagenet=self.spec.model.imagenet and source is None, seed=self.spec.seed)
        if not isinstance(model, FrameWise):
            raise TrainingError(f"{self.spec.model.name} does not segment frame by frame, so a frame has no features of its own; "
                                "expected deeplabv3_r50 or nnunet2d")
        return model, None if source is None else start_from(model, source, run_dir)

    def batches(self) -> PairBatches:
        """Both traced frames of labelled studies, and clips."""
        options, made = self.options, PairBatches(self.store, "train", self.spec, self.stream)
        if options.weight:
            made.beside = CycleClips(self.store, "train", self.spec, self.stream, made.steps, starts=options.cycle.starts,
                                     count=2 if options.other_video else 1)
        self.made = made
        return made

    def loss(self, network: nn.Module, batch: PairBatch) -> Tensor:
        """Both cross-entropies, and the weighted cyclical loss."""
        measured = batch.beside is not None and batch.step % self.options.measured == 0 and self.made.share.count == 1
        inner = unwrapped(network) if measured else network
        if measured:
            network = partial(self.forward, inner)
        diastole, systole = (network(batch.clip[:, :, k:k + 1])[:, 0, 0] for k in (0, 1))
        supervised = halves(diastole, systole, batch.masks)
        nothing = supervised.new_full((), float("nan"), dtype=torch.float32)
        if batch.beside is None:
            self.noted = torch.stack([supervised.detach().float(), *[nothing] * 4])
            return supervised
        match = self.match(network, batch)
        weighted = self.options.weight * match.loss
        ratio = gradient_ratio(weighted, supervised, inner) if measured else nothing
        target = int(batch.start[0]) + self.options.offset - self.options.cycle.classes.start
        self.noted = torch.stack([supervised.detach().float(), match.loss.detach(), match.entropy,
                                  (match.beta.argmax() == target).float(), ratio])
        return supervised + weighted

    def forward(self, inner: nn.Module, clip: Tensor, **named: bool) -> Tensor:
        """What the network gives without the engine's wrappers, in the run's precision."""
        with torch.autocast(clip.device.type, torch.bfloat16, enabled=self.spec.precision == "bf16-mixed"):
            return inner(clip, **named).float()

    def match(self, network: Callable[..., Tensor], batch: PairBatch) -> Match:
        """The match in the step's clip, or of one of its clips in the other."""
        cycle, start = self.options.cycle, int(batch.start[0])
        if not self.options.other_video:
            return cyclical(network(batch.beside, features=True)[0].T, start, cycle)
        first = cycle.template + cycle.length - 1
        frames = torch.cat([batch.beside[:1, :, :first], batch.beside[1:, :, cycle.template:]], 2)
        features = network(frames, features=True)[0].T
        return aligned(features[:first], features[first:], start, cycle)

    def notes(self) -> Tensor | None:
        """Both terms, the match's sharpness and success, and the ratio of the gradients."""
        return self.noted

    def validate(self, model: nn.Module, device: torch.device) -> float:
        """Minus the loss of the validation split's traced frames, or their Dice."""
        if self.options.validation == "per_frame":
            return mean_dice(model, self.store, self.spec, split="val", device=device)
        return -summed_entropy(model, self.store, self.spec, "val", device=device)


def unwrapped(network: nn.Module) -> nn.Module:
    """The network itself: two gradients of one graph are given neither by a compiled network nor, in mixed precision, by
    Fabric's wrapper, which allows its own backward pass alone."""
    from lightning_fabric.wrappers import is_wrapped  # takes seconds, and a run has it anyhow
    network = getattr(network, "_orig_mod", network)
    return network.module if is_wrapped(network) else network


def gradient_ratio(weighted: Tensor, supervised: Tensor, network: nn.Module) -> Tensor:
    """Norm of one loss's gradient over that of the other, on the parameters that both reach; the graph stays."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    pairs = zip(*(torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True) for loss in (weighted, supervised)),
                strict=True)
    both = [(a.float(), b.float()) for a, b in pairs if a is not None and b is not None]
    norms = [torch.stack([one[k].square().sum() for one in both]).sum().sqrt() for k in (0, 1)]
    return norms[0] / norms[1]
