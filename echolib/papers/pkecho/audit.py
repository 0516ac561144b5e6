"""The audit of PKEcho-Net: what its text claims against what its design and its released program do, shown and measured."""

from __future__ import annotations

import html
from dataclasses import dataclass

import numpy as np
import torch
from IPython.display import HTML
from torch import Tensor, nn

from echolib.config.profile import Profile
from echolib.config.specs import RunSpec
from echolib.data.augment import normalise, to_float
from echolib.data.clips import phase_indices
from echolib.data.store import ClipStore
from echolib.evaluation.kinds.traced import TracedSpec
from echolib.ledger.evaluations import Evaluation
from echolib.ledger.ledger import Ledger
from echolib.losses.pkecho import boundary, signed_distance, soft_dice
from echolib.models.pkecho import PAPER, PKEchoNet
from echolib.models.pkecho_kernels import grouped
from echolib.pages.effects import signed
from echolib.pages.experiment import Experiment, Needs, Options, SeedOptions
from echolib.pages.html import html_table
from echolib.papers.pkecho.inside import run_of
from echolib.papers.pkecho.runs import data_of, pkecho_run, size_of, tested
from echolib.training.phases import traced_pairs
from echolib.training.recipe import recipe_class

BASE = "as in the tables"
#: Switches by their name in a profile -> (what is switched, options of the recipe, options of the network).
SWITCHES: dict[str, tuple[str, dict, dict]] = {
    "diagonal": ("boundary loss over the frame's diagonal", {"boundary_scale": "diagonal"}, {}),
    "dice": ("no boundary loss", {"boundary": 0.0}, {}),
    "mean": ("grouped features: mean, not sum", {}, {"grouping": "mean"}),
    "alone": ("trained without attention across videos", {}, {"across": "alone"}),
    "last": ("loss on the last stage only", {"stages": "last"}, {}),
    "paper": ("the text's form of the network", {}, PAPER)}
#: Sides of the frames on which grouped features are compared, px.
SIDES = (64, 128, 320)
#: Clips of the measurements that need no training.
CLIPS = 8


def groups(profile: Profile, seed: int, options: Options) -> dict[str, RunSpec]:
    """One seed's runs: nothing switched, and each switch alone; the smallest network on EchoNet-Dynamic."""
    if profile.pkecho is None:
        return {}
    size, data = size_of(profile), data_of(profile, "EchoNet-Dynamic")
    depth = min(size.backbones)
    out = {BASE: pkecho_run(profile, depth, seed=seed, data=data)}
    return out | {SWITCHES[name][0]: pkecho_run(profile, depth, seed=seed, data=data, network=SWITCHES[name][2],
                                                **SWITCHES[name][1]) for name in size.audit}


def together(profile: Profile) -> list[tuple[TracedSpec, TracedSpec]]:
    """Each seed's run tested clip by clip, and with the clips of a batch seeing each other."""
    if profile.pkecho is None:
        return []
    specs = [tested(groups(profile, seed, Options())[BASE]) for seed in profile.seeds]
    return [(one, one.model_copy(update={"across": True})) for one in specs]


# -- what needs no training -------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Clips:
    """A few clips from ED to ES: ``clip (B, 3, F, S, S)`` normalised, ``masks (B, 2, S, S)`` bool of their ends."""

    clip: Tensor
    masks: Tensor


def clips_of(store: ClipStore, frames: int, count: int = CLIPS) -> Clips:
    """The first test studies' clips."""
    pairs = traced_pairs(store, "test", leave_out=True)[:count]
    clip = np.stack([store.clip(p.study, phase_indices(p.ed, p.es, frames)) for p in pairs])
    masks = np.stack([[store.mask(p.study, f) for f in (p.ed, p.es)] for p in pairs])
    return Clips(normalise(to_float(torch.from_numpy(clip))).contiguous(), torch.from_numpy(masks))


def fresh(run: RunSpec) -> PKEchoNet:
    """The network of a run with its initial weights."""
    return recipe_class(run.recipe).build(run, seed=run.seed)


