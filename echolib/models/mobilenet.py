"""MobileNetV3-Large as a pyramid encoder, from timm.

Paper: Howard et al., "Searching for MobileNetV3" (ICCV 2019). The five maps are those of timm's feature extractor (16, 24,
40, 112 and 960 channels); the classifier is not built.

Shape: image ``(B, 3, Y, X)`` -> maps at strides 2, 4, 8, 16 and 32.
"""

from __future__ import annotations

import timm
from timm.models import mobilenetv3 as timm_mobilenetv3
from torch import Tensor, nn

from echolib.models.super_image import SuperImage, grid_side
from echolib.models.unet2d import UNet2D


class MobileNetV3(nn.Module):
    """The convolutional part of MobileNetV3-Large.

    Args:
        width: MobileNet's own multiplier; channel counts are rounded to multiples of 8 as its paper does (at least 8).
    """

    unused = ()

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        name = "mobilenetv3_large_100"
        if width == 1.0:
            self.features = timm.create_model(name, pretrained=False, features_only=True)
        else:  # timm registers only 0.75 and 1; its generator takes any multiplier
            self.features = timm_mobilenetv3._gen_mobilenet_v3(name, width, pretrained=False, features_only=True)
        self.channels = tuple(self.features.feature_info.channels())

    def forward(self, image: Tensor) -> list[Tensor]:
        """``(B, 3, Y, X)`` -> five maps, finest first."""
        return self.features(image)


def network(name: str, *, width: float, frames: int, size: int, out_channels: int) -> nn.Module:
    """A U-Net with this encoder on the super image, see :func:`echolib.models.build`."""
    grid_side(frames)
    return SuperImage(UNet2D(MobileNetV3(width), width=width, out_channels=out_channels))
