"""U-Net over a pyramid encoder: the 2-D network of SimLVSeg-SI.

Paper: Ronneberger et al., "U-Net" (MICCAI 2015), with an ImageNet encoder of depth 5 (SimLVSeg, table 2). The decoder is
segmentation_models_pytorch's: five steps of nearest-neighbour upsampling and two conv-BatchNorm-ReLU with 256, 128, 64,
32 and 16 channels, then a 3x3 convolution to the output.

Shape: image ``(B, 3, Y, X)`` -> logits ``(B, out, Y, X)``; Y and X are multiples of 32.
"""

from __future__ import annotations

from segmentation_models_pytorch.base.initialization import initialize_decoder, initialize_head
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from torch import Tensor, nn

from echolib.errors import ConfigError
from echolib.models.widths import channels

DECODER_CHANNELS = (256, 128, 64, 32, 16)
STRIDE = 32


class UNet2D(nn.Module):
    """Encoder, U-Net decoder, head.

    Args:
        encoder: gives five maps at strides 2, 4, 8, 16 and 32; its ``channels`` lists their channel counts (0: no map at
            that stride). Its ``unused`` names parameters that the maps do not depend on.
        width: multiplier of the decoder's channel counts.
        out_channels: channels of the output.
    """

    head = ("logits.",)

    def __init__(self, encoder: nn.Module, *, width: float = 1.0, out_channels: int = 1) -> None:
        super().__init__()
        self.unused = tuple(f"encoder.{name}" for name in encoder.unused)
        self.encoder = encoder
        decoder_channels = channels(DECODER_CHANNELS, width)
        self.decoder = UnetDecoder(encoder_channels=(3, *encoder.channels), decoder_channels=decoder_channels)
        self.logits = nn.Conv2d(decoder_channels[-1], out_channels, 3, padding=1)
        initialize_decoder(self.decoder)
        initialize_head(self.logits)

    def forward(self, image: Tensor) -> Tensor:
        """``(B, 3, Y, X)`` -> logits ``(B, out, Y, X)``. ConfigError if Y or X is not a multiple of 32."""
        for name, value in zip(("height", "width"), map(int, image.shape[2:]), strict=True):
            if value % STRIDE:
                raise ConfigError(f"the image's {name} = {value} px is not a multiple of {STRIDE}; pad it")
        return self.logits(self.decoder([image, *self.encoder(image)]))
