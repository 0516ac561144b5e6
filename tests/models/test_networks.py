"""Every network by the same tests, forward and backward at 64x64 px."""

from __future__ import annotations

import pytest
import torch

from echolib import models
from echolib.errors import ConfigError
from echolib.models.neighbours import farther
from echolib.models.unet3d_frames import FrameNorm
from tests.models.helpers import FRAME_WISE, FRAMES, SIZE, clip, small

every_network = pytest.mark.parametrize("name", models.NAMES)


def test_the_shared_tests_cover_every_network_of_the_config():
    assert set(FRAMES) == set(models.NAMES)


@every_network
def test_forward_and_backward_reach_every_parameter(name):
    model = small(name)
    logits = model(clip(name, batch=2))
    assert logits.shape == (2, 1, FRAMES[name], SIZE, SIZE)
    assert logits.dtype == torch.float32
    logits.square().mean().backward()
    idle = {key for key, parameter in model.named_parameters() if parameter.grad is None}
    assert idle == {key for key, _ in model.named_parameters() if model.unused and key.startswith(model.unused)}
    for key, parameter in model.named_parameters():
        if key not in idle:
            assert torch.isfinite(parameter.grad).all(), key
            # a bias in front of a norm has gradient zero by construction; SSCF's sigmoid is saturated at first (test_sscf)
            if parameter.ndim > 1 and not (key.startswith("calibrations.") and "motion" not in key):
                assert parameter.grad.abs().max() > 0, key


def test_what_is_unused_is_the_transformers_classifier_and_pkecho_nets_attention_of_one_key():
    unused = {name: small(name).unused for name in models.NAMES}
    assert {name: prefixes for name, prefixes in unused.items() if prefixes and not name.startswith("pkecho")} == {
        "si_uniformer_s": ("network.encoder.head.",), "si_vit_b16": ("network.encoder.head.",)}
    assert all(".hybrid." in prefix for name in models.NAMES if name.startswith("pkecho") for prefix in unused[name])


