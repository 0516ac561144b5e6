"""UNETR in two dimensions: a ViT-B/16 encoder with a convolutional decoder.

Papers: Dosovitskiy et al., "An image is worth 16x16 words" (ICLR 2021); Hatamizadeh et al., "UNETR" (WACV 2022), figure 2;
used as the ViT-B/16 row of SimLVSeg's table 2. The encoder is timm's, the decoder blocks are MONAI's (feature size 16,
instance norm, residual convolutions); tokens after blocks 3, 6, 9 and 12 feed the decoder.

Shape: image ``(B, 3, S, S)`` -> logits ``(B, out, S, S)``, for the one S that the position embedding was made for
(a multiple of 16).
"""

from __future__ import annotations

import timm
from monai.networks.blocks import UnetOutBlock, UnetrBasicBlock, UnetrPrUpBlock, UnetrUpBlock
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import Tensor, nn

from echolib.errors import ConfigError
from echolib.models.super_image import SuperImage, grid_side, padded
from echolib.models.widths import channels

PATCH = 16
WIDTH, HEADS = 768, 12
FEATURES = 16
TAPS = (2, 5, 8, 11)  #: 0-based blocks whose tokens are read


class UNETR2D(nn.Module):
    """ViT encoder, UNETR decoder.

    A narrow version has fewer attention heads of the same 64 channels (as ViT-S and ViT-Ti do), at least one.

    The ViT's 1000-class ``head`` takes no part in segmentation. It is kept because the 89.10 M parameters that SimLVSeg
    prints count it (0.769 M).

    Args:
        size: image height and width, px.
        width: multiplier of the number of heads and of the decoder's feature size.
        out_channels: channels of the output.
    """

    head = ("out.",)
    unused = ("encoder.head.",)

    def __init__(self, size: int, *, width: float = 1.0, out_channels: int = 1) -> None:
        super().__init__()
        if size % PATCH:
            raise ConfigError(f"ViT-B/16 cuts patches of {PATCH} px: an image of {size} px does not divide")
        self.size = size
        heads = max(1, int(HEADS * width + 0.5))
        hidden = heads * WIDTH // HEADS
        self.encoder = timm.create_model("vit_base_patch16_224", pretrained=False, img_size=size, embed_dim=hidden,
                                         num_heads=heads)
        f1, f2, f4, f8 = channels((FEATURES, 2 * FEATURES, 4 * FEATURES, 8 * FEATURES), width)
        block = dict(spatial_dims=2, kernel_size=3, norm_name="instance", res_block=True)
        lift = dict(stride=1, upsample_kernel_size=2, conv_block=True, **block)
        self.encoder1 = UnetrBasicBlock(in_channels=3, out_channels=f1, stride=1, **block)
        self.encoder2 = UnetrPrUpBlock(in_channels=hidden, out_channels=f2, num_layer=2, **lift)
        self.encoder3 = UnetrPrUpBlock(in_channels=hidden, out_channels=f4, num_layer=1, **lift)
        self.encoder4 = UnetrPrUpBlock(in_channels=hidden, out_channels=f8, num_layer=0, **lift)
        self.decoder5 = UnetrUpBlock(in_channels=hidden, out_channels=f8, upsample_kernel_size=2, **block)
        self.decoder4 = UnetrUpBlock(in_channels=f8, out_channels=f4, upsample_kernel_size=2, **block)
        self.decoder3 = UnetrUpBlock(in_channels=f4, out_channels=f2, upsample_kernel_size=2, **block)
        self.decoder2 = UnetrUpBlock(in_channels=f2, out_channels=f1, upsample_kernel_size=2, **block)
        self.out = UnetOutBlock(spatial_dims=2, in_channels=f1, out_channels=out_channels)

    def adapt(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Resample the position embedding of an ImageNet checkpoint (224 px) to this encoder's image size."""
        return checkpoint_filter_fn(dict(state), self.encoder)

    def forward(self, image: Tensor) -> Tensor:
        """``(B, 3, S, S)`` -> logits ``(B, out, S, S)``. ConfigError for any other size than S."""
        batch, height, width = int(image.shape[0]), int(image.shape[2]), int(image.shape[3])
        if (height, width) != (self.size, self.size):
            raise ConfigError(f"this ViT was built for images of {self.size}x{self.size} px and got {height}x{width}: "
                              "frames or frame size differ from those given to build()")
        final, taps = self.encoder.forward_intermediates(image, indices=TAPS)   # taps: 4 x (B, hidden, S/16, S/16)
        grid = self.size // PATCH
        tokens = final[:, self.encoder.num_prefix_tokens:]                      # (B, N, hidden), after the final norm
        x = tokens.transpose(1, 2).reshape(batch, -1, grid, grid)
        x = self.decoder5(x, self.encoder4(taps[2]))                            # stride 8
        x = self.decoder4(x, self.encoder3(taps[1]))                            # stride 4
        x = self.decoder3(x, self.encoder2(taps[0]))                            # stride 2
        return self.out(self.decoder2(x, self.encoder1(image)))


def network(name: str, *, width: float, frames: int, size: int, out_channels: int) -> nn.Module:
    """UNETR-2D on the super image, see :func:`echolib.models.build`."""
    return SuperImage(UNETR2D(grid_side(frames) * padded(size), width=width, out_channels=out_channels))
