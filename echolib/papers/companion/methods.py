"""The methods of all papers in one table: what the pages on the family compare.

To add a method: one entry in :data:`METHODS`. Everything else follows: runs, evaluations, claims, counts, figures, advice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from echolib.config.profile import Profile, StageSize
from echolib.config.specs import RunSpec, SubsetSpec
from echolib.papers.css.runs import segmenter
from echolib.papers.pkecho.runs import pkecho_run
from echolib.papers.simlvseg.runs import segment_run
from echolib.papers.sscf.runs import other_run, sscf_run

#: (profile, seed, one budget for all) -> a run.
Build = Callable[[Profile, int, StageSize], RunSpec]


@dataclass(frozen=True)
class Method:
    """One way to learn segmentation from two traced frames of a video.

    Attributes:
        name: on the page.
        paper: where it comes from.
        build: its run; steps and traced frames of a step are the budget's, everything else its own.
        model: network of ``models.build``, for counts and times at full width.
        frames: of the clip that it is counted and timed on.
        needs: option of a profile without which it is not run, "" for none.
        plain: name of the same without its self- or semi-supervision.
        beats: names of methods that its paper says it is better than.
        options: of the network.
        built: frames that the network is built for, where its clips may have any number.
    """

    name: str
    paper: str
    build: Build
    model: str
    frames: int
    needs: str = ""
    plain: str = ""
    beats: tuple[str, ...] = ()
    options: Mapping[str, object] = field(default_factory=dict)
    built: int | None = None


def _within(budget: StageSize, own: StageSize) -> StageSize:
    """A budget with a method's own learning rate and its own way of lowering it."""
    return budget.model_copy(update={"lr": own.lr, "schedule": own.schedule})


def _framewise(model: str) -> Build:
    return lambda profile, seed, budget: other_run(profile, model, seed=seed, data=profile.echonet, subset=SubsetSpec(),
                                                   train=_within(budget, profile.framewise))


def _clips(model: str, pretrained: bool) -> Build:
    def build(profile: Profile, seed: int, budget: StageSize) -> RunSpec:
        sized = profile.model_copy(update={"segment": _within(budget, profile.segment)})
        return segment_run(sized, model, seed=seed, pretrained=pretrained)
    return build


def _css(name: str) -> Build:
    def build(profile: Profile, seed: int, budget: StageSize) -> RunSpec:
        studies = max(1, budget.batch // 2)  # each has two traced frames
        train = _within(budget, profile.css.segment).model_copy(update={"batch": studies})
        sized = profile.css.model_copy(update={"data": profile.echonet, "segment": train})
        return segmenter(profile.model_copy(update={"css": sized}), name, "1", seed)
    return build


def _pkecho(network: dict) -> Build:
    def build(profile: Profile, seed: int, budget: StageSize) -> RunSpec:
        clips = max(1, budget.batch // 2)  # each has two traced frames
        train = budget.model_copy(update={"batch": clips, "lr": profile.pkecho.train.lr})
        return pkecho_run(profile, 18, seed=seed, data=profile.echonet, train=train, network=network)
    return build


def _sscf(row: str, **recipe: object) -> Build:
    def build(profile: Profile, seed: int, budget: StageSize) -> RunSpec:
        train = budget.model_copy(update={"lr": profile.sscf.train.lr})
        return sscf_run(profile, row, seed=seed, data=profile.echonet, train=train, **recipe)
    return build


#: Methods whose networks segment single frames once they are trained.
FRAMEWISE = ("DeepLabV3", "nnU-Net", "CSS", "CSS, no cycle")
#: Methods that SimLVSeg's Table 1 stands above.
_BEATEN = ("DeepLabV3", "nnU-Net", "CSS")
METHODS: tuple[Method, ...] = (
    Method("DeepLabV3", "EchoNet-Dynamic", _framewise("deeplabv3_r50"), "deeplabv3_r50", 1),
    Method("nnU-Net", "nnU-Net", _framewise("nnunet2d"), "nnunet2d", 1),
    Method("SimLVSeg-3D", "SimLVSeg", _clips("unet3d", True), "unet3d", 32, plain="SimLVSeg-3D, no masking",
           beats=_BEATEN),
    Method("SimLVSeg-3D, no masking", "SimLVSeg", _clips("unet3d", False), "unet3d", 32),
    Method("SimLVSeg-SI", "SimLVSeg", _clips("si_uniformer_s", True), "si_uniformer_s", 16, plain="SimLVSeg-SI, no masking",
           beats=_BEATEN),
    Method("SimLVSeg-SI, no masking", "SimLVSeg", _clips("si_uniformer_s", False), "si_uniformer_s", 16),
    Method("CSS", "CSS", _css("CSS"), "deeplabv3_r50", 1, needs="css", plain="CSS, no cycle"),
    Method("CSS, no cycle", "CSS", _css("Supervised"), "deeplabv3_r50", 1, needs="css"),
    Method("PKEcho-Net", "PKEcho-Net", _pkecho({}), "pkecho_r18", 10, needs="pkecho", plain="PKEcho-Net, no kernels",
           beats=("SSCF",), options={"fit": "resize"}),
    Method("PKEcho-Net, no kernels", "PKEcho-Net", _pkecho({"iterations": 0}), "pkecho_r18", 10, needs="pkecho",
           options={"fit": "resize", "iterations": 0}),
    Method("SSCF", "SSCF", _sscf("full"), "sscf", 10, needs="sscf", plain="SSCF, no teacher", beats=("DeepLabV3",), built=3),
    Method("SSCF, no teacher", "SSCF", _sscf("full", unlabelled=0), "sscf", 10, needs="sscf", built=3),
)


def methods_of(profile: Profile) -> tuple[Method, ...]:
    """The methods that a profile runs."""
    if profile.family is None:
        return ()
    asked = profile.family.methods
    return tuple(m for m in METHODS if (not m.needs or getattr(profile, m.needs) is not None)
                 and (asked is None or m.name in asked))


def run_of(profile: Profile, method: Method, seed: int) -> RunSpec:
    """One seed's run of a method within the budget of all."""
    return method.build(profile, seed, profile.family.train)
