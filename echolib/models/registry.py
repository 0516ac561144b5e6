"""Networks by name: which module builds which.

This file only looks names up and checks what is asked for; a network is what its own module says. To add one: a module with a
function ``network(name, *, width, frames, size, out_channels)``, with ``**options`` where it has options of its own, and its
line in :data:`MODULES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from inspect import Parameter, signature
from pathlib import Path

import torch
from torch import nn

from echolib.errors import ConfigError
from echolib.models.weights import load_into, load_weights

#: Network -> the module of this folder that builds it.
MODULES = {
    "unet3d": "unet3d", "unet3d_s": "unet3d", "unet3d_frames": "unet3d_frames",
    "si_uniformer_s": "uniformer", "si_resnet18": "resnet", "si_mobilenetv3": "mobilenet", "si_vit_b16": "unetr2d",
    "deeplabv3_r50": "deeplab", "nnunet2d": "nnunet", "nnunet25d": "plain_unet2d", "nnunet25d_far": "plain_unet2d",
    "pkecho_r18": "pkecho", "pkecho_r34": "pkecho", "pkecho_r50": "pkecho",
    "sscf": "sscf", "sscf_base": "sscf", "sscf_tce": "sscf", "sscf_bssf": "sscf",
    "r2plus1d_18": "video_resnet", "r3d_18": "video_resnet", "mc3_18": "video_resnet"}
#: Those that give one number for a clip.
REGRESSORS = ("r2plus1d_18", "r3d_18", "mc3_18")
#: Those that give masks.
NAMES = tuple(name for name in MODULES if name not in REGRESSORS)


def build(name: str, *, width: float = 1.0, frames: int, size: int = 112, out_channels: int = 1,
          weights: Path | None = None, imagenet: bool = False, seed: int | None = None,
          options: Mapping[str, object] | None = None) -> nn.Module:
    """Build a network.

    Args:
        name: one of :data:`NAMES` or :data:`REGRESSORS`.
        width: multiplier of the channel counts, in (0, 1]; 1 is the published network.
        frames: frames of a clip.
        size: frame height and width, px.
        out_channels: 1 logit map for segmentation, 3 (or 1) to reconstruct a clip; no meaning for networks that give a number.
        weights: file to start from (safetensors, or a torch file of plain tensors): the whole network's weights, or with
            ``imagenet`` its encoder's.
        imagenet: start the encoder from ImageNet weights, downloaded unless ``weights`` brings them.
        options: constructor options of this network, where it has any (its module says which).
        seed: makes the initial weights repeatable and leaves the global generator alone; None draws from the global one.

    Returns:
        the network in training mode, on the CPU, float32.

    Raises:
        ConfigError: an unknown name, a width or size out of range, a number of frames that the network cannot take,
            ImageNet weights for a narrow network or for one without such an encoder, an unknown option.
        WeightsError: the weights cannot be read, fetched, or do not fit.
    """
    _check(name, width, frames, size, out_channels)
    if imagenet and width != 1:
        raise ConfigError(f"ImageNet weights fit the published widths only: imagenet=True with width={width:g}; expected width=1")
    if imagenet:
        import_module("echolib.models.imagenet").source_of(name)  # refuse before anything is built
    if seed is None:
        model = _construct(name, width, frames, size, out_channels, options or {})
    else:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the GPUs as well
            model = _construct(name, width, frames, size, out_channels, options or {})
    if imagenet:
        import_module("echolib.models.imagenet").load_imagenet(name, model, weights)
    elif weights is not None:
        load_into(model, load_weights(weights), Path(weights).name)
    return model


def module_of(name: str) -> str:
    """Dotted name of the module that builds a network.

    Raises:
        ConfigError: an unknown network.
    """
    if name not in MODULES:
        raise ConfigError(f"no network {name!r}; networks: {', '.join(MODULES)}")
    return f"echolib.models.{MODULES[name]}"


def _construct(name: str, width: float, frames: int, size: int, out_channels: int, options: Mapping[str, object]) -> nn.Module:
    module = import_module(module_of(name))  # here, because monai, timm and segmentation_models_pytorch take seconds to load
    if options and not any(one.kind is Parameter.VAR_KEYWORD for one in signature(module.network).parameters.values()):
        raise ConfigError(f"{name} has no options of its own; given: {', '.join(options)}")
    return module.network(name, width=width, frames=frames, size=size, out_channels=out_channels, **options)


def _check(name: str, width: float, frames: int, size: int, out_channels: int) -> None:
    module_of(name)
    if not 0 < width <= 1:
        raise ConfigError(f"width = {width}; expected 0 < width <= 1")
    for what, value, least in (("frames", frames, 1), ("size", size, 32), ("out_channels", out_channels, 1)):
        if value < least:
            raise ConfigError(f"{what} = {value}; expected at least {least}")
    if name.startswith("nnunet") and size % 16:
        raise ConfigError(f"{name} halves its input four times: size = {size} is not a multiple of 16")
