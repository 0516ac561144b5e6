"""Segmentation networks, all with one face: clip ``(B, 3, F, H, W)`` -> logits ``(B, out, F, H, W)``.

===================  ==========================================================  =================================
name                 network                                                     how it sees a clip
===================  ==========================================================  =================================
``unet3d``           3D U-Net (SimLVSeg-3D)                                      a volume; F multiple of 16
``unet3d_s``         3D U-Net-S                                                  a volume; F multiple of 16
``si_uniformer_s``   U-Net / UniFormer-S (SimLVSeg-SI)                           a super image; F a square number
``si_resnet18``      U-Net / ResNet-18                                           a super image
``si_mobilenetv3``   U-Net / MobileNetV3-Large                                   a super image
``si_vit_b16``       UNETR-2D / ViT-B/16                                         a super image of one size
``deeplabv3_r50``    DeepLabV3 / ResNet-50 (EchoNet-Dynamic)                     frame by frame
``nnunet2d``         nnU-Net-style 2-D U-Net                                     frame by frame
``nnunet25d``        the same, of the package's default weights                  each frame with its two neighbours
===================  ==========================================================  =================================

Every network has two attributes: ``head``, prefixes of the parameters that depend on the number of output channels, and
``unused``, prefixes of parameters kept only for parity with published checkpoints and counts (they get no gradient).
"""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import torch
from torch import nn

from echolib.config import ModelName
from echolib.errors import ConfigError
from echolib.models.weights import load_into, load_metadata, load_weights, save_weights, transfer

__all__ = ["NAMES", "build", "count_parameters", "load_metadata", "load_weights", "save_weights", "transfer"]

NAMES: tuple[str, ...] = get_args(ModelName)


def build(name: ModelName, *, width: float = 1.0, frames: int, size: int = 112, out_channels: int = 1,
          weights: Path | None = None, imagenet: bool = False, seed: int | None = None) -> nn.Module:
    """Build a network.

    Args:
        name: one of :data:`NAMES`.
        width: multiplier of the channel counts, in (0, 1]; 1 is the published network.
        frames: frames of a clip.
        size: frame height and width, px.
        out_channels: 1 logit map for segmentation, 3 (or 1) to reconstruct a clip.
        weights: file to start from (safetensors, or a torch file of plain tensors): the whole network's weights, or with
            ``imagenet`` its encoder's.
        imagenet: start the encoder from ImageNet weights, downloaded unless ``weights`` brings them.
        seed: makes the initial weights repeatable and leaves the global generator alone; None draws from the global one.

    Returns:
        the network in training mode, on the CPU, float32.

    Raises:
        ConfigError: an unknown name, a width or size out of range, a number of frames that the network cannot take,
            ImageNet weights for a narrow network or for one without such an encoder.
        WeightsError: the weights cannot be read, fetched, or do not fit.
    """
    _check(name, width, frames, size, out_channels)
    if imagenet and width != 1:
        raise ConfigError(f"ImageNet weights fit the published widths only: imagenet=True with width={width:g}; expected width=1")
    if imagenet:
        from echolib.models.imagenet import source_of
        source_of(name)  # refuse before anything is built
    if seed is None:
        model = _construct(name, width, frames, size, out_channels)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the GPUs as well
            model = _construct(name, width, frames, size, out_channels)
    if imagenet:
        from echolib.models.imagenet import load_imagenet
        load_imagenet(name, model, weights)
    elif weights is not None:
        load_into(model, load_weights(weights), Path(weights).name)
    return model


def count_parameters(model: nn.Module) -> int:
    """Number of parameters, each counted once, the unused ones included (as the papers count)."""
    return sum(parameter.numel() for parameter in model.parameters())


def _check(name: str, width: float, frames: int, size: int, out_channels: int) -> None:
    if name not in NAMES:
        raise ConfigError(f"no network {name!r}; networks: {', '.join(NAMES)}")
    if not 0 < width <= 1:
        raise ConfigError(f"width = {width}; expected 0 < width <= 1")
    for what, value, least in (("frames", frames, 1), ("size", size, 32), ("out_channels", out_channels, 1)):
        if value < least:
            raise ConfigError(f"{what} = {value}; expected at least {least}")
    if name.startswith("nnunet") and size % 16:
        raise ConfigError(f"{name} halves its input four times: size = {size} is not a multiple of 16")


def _construct(name: str, width: float, frames: int, size: int, out_channels: int) -> nn.Module:
    # The imports stand here because monai, timm and segmentation_models_pytorch take seconds to load.
    if name.startswith("unet3d"):
        from echolib.models.unet3d import UNITS, UNet3D, check_dimensions
        check_dimensions(frames, size, size)
        return UNet3D(UNITS[name], width=width, out_channels=out_channels)
    if name == "deeplabv3_r50":
        from echolib.models.deeplab import DeepLabV3
        from echolib.models.framewise import FrameWise
        return FrameWise(DeepLabV3(width=width, out_channels=out_channels))
    if name == "nnunet2d":
        from echolib.models.framewise import FrameWise
        from echolib.models.nnunet import NNUNet2D
        return FrameWise(NNUNet2D(width=width, out_channels=out_channels))
    if name == "nnunet25d":
        from echolib.models.neighbours import WithNeighbours
        from echolib.models.plain_unet2d import PlainUNet2D
        return WithNeighbours(PlainUNet2D(width=width, out_channels=out_channels))
    from echolib.models.super_image import SuperImage, grid_side, padded
    side = grid_side(frames)
    if name == "si_vit_b16":
        from echolib.models.unetr2d import UNETR2D
        return SuperImage(UNETR2D(side * padded(size), width=width, out_channels=out_channels))
    from echolib.models.unet2d import UNet2D
    return SuperImage(UNet2D(_encoder(name, width), width=width, out_channels=out_channels))


def _encoder(name: str, width: float) -> nn.Module:
    if name == "si_uniformer_s":
        from echolib.models.uniformer import UniFormer
        return UniFormer(width)
    if name == "si_resnet18":
        from echolib.models.resnet import resnet18
        return resnet18(width)
    from echolib.models.mobilenet import MobileNetV3
    return MobileNetV3(width)