@every_network
def test_the_same_seed_and_clip_give_the_same_gradients_and_the_global_generator_is_left_alone(name):
    gradients = []
    for _ in range(2):
        torch.random.default_generator.manual_seed(11)  # dropout of DeepLab's pyramid
        before = torch.random.get_rng_state()
        model = small(name, seed=3)
        assert torch.equal(torch.random.get_rng_state(), before)
        model(clip(name, batch=2)).square().mean().backward()
        gradients.append([parameter.grad for parameter in model.parameters() if parameter.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@every_network
def test_eval_mode_is_deterministic_and_a_clip_does_not_depend_on_its_batch(name):
    model = small(name).eval()
    a, b = clip(name, seed=1), clip(name, seed=2)
    with torch.no_grad():
        alone = model(a)
        assert torch.equal(alone, model(a))
        together = model(torch.cat((a, b)))
    torch.testing.assert_close(together[:1], alone, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together[1:], alone)


@every_network
def test_three_output_channels_for_reconstruction(name):
    model = small(name, out_channels=3).eval()
    with torch.no_grad():
        assert model(clip(name)).shape == (1, 3, FRAMES[name], SIZE, SIZE)


@every_network
def test_width_scales_the_parameter_count(name):
    with torch.device("meta"):  # counts need no memory
        counts = [models.count_parameters(small(name, width=width)) for width in (0.125, 0.25, 0.5)]
    assert counts[0] < counts[1] < counts[2]
    assert counts[2] / counts[1] == pytest.approx(4, rel=0.3)  # most parameters join two scaled layers


@every_network
def test_a_quarter_width_runs(name):
    model = small(name, width=0.25).eval()
    with torch.no_grad():
        assert torch.isfinite(model(clip(name))).all()


@every_network
def test_weights_survive_the_round_trip_through_a_file(name, tmp_path):
    model = small(name, seed=1)
    model(clip(name, batch=2))  # moves the batch norms' running averages off their start
    model.eval()
    models.save_weights(model, tmp_path / "w.safetensors", {"model": name})
    twin = small(name, seed=2, weights=tmp_path / "w.safetensors").eval()
    with torch.no_grad():
        assert torch.equal(model(clip(name)), twin(clip(name)))
    assert models.load_metadata(tmp_path / "w.safetensors") == {"model": name}


@pytest.mark.parametrize("name", FRAME_WISE)
def test_a_frame_wise_network_treats_each_frame_by_itself(name):
    model = small(name).eval()
    frames = clip(name)
    other = frames.clone()
    other[:, :, 1] = 0
    with torch.no_grad():
        whole = model(frames)
        torch.testing.assert_close(whole[:, :, :1], model(frames[:, :, :1]), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(whole[:, :, 0], model(other)[:, :, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in models.NAMES if name not in FRAME_WISE])
def test_a_video_network_looks_at_the_other_frames(name):
    model = small(name).eval()
    frames = clip(name)
    other = frames.clone()
    other[:, :, 1:] = 3
    with torch.no_grad():
        assert not torch.equal(model(frames)[:, :, 0], model(other)[:, :, 0])


@pytest.mark.parametrize(("options", "words"), [
    (dict(name="unet4d", frames=16), "unet4d"),
    (dict(name="unet3d", frames=16, width=0), "width"),
    (dict(name="unet3d", frames=16, width=1.5), "width"),
    (dict(name="unet3d", frames=0), "frames"),
    (dict(name="unet3d", frames=8), "frames = 8"),
    (dict(name="unet3d", frames=40), "next one that fits is 48"),
    (dict(name="unet3d_s", frames=16, size=100), "height = 100"),
    (dict(name="nnunet2d", frames=1, size=72), "size = 72"),
    (dict(name="si_resnet18", frames=8), "4 or 9"),
    (dict(name="si_vit_b16", frames=32), "25 or 36"),
    (dict(name="si_resnet18", frames=4, size=16), "size"),
    (dict(name="unet3d", frames=16, out_channels=0), "out_channels"),
    (dict(name="si_resnet18", frames=4, width=0.5, imagenet=True), "width"),
    (dict(name="unet3d", frames=16, imagenet=True), "no ImageNet encoder"),
])
def test_build_refuses_what_it_cannot_build(options, words):
    with pytest.raises(ConfigError, match=words):
        models.build(**options)


def test_the_forward_pass_names_the_dimension_that_does_not_fit():
    for shape, words in (((1, 3, 12, 64, 64), "frames = 12"), ((1, 3, 16, 60, 64), "height = 60"),
                         ((1, 3, 16, 64, 24), "width = 24"),
                         ((1, 3, 16, 16, 16), "one voxel")):
        with pytest.raises(ConfigError, match=words):
            small("unet3d_s")(torch.zeros(shape))
    with pytest.raises(ConfigError, match="built for images of 128x128"):
        small("si_vit_b16")(torch.zeros(1, 3, 9, 64, 64))
    with pytest.raises(ConfigError, match="two"):
        small("deeplabv3_r50").train()(torch.zeros(1, 3, 1, 64, 64))
    with pytest.raises(ConfigError, match="width = 72"):
        small("nnunet2d")(torch.zeros(1, 3, 1, 64, 72))


def test_the_3d_unet_runs_from_16_frames_and_keeps_the_released_parameter_names():
    model = small("unet3d_s").eval()
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 32, 32, 48)).shape == (1, 1, 32, 32, 48)
    full = models.build("unet3d", width=0.125, frames=16, size=32)
    tops = {".".join(key.split(".")[:2]) if key.startswith("encoder") else key.split(".")[0] for key in full.state_dict()}
    units = (2, 3, 4, 6, 3)
    assert tops == {f"encoder{level}.{unit}" for level, count in enumerate(units, 1) for unit in range(count)} | {
        f"upconv{level}" for level in (5, 4, 3, 2)} | {f"decoder{level}" for level in (4, 3, 2, 1)}


def test_frames_of_any_size_are_padded_into_the_super_image():
    model = models.build("si_resnet18", width=0.125, frames=4, size=40).eval()
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 4, 40, 56)).shape == (1, 1, 4, 40, 56)


