"""Frames to super image and back."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from echolib.errors import ConfigError
from echolib.models.super_image import SuperImage, cut, grid_side, lay, padded


class Echo(nn.Module):
    """A network that returns its image."""

    head = unused = ()

    def forward(self, image):
        return image


def test_frames_are_laid_row_by_row_with_zeros_around_each():
    clip = torch.arange(1.0, 5.0).reshape(1, 1, 4, 1, 1).expand(1, 1, 4, 2, 2)  # frame k is filled with k + 1
    expected = torch.tensor([[0, 0, 0, 0, 0, 0, 0, 0], [0, 1, 1, 0, 0, 2, 2, 0], [0, 1, 1, 0, 0, 2, 2, 0], [0] * 8,
                             [0] * 8, [0, 3, 3, 0, 0, 4, 4, 0], [0, 3, 3, 0, 0, 4, 4, 0], [0] * 8]).float()
    assert torch.equal(lay(clip, 4)[0, 0], expected)


def test_sixteen_frames_of_112_px_make_512_px_or_448_px_unpadded():
    clip = torch.zeros(1, 3, 16, 112, 112)
    assert lay(clip).shape == (1, 3, 512, 512)
    assert lay(clip, 1).shape == (1, 3, 448, 448)


@settings(max_examples=40, deadline=None)
@given(side=st.integers(1, 4), height=st.integers(1, 9), width=st.integers(1, 9), multiple=st.integers(1, 6),
       seed=st.integers(0, 99))
def test_the_mapping_there_and_back_is_exact_and_agrees_with_a_loop(side, height, width, multiple, seed):
    clip = torch.randn(2, 3, side * side, height, width, generator=torch.Generator().manual_seed(seed))
    image = lay(clip, multiple)
    assert torch.equal(cut(image, side * side, height, width, multiple), clip)
    tall, wide = padded(height, multiple), padded(width, multiple)
    twin = torch.zeros(2, 3, side * tall, side * wide)
    for frame in range(side * side):
        y = frame // side * tall + (tall - height) // 2
        x = frame % side * wide + (wide - width) // 2
        twin[:, :, y:y + height, x:x + width] = clip[:, :, frame]
    assert torch.equal(image, twin)


def test_a_network_that_changes_nothing_gives_the_clip_back():
    clip = torch.randn(2, 3, 9, 20, 28, generator=torch.Generator().manual_seed(0))
    assert torch.equal(SuperImage(Echo())(clip), clip)


def test_only_square_numbers_of_frames_fit():
    assert [grid_side(square) for square in (1, 4, 9, 16, 25, 64)] == [1, 2, 3, 4, 5, 8]
    for frames in (0, 2, 3, 8, 15, 17, 32):
        with pytest.raises(ConfigError, match="square"):
            grid_side(frames)
    with pytest.raises(ConfigError, match="frames = 5 is not a square number; 4 or 9 would be"):
        SuperImage(Echo())(torch.zeros(1, 3, 5, 32, 32))
