"""A full disk and a folder that cannot be written: the old result stays, nothing half is left, the error says so."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from echolib import cli, models
from echolib.data import echonet
from echolib.data.store import ClipStore, open_verified, pack
from echolib.data.video import write_avi, write_mp4
from echolib.errors import DataError
from echolib.files import write_json
from tests.data import fakes
from tests.fuzz.readers import picture
from tests.robustness.children import DENIED, as_nobody, content, end, no_file_above, start


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return echonet.read(fakes.write_echonet(tmp_path_factory.mktemp("data") / "data", splits=("TRAIN", "VAL", "TEST")))


def big_picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (12, 96, 96), dtype=np.uint8)


WRITERS: dict[str, Callable[[Path], object]] = {
    "json": lambda folder: write_json(folder / "x.json", ["new" * 20_000]),
    "avi": lambda folder: write_avi(folder / "x.avi", big_picture(), 30),
    "mp4": lambda folder: write_mp4(folder / "x.mp4", big_picture(), 30, crf=0),
    "weights": lambda folder: models.save_weights({"a": torch.arange(60_000.0)}, folder / "x.safetensors"),
}
OLD = {"json": "x.json", "avi": "x.avi", "mp4": "x.mp4", "weights": "x.safetensors"}


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_does_not_fit_leaves_the_old_one_and_no_other(tmp_path, name):
    (tmp_path / OLD[name]).write_bytes(b"old")
    assert end(start(partial(WRITERS[name], tmp_path), before=no_file_above(20_000))) == DENIED
    assert content(tmp_path) == {OLD[name]: b"old"}
    WRITERS[name](tmp_path)
    assert len(content(tmp_path)[OLD[name]]) > 20_000, "it would have been too large"


@pytest.fixture
def tiny_disk(tmp_path) -> Iterator[Path]:
    """A file system of 256 KiB, where this user may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = os.getuid() == 0 and not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True).returncode
    if not mounted:
        pytest.skip("this user may not mount a file system; the limit on file sizes stands for it")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("name", WRITERS)
def test_a_disk_that_is_really_full(tiny_disk, name):
    (tiny_disk / OLD[name]).write_bytes(b"old")
    (tiny_disk / "ballast").write_bytes(b"\0" * 230_000)
    assert end(start(partial(WRITERS[name], tiny_disk))) == DENIED
    (tiny_disk / "ballast").unlink()
    assert content(tiny_disk) == {OLD[name]: b"old"}


def test_packing_to_a_full_disk_goes_on_when_there_is_room(cohort, tmp_path):
    whole = pack(cohort, tmp_path / "whole", size=48, channels=1, progress=False).path
    folder = tmp_path / "store"
    work = partial(pack, cohort, folder, size=48, channels=1, progress=False)
    for room in (50_000, 100_000):
        assert end(start(work, before=no_file_above(room))) == DENIED
        with pytest.raises(DataError, match="packing was interrupted|not a store"):
            ClipStore.open(folder)
    work()
    assert content(folder) == content(whole)


@pytest.fixture
def locked_folder() -> Iterator[Path]:
    """A folder with one file that a process without root's rights can read and not write."""
    base = Path(tempfile.mkdtemp())
    folder = base / "locked"
    folder.mkdir()
    (folder / "x.json").write_bytes(b"old")
    base.chmod(0o755)
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(base)


@pytest.mark.parametrize("name", [*WRITERS, "pack"])
def test_a_folder_that_cannot_be_written(cohort, locked_folder, name):
    work = WRITERS[name] if name in WRITERS else lambda folder: pack(cohort, folder / "store", progress=False)
    assert end(start(partial(work, locked_folder), before=as_nobody)) == DENIED
    assert content(locked_folder) == {"x.json": b"old"}


def test_a_file_in_the_place_of_the_folder(cohort, tmp_path):
    (tmp_path / "store").write_bytes(b"mine")
    with pytest.raises(OSError):
        pack(cohort, tmp_path / "store", progress=False)
    with pytest.raises(OSError):
        write_avi(tmp_path / "store" / "x.avi", picture(), 30)
    assert (tmp_path / "store").read_bytes() == b"mine"


def test_the_command_says_so_in_one_line(monkeypatch, capsys):
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/some/where/frames.npy.part")
    monkeypatch.setattr(cli, "app", full)
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err == ("echolib: frames.npy.part: No space left on device; what was there before is as it was\n")


def test_a_store_is_compared_again_when_its_files_have_changed(cohort, tmp_path):
    folder = pack(cohort, tmp_path / "store", size=48, channels=1, progress=False).path
    open_verified(folder)
    data = bytearray((folder / "frames.npy").read_bytes())
    data[-1] ^= 1
    (folder / "frames.npy").write_bytes(data)
    os.utime(folder / "frames.npy", ns=(1, 1))
    with pytest.raises(DataError, match="frames.npy.*0X0002.*have changed since they were packed"):
        open_verified(folder)
