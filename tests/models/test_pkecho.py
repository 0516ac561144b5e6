"""PKEcho-Net: counts of the papers, propagation and kernels by hand, what depends on what, every ablation, bad input."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from echolib import models
from echolib.errors import ConfigError
from echolib.evaluation.complexity import measure
from echolib.models.pkecho import DIMENSION, PAPER
from echolib.models.pkecho_kernels import Attention, KernelStage, convolved, grouped
from echolib.models.pkecho_propagation import propagate, propagate_unfolded, shares
from tests.models.gradients import slopes

STAGE = dict(hybrid="released", temporal=True, across="batch", ratio=4, bias=True, grouping="sum", dropout=0.1)


def net(name: str = "pkecho_r18", *, frames: int = 3, size: int = 64, width: float = 0.125, seed: int = 0, out_channels: int = 1,
        **options):
    return models.build(name, width=width, frames=frames, size=size, seed=seed, out_channels=out_channels, options=options)


def clips(batch: int, frames: int = 3, size: int = 64, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, 1, frames, size, size, generator=torch.Generator().manual_seed(seed)).expand(-1, 3, -1, -1, -1)


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# -- counts -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("name", "parameters", "estimators", "kernels"), [
    ("pkecho_r18", 11_782_272, (83_792, 42_916, 85_796, 171_556), 227_972),
    ("pkecho_r34", 21_890_432, (83_792, 42_916, 85_796, 171_556), 227_972),
    ("pkecho_r50", 25_707_584, (334_736, 171_556, 343_076, 686_116), 670_340)])
def test_parameters_to_the_unit(name, parameters, estimators, kernels):
    with torch.device("meta"):
        model = net(name, frames=10, width=1.0)
    count = models.count_parameters
    assert count(model) == parameters
    assert tuple(count(model.proxies[f"layer{layer}"]) for layer in (1, 2, 3, 4)) == estimators
    assert count(model.predictor) + count(model.stages) == kernels
    assert [count(stage) for stage in model.stages] == [26_689 + 320, 26_689, 26_689]


def test_parameters_of_the_other_forms():
    def count(**options):
        with torch.device("meta"):
            return models.count_parameters(net("pkecho_r50", frames=10, width=1.0, **options))
    released = count()
    assert [count(iterations=s) for s in (1, 2, 4)] == [25_654_206, 25_680_895, 25_734_273]
    assert released - count(ratio=1) == 3 * 6_240
    assert released - count(channels=3) == -2 * 64 * 49
    assert released - count(embedding=False, mask_bias=False) == 320 + 3
    # no W, no norm after it, a batch norm less at each estimator
    assert count(**PAPER) == released - 3 * (6_240 + 1_056 + 64 + 1) - 320 - 2 * (256 + 512 + 1024 + 2048)
    estimators = 334_736 + 171_556 + 343_076 + 686_116
    assert count(proxies="none") == released - estimators
    assert count(proxies="vanilla") == released - estimators + 11 * 2048 + 2048 * 9 * 1024 + 9 * 1024
    channels = {1: 256, 2: 512, 3: 1024, 4: 2048}
    for proxies, parts in (("interval_2", ((4, 4), (2, 8))), ("interval_3", ((4, 8), (1, 4)))):
        mine = sum(11 * channels[layer] + 81 * channels[layer] * s * s + 9 * s * s for layer, s in parts)
        assert count(proxies=proxies) == released - estimators + mine


@pytest.mark.parametrize(("name", "size", "gflops"), [
    ("pkecho_r18", 128, 6.761), ("pkecho_r50", 128, 17.458), ("pkecho_r18", 320, 42.250),
    pytest.param("pkecho_r34", 128, 12.809, marks=pytest.mark.slow),
    pytest.param("pkecho_r34", 320, 80.050, marks=pytest.mark.slow),
    pytest.param("pkecho_r50", 320, 109.106, marks=pytest.mark.slow)])
def test_operations_of_ten_frames(name, size, gflops):
    assert measure(net(name, frames=10, width=1.0, size=size), 10, size).gflops == pytest.approx(gflops, rel=0.002)


@pytest.mark.parametrize(("name", "parameters"), [("pkecho_r18", 914_112), ("pkecho_r50", 2_091_440)])
def test_a_quarter_of_the_width(name, parameters):
    with torch.device("meta"):
        assert models.count_parameters(net(name, frames=10, width=0.25)) == parameters


# -- propagation ------------------------------------------------------------------------------------------------------

def one_hot(neighbour: int, factor: int, height: int, width: int) -> torch.Tensor:
    """Affinities that give every child to one neighbour of its parent."""
    affinities = torch.zeros(1, 9, factor * factor, height, width)
    affinities[:, neighbour] = 200.0
    return affinities.flatten(1, 2)


def test_one_hot_affinities_copy_the_neighbour_chosen():
    coarse = noise(1, 1, 4, 5)
    centre = propagate(coarse, one_hot(4, 3, 4, 5), 3)
    assert torch.equal(centre, F.interpolate(coarse, scale_factor=3, mode="nearest"))
    for j in range(9):
        down, right = j // 3 - 1, j % 3 - 1
        fine = propagate(coarse, one_hot(j, 2, 4, 5), 2)[0, 0, ::2, ::2]
        for y in range(4):
            for x in range(5):
                if 0 <= y + down < 4 and 0 <= x + right < 5:
                    assert fine[y, x] == coarse[0, 0, y + down, x + right]
                else:  # the rest are equal: the mean over the neighbours that are there
                    there = coarse[0, 0, max(y - 1, 0):y + 2, max(x - 1, 0):x + 2]
                    assert fine[y, x] == pytest.approx(float(there.mean()), abs=1e-6)


def test_uniform_affinities_are_the_mean_over_valid_neighbours():
    coarse, factor = noise(2, 3, 4, 4), 2
    fine = propagate(coarse, torch.full((2, 36, 4, 4), 7.0), factor)
    total = F.avg_pool2d(F.pad(coarse, (1, 1, 1, 1)), 3, 1) * 9
    counts = F.avg_pool2d(F.pad(torch.ones(1, 1, 4, 4), (1, 1, 1, 1)), 3, 1) * 9
    assert counts[0, 0, 0].round().tolist() == [4, 6, 6, 4] and counts[0, 0, 1].round().tolist() == [6, 9, 9, 6]
    torch.testing.assert_close(fine, F.interpolate(total / counts, scale_factor=2, mode="nearest"))


def test_every_child_has_its_own_shares_row_by_row():
    affinities = torch.zeros(1, 9, 4, 3, 3)
    for child, neighbour in enumerate((3, 1, 7, 5)):  # left, up, down, right of the centre
        affinities[:, neighbour, child] = 200.0
    coarse = torch.arange(9.0).view(1, 1, 3, 3)
    fine = propagate(coarse, affinities.flatten(1, 2), 2)
    assert fine[0, 0, 2:4, 2:4].tolist() == [[3, 1], [7, 5]]


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_a_fine_pixel_lies_between_its_parents(factor):
    coarse, affinities = noise(2, 2, 5, 4), 3 * noise(2, 9 * factor ** 2, 5, 4, seed=1)
    fine = propagate(coarse, affinities, factor)
    high = F.interpolate(F.max_pool2d(coarse, 3, 1, 1), scale_factor=factor, mode="nearest")
    low = -F.interpolate(F.max_pool2d(-coarse, 3, 1, 1), scale_factor=factor, mode="nearest")
    assert (fine <= high + 1e-6).all() and (fine >= low - 1e-6).all()
    torch.testing.assert_close(propagate(torch.full_like(coarse, -2.5), affinities, factor), torch.full_like(fine, -2.5))
    torch.testing.assert_close(shares(affinities, factor).sum(1), torch.ones(2, factor ** 2, 5, 4))


def test_propagation_is_the_restatement_by_unfold_with_and_without_gradient():
    coarse, affinities = noise(2, 4, 3, 5).requires_grad_(), noise(2, 36, 3, 5, seed=1).requires_grad_()
    weights = noise(2, 4, 6, 10, seed=2)
    plain = propagate_unfolded(coarse, affinities, 2)
    wanted = torch.autograd.grad((plain * weights).sum(), (coarse, affinities))
    ours = propagate(coarse, affinities, 2)
    for mine, theirs in zip(torch.autograd.grad((ours * weights).sum(), (coarse, affinities)), wanted, strict=True):
        torch.testing.assert_close(mine, theirs)
    with torch.no_grad():
        torch.testing.assert_close(propagate(coarse, affinities, 2), plain)
        torch.testing.assert_close(ours, plain)


def test_an_affinity_outside_the_map_drowns_nothing():
    affinities = noise(1, 9, 1, 2, 2)
    affinities[:, 0, :, 0, 0] = 1e4  # up and to the left of the corner
    assert torch.isfinite(propagate(noise(1, 1, 2, 2), affinities.flatten(1, 2), 1)).all()


def test_the_gradient_of_propagation_is_right_numerically():
    coarse, affinities = (noise(*shape, dtype=torch.float64).requires_grad_() for shape in ((2, 2, 3, 2), (2, 36, 3, 2)))
    assert torch.autograd.gradcheck(lambda a, b: propagate(a, b, 2), (coarse, affinities))


# -- kernels ----------------------------------------------------------------------------------------------------------

def test_a_uniform_mask_groups_to_p_h_w_times_the_mean_feature():
    features, logits = noise(2, 3, 4, 5, 6), torch.full((2, 3, 1, 5, 6), 0.4)
    p, mean = torch.tensor(0.4).sigmoid(), features.mean((3, 4))[:, :, None]
    torch.testing.assert_close(grouped(features, logits), p * 30 * mean)
    torch.testing.assert_close(grouped(features, logits, "mean"), p * mean)


def test_each_frame_is_convolved_with_its_own_kernel():
    features, kernels = noise(2, 3, 4, 5, 6), noise(2, 3, 2, 4, seed=1)
    logits = convolved(features, kernels, torch.tensor([1.0, -1.0]))
    for b in range(2):
        for f in range(3):
            alone = F.conv2d(features[b, f][None], kernels[b, f][:, :, None, None], torch.tensor([1.0, -1.0]))[0]
            torch.testing.assert_close(logits[b, f], alone)


def test_without_features_a_mask_is_its_bias():
    stage = KernelStage(4, 1, 3, **STAGE).eval()
    torch.nn.init.constant_(stage.bias, 0.7)
    zero = torch.zeros(2, 3, 4, 5, 5)
    assert grouped(zero, noise(2, 3, 1, 5, 5)).abs().max() == 0
    _, logits = stage(zero, noise(2, 3, 1, 5, 5), noise(2, 3, 1, 4), True)
    assert (logits == 0.7).all()


def test_with_closed_outputs_all_videos_have_the_same_kernels():
    stage = KernelStage(4, 1, 3, **STAGE).eval()
    for module in stage.modules():
        if isinstance(module, Attention):
            torch.nn.init.zeros_(module.out.weight)
            torch.nn.init.zeros_(module.out.bias)
    torch.nn.init.zeros_(stage.inner[3].weight)
    torch.nn.init.zeros_(stage.inner[3].bias)
    start = noise(4).expand(2, 3, 1, 4)
    kernels, _ = stage(noise(2, 3, 4, 5, 5), noise(2, 3, 1, 5, 5, seed=1), start, True)
    assert torch.equal(kernels[0], kernels[1])
    assert not torch.equal(kernels[0, 0], kernels[0, 1])  # the embedding of the frame


def test_the_hybrid_attention_of_one_class_is_no_attention():
    """One query and one key: the projections decide nothing and get no gradient, 12,672 parameters of three refinements."""
    model = net()
    model(clips(2)).square().mean().backward()
    idle = [key for key, parameter in model.named_parameters() if parameter.grad is None]
    assert sum(model.get_parameter(key).numel() for key in idle) == 12_672
    assert all(key.startswith(model.unused) for key in idle)
    with torch.no_grad():
        before = model.eval()(clips(2))
        for key in idle:
            model.get_parameter(key).normal_()
        assert torch.equal(model(clips(2)), before)


def test_attention_of_one_key_is_its_value_and_of_two_what_torch_says():
    layer, query, key = Attention(8, 0.0), noise(3, 1, 8), noise(3, 1, 8, seed=1)
    torch.testing.assert_close(layer(query, key, key), layer.out(layer.value(key)))
    query, key = noise(3, 2, 8), noise(3, 5, 8, seed=1)
    theirs = F.scaled_dot_product_attention(layer.query(query), layer.key(key), layer.value(key))
    torch.testing.assert_close(layer(query, key, key), layer.out(theirs))


def test_with_three_classes_the_hybrid_attention_attends():
    model = net(out_channels=3)
    assert not model.unused
    model(clips(2)).square().mean().backward()
    assert model.stages[0].hybrid.of_kernel.query.weight.grad.abs().max() > 0


def test_dropout_of_the_only_weight_deletes_the_message_one_time_in_ten():
    layer = Attention(4, 0.1).train()
    layer.out.bias.data.zero_()
    torch.manual_seed(0)
    gone = (layer(torch.zeros(4000, 1, 4), torch.ones(4000, 1, 4), torch.ones(4000, 1, 4)) == 0).all(-1)
    assert float(gone.float().mean()) == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize("hybrid", ["released", "paper", "gate"])
def test_the_gradient_of_a_stage_is_right_numerically(hybrid):
    torch.manual_seed(0)
    stage = KernelStage(3, 2, 2, **STAGE | dict(hybrid=hybrid)).double().eval()
    inputs = [noise(*shape, seed=seed, dtype=torch.float64).requires_grad_()
              for seed, shape in enumerate(((2, 2, 3, 2, 2), (2, 2, 2, 2, 2), (2, 2, 2, 3)))]
    assert torch.autograd.gradcheck(lambda *given: stage(*given, True), inputs)


def test_the_gradient_of_the_whole_network_is_right_numerically():
    model = net(frames=2, size=32).double().eval()
    model.across_at_test = "batch"
    clip, weights = clips(2, 2, 32).double(), noise(4, 2, 1, 2, 32, 32, seed=3, dtype=torch.float64)
    exact, numeric = slopes(model, lambda: (torch.stack(model(clip, stages=True)) * weights).mean())
    assert exact == pytest.approx(numeric, rel=1e-4)


# -- what depends on what ---------------------------------------------------------------------------------------------

@torch.no_grad()
def test_other_videos_change_a_prediction_only_where_that_is_asked_for():
    model, batch, other = net().eval(), clips(2), clips(2, seed=1)
    other = torch.cat([batch[:1], other[1:]])
    assert torch.equal(model(batch)[0], model(other)[0])
    model.across_at_test = "batch"
    ours, theirs = model(batch, stages=True), model(other, stages=True)
    assert torch.equal(ours[0][0], theirs[0][0]), "the predictor's masks come before any attention"
    for one, another in zip(ours[1:], theirs[1:], strict=True):
        assert (one[0] - another[0]).abs().max() > 1e-4


@torch.no_grad()
def test_a_batch_of_copies_equals_a_batch_of_one():
    model, one = net(across_at_test="batch").eval(), clips(1)
    copies = model(one.expand(3, -1, -1, -1, -1))
    torch.testing.assert_close(copies[2:], model(one), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("across", ["alone", "batch"])
@torch.no_grad()
def test_permuting_the_batch_permutes_the_output(across):
    model, batch, order = net(across_at_test=across).eval(), clips(3), torch.tensor([2, 0, 1])
    torch.testing.assert_close(model(batch[order]), model(batch)[order], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_only_the_embedding_knows_the_direction_of_time():
    batch = clips(1)
    for embedding in (True, False):
        model = net(embedding=embedding).eval()
        same = torch.allclose(model(batch.flip(2)), model(batch).flip(2), rtol=1e-4, atol=1e-5)
        assert same is not embedding


@torch.no_grad()
def test_without_temporal_attention_a_frame_is_by_itself():
    batch = clips(1)
    other = batch.clone()
    other[:, :, 1] = 2
    for temporal in (True, False):
        model = net(temporal=temporal).eval()
        assert torch.equal(model(batch)[:, :, 0], model(other)[:, :, 0]) is not temporal


def test_the_stages_and_the_frames_asked_for():
    model, batch = net(), clips(2)
    with torch.no_grad():
        model.eval()
        stages = model(batch, stages=True)
        assert len(stages) == 4 and all(one.shape == (2, 1, 3, 64, 64) for one in stages)
        torch.testing.assert_close(stages[-1], model(batch))
    model.train()  # the estimators' batch norms see all frames, whichever are asked for
    torch.manual_seed(0)
    whole = model(batch, stages=True)
    torch.manual_seed(0)
    for one, ends in zip(whole, model(batch, stages=True, frames=(0, -1)), strict=True):
        torch.testing.assert_close(ends, one[:, :, [0, 2]], rtol=1e-4, atol=1e-5)


def test_every_stage_has_a_way_to_the_loss():
    model = net()
    first = model(clips(2), stages=True)[0]
    first.square().mean().backward()
    assert model.predictor.head.bias.grad.abs() > 0 and model.stages[0].bias.grad.abs() == 0


# -- ablations and bad input ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("options", [
    *({"proxies": kind} for kind in ("none", "vanilla", "interval_2", "interval_3")), {"iterations": 0}, {"iterations": 4},
    {"hybrid": "gate"}, {"hybrid": "gate", "temporal": False}, {"temporal": False}, {"across": "none"}, {"across": "alone"},
    {"grouping": "mean"}, {"channels": 3}, PAPER], ids=str)
def test_every_ablation_runs_and_trains(options):
    model = net(size=32, frames=2, **options)
    out = model(clips(2, 2, 32), stages=True)
    assert len(out) == options.get("iterations", 3) + 1 and out[-1].shape == (2, 1, 2, 32, 32)
    out[-1].square().mean().backward()
    assert all(parameter.grad is not None for key, parameter in model.named_parameters() if not key.startswith(model.unused))
    assert all(parameter.grad is None for key, parameter in model.named_parameters() if key.startswith(model.unused))


@torch.no_grad()
def test_sizes_that_are_no_multiple_of_the_stride():
    with pytest.raises(ConfigError, match="height = 48.*pad.*resize"):
        net(size=48)
    with pytest.raises(ConfigError, match="width = 80"):
        net()(torch.zeros(1, 3, 3, 64, 80))
    batch = clips(1, size=48)
    padded = net(size=48, fit="pad").eval()
    black = torch.full((1, 3, 3, 64, 64), -0.1279413 / 0.19562256)
    black[..., 8:56, 8:56] = batch
    torch.testing.assert_close(padded(batch), net().eval()(black)[..., 8:56, 8:56])
    assert padded(batch).shape == (1, 1, 3, 48, 48)
    for inner in (None, 96):
        assert net(size=48, fit="resize", inner=inner).eval()(batch).shape == (1, 1, 3, 48, 48)


def test_other_numbers_of_frames_are_refused():
    with pytest.raises(ConfigError, match="built for clips of 3 frames; the clip has 4"):
        net()(clips(1, 4))
    with pytest.raises(ConfigError, match="frames = 1; expected at least 2"):
        net(frames=1)


@pytest.mark.parametrize(("options", "words"), [
    ({"proxy": 1}, "pkecho_r18: proxy"), ({"iterations": 5}, "iterations"), ({"inner": 64}, "'inner' goes with"),
    ({"fit": "resize", "inner": 40}, "inner"), ({"across": "sometimes"}, "across")])
def test_bad_options_are_named(options, words):
    with pytest.raises(ConfigError, match=words):
        net(**options)


def test_a_network_without_options_takes_none():
    with pytest.raises(ConfigError, match="nnunet2d has no options of its own; given: iterations"):
        models.build("nnunet2d", frames=1, options={"iterations": 2})


def test_the_kernels_have_the_same_dimension_at_every_width():
    assert net(width=0.25).predictor.reduce.out_channels == DIMENSION
