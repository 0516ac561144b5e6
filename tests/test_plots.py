"""Labels that keep clear of one another."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pytest

from echolib.plots import label_apart


def boxes(axis, labels):
    axis.figure.canvas.draw()
    return [label.get_window_extent() for label in labels]


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_labels_of_close_points_do_not_overlap(scale):
    """Two networks of one cost whose Dice differs by a hair, thrice; an ordinary point keeps its label at the upper right."""
    figure, axis = plt.subplots(figsize=(4.5, 4.2))
    where = [(1.0, 80.0), (1.0, 80.1), (5.0, 84.0), (5.2, 84.1), (5.1, 83.9), (40.0, 90.0)]
    axis.scatter(*zip(*where, strict=True))
    axis.set_xscale(scale)
    labels = label_apart(axis, where, [str(k + 1) for k in range(len(where))], ["k"] * len(where))
    found = boxes(axis, labels)
    assert not any(a.overlaps(b) for k, a in enumerate(found) for b in found[:k])
    assert labels[-1].xyann == (5.0, 4.0) and [label.get_text() for label in labels] == list("123456")
    plt.close(figure)


def test_without_a_free_place_the_label_is_written_all_the_same():
    figure, axis = plt.subplots()
    labels = label_apart(axis, [(0.5, 0.5)] * 12, ["x"] * 12, ["k"] * 12)
    assert len(labels) == 12
    plt.close(figure)
