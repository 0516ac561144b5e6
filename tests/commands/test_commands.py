"""Every command of ``echolib --help`` as a process: its exit status, no traceback, names whole, a last line that helps."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from echolib import models
from echolib.clinic.weights import DEFAULT, save_segmenter
from echolib.data.video import write_avi
from echolib.words import counted
from tests.clinic.clips import beating
from tests.commands.process import Ended, echolib
from tests.data import fakes
from tests.small import write_book

LONG = "a_name_that_is_much_longer_than_a_terminal_of_eighty_columns_is_wide_" + 40 * "x"
COMMANDS = {"segment", "train-default", "plan", "book", "cohort", "store", "run", "times", "keep", "notebook", "pages", "batch",
            "check", "pack", "phantom"}
TERMINAL = pytest.mark.parametrize("terminal", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["pipe", "terminal"])


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Folders, clips and weights, good and damaged."""
    root = tmp_path_factory.mktemp("commands")
    splits = ("TRAIN", "TRAIN", "VAL", "TEST")
    fakes.write_echonet(root / "good", splits=splits)
    fakes.write_camus(root / "camus")
    fakes.write_echonet(root / "no_test", splits=("TRAIN", "VAL"))
    for name in ("cut", "cut_late"):
        fakes.write_echonet(root / name, splits=splits)
        video = root / name / "Videos" / "0X0001.avi"
        video.write_bytes(video.read_bytes()[:video.stat().st_size // 2] if name == "cut" else _broken_frame(video))
    (root / "neither").mkdir()
    (root / "neither" / f"{LONG}.txt").write_text("hello")
    write_avi(root / "clip.avi", beating(24, 112, 140)[0], 50)
    (root / f"{LONG}.avi").write_bytes(b"RIFF and no more")
    network = dict(network="unet3d_s", width=0.05, frames=16)
    save_segmenter(models.build("unet3d_s", width=0.05, frames=16, size=112, seed=0), root / "net.safetensors", **network,
                   period=1, size=112, trained_on="nothing.")
    (root / f"{LONG}.ckpt").write_bytes(b"no checkpoint")
    (root / "no.pt").write_bytes(b"\x80\x04\x95junk")
    return root


def _broken_frame(video: Path) -> bytes:
    """Its ninth frame is no JPEG any more; the container is whole."""
    content = bytearray(video.read_bytes())
    start = [m.start() for m in re.finditer(b"\xff\xd8\xff", content)][8]
    content[start:start + 2] = b"\0\0"
    return bytes(content)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A checkout of a tiny book, with the package."""
    return write_book(tmp_path_factory.mktemp("checkout"))


def sound(ended: Ended, status: int) -> None:
    """No traceback, nothing of PyTorch's advice, and the exit status."""
    assert "Traceback" not in ended.text and "weights_only" not in ended.text and "NA is ambiguous" not in ended.text, ended.text
    assert ended.status == status, ended.text
    assert ended.lines


def test_help_lists_these_commands():
    ended = echolib("--help")
    sound(ended, 0)
    listed = ended.text.partition("Commands:")[2]
    assert {line.split()[0] for line in listed.splitlines() if re.match(r"  \S", line)} == COMMANDS


@pytest.mark.parametrize("words", [*((name,) for name in sorted(COMMANDS - {"phantom"})), ("phantom", "echonet"),
                                   ("phantom", "camus")])
def test_help_of_each_command(words):
    ended = echolib(*words, "--help")
    sound(ended, 0)
    assert f"Usage: python -m echolib {' '.join(words)}" in ended.text
    if words[0] == "phantom":
        assert "--frames SHORTEST LONGEST" in ended.text and "two numbers" in ended.text


#: Command, exit status, and what must stand whole on one line.
REFUSED = [
    (("check", "{data}/none"), 1, "none"), (("check", f"{{data}}/{LONG}"), 1, LONG), (("check", "{data}/neither"), 1, LONG),
    (("check", "{data}/cut"), 1, "Videos/0X0001.avi"), (("check", "{data}/no_test"), 1, "FileList.csv"),
    (("check", "{data}/cut_late"), 1, "Videos/0X0001.avi"), (("check",), 2, "folder"),
    (("pack", "{data}/cut", "{tmp}/store"), 1, "Videos/0X0001.avi"),
    (("pack", "{data}/cut_late", "{tmp}/late"), 2, "Videos/0X0001.avi"), (("pack", "{data}/none", "{tmp}/x"), 2, "none"),
    (("pack", "{data}/good", "{tmp}/x", "--size", "0"), 2, "--size"),
    (("pack", "{data}/good", "{tmp}/x", "--channels", "2"), 2, "--channels"),
    (("phantom", "echonet", "{data}/good", "--train", "1"), 2, "good is not empty"),
    (("phantom", "camus", "{tmp}/x", "--frames", "10"), 2, "--frames"),
    (("phantom", "echonet", "{tmp}/x", "--preset", LONG), 2, LONG[:70]),
    (("phantom", "echonet", "{tmp}/x", "--train", "-1"), 2, "--train"),
    (("segment", f"{{data}}/{LONG}.avi", "--weights", "{data}/net.safetensors", "--out", "{tmp}/s"), 1, f"{LONG}.avi"),
    (("segment", "{data}/none.avi", "--weights", "{data}/net.safetensors", "--out", "{tmp}/s"), 1, "none.avi"),
    (("segment", "{data}/clip.avi", "--weights", f"{{data}}/{LONG}.ckpt"), 2, f"{LONG}.ckpt"),
    (("segment", "{data}/clip.avi", "--weights", "{data}/no.pt"), 2, "no.pt"),
    (("segment", "{data}/clip.avi", "--weights", "{data}/clip.avi"), 2, "clip.avi"),
    (("segment", "{data}/clip.avi", "--weights", "{data}/none"), 2, "none"),
    (("segment", "{data}/clip.avi", "--device", LONG), 2, LONG), (("segment", "{data}/clip.avi", "--fps", "0"), 2, "--fps"),
    (("segment",), 2, "clips"), (("train-default", "--network", LONG, "--clips", "4", "--cache", "{tmp}/c"), 2, LONG),
    (("train-default", "--minutes", "0"), 2, "--minutes"), (("plan", "--profile", LONG), 2, LONG),
    (("cohort", LONG), 2, LONG), (("store", LONG), 2, LONG), (("run", LONG), 2, LONG), (("run",), 2, "--all"),
    (("keep", "--profile", LONG), 2, LONG), (("keep", "--profile", "smoke"), 2, "quotable"), (("notebook", LONG), 2, LONG),
    (("notebook", "simlvseg_table1", "--set", LONG), 2, LONG), (("notebook", "simlvseg_table1", "--set", f"{LONG}=1"), 2, LONG),
    (("pages", "--profile", LONG), 2, LONG), (("book", "--profile", LONG), 2, LONG), (("batch", "--profile", LONG), 2, LONG),
    (("batch", "--executor", LONG), 2, LONG), ((LONG,), 2, LONG)]


@TERMINAL
@pytest.mark.parametrize("words, status, named", REFUSED,
                         ids=lambda value: value[0][:20] if value and isinstance(value, tuple) else "")
def test_damaged_input_is_named_on_one_line(data, tmp_path, words, status, named, terminal):
    ended = echolib(*(word.format(data=data, tmp=tmp_path) for word in words), terminal=terminal)
    sound(ended, status)
    assert any(named in line for line in ended.lines), ended.text
    said = ended.text if words[0] in ("check", "pack", "segment") else ended.lines[-1]
    assert re.search(r"expected|mend|Mend|Input should be|requires|Missing argument|profiles here|its (cohorts|notebooks)"
                     r"|its parameters|entries:|networks:|No such command|never written|not in the range|say why", said), said


@TERMINAL
def test_check_says_what_it_saw_and_what_to_do(data, terminal):
    for folder, variant, studies in (("good", "EchoNet-Dynamic", "4 usable studies"), ("camus", "CAMUS", "8 usable studies")):
        ended = echolib("check", data / folder, terminal=terminal)
        sound(ended, 0)
        assert f"{variant}: {studies}" in ended.text and ended.lines[-1] == "Nothing wrong: use it as it is."
    ended = echolib("check", data / "no_test", terminal=terminal)
    assert [line for line in ended.lines if line.startswith("dropped")] and ended.lines[-1].startswith("1 finding. Something is")


def test_a_piped_table_of_findings_has_one_line_each_and_five_fields(data):
    ended = echolib("check", data / "cut")
    found = [line.split("\t") for line in ended.lines if "\t" in line]
    assert found and all(len(fields) == 5 for fields in found)
    assert found[0][0] == "dropped" and found[0][1:3] == ["0X0001", "Videos/0X0001.avi"]


@TERMINAL
def test_pack_names_the_study_that_it_leaves_out(data, tmp_path, terminal):
    whole = echolib("pack", data / "good", tmp_path / "whole", "--size", "48", terminal=terminal)
    sound(whole, 0)
    assert whole.lines[-1].startswith("packed 4 studies, ")
    less = echolib("pack", data / "cut", tmp_path / "less", "--size", "48", terminal=terminal)
    sound(less, 1)
    assert "packed 3 studies" in less.text and "0X0001" in less.text and less.lines[-1].startswith("1 line above says")
    assert (tmp_path / "less" / "manifest.json").is_file()


@TERMINAL
def test_phantom(tmp_path, terminal):
    for layout in ("echonet", "camus"):
        folder = tmp_path / layout
        ended = echolib("phantom", layout, folder, "--train", 1, "--val", 0, "--test", 0, "--frames", 16, 16, "--workers", 1,
                        terminal=terminal)
        sound(ended, 0)
        assert ended.lines[-1] == f"wrote 1 study to {folder}"


@TERMINAL
def test_segment(data, tmp_path, terminal):
    words = ("segment", data / "clip.avi", data / "none.avi", "--out", tmp_path / "out")
    ended = echolib(*words, terminal=terminal)
    sound(ended, 1)
    assert "1 of 2 clips segmented" in ended.text and ended.lines[-1].startswith("1 clip failed")
    shutil.copy(DEFAULT, tmp_path / "no_ending")
    good = echolib("segment", data / "clip.avi", "--weights", tmp_path / "no_ending", "--out", tmp_path / "good",
                   terminal=terminal)
    sound(good, 0)
    assert good.lines[-1].startswith("1 of 1 clip segmented")


@pytest.mark.slow
def test_train_default(tmp_path):
    ended = echolib("train-default", "--minutes", 0.1, "--clips", 4, "--out", tmp_path / "w.safetensors",
                    "--cache", tmp_path / "c", "--network", "nnunet25d", "--width", 0.1, "--frames", 16, "--batch", 1)
    sound(ended, 0)
    assert ended.lines[-1].endswith("MiB") and (tmp_path / "w.safetensors").is_file()


def test_a_book_is_planned_and_its_cohort_made(checkout):
    def run(*words: object) -> Ended:
        ended = echolib(*words, "--profile", "tiny", cwd=checkout, package=checkout)
        sound(ended, 0)
        return ended

    assert "unet3d" in run("plan").text
    name = re.search(r"echonet-\w+-\w+", run("plan", "--json").text)[0]
    assert run("cohort", name).lines[-1].startswith(f"cohort {name}: 5 studies, ")
    assert run("store", name).lines[-1].startswith(f"store {name}: 5 studies, ")


@pytest.mark.slow
def test_a_book_is_run_and_built(checkout):
    def run(*words: object, status: int = 0) -> Ended:
        ended = echolib(*words, "--profile", "tiny", cwd=checkout, package=checkout)
        sound(ended, status)
        return ended

    assert "run " in run("run", "two").text
    assert run("notebook", "two").lines[-1].startswith("executed: ")
    for command in ("pages", "book"):
        assert run(command).lines[-1].startswith("The book is ready: ")
    assert "quotable" in run("keep", status=2).lines[-1]
    assert "The book is ready: " in run("batch", "--jobs", 1).lines[-1]


def test_words_fit_their_number():
    assert [counted(n, "study", "studies") for n in (0, 1, 2)] == ["0 studies", "1 study", "2 studies"]
    assert counted(1, "frame") == "1 frame" and counted(np.int64(3), "frame") == "3 frames"
