"""Three sections on a triangle: the formula by hand, known shapes, scale, and masks that have no axis."""

from __future__ import annotations

import numpy as np
import pytest

from echolib.errors import DataError
from echolib.evaluation.ejection import disk_volume, ejection_fraction
from echolib.evaluation.folland import section_volume, triangle_axis, triangle_volume


def ventricle(scale: float = 1.0, size: int = 240) -> np.ndarray:
    """Half an ellipse, apex on top, flat base: half axes 30 and 90 px times the scale."""
    y, x = np.mgrid[:size, :size]
    down, across = (y - 30) / (90 * scale), (x - size / 2) / (30 * scale)
    return (down >= 0) & (down <= 1) & (across ** 2 + (1 - down) ** 2 <= 1)


def test_on_a_cylinder_the_formula_gives_seven_ninths():
    assert section_volume(2.0, 2.0, 9.0) == pytest.approx(7 / 9 * 2.0 * 9.0)
    assert section_volume(4.0, 2.0, 9.0) == pytest.approx(4 * 3 + 3 * 3 + 2)


def test_the_axis_runs_from_the_apex_to_the_base():
    apex, foot = triangle_axis(ventricle())
    assert apex == pytest.approx([120, 30], abs=4) and foot == pytest.approx([120, 120], abs=4)
    mirrored = triangle_axis(ventricle()[:, ::-1])
    assert np.hypot(*(mirrored[1] - mirrored[0])) == pytest.approx(np.hypot(*(foot - apex)), rel=0.03)


def test_the_volume_of_half_an_ellipsoid_by_hand():
    # diameters 60 sqrt(1 - (2/3)^2) and 60 sqrt(1 - (1/3)^2) at one and two thirds of 90 px
    smaller, larger = (np.pi / 4 * 60 ** 2 * (1 - part ** 2) for part in (2 / 3, 1 / 3))
    assert triangle_volume(ventricle()) == pytest.approx(section_volume(larger, smaller, 90) / 1000, rel=0.04)
    assert triangle_volume(ventricle(), 0.5) == pytest.approx(triangle_volume(ventricle()) / 8)
    assert 0.6 < triangle_volume(ventricle()) / disk_volume(ventricle(), 1.0) < 1.1


@pytest.mark.parametrize("q", [0.6, 0.8])
def test_a_scaled_mask_has_the_ejection_fraction_of_its_scale(q):
    volumes = triangle_volume(ventricle()), triangle_volume(ventricle(q))
    assert ejection_fraction(*volumes) == pytest.approx(100 * (1 - q ** 3), abs=3)


def test_only_the_largest_part_counts():
    mask = ventricle()
    mask[200:210, 10:30] = True
    assert triangle_volume(mask) == pytest.approx(triangle_volume(ventricle()))


def test_masks_without_an_axis_are_named():
    assert triangle_volume(np.zeros((20, 20), bool)) == 0
    with pytest.raises(DataError, match="empty mask"):
        triangle_axis(np.zeros((20, 20), bool))
    for rows, columns in ((slice(5, 6), slice(5, 6)), (slice(5, 6), slice(3, 12)), (slice(3, 12), slice(5, 6))):
        thin = np.zeros((20, 20), bool)
        thin[rows, columns] = True
        with pytest.raises(DataError, match="1 px|9 px"):
            triangle_volume(thin)
