"""SSCF: counts to the unit, calibration by hand and by a loop over samples, windows, what drowns what, bad input."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from echolib import models
from echolib.errors import ConfigError
from echolib.evaluation.complexity import measure
from echolib.models.sscf import PAPER
from echolib.models.sscf_calibration import Calibration, summarised
from tests.models.gradients import slopes


def net(name: str = "sscf", *, k: int = 3, size: int = 64, width: float = 0.125, seed: int = 0, **options):
    return models.build(name, width=width, frames=k, size=size, seed=seed, options=options)


def clips(batch: int, frames: int = 3, size: int = 64, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, 1, frames, size, size, generator=torch.Generator().manual_seed(seed)).expand(-1, 3, -1, -1, -1)


def maps(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def calibration(channels: int, **options) -> Calibration:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Calibration(channels, **options)


class Middle(nn.Module):
    """One window: what the published operations count."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, clip):
        return self.model(clip, at=torch.tensor([clip.shape[2] // 2]))


# -- counts -----------------------------------------------------------------------------------------------------------

def count(name: str = "sscf", **options) -> int:
    with torch.device("meta"):
        return models.count_parameters(net(name, **{"width": 1.0, **options}))


def test_parameters_of_the_released_form_part_by_part():
    with torch.device("meta"):
        model = net(width=1.0)
    parts = {name: models.count_parameters(part) for name, part in model.named_children()}
    assert sum(parts.values()) == 53_700_417
    assert [models.count_parameters(one) for one in model.encoders] == [11_170_240] * 3
    assert parts["calibrations"] + parts["fusions"] == 19_850_880
    assert [models.count_parameters(one) for one in model.ups] == [247_296, 62_208, 15_744, 4_032]
    assert parts["top"] == 9_248 + 289
    for level, channels in enumerate((64, 128, 256, 512)):
        assert models.count_parameters(model.calibrations[level][0]) == 27 * channels ** 2 + 2 * channels


@pytest.mark.parametrize("k", [1, 3, 5, 7, 9, 11])
def test_parameters_by_the_number_of_frames(k):
    assert count(k=k) == 11_170_240 * k + 9_402_240 * (k - 1) + 348_160 * k + 340_737


def test_parameters_of_the_other_forms():
    encoder, directions, fusions, rest = 11_170_240, 2 * 9_402_240, 3 * 348_160 + 1_920, 329_280 + 9_537
    assert count("sscf_tce") == 3 * encoder + fusions + rest
    assert count("sscf_bssf") == encoder + directions + fusions + rest
    assert count("sscf_base") == encoder + 2 * 64 * 49 + rest
    assert count(dilations=[1, 2, 4], calibration="normalised", padded=True, product="elementwise") == count()
    unet = sum(4 * a * b + b + 9 * b * (2 * b) + 9 * b * b + 4 * b for a, b in ((512, 256), (256, 128), (128, 64)))
    last = 4 * 64 * 32 + 32 + 2 * (9 * 32 * 32) + 4 * 32
    assert count(**PAPER) == 53_700_417 - 329_280 + unet + last
    assert count(width=0.25) == 3_365_121


@pytest.mark.parametrize(("size", "gflops"), [
    (112, 10.620), pytest.param(256, 44.817, marks=pytest.mark.slow)])
def test_operations_of_a_window_as_released_and_fewer_with_the_shared_matrix_first(size, gflops):
    cubes = sum(9 * channels ** 3 for channels in (64, 128, 256, 512))
    mixing = sum(channels ** 2 * (size // stride) ** 2 for channels, stride in ((64, 2), (128, 4), (256, 8), (512, 16)))
    made = measure(Middle(net(width=1.0, size=size, explicit=True)), 3, size).gflops
    assert made == pytest.approx(gflops, abs=0.001)
    if size == 112:
        ours = measure(Middle(net(width=1.0, size=size)), 3, size).gflops
        assert made - ours == pytest.approx(2 * (cubes - mixing) / 1e9, abs=1e-6)


# -- calibration ------------------------------------------------------------------------------------------------------

def test_the_summary_has_84_numbers_a_channel():
    features = maps(0, 2, 3, 14, 21)
    found = summarised(features)
    assert found.shape == (2, 3, 84)
    torch.testing.assert_close(found[..., 0], features.amax((2, 3)))
    thirds = [features[0, 1, :5, left:left + 7].amax() for left in (0, 7, 14)]
    torch.testing.assert_close(found[0, 1, 1:4], torch.stack(thirds))


def test_without_transformations_every_correlation_is_zero():
    layer = calibration(2)
    for convolution in (layer.query, layer.key):
        nn.init.zeros_(convolution.weight)
        nn.init.zeros_(convolution.bias)
    ones = torch.ones(1, 2, 5, 5)
    attention = layer.attention(ones, ones)
    assert (attention == 0.5).all()
    assert (layer.kernels(attention) == 0.5 * 2).all()
    for explicit in (False, True):
        layer.explicit = explicit
        out = layer(ones, ones)
        assert (out[0, :, 1:4, 1:4] == 18).all() and (out[0, :, 0, 1:4] == 12).all() and (out[0, :, 0, 0] == 8).all()


@pytest.mark.parametrize("options", [{}, {"dilations": (1, 2)}, {"normalised": True}, {"elementwise": True, "dilations": (1, 3)},
                                     {"elementwise": True, "normalised": True}], ids=str)
@torch.no_grad()
def test_kernels_of_all_samples_are_those_of_a_loop_over_samples(options):
    layer = calibration(4, temperature=0.1, **options)
    layer.motion.copy_(maps(3, 4, 4, 3, 3))
    neighbour, current = maps(1, 3, 4, 6, 7), maps(2, 3, 4, 6, 7)
    found = []
    for one, other in zip(neighbour, current, strict=True):
        query, key = (summarised(f(x[None]))[0] for f, x in ((layer.query, one), (layer.key, other)))
        attention = torch.sigmoid(0.1 * query @ key.T)                              # (4, 4)
        kernel = torch.zeros(4, 4, 3, 3)
        for made in range(4):
            for taken in range(4):
                if layer.elementwise:
                    kernel[made, taken] = attention[made, taken] * layer.motion[made, taken]
                else:
                    kernel[made, taken] = sum(attention[made, m] * layer.motion[m, taken] for m in range(4))
        out = sum(F.conv2d(one[None], kernel, padding=d, dilation=d)[0] for d in layer.dilations)
        if layer.normalised:
            out = out / (9 * len(layer.dilations) * 4 * (1 if layer.elementwise else 4) * attention.mean())
        found.append(out)
    torch.testing.assert_close(layer(neighbour, current), torch.stack(found), rtol=1e-5, atol=1e-5)
    layer.explicit = True
    torch.testing.assert_close(layer(neighbour, current), torch.stack(found), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(layer(neighbour, current)[1:2], layer(neighbour[1:2], current[1:2]))


@torch.no_grad()
def test_doubling_the_matrix_doubles_the_output_and_permuting_queries_permutes_it():
    layer = calibration(4, temperature=0.1)
    neighbour, current = maps(1, 2, 4, 6, 6), maps(2, 2, 4, 6, 6)
    before, order = layer(neighbour, current), torch.tensor([2, 0, 3, 1])
    layer.query.weight.copy_(layer.query.weight[order])
    layer.query.bias.copy_(layer.query.bias[order])
    torch.testing.assert_close(layer(neighbour, current), before[:, order])
    layer.motion.mul_(2)
    torch.testing.assert_close(layer(neighbour, current), 2 * before[:, order])


@torch.no_grad()
def test_at_the_start_the_calibrated_map_is_a_box_sum_that_drowns_the_current_frame():
    """The trap of G = 1: one pattern in all channels, of a size that leaves nothing of the current frame; not so normalised."""
    neighbour, current = maps(1, 1, 32, 14, 14), maps(2, 1, 32, 14, 14)
    out = calibration(32)(neighbour, current)
    singular = torch.linalg.svdvals(out[0].flatten(1))
    assert singular[1] < 1e-5 * singular[0]
    assert out.square().mean().sqrt() > 1e3 * current.square().mean().sqrt()
    box = F.conv2d(neighbour.sum(1, keepdim=True), torch.ones(1, 1, 3, 3), padding=1)
    ratio = out / box
    torch.testing.assert_close(ratio, ratio[..., :1, :1].expand_as(ratio), rtol=1e-4, atol=1e-4)
    fair = calibration(32, normalised=True)(neighbour, current)
    assert 0.3 < fair.square().mean().sqrt() / neighbour.square().mean().sqrt() < 3


def test_the_sigmoid_is_saturated_at_first_and_a_temperature_frees_it():
    neighbour, current = 3 * maps(1, 1, 16, 14, 14), 3 * maps(2, 1, 16, 14, 14)
    slope = []
    for temperature in (1.0, 1 / 84):
        attention = calibration(16, temperature=temperature).attention(neighbour, current)
        saturated = float(((attention < 0.01) | (attention > 0.99)).float().mean())
        assert saturated > 0.5 if temperature == 1 else saturated == 0
        slope.append((attention * (1 - attention)).mean().item())  # of the sigmoid
    assert slope[1] > 2 * slope[0]


def test_the_gradient_of_calibration_is_right_numerically():
    layer = calibration(2, temperature=0.1).double()
    inputs = [maps(seed, 2, 2, 4, 4).double().requires_grad_() for seed in (1, 2)]
    assert torch.autograd.gradcheck(layer, inputs)


def test_the_gradient_of_the_whole_network_is_right_numerically():
    model = net(size=48, temperature=0.01, calibration="normalised").double().eval()
    clip, weights = clips(2, size=48).double(), maps(7, 2, 1, 3, 48, 48).double()
    exact, numeric = slopes(model, lambda: (model(clip) * weights).mean())
    assert exact == pytest.approx(numeric, rel=1e-4)


# -- windows ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["sscf", "sscf_bssf", "sscf_base"])
@torch.no_grad()
def test_one_frame_of_each_clip_is_that_of_all(name):
    model, batch, at = net(name).eval(), clips(2, 5), torch.tensor([0, 3])
    whole = model(batch)
    assert model.one_frame and whole.shape == (2, 1, 5, 64, 64)
    torch.testing.assert_close(model(batch, at=at)[:, :, 0], whole[torch.arange(2), :, at], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("k", [1, 3, 5])
@torch.no_grad()
def test_a_frame_is_seen_from_as_far_as_the_window_reaches(k):
    model, batch = net(k=k, calibration="normalised").eval(), clips(1, 7)
    other = batch.clone()
    other[:, :, 3] = 2
    same = [torch.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(model(batch)[0, 0], model(other)[0, 0], strict=True)]
    assert model.reach == k // 2
    assert same == [abs(frame - 3) > k // 2 for frame in range(7)]


@torch.no_grad()
def test_the_ends_stand_in_for_the_neighbours_that_they_lack():
    model, batch = net(k=5).eval(), clips(1, 4)
    longer = torch.cat([batch[:, :, :1]] * 2 + [batch] + [batch[:, :, -1:]] * 2, 2)
    torch.testing.assert_close(model(batch), model(longer)[:, :, 2:6], rtol=1e-4, atol=1e-5)
    alone = batch[:, :, :1]  # a clip shorter than the window
    torch.testing.assert_close(model(alone)[:, :, 0], model(alone.expand(-1, -1, 5, -1, -1))[:, :, 2], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_each_place_has_its_own_encoder_and_the_order_matters():
    batch = clips(1)
    for name, ordered in (("sscf", True), ("sscf_tce", True)):
        model = net(name, calibration="normalised").eval()
        assert torch.allclose(model(batch)[:, :, 1], model(batch.flip(2))[:, :, 1], atol=1e-5) is not ordered


def test_a_call_leaves_the_names_of_the_state_dict_as_they_are():
    model = net()
    before = list(model.state_dict())
    model(clips(1))
    assert list(model.state_dict()) == before


@pytest.mark.parametrize("options", [PAPER, {"product": "elementwise"}, {"calibration": "normalised"}, {"padded": True}], ids=str)
def test_every_form_runs_and_trains(options):
    model = net(temperature=1e-3, **options)
    model(clips(2)).square().mean().backward()
    for key, parameter in model.named_parameters():
        assert torch.isfinite(parameter.grad).all() and (parameter.ndim == 1 or parameter.grad.abs().max() > 0), key


# -- bad input --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("options", "words"), [
    ({"k": 2}, "k = 2; expected an odd number up to 11"), ({"k": 13}, "k = 13"), ({"size": 72}, "size = 72"),
    ({"size": 32}, "at least 48 px, size = 32; the option padded"), ({"encoders": "stacked"}, "'calibrate' must be false"),
    ({"decoder": "fpn"}, "sscf: decoder"), ({"rates": 3}, "rates")])
def test_bad_options_are_named(options, words):
    with pytest.raises(ConfigError, match=words):
        net(**options)


def test_sizes_that_do_not_fit_are_named():
    with pytest.raises(ConfigError, match="width = 72"):
        net()(torch.zeros(1, 3, 3, 64, 72))
    with pytest.raises(ConfigError, match="this one is 2x4"):
        net()(torch.zeros(1, 3, 3, 32, 64))
    assert net(size=32, padded=True)(torch.zeros(2, 3, 3, 32, 32)).shape == (2, 1, 3, 32, 32)
