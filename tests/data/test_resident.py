"""Where the frames lie changes no pixel, and the place is chosen by size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from echolib.data import echonet, resident
from echolib.data.clips import BLACK
from echolib.data.store import ClipStore, pack
from echolib.errors import DataError
from tests.data import fakes

CPU = torch.device("cpu")
GIB = 2**30


@pytest.fixture(scope="module", params=[1, 3])
def store(request, tmp_path_factory) -> ClipStore:
    cohort = echonet.read(fakes.write_echonet(tmp_path_factory.mktemp("cohort") / "data"))
    return pack(cohort, tmp_path_factory.mktemp("store") / "store", channels=request.param, progress=False)


@pytest.fixture(autouse=True)
def nothing_left():
    yield
    resident._loaded.clear()


@pytest.mark.parametrize("place", ["device", "pinned"])
@pytest.mark.parametrize("black", [False, True])
def test_every_place_gives_the_frames_of_the_file(store, place, black, monkeypatch):
    monkeypatch.setattr(resident, "_PIECE", 5 * store.frames[:1].nbytes)  # loaded in several pieces, the last one short
    studies = list(store.studies.index[[2, 0, 2]])
    indices = np.array([[0, 3, 6, 9], [31, 30, 0, 1], [35, 5, 5, BLACK if black else 4]])
    kept = resident.reside(store, CPU, force=place)
    assert kept.place == place and kept.frames.dtype == torch.uint8
    clips = kept.to(kept.clips(studies, indices))
    mapped = resident.reside(store, CPU).clips(studies, indices)
    assert clips.dtype == mapped.dtype == torch.uint8
    assert clips.shape == (3, 4, 112, 112, store.channels)
    assert torch.equal(clips, mapped)
    assert (clips.numpy() == np.stack([store.clip(s, i) for s, i in zip(studies, indices, strict=True)])).all()
    assert bool(clips[2, 3].any()) != black and clips[:2].any()


@pytest.mark.parametrize("place", ["device", "pinned", "map"])
def test_a_frame_that_is_not_there_is_named_everywhere(store, place):
    kept = resident.reside(store, CPU, force=place)
    first = store.studies.index[0]
    with pytest.raises(DataError, match="no such frame"):
        kept.clips([first], np.array([[0, 32]]))  # the next study's first frame, where all studies lie in one array
    with pytest.raises(DataError, match="no such study"):
        kept.clips(["nobody"], np.array([[0]]))


def test_the_cpu_reads_the_memory_map(store):
    kept = resident.reside(store, CPU)
    assert (kept.place, kept.frames) == ("map", None) and "memory map" in kept.why


@pytest.mark.parametrize("size, device, host, place", [
    (22, 139, 128, "device"), (66, 139, 128, "device"), (66, 80, 128, "pinned"), (22, 24, 64, "pinned"),
    (66, 80, 64, "map"), (66, 90, 74, "device"), (66, 89, 74, "pinned"), (66, 89, 73, "map")])
def test_the_place_is_chosen_by_size(size, device, host, place):
    """Grey and RGB cohorts of EchoNet-Dynamic (22 and 66 GiB) on machines of several sizes; the last rows sit on the margins."""
    chosen, why = resident._choose(size * GIB, device * GIB, host * GIB)
    assert chosen == place and str(device) in why


def test_the_store_is_loaded_once_and_replaced_by_the_next(store):
    first = resident.reside(store, CPU, force="device")
    assert resident.reside(store, CPU, force="device").frames is first.frames
    assert resident.reside(store, CPU, force="pinned").frames is not first.frames
    assert len(resident._loaded) == 1


@pytest.mark.gpu
def test_a_gpu_gathers_without_waiting(store):
    device = torch.device("cuda")
    studies, indices = list(store.studies.index[:2]), np.array([[0, 3, BLACK], [1, 2, 4]])
    wanted = resident.reside(store, CPU).clips(studies, indices)
    for place in ("device", "pinned", "map"):
        kept = resident.reside(store, device, force=place)
        torch.cuda.set_sync_debug_mode("error")
        try:
            clips = kept.to(kept.clips(studies, indices))
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert clips.device.type == "cuda" and torch.equal(clips.cpu(), wanted)
    assert resident.reside(store, device).place == "device"
