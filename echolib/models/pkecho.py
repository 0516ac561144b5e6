"""PKEcho-Net: a ResNet without a decoder, kernels shared by the frames of a clip, region proxies instead of upsampling.

Paper: Wu et al., "Super-efficient echocardiography video segmentation via proxy- and kernel-based semi-supervised learning"
(AAAI 2023). A clip of ten frames runs from end-diastole to end-systole. Every frame is encoded by itself to stride 32; one kernel
a frame makes its coarse mask and is refined three times (:mod:`echolib.models.pkecho_kernels`); the coarse logits come to full
size through four maps of affinities (:mod:`echolib.models.pkecho_propagation`). Each refinement is a *stage*, and training
looks at all of them.

Defaults are the released network's; :data:`PAPER` are the options that make it what the text says. Its ablations, own readings
where the paper does not define them: no region proxies = bilinear times 32; the vanilla region proxy = one estimator on the last
map; interval 2 = maps 4 and 2, interval 3 = maps 4 and 1; no kernels = the predictor's masks.

Shape: clip ``(B, 3, F, H, W)`` -> logits ``(B, out, F, H, W)``; F is the number of frames that it was built for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from echolib.config.parsing import parse
from echolib.config.specs import ECHONET_MEAN, ECHONET_STD, Strict
from echolib.errors import ConfigError
from echolib.models.pkecho_kernels import Across, Grouping, Hybrid, KernelStage
from echolib.models.pkecho_propagation import AffinityEstimator, propagate
from echolib.models.resnet import ResNetEncoder
from echolib.models.super_image import STRIDE, padded

#: d, channels of the features that kernels work on, whatever the width.
DIMENSION = 32
ENCODERS = {"pkecho_r18": (BasicBlock, (2, 2, 2, 2)), "pkecho_r34": (BasicBlock, (3, 4, 6, 3)),
            "pkecho_r50": (Bottleneck, (3, 4, 6, 3))}
#: Which layers' maps carry an affinity estimator, coarsest first, and by how much each makes the logits finer.
PROXIES = {"interval_1": ((4, 2), (3, 2), (2, 2), (1, 4)), "interval_2": ((4, 4), (2, 8)), "interval_3": ((4, 8), (1, 4)),
           "vanilla": ((4, 32),), "none": ()}
#: What the paper's text says where the released network does something else.
PAPER = {"hybrid": "paper", "ratio": 1, "embedding": False, "mask_bias": False, "affinity_norm": False}


class PKEchoOptions(Strict):
    """Constructor options; the defaults are the released network.

    ``across``: during training a kernel attends to the kernels of the same frame of the other videos of the batch (``batch``),
    to itself (``alone``), or there is no such layer (``none``). ``across_at_test``: the same in evaluation mode. The released
    network keeps it on, so that a prediction depends on what else is in the batch; here it is off unless asked for.
    """

    proxies: Literal["interval_1", "interval_2", "interval_3", "vanilla", "none"] = "interval_1"
    iterations: int = Field(3, ge=0, le=4, description="refinements of the kernels; 0: the predictor's masks")
    hybrid: Hybrid = "released"
    temporal: bool = True
    across: Across = "batch"
    across_at_test: Literal["batch", "alone"] = "alone"
    grouping: Grouping = "sum"
    embedding: bool = Field(True, description="a learned position of each frame, in the first refinement")
    mask_bias: bool = True
    ratio: int = Field(4, ge=1, description="inner width of the feed-forward network over d")
    affinity_norm: bool = True
    dropout: float = Field(0.1, ge=0, lt=1)
    channels: Literal[1, 3] = Field(1, description="1: the grey of channel 1 through a new stem; 3: the ImageNet stem")
    fit: Literal["refuse", "pad", "resize"] = Field("refuse", description="frames whose size is no multiple of 32")
    inner: int | None = Field(None, ge=STRIDE, multiple_of=STRIDE, description="px; 'resize' to this, None: next multiple of 32")

    @model_validator(mode="after")
    def _check(self) -> PKEchoOptions:
        if self.inner is not None and self.fit != "resize":
            raise ValueError(f"'inner' goes with fit 'resize', not {self.fit!r}")
        return self


class Predictor(nn.Module):
    """The coarse masks: ``(N, C, h, w)`` -> features ``(N, 32, h, w)`` and logits ``(N, c, h, w)``."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, DIMENSION, 3, padding=1)
        self.norm = nn.BatchNorm2d(DIMENSION)
        self.head = nn.Conv2d(DIMENSION, classes, 1)
        nn.init.kaiming_normal_(self.reduce.weight)
        nn.init.kaiming_normal_(self.head.weight)
        nn.init.zeros_(self.reduce.bias)
        nn.init.zeros_(self.head.bias)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        reduced = F.relu(self.norm(self.reduce(features)))
        return reduced, self.head(reduced)


