"""Drive the notebook viewer in a real JupyterLab with headless Chromium: scrub, play, toggle the overlay, jump to ED and ES.

    python -m tests.book.drive_viewer [--screenshots DIR]

A notebook segments a small phantom with the default weights and shows it with ``echolib.clinic.viewer.show``. After each action
the picture's bytes, the cursor on the area curve and the text must have changed, or stayed, as they should. JupyterLab
runs on a free local port with a token of its own and its settings in a temporary folder; it is ended in any case.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Page

from tests.book.check_site import launch

#: What somebody with a clip would type.
CELLS = ("import echolib\nfrom echolib.clinic import viewer\nfrom echolib.clinic.reading import open_clip",
         "clip = open_clip('clip.avi')\nsegmentation = echolib.segment(clip, clip.fps, clip.spacing_mm)",
         "viewer.show(segmentation)")
_STATE = """async () => {
    const image = document.querySelector('img.widget-image'), line = document.querySelector('.jp-OutputArea svg line');
    const bytes = new Uint8Array(await (await fetch(image.src)).arrayBuffer());
    let hash = 0;
    for (const byte of bytes) hash = (Math.imul(hash, 31) + byte) | 0;
    const text = [...document.querySelectorAll('.jp-OutputArea .widget-label')].map(e => e.textContent)
        .find(t => t.includes('LV area')) || '';
    return [`${bytes.length}/${hash}`, +line.getAttribute('x1'), text];
}"""


@dataclass(frozen=True)
class State:
    """What the viewer shows: the picture's bytes (their number and a hash), the cursor's place in px, the text."""

    picture: str
    cursor: float
    text: str


class Driver:
    """Looks at the viewer, acts on it, and writes down what does not follow."""

    def __init__(self, page: Page, screenshots: Path | None, say) -> None:
        self.page, self.screenshots, self.say, self.wrong = page, screenshots, say, []

    def state(self) -> State:
        """What is shown once it has stopped changing."""
        before = State(*self.page.evaluate(_STATE))
        for _ in range(100):
            self.page.wait_for_timeout(150)
            now = State(*self.page.evaluate(_STATE))
            if now == before:
                return now
            before = now
        raise AssertionError("the viewer does not come to rest")

    def expect(self, what: str, before: State, after: State, *, picture: bool, cursor: bool) -> None:
        """Picture and cursor changed, or stayed, as told."""
        found = (before.picture != after.picture, before.cursor != after.cursor)
        if found != (picture, cursor):
            self.wrong.append(f"{what}: picture and cursor changed: {found}, expected {(picture, cursor)}")
        self.say(f"{what}: {after.text}, cursor at {after.cursor:g}, picture {after.picture}")

    def shot(self, name: str) -> None:
        """A screenshot, where one is wanted."""
        if self.screenshots:
            self.page.screenshot(path=self.screenshots / f"{name}.png")


def drive(page: Page, url: str, screenshots: Path | None = None, *, say=lambda text: None) -> list[str]:
    """Run the notebook and use every control; what went wrong, one sentence each."""
    page.goto(url, wait_until="domcontentloaded", timeout=120_000)
    page.locator(".jp-Notebook .jp-CodeCell").nth(len(CELLS) - 1).wait_for(timeout=120_000)
    _wait_for_kernel(page, url)
    page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for(state="attached", timeout=120_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    page.locator("img.widget-image").wait_for(timeout=240_000)
    page.locator("img.widget-image").scroll_into_view_if_needed()
    driver = Driver(page, screenshots, say)
    start = driver.state()
    say(f"shown: {start.text}")
    driver.shot("1-shown")

    handle, track = (page.locator(f".widget-slider {part}").first for part in (".noUi-handle", ".noUi-base"))
    box = track.bounding_box()
    handle.hover()
    page.mouse.down()
    for share in (0.2, 0.4, 0.6):
        page.mouse.move(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
    page.mouse.up()
    scrubbed = driver.state()
    driver.expect("scrub", start, scrubbed, picture=True, cursor=True)
    driver.shot("2-scrubbed")

    page.locator(".widget-play button").first.click()
    seen = {page.evaluate(_STATE)[1] for _ in range(12) if page.wait_for_timeout(120) is None}
    page.locator(".widget-play button").first.click()
    played = driver.state()
    driver.expect("play", scrubbed, played, picture=True, cursor=True)
    if len(seen) < 4:
        driver.wrong.append(f"play: the cursor stood at {len(seen)} places only")
    driver.shot("3-played")

    overlay = page.locator(".widget-toggle-button").first
    overlay.click()
    hidden = driver.state()
    driver.expect("overlay off", played, hidden, picture=True, cursor=False)
    driver.shot("4-overlay-off")
    overlay.click()
    again = driver.state()
    driver.expect("overlay on", hidden, again, picture=True, cursor=False)
    if again.picture != played.picture:
        driver.wrong.append("overlay on: the picture is not the one before")

    opacity = page.locator(".widget-slider .noUi-handle").nth(1)
    opacity.focus()
    for _ in range(6):
        opacity.press("ArrowRight")
    driver.expect("opacity", again, faded := driver.state(), picture=True, cursor=False)

    for kind, word in (("ED", "end-diastole"), ("ES", "end-systole")):
        page.locator(".widget-button", has_text=kind).first.click()
        jumped = driver.state()
        driver.expect(f"jump to {kind}", faded, jumped, picture=True, cursor=True)
        if word not in jumped.text:
            driver.wrong.append(f"jump to {kind}: the text does not say {word}: {jumped.text}")
        faded = jumped
    driver.shot("5-end-systole")
    return driver.wrong


def prepare(folder: Path) -> None:
    """A notebook and the phantom clip that it opens."""
    from echolib.config import PhantomSpec
    from echolib.phantom.cohort import write_echonet

    write_echonet(folder / "phantom", PhantomSpec(train=0, val=0, test=1, seed=4, frames=(64, 64)), progress=False)
    next((folder / "phantom" / "Videos").glob("*.avi")).replace(folder / "clip.avi")
    book = new_notebook(cells=[new_code_cell(c) for c in CELLS],
                        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}})
    nbformat.write(book, folder / "viewer.ipynb")


@contextmanager
def jupyter(folder: Path, start_s: float = 120) -> Iterator[str]:
    """JupyterLab on a free port, showing ``folder``; yields the notebook's address. It and its kernels end with the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    own = {f"JUPYTER_{part}_DIR": str(folder / ".jupyter" / part.lower()) for part in ("CONFIG", "DATA", "RUNTIME")}
    environment = os.environ | own | {"JUPYTER_TOKEN": token, "IPYTHONDIR": str(folder / ".jupyter" / "ipython"),
                                      "OMP_NUM_THREADS": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
               f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={folder}",
               "--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
               "--LabApp.extension_manager=readonly"]
    log = folder / ".jupyter" / "log.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as stream:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=stream, stderr=subprocess.STDOUT,
                                  start_new_session=True)
    try:
        until = time.monotonic() + start_s
        while not _answers(f"http://127.0.0.1:{port}/api?token={token}"):
            if server.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"drive_viewer: JupyterLab does not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.3)
        yield f"http://127.0.0.1:{port}/lab/tree/viewer.ipynb?token={token}"
    finally:
        server.terminate()  # it ends its kernels
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def run(screenshots: Path | None = None, *, say=lambda text: None) -> list[str]:
    """Everything; what went wrong, one sentence each."""
    if screenshots:
        screenshots.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="viewer-") as name, launch() as browser:
        folder = Path(name)
        prepare(folder)
        with jupyter(folder) as url:
            page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
            return drive(page, url, screenshots, say=say)


def _wait_for_kernel(page: Page, url: str) -> None:
    """Until the page is connected to an idle kernel: cells that are run before are lost without a word.

    The page itself says "idle" before it has asked for a kernel, so the server is asked.
    """
    kernels = url.replace("/lab/tree/viewer.ipynb", "/api/kernels")
    for _ in range(600):
        with urllib.request.urlopen(kernels, timeout=30) as answer:
            if any(one["connections"] > 0 and one["execution_state"] == "idle" for one in json.load(answer)):
                return
        page.wait_for_timeout(200)
    raise AssertionError("the notebook has no idle kernel after two minutes")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def main() -> int:
    """Command line; the status is 1 when something is wrong."""
    parser = argparse.ArgumentParser(description="drive the notebook viewer in JupyterLab with headless Chromium")
    parser.add_argument("--screenshots", type=Path, help="folder for pictures of each step")
    began = time.monotonic()
    wrong = run(parser.parse_args().screenshots, say=lambda text: print(text, flush=True))
    for text in wrong:
        print(f"FAILED {text}")
    print(f"==== {'failed' if wrong else 'passed'} in {time.monotonic() - began:.1f}s ====")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
