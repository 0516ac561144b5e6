"""One clip through oneDNN: the same answer, and only where it is meant to step in."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from echolib.models import build
from echolib.models.single_clip import SingleClip


def kernels(model: nn.Module, clip: torch.Tensor) -> set[str]:
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        model(clip)
    return {event.key for event in seen.key_averages()}


def test_one_clip_gets_the_same_logits_and_no_native_convolution():
    model = build("unet3d", width=0.25, frames=16, size=32, seed=0).eval()
    clip = torch.randn(1, 3, 16, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = model(clip)
        assert "aten::slow_conv3d_forward" in kernels(model, clip)  # else the context has become needless
        with SingleClip():
            assert torch.allclose(model(clip), wanted, atol=1e-4)
            assert "aten::slow_conv3d_forward" not in kernels(model, clip)


@pytest.mark.parametrize("conv", [nn.Conv3d(2, 4, 3, padding=1), nn.Conv3d(2, 4, 3, stride=2), nn.Conv3d(2, 4, 3, padding="same"),
                                  nn.Conv3d(4, 4, (1, 3, 2), dilation=2, groups=2, bias=False)])
def test_options_of_the_convolution_are_kept(conv):
    clip = torch.randn(1, conv.in_channels, 7, 8, 9, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = conv(clip)
        with SingleClip():
            assert torch.allclose(conv(clip), wanted, atol=1e-5)


def test_gradients_are_left_alone():
    conv, clip = nn.Conv3d(2, 3, 3), torch.randn(1, 2, 5, 5, 5, generator=torch.Generator().manual_seed(2))
    with SingleClip():
        conv(clip).sum().backward()
    assert conv.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("norm", [nn.InstanceNorm3d(5), nn.InstanceNorm3d(5, affine=True, eps=0.1),
                                  nn.InstanceNorm3d(5, affine=True, track_running_stats=True)])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_instance_norm_is_the_same_and_not_copied(norm, batch, dtype):
    clip = torch.randn(batch, 5, 4, 6, 7, generator=torch.Generator().manual_seed(3)).mul(2).add(1).to(dtype)
    last, norm = clip.to(memory_format=torch.channels_last_3d), norm.to(dtype).eval()
    with torch.no_grad():
        wanted = norm(clip)
        with SingleClip():
            got = norm(last)
    torch.testing.assert_close(got, wanted, atol=1e-4 if dtype == torch.float32 else 0.02, rtol=0.01)
    if batch == 1 and not norm.track_running_stats:
        assert got.is_contiguous(memory_format=torch.channels_last_3d)


def test_a_single_voxel_is_left_to_torch():
    with torch.no_grad(), SingleClip(), pytest.raises(ValueError, match="more than 1 spatial element"):
        nn.InstanceNorm3d(3).train()(torch.randn(1, 3, 1, 1, 1))
