"""The plain 2-D U-Net is MONAI's, and ``echolib segment`` gets ready without MONAI."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from echolib.errors import ConfigError
from echolib.models.nnunet import NNUNet2D
from echolib.models.plain_unet2d import PlainUNet2D


@pytest.mark.parametrize(("width", "out"), [(0.25, 1), (0.5, 3)])
def test_the_weights_of_either_fit_the_other_and_give_the_same(width, out):
    theirs, ours = NNUNet2D(width=width, out_channels=out).eval(), PlainUNet2D(width=width, out_channels=out).eval()
    ours.load_state_dict(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(2, 3, 48, 64, generator=torch.Generator().manual_seed(0))
    found, wanted = ours(images), theirs(images)
    assert found.shape == (2, out, 48, 64)
    assert torch.allclose(found, wanted, atol=1e-5)
    found.square().mean().backward()
    wanted.square().mean().backward()
    for (name, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, rtol=1e-3, atol=1e-5), name


def test_the_initial_weights_follow_the_same_rule():
    torch.manual_seed(0)
    theirs, ours = NNUNet2D(width=0.5).state_dict(), PlainUNet2D(width=0.5).state_dict()
    for name, tensor in theirs.items():
        if tensor.numel() > 5000:
            assert float(ours[name].std() / tensor.std()) == pytest.approx(1, abs=0.05), name
    assert not ours["output_block.conv.conv.bias"].any() and not theirs["output_block.conv.conv.bias"].any()


def test_a_size_that_cannot_be_halved_is_said():
    with pytest.raises(ConfigError, match="width = 40 is not a multiple of 16"):
        PlainUNet2D(width=0.25)(torch.zeros(1, 3, 32, 40))


def test_segmenting_with_the_default_weights_loads_no_monai():
    done = subprocess.run([sys.executable, "-c", "import sys, echolib.clinic.segmentation; from echolib.clinic.weights import "
                           "load_segmenter; load_segmenter(); print([n for n in ('monai', 'timm', 'torchvision') if n in "
                           "sys.modules])"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