@pytest.mark.parametrize(("name", "seen"), [("nnunet25d", {-1, 0, 1}), ("nnunet25d_far", {-4, -2, 0, 2, 4})])
def test_a_network_with_neighbours_sees_those_frames_and_no_others(name, seen):
    model, generator = small(name).eval(), torch.Generator().manual_seed(4)
    frames = torch.randn(1, 1, 13, SIZE, SIZE, generator=generator).expand(-1, 3, -1, -1, -1)
    other = frames.clone()
    other[:, :, 6] = 3
    with torch.no_grad():
        whole, changed = model(frames), model(other)
        differs = [float((whole[0, 0, k] - changed[0, 0, k]).abs().max()) > 1e-3 for k in range(13)]
        assert {k - 6 for k in range(13) if differs[k]} == seen == set(model.offsets) and model.reach == max(seen)
        alone = model(frames[:, :, :1])  # a frame without neighbours stands in for them
        often = model(frames[:, :, :1].expand(-1, -1, 9, -1, -1))
    torch.testing.assert_close(alone[:, :, 0], often[:, :, 4], rtol=1e-4, atol=1e-5)


def test_weights_of_the_near_network_start_the_far_one_where_frames_stand_still():
    """Its outer frames begin with weights of 0, so on a still clip both give the same."""
    near, far = small("nnunet25d", seed=1).eval(), small("nnunet25d_far", seed=2).eval()
    far.load_state_dict(farther(near.state_dict(), "nnunet25d", "nnunet25d_far"))
    still = torch.randn(1, 1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(4)).expand(-1, 3, 9, -1, -1)
    moving = clip("nnunet25d_far")
    with torch.no_grad():
        torch.testing.assert_close(near(still), far(still), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(near(moving), far(moving), atol=1e-2)
    assert farther(near.state_dict(), "nnunet25d", "nnunet25d").keys() == near.state_dict().keys()
    with pytest.raises(ConfigError, match="nnunet25d_far sees more frames than nnunet25d"):
        farther(far.state_dict(), "nnunet25d_far", "nnunet25d")


@pytest.mark.parametrize("name", FRAME_WISE)
def test_the_encoder_s_features_of_a_frame_by_frame_network(name):
    model = small(name).eval()
    frames = clip(name, batch=2)
    with torch.no_grad():
        features = model(frames, features=True)
        maps = model.network.deepest(frames[:, :, 1])
    assert features.shape == (2, maps.shape[1], FRAMES[name])
    torch.testing.assert_close(features[:, :, 1], maps.mean((2, 3)))
    model(frames, features=True).square().sum().backward()
    reached = {key.split(".")[1] for key, p in model.named_parameters() if p.grad is not None}
    assert reached == ({"backbone"} if name.startswith("deeplab") else {"input_block", "downsamples", "bottleneck"})


def test_norm_of_each_frame_gives_every_frame_mean_0_and_variance_1():
    x = torch.randn(2, 3, 4, 5, 6, generator=torch.Generator().manual_seed(0)) * 7 + torch.arange(4.0).view(1, 1, 4, 1, 1) * 100
    out = FrameNorm()(x)
    assert out.shape == x.shape
    torch.testing.assert_close(out.mean((-2, -1)), torch.zeros(2, 3, 4), atol=1e-4, rtol=0)
    torch.testing.assert_close(out.var((-2, -1), unbiased=False), torch.ones(2, 3, 4), atol=1e-3, rtol=0)
    one = x[1, 2, 3]
    torch.testing.assert_close(out[1, 2, 3], (one - one.mean()) / one.std(unbiased=False), atol=1e-3, rtol=1e-3)


def test_the_3d_unet_of_frame_norms_is_the_3d_unet_but_for_its_norms():
    plain, frames = small("unet3d", seed=1), small("unet3d_frames", seed=1)
    ours, theirs = plain.state_dict(), frames.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    norms = [sum(isinstance(m, kind) for m in model.modules()) for model in (plain, frames)
             for kind in (torch.nn.InstanceNorm3d, FrameNorm)]
    assert norms[0] == norms[3] > 0 and norms[1] == norms[2] == 0
    with pytest.raises(ConfigError, match="give larger frames"):
        frames(torch.zeros(1, 3, 32, 16, 16))