class PKEchoNet(nn.Module):
    """See the head of this file.

    Args:
        encoder: maps at strides 2, 4, 8, 16, 32; its stem is replaced where one channel goes in.
        frames: F of every clip.
        out_channels: classes.
        options: see :class:`PKEchoOptions`.

    Attributes:
        options: as given.
        across_at_test: may be set on a trained network, to compare the two.
        deep: the forward pass can be asked for the logits of all stages.
        reach: None, every frame changes all others' logits.

    Raises:
        ConfigError: fewer than two frames.
    """

    deep = True
    reach = None

    def __init__(self, encoder: ResNetEncoder, frames: int, out_channels: int = 1, options: PKEchoOptions | None = None) -> None:
        super().__init__()
        options = options or PKEchoOptions()
        if frames < 2:
            raise ConfigError(f"PKEcho-Net takes clips from one traced frame to another: frames = {frames}; expected at least 2")
        self.options, self.frames, self.classes = options, frames, out_channels
        self.across_at_test = options.across_at_test
        self.encoder = encoder
        if options.channels == 1:
            stem = encoder.conv1
            encoder.conv1 = nn.Conv2d(1, stem.out_channels, 7, stride=2, padding=3, bias=False)
            nn.init.kaiming_normal_(encoder.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.predictor = Predictor(encoder.channels[-1], out_channels)
        self.stages = nn.ModuleList(
            KernelStage(DIMENSION, out_channels, frames if options.embedding and i == 0 else 0, hybrid=options.hybrid,
                        temporal=options.temporal, across=options.across, ratio=options.ratio, bias=options.mask_bias,
                        grouping=options.grouping, dropout=options.dropout) for i in range(options.iterations))
        self.stages.apply(_kaiming)
        self.proxies = nn.ModuleDict(
            {f"layer{layer}": AffinityEstimator(encoder.channels[layer], factor, norm=options.affinity_norm,
                                                kernel=1 if options.proxies == "vanilla" else 3)
             for layer, factor in PROXIES[options.proxies]})
        self.head = ("predictor.head.", *(f"stages.{i}.bias" for i in range(options.iterations)))
        self.unused = tuple(f"stages.{i}.{part}." for i in range(options.iterations) for part in self._idle())

    def _idle(self) -> list[str]:
        """The projections of a stage that decide nothing: queries and keys where there is a single key."""
        blocks = []
        if self.options.hybrid != "gate" and self.classes == 1:
            blocks += ["hybrid.of_kernel", "hybrid.of_group"]
        if self.options.across == "alone":
            blocks.append("videos.attention")
        return [f"{block}.{part}" for block in blocks for part in ("query", "key")]

    def adapt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """An ImageNet encoder's weights for this one: a stem of one channel keeps its own (released)."""
        return {**state, "conv1.weight": self.encoder.conv1.weight.detach()} if self.options.channels == 1 else state

    def forward(self, clip: Tensor, *, stages: bool = False, frames: Sequence[int] | None = None) -> Tensor | list[Tensor]:
        """Segment a clip.

        Args:
            clip: ``(B, 3, F, H, W)`` normalised.
            stages: give the logits of all stages, the predictor's first, for a loss on each of them.
            frames: positions whose logits are wanted, such as ``(0, -1)``; None: all.

        Returns:
            logits ``(B, out, F or len(frames), H, W)``, or a list of them, one a stage.

        Raises:
            ConfigError: another number of frames than the network was built for, or a size that does not fit.
        """
        batch, _, length, height, width = map(int, clip.shape)
        if length != self.frames:
            raise ConfigError(f"this PKEcho-Net was built for clips of {self.frames} frames; the clip has {length}")
        images = self.fitted(clip).transpose(1, 2).flatten(0, 1)                  # (B F, 1 or 3, Y, X)
        maps = self.encoder(images)
        features, coarse = self.predictor(maps[-1])
        found = self._refined(features.view(batch, length, *features.shape[1:]), coarse.view(batch, length, *coarse.shape[1:]))
        found = found if stages else found[-1:]
        places = list(range(length)) if frames is None else [place % length for place in frames]
        wanted = None
        if frames is not None:
            offsets = torch.arange(batch, device=clip.device)[:, None] * length
            wanted = (offsets + torch.tensor(places, device=clip.device)).flatten()
        logits = torch.cat([one[:, places].flatten(0, 1) for one in found], 1)      # (B n, stages x out, h, w)
        for layer, factor in PROXIES[self.options.proxies]:
            logits = propagate(logits, self.proxies[f"layer{layer}"](maps[layer], wanted), factor)
        logits = self._unfitted(logits, *images.shape[-2:], height, width)
        out = logits.view(batch, len(places), len(found), self.classes, height, width).permute(2, 0, 3, 1, 4, 5)
        return [one.contiguous() for one in out] if stages else out[0].contiguous()

    def _refined(self, features: Tensor, coarse: Tensor) -> list[Tensor]:
        """Coarse logits ``(B, F, c, h, w)`` of all stages."""
        batch, length = features.shape[:2]
        found = [coarse]
        kernels = self.predictor.head.weight.flatten(1).expand(batch, length, -1, -1)  # the same for all frames
        how = self.options.across if self.training else self.across_at_test
        for stage in self.stages:
            kernels, logits = stage(features, found[-1], kernels, how == "batch")
            found.append(logits)
        return found

    def fitted(self, clip: Tensor) -> Tensor:
        """The channels that go in, at a size that is a multiple of 32."""
        clip = clip[:, 1:2] if self.options.channels == 1 else clip
        height, width = map(int, clip.shape[-2:])
        check_size(height, width, self.options)
        tall, wide = (self.options.inner,) * 2 if self.options.inner else (padded(height), padded(width))
        if (tall, wide) == (height, width):
            return clip
        if self.options.fit == "resize":
            flat = F.interpolate(clip.flatten(1, 2), (tall, wide), mode="bilinear", align_corners=False)
            return flat.view(*clip.shape[:3], tall, wide)
        top, left = (tall - height) // 2, (wide - width) // 2
        which = slice(1, 2) if self.options.channels == 1 else slice(None)
        black = [-mean / std for mean, std in zip(ECHONET_MEAN, ECHONET_STD, strict=True)][which]
        room = clip.new_tensor(black).view(1, -1, 1, 1, 1).repeat(clip.shape[0], 1, clip.shape[2], tall, wide)
        room[..., top:top + height, left:left + width] = clip
        return room

    def _unfitted(self, logits: Tensor, tall: int, wide: int, height: int, width: int) -> Tensor:
        """Logits of any size at that of the clip."""
        if logits.shape[-2:] != (tall, wide):  # without region proxies
            logits = F.interpolate(logits, (tall, wide), mode="bilinear", align_corners=False)
        if (tall, wide) == (height, width):
            return logits
        if self.options.fit == "resize":
            return F.interpolate(logits, (height, width), mode="bilinear", align_corners=False)
        top, left = (tall - height) // 2, (wide - width) // 2
        return logits[..., top:top + height, left:left + width]


def check_size(height: int, width: int, options: PKEchoOptions) -> None:
    """ConfigError if frames of this size can only be taken with a ``fit`` that was not asked for."""
    for what, value in (("height", height), ("width", width)):
        if value % STRIDE and options.fit == "refuse":
            raise ConfigError(f"PKEcho-Net has stride {STRIDE}: {what} = {value} is no multiple of it; expected one, or the "
                              f"option fit 'pad' (to {padded(value)}) or 'resize' (paper)")


def _kaiming(layer: nn.Module) -> None:
    """He's normal, no bias ("the Kaiming strategy" for the kernels' layers)."""
    if isinstance(layer, nn.Linear):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
        nn.init.zeros_(layer.bias)


def network(name: str, *, width: float, frames: int, size: int, out_channels: int, **options: object) -> nn.Module:
    """PKEcho-Net with its :class:`PKEchoOptions`, see :func:`echolib.models.build`."""
    chosen = parse(PKEchoOptions, options, name)
    check_size(size, size, chosen)
    block, depths = ENCODERS[name]
    return PKEchoNet(ResNetEncoder(block, depths, width=width), frames, out_channels, chosen)
