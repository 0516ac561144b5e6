"""Atomic writing and locks."""

from __future__ import annotations

import multiprocessing
import os
import time

import pytest

from echolib.files import locked, write_atomic, write_json


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    write_json(path, {"a": 1})

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_json(path, {"a": 2})
    assert path.read_text() == '{\n "a": 1\n}\n'
    assert [p.name for p in tmp_path.iterdir()] == ["record.json"]


def test_text_is_utf8(tmp_path):
    write_atomic(tmp_path / "a.txt", "µm")
    assert (tmp_path / "a.txt").read_bytes() == b"\xc2\xb5m"


def _hold(path, log):
    with locked(path):
        with open(log, "a") as stream:
            stream.write("in ")
            stream.flush()
            time.sleep(0.2)
            stream.write("out ")


def test_two_processes_take_turns(tmp_path):
    start = multiprocessing.get_context("fork").Process
    both = [start(target=_hold, args=(tmp_path / "lock", tmp_path / "log")) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(20)
    assert (tmp_path / "log").read_text() == "in out in out "
