"""The notebook viewer in a real JupyterLab and browser, and its static twin in a page."""

from __future__ import annotations

import pytest

from echolib.clinic.result import Segmentation
from echolib.clinic.segmentation import segment
from echolib.clinic.viewer import static_viewer
from tests.book.check_site import launch
from tests.book.drive_viewer import run
from tests.clinic.clips import FPS, beating, stand_in


@pytest.mark.browser
def test_every_control_of_the_viewer_works(tmp_path):
    steps: list[str] = []
    assert run(tmp_path / "shots", say=steps.append) == []
    assert len(steps) == 8 and len(list((tmp_path / "shots").glob("*.png"))) == 5


@pytest.mark.browser
def test_the_static_viewer_works_from_a_file_without_a_network(tmp_path):
    page_file = tmp_path / "page.html"
    page_file.write_text(f"<!doctype html><title>t</title><body>{static_viewer(made_up()).data}</body>", encoding="utf-8")
    look = """() => {
        const by = n => document.querySelector(`[data-role="${n}"]`);
        const cursor = document.querySelector('svg line[id$=cursor]'), place = by('frame').style.backgroundPosition;
        return [place, +cursor.getAttribute('x1'), by('mask').style.opacity, by('text').textContent];
    }"""
    with launch() as browser:
        context = browser.new_context(viewport={"width": 390, "height": 844}, offline=True)
        page, wrong = context.new_page(), []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda r: wrong.append(r.url) if not r.url.startswith((page_file.as_uri(), "data:")) else None)
        page.goto(page_file.as_uri())
        tile, cursor, opacity, text = page.evaluate(look)
        page.locator('[data-role="scrub"]').fill("17")
        scrubbed = page.evaluate(look)
        assert scrubbed[0] != tile and scrubbed[1] > cursor and "frame 17" in scrubbed[3] and scrubbed[2] == opacity == "0.35"
        page.locator('[data-role="play"]').click()
        page.wait_for_function("old => document.querySelector('[data-role=text]').textContent !== old", arg=scrubbed[3])
        page.locator('[data-role="play"]').click()
        stopped = page.evaluate(look)
        page.wait_for_timeout(300)
        assert page.evaluate(look) == stopped and stopped[1] != scrubbed[1]
        page.locator('[data-role="visible"]').uncheck()
        assert page.evaluate(look)[2] == "0"
        page.locator('[data-role="visible"]').check()
        page.locator('[data-role="opacity"]').fill("80")
        assert page.evaluate(look)[2] == "0.8"
        page.screenshot(path=tmp_path / "static.png")
        assert wrong == []


def made_up() -> Segmentation:
    """A segmentation by the stand-in network of the clinic's tests."""
    video, _ = beating(frames=60)
    return segment(video, FPS, weights=stand_in(), name="a made-up clip")
