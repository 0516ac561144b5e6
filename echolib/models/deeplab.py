"""DeepLabV3 with a ResNet-50, frame by frame: the network of EchoNet-Dynamic and the baseline of SimLVSeg's table 1.

Papers: Chen et al., "Rethinking atrous convolution for semantic image segmentation" (2017); Ouyang et al., "Video-based AI
for beat-to-beat assessment of cardiac function" (Nature 2020). Output stride 8, no auxiliary head. The blocks are
torchvision's and so are the parameter names (``backbone.*``, ``classifier.*``).

Shape: images ``(N, 3, Y, X)`` -> logits ``(N, out, Y, X)``.
"""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torchvision.models.segmentation.deeplabv3 import ASPP

from echolib.errors import ConfigError
from echolib.models.framewise import FrameWise
from echolib.models.resnet import resnet50
from echolib.models.widths import channels

ATROUS_RATES = (12, 24, 36)
ASPP_CHANNELS = 256


class DeepLabV3(nn.Module):
    """Dilated ResNet-50, atrous spatial pyramid pooling, bilinear upsampling by 8.

    Args:
        width: multiplier of the channel counts of backbone and pyramid.
        out_channels: channels of the output.
    """

    head = ("classifier.4.",)
    unused = ()

    def __init__(self, *, width: float = 1.0, out_channels: int = 1) -> None:
        super().__init__()
        self.backbone = resnet50(width, dilated=True)
        (inner,) = channels((ASPP_CHANNELS,), width, least=8)
        self.classifier = nn.Sequential(
            ASPP(self.backbone.channels[-1], ATROUS_RATES, inner),
            nn.Conv2d(inner, inner, 3, padding=1, bias=False), nn.BatchNorm2d(inner), nn.ReLU(),
            nn.Conv2d(inner, out_channels, 1))

    @property
    def encoder(self) -> nn.Module:
        """The part that ImageNet weights belong to."""
        return self.backbone

    def deepest(self, images: Tensor) -> Tensor:
        """``(N, 3, Y, X)`` -> the encoder's last maps ``(N, d, Y/8, X/8)``, d 2048 at width 1; the head is not computed."""
        return self.backbone(images)[-1]

    def forward(self, images: Tensor) -> Tensor:
        """``(N, 3, Y, X)`` -> logits ``(N, out, Y, X)``.

        Raises:
            ConfigError: training on a single frame; the pyramid's pooled branch has one value per channel and frame, and
                a batch norm cannot be estimated from one value.
        """
        if self.training and images.shape[0] < 2:
            raise ConfigError("deeplabv3_r50 cannot train on a batch of one frame (batch norm of its pooled branch); "
                              "give at least two")
        logits = self.classifier(self.deepest(images))
        return F.interpolate(logits, size=images.shape[-2:], mode="bilinear", align_corners=False)


def network(name: str, *, width: float, frames: int, size: int, out_channels: int) -> nn.Module:
    """DeepLabV3 frame by frame, see :func:`echolib.models.build`."""
    return FrameWise(DeepLabV3(width=width, out_channels=out_channels))
