"""The fast and the plain path: the same clips and nearly the same training; what the fast one does, and that it says so."""

from __future__ import annotations

import copy

import pytest
import torch

from echolib.config import ClipSpec, DataSpec, load_profile
from echolib.data import resident
from echolib.data.augment import denormalise
from echolib.errors import TrainingError
from echolib.models import NAMES, REGRESSORS, build
from echolib.papers.simlvseg.runs import segment_run
from echolib.training import engine, fast
from tests.training.standin import MemoryStore, TinyNet, batches, pretrain_spec, run_spec, segment_loss, small_store, train
from tests.training.test_engine import ROOT, log

CPU = torch.device("cpu")


class Rgb(MemoryStore):
    """The stand-in's videos in colour: another gain in each channel."""

    channels = 3

    def clip(self, study, indices):
        return (super().clip(study, indices) * torch.tensor([1.0, 0.8, 0.6]).numpy()).astype("uint8")


@pytest.mark.parametrize("spec", [run_spec(), pretrain_spec(), run_spec(train_augment=None),
                                  run_spec(clip=ClipSpec(frames=16, period=1))], ids=["segment", "reconstruct", "bare", "padded"])
@pytest.mark.parametrize("kind", [MemoryStore, Rgb])
def test_both_paths_see_the_same_clips(spec, kind):
    store = kind({"train": 3, "val": 1})
    plain = spec.model_copy(update={"engine": "plain"})
    pairs = zip(batches(store, "train", spec).epoch(1, CPU), batches(store, "train", plain).epoch(1, CPU), strict=True)
    for ours, theirs in pairs:
        assert ours.studies == theirs.studies and ours.clip.shape == theirs.clip.shape
        for name in ("mask", "position", "masked"):
            a, b = getattr(ours, name, None), getattr(theirs, name, None)
            assert (a is None and b is None) or torch.equal(a, b)
        for a, b in ((ours.clip, theirs.clip), (getattr(ours, "target", None), getattr(theirs, "target", None))):
            if a is not None:
                off = (denormalise(a) - denormalise(b)).abs() * 255
                # CLAHE's tiles are 4 px wide here and hold noise: one lightness level can be many levels of grey.
                assert (off <= 2).float().mean() > 0.98 and off.median() < 0.1


def test_frames_in_memory_train_to_the_same_batches(tmp_path, monkeypatch):
    """With the store in memory, as a GPU keeps it, a step holds what the memory map gives."""
    from echolib.data import echonet
    from echolib.data.store import pack
    from tests.data import fakes
    cohort = echonet.read(fakes.write_echonet(tmp_path / "data"))
    store = pack(cohort, tmp_path / "store", channels=1, progress=False)
    spec = run_spec(data=DataSpec(layout="echonet", size=112, channels=1), clip=ClipSpec(frames=40, period=1))
    mapped = next(batches(store, "train", spec).epoch(0, CPU))
    for place in ("device", "pinned"):
        made = batches(store, "train", spec)
        made._resident = resident.reside(store, CPU, force=place)
        found = next(made.epoch(0, CPU))
        assert torch.equal(found.clip, mapped.clip) and torch.equal(found.mask, mapped.mask)
    resident._loaded.clear()


def test_both_paths_train_alike(tmp_path):
    """From the same weights over the same clips: the losses agree up to what rounding grows to."""
    for name in ("fast", "plain"):
        train(tmp_path / name, run_spec(engine=name))
    ours, theirs = ([float(row["loss"]) for row in log(tmp_path / name)] for name in ("fast", "plain"))
    assert ours == pytest.approx(theirs, abs=5e-3)
    assert len(set(ours)) == len(ours)


def test_the_plain_path_is_plain(tmp_path, capsys):
    run = {}

    def loss(output, batch):
        run["strides"] = batch.clip.is_contiguous()
        return segment_loss(output, batch)
    train(tmp_path, run_spec(engine="plain"), loss=loss, progress=True)
    told = " ".join(capsys.readouterr().err.split())
    assert run["strides"] and "engine plain on cpu" in told and "channels-first" in told and "unfused optimiser" in told


def test_the_fast_path_says_what_it_does(tmp_path, capsys):
    train(tmp_path, progress=True)
    told = " ".join(capsys.readouterr().err.split())
    assert "engine fast on cpu" in told and "frames from the memory map" in told and "fused optimiser" in told
    assert "not compiled: only on a GPU" in told


