"""Views of a frame: what each number does, and that all of it is undone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from echolib.data.views import draw_view, maps_of, seen, turned, turned_back


def view(horizontal: int = 0, vertical: int = 0, transposed: int = 0, degrees: float = 0.0) -> torch.Tensor:
    return maps_of(torch.tensor([[horizontal, vertical, transposed, degrees]], dtype=torch.float64))


def image(side: int = 8) -> torch.Tensor:
    return torch.rand(1, 2, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("numbers", "wanted"), [
    ((0, 0, 0, 0), lambda x: x), ((1, 0, 0, 0), lambda x: x.flip(-1)), ((0, 1, 0, 0), lambda x: x.flip(-2)),
    ((0, 0, 1, 0), lambda x: x.mT), ((1, 1, 0, 0), lambda x: x.flip(-1, -2)),
    ((0, 0, 0, 90), lambda x: torch.rot90(x, 1, (-2, -1)))])
def test_what_each_number_does(numbers, wanted):
    torch.testing.assert_close(turned(image(), view(*numbers)), wanted(image()), atol=1e-5, rtol=0)


@pytest.mark.parametrize("numbers", [(a, b, c, d) for a in (0, 1) for b in (0, 1) for c in (0, 1) for d in (0, 90)])
def test_flips_transpositions_and_quarter_turns_are_undone_exactly(numbers):
    maps = view(*numbers)
    torch.testing.assert_close(turned_back(turned(image(), maps), maps), image(), atol=1e-5, rtol=0)
    assert seen(maps, 8).all()


def test_a_rotation_is_undone_where_the_pixels_are_still_there():
    y, x = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij")
    smooth = (torch.sin(2 * x) + torch.cos(3 * y))[None, None]
    maps = view(1, 0, 1, 15.0)
    there = seen(maps, 64)
    assert 0.7 < there.float().mean() < 1 and not there[0, 0, 0]
    found = turned_back(turned(smooth, maps), maps)
    assert (found - smooth)[:, 0][there].abs().max() < 0.01


def test_the_background_is_what_lies_outside():
    background = torch.tensor([3.0, -2.0])
    found = turned(image(16), view(degrees=45.0), background)
    assert (found[0, 0, :, 0, 0] == 3).all() and (found[0, 1, :, 0, 0] == -2).all()


def test_draws_are_four_numbers_whatever_is_switched_off():
    a, b = np.random.default_rng(0), np.random.default_rng(0)
    views = np.stack([draw_view(a, flips=True, rotation=15) for _ in range(400)])
    off = np.stack([draw_view(b, flips=False, rotation=0) for _ in range(400)])
    assert a.random() == b.random() and not off.any()
    assert set(np.unique(views[:, :3])) == {0, 1} and abs(views[:, :3].mean() - 0.5) < 0.06
    assert 14 < np.abs(views[:, 3]).max() <= 15


def test_frames_that_are_not_square_are_refused():
    with pytest.raises(ValueError, match="square frames, not 4x6"):
        turned(torch.zeros(1, 1, 4, 6), view())
