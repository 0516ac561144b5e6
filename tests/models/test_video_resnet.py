"""Networks that give the ejection fraction: golden counts, torchvision's own as a twin, the fourth channel, narrow versions."""

from __future__ import annotations

import pytest
import torch
import torchvision.models.video as published

from echolib import models
from echolib.errors import ConfigError
from echolib.evaluation.complexity import measure
from echolib.models.video_resnet import FIRST, VideoRegressor, with_channels

every = pytest.mark.parametrize("name", models.REGRESSORS)


def small(name: str, *, width: float = 0.125, seed: int = 0, **options) -> VideoRegressor:
    return models.build(name, width=width, frames=8, seed=seed, options=options)


def clip(batch: int = 1, channels: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, channels, 8, 32, 32, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("name", "channels", "frames", "parameters", "gflops"), [
    ("r2plus1d_18", 3, 32, 31_300_638, 81.289), ("r2plus1d_18", 4, 32, 31_302_843, 81.511), ("r3d_18", 3, 32, 33_166_785, 81.478),
    ("mc3_18", 3, 32, 11_490_753, 86.805), ("r2plus1d_18", 3, 16, 31_300_638, 40.645), ("r3d_18", 3, 16, 33_166_785, 40.739),
    ("mc3_18", 3, 16, 11_490_753, 43.403)])
def test_parameters_and_operations_to_the_unit(name, channels, frames, parameters, gflops):
    with torch.device("meta"):
        assert models.count_parameters(models.build(name, frames=frames, options={"channels": channels})) == parameters
    found = measure(models.build(name, frames=frames, options={"channels": channels}), frames, 112, channels)
    assert found.parameters == parameters and round(found.gflops, 3) == gflops


@every
def test_at_width_one_it_is_torchvision_s_network_under_its_names(name):
    twin = getattr(published, name)(num_classes=1)
    mine = models.build(name, frames=8, seed=3)
    assert {k: v.shape for k, v in mine.state_dict().items()} == {k: v.shape for k, v in twin.state_dict().items()}
    mine.load_state_dict(twin.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(mine.eval()(clip(2)), twin.eval()(clip(2))[:, 0])


@every
def test_a_gradient_reaches_every_parameter_and_the_mask_s_channel(name):
    model = small(name, channels=4)
    frames = clip(2, 4).requires_grad_()
    out = model(frames)
    assert out.shape == (2,) and out.dtype == torch.float32
    out.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() and p.grad.abs().max() > 0 for p in model.parameters() if p.ndim > 1)
    assert frames.grad[:, 3].abs().max() > 0


@every
def test_a_clip_does_not_depend_on_its_batch_and_a_seed_gives_the_same_weights(name):
    model, twin = small(name, seed=4).eval(), small(name, seed=4).eval()
    with torch.no_grad():
        alone = model(clip(seed=1))
        assert torch.equal(alone, twin(clip(seed=1)))
        torch.testing.assert_close(model(torch.cat([clip(seed=1), clip(seed=2)]))[:1], alone, rtol=1e-4, atol=1e-6)


@every
def test_width_scales_the_parameter_count(name):
    with torch.device("meta"):
        counts = [models.count_parameters(small(name, width=width)) for width in (0.125, 0.25, 0.5, 1.0)]
    assert counts == sorted(counts) and counts[3] / counts[2] == pytest.approx(4, rel=0.1)


def test_the_desk_network_has_the_channels_that_the_text_says():
    model = models.build("r2plus1d_18", width=0.25, frames=16, options={"channels": 4})
    assert model.stem[0].weight.shape[:2] == (11, 4) and model.stem[3].weight.shape[:2] == (16, 11)
    assert model.layer2[0].conv1[0][0].weight.shape[0] == 27 * 16 * 32 // (9 * 16 + 3 * 32)
    assert model.fc.in_features == 128


@pytest.mark.parametrize("spread", [1.0, 12.0])
def test_before_training_it_gives_the_centre(spread):
    model = small("r2plus1d_18", spread=spread).eval()
    model.centre(55.6)
    torch.nn.init.zeros_(model.fc.weight)
    with torch.no_grad():
        torch.testing.assert_close(model(clip(2)), torch.full((2,), 55.6))


def test_weights_for_another_number_of_channels():
    three, four = small("r2plus1d_18", seed=1), small("r2plus1d_18", seed=2, channels=4)
    grown = with_channels(three.state_dict(), 4, torch.Generator().manual_seed(0))
    assert torch.equal(grown[FIRST][:, :3], three.state_dict()[FIRST])
    drawn = grown[FIRST][:, 3]
    assert drawn.min() >= -1 and drawn.max() <= 1 and 0.5 < drawn.std() < 0.65
    four.load_state_dict(grown)
    cut = with_channels(four.state_dict(), 3)
    three.load_state_dict(cut)
    seen, masks = clip(2), torch.rand(2, 1, 8, 32, 32)
    with torch.no_grad():  # a student cut out of its teacher is the teacher with an empty fourth channel
        torch.testing.assert_close(three.eval()(seen), four.eval()(torch.cat([seen, torch.zeros_like(masks)], 1)))
        assert not torch.allclose(three(seen), four(torch.cat([seen, masks], 1)))


def test_bad_options_are_named():
    with pytest.raises(ConfigError, match="channels = 5; expected 3, or 4 with masks"):
        small("mc3_18", channels=5)
    with pytest.raises(ConfigError, match="spread = 0"):
        small("mc3_18", spread=0)
