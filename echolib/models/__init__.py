"""Networks. Those that segment have one face: clip ``(B, 3, F, H, W)`` -> logits ``(B, out, F, H, W)``.

===================  ==========================================================  =================================
name                 network                                                     how it sees a clip
===================  ==========================================================  =================================
``unet3d``           3D U-Net (SimLVSeg-3D)                                      a volume; F multiple of 16
``unet3d_s``         3D U-Net-S                                                  a volume; F multiple of 16
``unet3d_frames``    3D U-Net, every frame normalised by itself                  a volume; F multiple of 16
``si_uniformer_s``   U-Net / UniFormer-S (SimLVSeg-SI)                           a super image; F a square number
``si_resnet18``      U-Net / ResNet-18                                           a super image
``si_mobilenetv3``   U-Net / MobileNetV3-Large                                   a super image
``si_vit_b16``       UNETR-2D / ViT-B/16                                         a super image of one size
``deeplabv3_r50``    DeepLabV3 / ResNet-50 (EchoNet-Dynamic)                     frame by frame
``nnunet2d``         nnU-Net-style 2-D U-Net                                     frame by frame
``nnunet25d``        the same, for weights that come with the package            each frame with its two neighbours
``nnunet25d_far``    the same                                                    each frame with four others, 0.16 s in all
``pkecho_r18``       PKEcho-Net / ResNet-18; ``_r34``, ``_r50``                  F frames from ED to ES, as built
``sscf``             SSCF of k frames                                            each frame with its k - 1 neighbours
``sscf_base``        its ablations: ``_base``, ``_tce``, ``_bssf``               the same
===================  ==========================================================  =================================

``r2plus1d_18``, ``r3d_18`` and ``mc3_18`` have another face: clip ``(B, 3 or 4, F, H, W)`` -> one number ``(B,)``.
Those of PKEcho-Net and SSCF have options of their own (``build(..., options=...)``, which a recipe's ``network`` sets).
Every network has two attributes: ``head``, prefixes of the parameters that depend on the number of output channels, and
``unused``, prefixes of parameters kept only for parity with published checkpoints and counts (they get no gradient).
"""

from __future__ import annotations

from torch import nn

from echolib.models.registry import NAMES, REGRESSORS, build
from echolib.models.weights import load_metadata, load_weights, save_weights, transfer

__all__ = ["NAMES", "REGRESSORS", "build", "count_parameters", "load_metadata", "load_weights", "save_weights", "transfer"]


def count_parameters(model: nn.Module) -> int:
    """Number of parameters, each counted once, the unused ones included (as the papers count)."""
    return sum(parameter.numel() for parameter in model.parameters())
