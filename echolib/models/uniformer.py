"""UniFormer-S: convolution in the two fine stages, self-attention in the two coarse ones.

Paper: Li et al., "UniFormer: Unified Transformer for Efficient Spatial-Temporal Representation Learning" (ICLR 2022), the
image model of size S: depths 3, 4, 8, 3; widths 64, 128, 320, 512; 64 channels per attention head; MLP ratio 4. Each block
is dynamic position embedding (a depth-wise 3x3 convolution), relation aggregator, feed-forward network, each with a
residual connection. The local aggregator is BatchNorm, 1x1, depth-wise 5x5, 1x1; the global one is multi-head
self-attention after LayerNorm. Written from the paper; the parameter names are those of its ImageNet checkpoints, so that
one can be loaded.

Shape: image ``(B, 3, Y, X)`` -> maps at strides 4, 8, 16, 32 (and an empty one at stride 2); Y and X multiples of 32.
"""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from echolib.models.super_image import SuperImage, grid_side
from echolib.models.unet2d import UNet2D

DEPTHS = (3, 4, 8, 3)
HEADS = (1, 2, 5, 8)  #: stage width / 64
HEAD_WIDTH = 64
MLP_RATIO = 4
CLASSES = 1000


class PatchEmbed(nn.Module):
    """Non-overlapping patches to channels: a strided convolution, then LayerNorm over the channels."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(before, after, stride, stride=stride)
        self.norm = nn.LayerNorm(after)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, before, Y, X)`` -> ``(B, after, Y/stride, X/stride)``."""
        return self.norm(self.proj(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2).contiguous()


class ConvMLP(nn.Module):
    """Feed-forward network of the convolutional stages: 1x1, GELU, 1x1."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(width, MLP_RATIO * width, 1)
        self.fc2 = nn.Conv2d(MLP_RATIO * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class TokenMLP(nn.Module):
    """Feed-forward network of the attention stages."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, MLP_RATIO * width)
        self.fc2 = nn.Linear(MLP_RATIO * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(tokens)))


class LocalBlock(nn.Module):
    """Block with the local relation aggregator (paper, eq. 1-3 and 5)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pos_embed = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(width, width, 1)
        self.attn = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.conv2 = nn.Conv2d(width, width, 1)
        self.norm2 = nn.BatchNorm2d(width)
        self.mlp = ConvMLP(width)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, Y, X)`` -> same."""
        x = x + self.pos_embed(x)
        x = x + self.conv2(self.attn(self.conv1(self.norm1(x))))
        return x + self.mlp(self.norm2(x))


class SelfAttention(nn.Module):
    """Multi-head self-attention over all positions of the map."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """``(B, N, C)`` -> same."""
        batch, count, width = tokens.shape
        qkv = self.qkv(tokens).reshape(batch, count, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)                # each (B, heads, N, C / heads)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).reshape(batch, count, width))


class GlobalBlock(nn.Module):
    """Block with the global relation aggregator (paper, eq. 1-3 and 6)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.pos_embed = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = SelfAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = TokenMLP(width)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, Y, X)`` -> same."""
        x = x + self.pos_embed(x)
        tokens = x.flatten(2).transpose(1, 2)                                    # (B, Y X, C)
        tokens = tokens + self.attn(self.norm1(tokens))
        tokens = tokens + self.mlp(self.norm2(tokens))
        return tokens.transpose(1, 2).reshape(x.shape)


class UniFormer(nn.Module):
    """UniFormer-S as a pyramid encoder.

    A narrow version keeps the number of heads and narrows each head, so the stages keep their ratio 1 : 2 : 5 : 8.

    The 1000-class ``head`` takes no part in segmentation. It is kept because the published checkpoints have it and
    because the 24.83 M parameters that SimLVSeg prints count it (0.513 M).
    """

    unused = ("head.",)

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        unit = max(4, int(HEAD_WIDTH * width + 0.5))
        widths = [unit * heads for heads in HEADS]
        self.channels = (0, *widths)  # stride 2 has no map: the first patches are 4 px
        before = 3
        for stage, (after, depth, heads) in enumerate(zip(widths, DEPTHS, HEADS, strict=True), start=1):
            setattr(self, f"patch_embed{stage}", PatchEmbed(before, after, 4 if stage == 1 else 2))
            blocks = (LocalBlock(after) if stage <= 2 else GlobalBlock(after, heads) for _ in range(depth))
            setattr(self, f"blocks{stage}", nn.Sequential(*blocks))
            before = after
        self.norm = nn.BatchNorm2d(widths[-1])
        self.head = nn.Linear(widths[-1], CLASSES)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, image: Tensor) -> list[Tensor]:
        """``(B, 3, Y, X)`` -> maps at strides 2 (no channels), 4, 8, 16 and 32 (the last one after the final norm)."""
        maps = [image.new_empty(image.shape[0], 0, image.shape[2] // 2, image.shape[3] // 2)]
        x = image
        for stage in (1, 2, 3, 4):
            x = getattr(self, f"blocks{stage}")(getattr(self, f"patch_embed{stage}")(x))
            maps.append(x)
        maps[-1] = self.norm(x)
        return maps


def network(name: str, *, width: float, frames: int, size: int, out_channels: int) -> nn.Module:
    """A U-Net with this encoder on the super image, see :func:`echolib.models.build`."""
    grid_side(frames)
    return SuperImage(UNet2D(UniFormer(width), width=width, out_channels=out_channels))