def idle_parameters(model: PKEchoNet, clips: Clips) -> tuple[int, list[str]]:
    """How many parameters get a gradient of exactly zero in a training step, and which blocks they belong to."""
    model = model.train()
    stages = model(clips.clip, stages=True, frames=(0, -1))
    sum(soft_dice(one[:, 0].flatten(0, 1), clips.masks.flatten(0, 1)) for one in stages).backward()
    idle = {name: p for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.any())}
    model.zero_grad(set_to_none=True)
    return sum(p.numel() for p in idle.values()), sorted({name.rpartition(".")[0] for name in idle})


def released_backward() -> str:
    """What torch says to a gradient through the embedding added in place to a ReLU's output, as the released program adds it."""
    layer, position = nn.Linear(4, 4), nn.Parameter(torch.zeros(4))
    hidden = torch.relu(layer(torch.ones(2, 4)))
    hidden += position
    try:
        hidden.sum().backward()
    except RuntimeError as error:
        return str(error).split(".")[0]
    return ""


def frames_with_a_loss(model: PKEchoNet, clips: Clips) -> np.ndarray:
    """``(F,)``: the largest gradient of the loss with respect to each frame's logits."""
    logits = model.eval()(clips.clip).detach().requires_grad_()
    ends = logits[:, 0][:, [0, -1]].flatten(0, 1)
    soft_dice(ends, clips.masks.flatten(0, 1)).backward()
    return logits.grad.abs().amax((0, 1, 3, 4)).numpy()


@torch.no_grad()
def group_sizes(model: PKEchoNet, clips: Clips) -> dict[int, tuple[float, float]]:
    """Root mean square of the grouped features by side of the frame, as a sum (paper) and as a mean."""
    out = {}
    for side in SIDES:
        frames = nn.functional.interpolate(clips.clip[:, 1].flatten(0, 1)[:, None], (side, side), mode="bilinear")
        features, logits = model.eval().predictor(model.encoder(frames)[-1])
        both = [grouped(features[None], logits[None], how) for how in ("sum", "mean")]
        out[side] = tuple(float(g.square().mean().sqrt()) for g in both)
    return out


def loss_shares(model: PKEchoNet, clips: Clips) -> dict[str, tuple[float, float]]:
    """Dice loss and boundary loss of the last stage: value, and norm of the gradient with respect to the logits.

    Keys: ``Dice``, ``boundary, px``, ``boundary, diagonal``.
    """
    logits = model.eval()(clips.clip).detach()[:, 0][:, [0, -1]].flatten(0, 1).requires_grad_()
    masks = clips.masks.flatten(0, 1)
    distance, out = signed_distance(masks), {}
    for name, loss in (("Dice", lambda: soft_dice(logits, masks)), ("boundary, px", lambda: boundary(logits, distance)),
                       ("boundary, diagonal", lambda: boundary(logits, distance, "diagonal"))):
        value = loss()
        gradient, = torch.autograd.grad(value, logits)
        out[name] = float(value.detach()), float(gradient.norm())
    return out


@torch.no_grad()
def company(model: PKEchoNet, clips: Clips) -> float:
    """How much the logits change when the clips see each other: rms of the change over the logits' standard deviation."""
    model, before = model.eval(), model.across_at_test
    model.across_at_test = "alone"
    alone = model(clips.clip)
    model.across_at_test = "batch"
    change = model(clips.clip) - alone
    model.across_at_test = before
    return float(change.square().mean().sqrt() / alone.std())


@dataclass(frozen=True)
class Facts:
    """What is measured on a network before training and after, on the same clips."""

    idle: int
    blocks: list[str]
    refused: str
    per_frame: np.ndarray
    sizes: dict[str, dict[int, tuple[float, float]]]
    losses: dict[str, dict[str, tuple[float, float]]]
    company: dict[str, float]


def facts(ledger: Ledger) -> Facts:
    """:class:`Facts` of the smallest network, first seed."""
    run = run_of(ledger.workspace.profile)
    store, _ = ledger.sample()
    clips = clips_of(store, run.clip.frames)
    both = {"at the start": fresh(run), "trained": ledger.model(run)}
    return Facts(*idle_parameters(fresh(run), clips), released_backward(), frames_with_a_loss(both["trained"], clips),
                 {name: group_sizes(model, clips) for name, model in both.items()},
                 {name: loss_shares(model, clips) for name, model in both.items()},
                 {name: company(model, clips) for name, model in both.items()})


