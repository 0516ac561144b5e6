"""ResNet encoders of any width, from torchvision's blocks.

Paper: He et al., "Deep residual learning for image recognition" (CVPR 2016). torchvision's own class fixes the stem at
64 channels; this one scales every layer, stops before the pooling and the classifier, and keeps the parameter names
(``conv1``, ``bn1``, ``layer1..4``), so that ImageNet checkpoints load at width 1.

Shape: image ``(B, 3, Y, X)`` -> maps at strides 2, 4, 8, 16 and 32 (16 and 32 become 8 when dilated).
"""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from echolib.models.super_image import SuperImage, grid_side
from echolib.models.unet2d import UNet2D
from echolib.models.widths import channels

STAGES = (64, 128, 256, 512)


class ResNetEncoder(ResNet):
    """The convolutional part of a ResNet.

    Args:
        block: ``BasicBlock`` (ResNet-18, -34) or ``Bottleneck`` (ResNet-50).
        depths: blocks of each of the four stages.
        width: multiplier of all channel counts.
        dilated: keep stride 8 in the last two stages and dilate instead (DeepLab, output stride 8).
    """

    unused = ()

    def __init__(self, block: type[BasicBlock | Bottleneck], depths: tuple[int, int, int, int], *, width: float = 1.0,
                 dilated: bool = False) -> None:
        nn.Module.__init__(self)  # ResNet.__init__ would build the full-width layers
        self._norm_layer = nn.BatchNorm2d
        self.groups, self.base_width, self.dilation = 1, 64, 1
        widths = channels(STAGES, width, least=8)
        self.inplanes = stem = widths[0]
        self.conv1 = nn.Conv2d(3, stem, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = self._make_layer(block, widths[0], depths[0])
        self.layer2 = self._make_layer(block, widths[1], depths[1], stride=2)
        self.layer3 = self._make_layer(block, widths[2], depths[2], stride=2, dilate=dilated)
        self.layer4 = self._make_layer(block, widths[3], depths[3], stride=2, dilate=dilated)
        self.channels = (stem, *(count * block.expansion for count in widths))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> list[Tensor]:
        """``(B, 3, Y, X)`` -> five maps, finest first."""
        stem = self.relu(self.bn1(self.conv1(image)))
        maps = [stem]
        x = self.maxpool(stem)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            maps.append(x)
        return maps


def resnet18(width: float = 1.0) -> ResNetEncoder:
    """ResNet-18."""
    return ResNetEncoder(BasicBlock, (2, 2, 2, 2), width=width)


def resnet50(width: float = 1.0, *, dilated: bool = False) -> ResNetEncoder:
    """ResNet-50."""
    return ResNetEncoder(Bottleneck, (3, 4, 6, 3), width=width, dilated=dilated)


def network(name: str, *, width: float, frames: int, size: int, out_channels: int) -> nn.Module:
    """A U-Net with this encoder on the super image, see :func:`echolib.models.build`."""
    grid_side(frames)
    return SuperImage(UNet2D(resnet18(width), width=width, out_channels=out_channels))