def test_a_missing_compiler_is_said(monkeypatch):
    gpu = torch.device("cuda")
    monkeypatch.setattr(fast.importlib.util, "find_spec", lambda name: None)
    assert "Triton is not installed" in fast.why_not_compiled(gpu)
    monkeypatch.setattr(fast.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(fast.shutil, "which", lambda name: None)
    assert "no C compiler" in fast.why_not_compiled(gpu)
    monkeypatch.setattr(fast.shutil, "which", lambda name: "/bin/cc" if name == "cc" else None)
    assert fast.why_not_compiled(gpu) is None
    monkeypatch.setenv("ECHOLIB_COMPILE", "0")
    assert "ECHOLIB_COMPILE=0" in fast.why_not_compiled(gpu)


def test_channels_last_changes_the_layout_and_no_value():
    model = torch.nn.ModuleList([TinyNet(), torch.nn.Conv2d(3, 4, 3)])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fast.lay_out(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model[0].last.weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert model[1].weight.is_contiguous(memory_format=torch.channels_last)
    assert not model[1].weight.is_contiguous()


def nan_at(step: int):
    """A loss that is not a number from this step (counted from 1) on."""
    calls = []

    def loss(output, batch):
        calls.append(batch.studies)
        return segment_loss(output, batch) * (float("nan") if len(calls) >= step else 1)
    return loss, calls


@pytest.mark.parametrize("delay, done", [(1, 5), (2, 5), (25, 6)])
def test_a_late_look_still_names_the_first_bad_step(tmp_path, monkeypatch, delay, done):
    """Step 5 is epoch 2, step 2. A look comes after every ``delay`` steps and at the epoch's end, before any checkpoint."""
    loss, calls = nan_at(5)
    real = engine._Run.__init__

    def slower(self, *args):
        real(self, *args)
        self.delay = delay
    monkeypatch.setattr(engine._Run, "__init__", slower)
    with pytest.raises(TrainingError) as found:
        train(tmp_path, loss=loss)
    assert "epoch 2, step 2: the loss is nan" in str(found.value)
    assert ", ".join(calls[4]) in str(found.value) and "checkpoint.pt" in str(found.value)
    assert len(calls) == done
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["steps"] == 3


def test_a_late_look_trains_to_the_same_bytes_and_log(tmp_path, monkeypatch):
    prompt = train(tmp_path / "prompt")
    real = engine._Run.__init__

    def slower(self, *args):
        real(self, *args)
        self.delay = 2
    monkeypatch.setattr(engine._Run, "__init__", slower)
    late = train(tmp_path / "late", stop_after_steps=5, checkpoint_seconds=0)
    late = train(tmp_path / "late")
    assert late.weights.read_bytes() == prompt.weights.read_bytes()
    without = [[{k: v for k, v in row.items() if k != "seconds"} for row in log(tmp_path / name)] for name in ("prompt", "late")]
    assert without[0] == without[1]


def test_the_engine_is_part_of_the_key_and_of_the_profile():
    profile = load_profile(ROOT / "profiles" / "phantom.yml")
    ours = segment_run(profile, "unet3d", seed=0, pretrained=True)
    plain = segment_run(profile.model_copy(update={"engine": "plain"}), "unet3d", seed=0, pretrained=True)
    assert (ours.engine, plain.engine, plain.parents["init"].engine, plain.precision) == ("fast", "plain", "plain", "32-true")
    assert ours.key != plain.key
    with pytest.raises(ValueError, match="engine 'plain'"):
        run_spec(engine="plain", precision="bf16-mixed")


@pytest.mark.gpu
@pytest.mark.parametrize("switch", ["0", "1"])
def test_the_fast_path_trains_on_a_gpu_as_on_the_cpu(tmp_path, monkeypatch, switch):
    monkeypatch.setenv("ECHOLIB_COMPILE", switch)
    train(tmp_path / "gpu", store=small_store(), device="cuda")
    train(tmp_path / "cpu", store=small_store())
    ours, theirs = ([float(row["loss"]) for row in log(tmp_path / name)] for name in ("gpu", "cpu"))
    assert ours[:1] == pytest.approx(theirs[:1], abs=0.05)  # drop-out draws other numbers on a GPU


@pytest.mark.parametrize(("frames", "kernel"), [(2, 3), (3, 5), (4, 5), (4, 3), (1, 3)])
def test_gradients_of_short_clips_in_bfloat16_hold_no_foreign_memory(frames, kernel):
    """Of a convolution over fewer frames than its kernel is long, torch 2.15's are wrong on processors with AVX512-BF16."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv3d(16, 16, kernel, padding=kernel // 2))
    clip, above = torch.randn(4, 16, frames, 6, 6), torch.randn(4, 16, frames, 6, 6)
    exact, = torch.autograd.grad(network(clip), network[0].weight, above)
    fast.spare_short_clips(network)
    for _ in range(5):
        memory = [torch.full((1000 * k,), 1e30) for k in range(1, 60)]
        del memory  # it is handed out next
        with torch.autocast("cpu", torch.bfloat16):
            out = network(clip)
        found, = torch.autograd.grad(out, network[0].weight, above.to(out.dtype))
        assert torch.linalg.vector_norm(found - exact) < 0.02 * torch.linalg.vector_norm(exact)


@pytest.mark.parametrize("name", [*NAMES, *REGRESSORS])
def test_every_convolution_over_frames_is_one_that_is_spared(name):
    """torchvision's R3D has a class of its own for them, which was not: its gradients were infinite in bfloat16."""
    with torch.device("meta"):
        network = build(name, width=0.25, frames=3 if name.startswith("sscf") else 16, size=64)
    fast.spare_short_clips(network)
    over_frames = [m for m in network.modules() if isinstance(m, torch.nn.Conv3d) and m.kernel_size[0] > 1]
    assert all(type(m).__name__ == "_Conv3d" for m in over_frames), {type(m) for m in over_frames}
    assert over_frames or name not in REGRESSORS


def test_what_spares_short_clips_changes_neither_weights_nor_copies():
    network = torch.nn.Sequential(torch.nn.Conv3d(3, 4, 3, padding=1))
    names = list(network.state_dict())
    fast.spare_short_clips(network)
    twin = copy.deepcopy(network)
    twin[0].weight.data.zero_()
    twin[0].bias.data.zero_()
    assert list(network.state_dict()) == names
    assert not twin(torch.ones(1, 3, 2, 4, 4)).any() and network(torch.ones(1, 3, 2, 4, 4)).any()