# -- as page elements -------------------------------------------------------------------------------------------------

def facts_html(found: Facts) -> HTML:
    """Every finding that needs no further training."""
    touched = [str(i) for i in np.flatnonzero(found.per_frame)]
    rows = [
        ("“Hybrid attention” between kernel and features", "one kernel, one group: a single query and a single key, so the "
         "softmax is 1 whatever they hold", f"{found.idle:,} parameters get a gradient of exactly zero: queries and keys of "
         f"{len(found.blocks) // 2} attentions"),
        ("Training as released", "the position embedding is added in place to the output of a ReLU",
         f"torch refuses the backward pass: “{html.escape(found.refused)}”. Here it is added out of place"),
        ("“Semi-supervised”", "no loss looks at an unlabelled frame, and no unlabelled video is read",
         f"frames of a clip whose logits get a gradient: {', '.join(touched)} of 0–{len(found.per_frame) - 1}")]
    return HTML(html_table("What the text says, what is so, and what was measured", ("The text", "Found", "Measured"), rows,
                           "echo-table echo-audit"))


def sizes_html(found: Facts) -> HTML:
    """Grouped features by size of the frame."""
    rows = [(f"{name}, {how}", *(f"{sizes[side][k]:.3g}" for side in SIDES), f"{sizes[SIDES[-1]][k] / sizes[SIDES[0]][k]:.1f}")
            for name, sizes in found.sizes.items() for k, how in enumerate(("sum (paper)", "mean"))]
    return HTML(html_table("Root mean square of the grouped features, by side of the same frames",
                           ("Network", *(f"{side} px" for side in SIDES), "Ratio, last over first"), rows))


def losses_html(found: Facts) -> HTML:
    """The terms of the loss at the start and at the end of training."""
    rows = [(f"{term}, {name}", f"{value:.3f}", f"{norm:.3g}", f"{norm / losses['Dice'][1]:.2g}")
            for name, losses in found.losses.items() for term, (value, norm) in losses.items()]
    return HTML(html_table("Terms of the loss at the last stage: value, and pull on the logits",
                           ("Term", "Value", "Norm of the gradient", "Over that of Dice"), rows))


def company_html(found: Facts, pairs: list[tuple[Evaluation, Evaluation]]) -> HTML:
    """What seeing the other videos of a batch changes, seed by seed."""
    rows = []
    for alone, batch in pairs:
        both = [100 * one.frames.dice.mean() for one in (alone, batch)]
        moved = (alone.frames.predicted_px - batch.frames.predicted_px).abs() / alone.frames.traced_px
        worst = 100 * (batch.frames.dice - alone.frames.dice).abs().max()
        rows.append((f"seed {alone.record.spec.run.seed}", *(f"{v:.2f}" for v in both), signed(both[1] - both[0]), f"{worst:.2f}",
                     f"{100 * moved.mean():.2f}"))
    told = "; ".join(f"{name}: {100 * value:.1f} %" for name, value in found.company.items())
    size = pairs[0][1].record.spec.batch
    caption = f"The same clips alone and in batches of {size}. Change of the logits over their standard deviation: {told}"
    return HTML(html_table(caption, ("Run", "Dice alone, %", "Dice in company, %", "Difference",
                                     "Largest change of a frame, points", "Change of the area, % of the traced one"), rows))


def _more(profile: Profile, options: Options) -> Needs:
    run = run_of(profile)
    if run is None:
        return Needs()
    return Needs(runs=(run,), weights=(run,), evaluations=tuple(spec for pair in together(profile) for spec in pair))


AUDIT = Experiment(id="pkecho_audit", number="Audit", title="Text, program and arithmetic", place=1, notebook="pkecho_audit",
                   groups=groups, more=_more, options=SeedOptions())

PAGES = (AUDIT,)
