"""The notebook viewer in a real JupyterLab and browser."""

from __future__ import annotations

import pytest

from tests.book.drive_viewer import run


@pytest.mark.browser
def test_every_control_of_the_viewer_works(tmp_path):
    steps: list[str] = []
    assert run(tmp_path / "shots", say=steps.append) == []
    assert len(steps) == 8 and len(list((tmp_path / "shots").glob("*.png"))) == 5
