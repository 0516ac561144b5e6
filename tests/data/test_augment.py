"""Augmentation against per-frame twins (OpenCV, torchvision, a loop over pixels), and its invariants."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from skimage.color import lab2rgb, rgb2lab
from torchvision.transforms.v2 import functional as tv

from echolib.config import AugmentSpec
from echolib.data import augment as aug
from echolib.data import plain
from echolib.data.clahe import clahe, clahe_batched, clahe_levels

STILL = dict(brightness=1.0, contrast=1.0, saturation=1.0, hue=0.0, order=(0, 1, 2, 3), clahe=None, degrees=0.0, shift=(0, 0))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scene(frames: int = 2, size: int = 48, seed: int = 0, colour: bool = False) -> np.ndarray:
    """``(F, H, W, 3)`` uint8: a smooth sector-like picture with a bright wall, moving a little from frame to frame."""
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.normal(size=(frames, size, size, 3)).astype(np.float32).transpose(1, 2, 0, 3)
                             .reshape(size, size, -1), (0, 0), 2).reshape(size, size, frames, 3).transpose(2, 0, 1, 3)
    y, x = np.mgrid[:size, :size] / size
    wall = np.stack([np.exp(-((np.hypot(x - 0.5, y - 0.5 - 0.02 * k) - 0.25) / 0.06) ** 2) for k in range(frames)])
    grey = 60 + 130 * wall[..., None] + 120 * (noise if colour else noise[..., :1])
    return np.broadcast_to(np.clip(grey, 0, 255), (frames, size, size, 3)).astype(np.uint8)


def batch(*clips: np.ndarray) -> torch.Tensor:
    return aug.to_float(torch.from_numpy(np.stack(clips)))


def grey_batch(*clips: np.ndarray) -> torch.Tensor:
    return aug.to_float(torch.from_numpy(np.stack(clips)[..., :1].copy()))


def jitter(frames: torch.Tensor, one: aug.Draw) -> torch.Tensor:
    """The batched jitter of one clip, ``(F, C, H, W)``."""
    return aug.jitter(frames.transpose(0, 1)[None], [one])[0].transpose(0, 1)


def levels(frames: torch.Tensor) -> np.ndarray:
    """``(F, C, H, W)`` in [0, 1] -> ``(F, H, W, C)`` in grey levels, not rounded."""
    return frames.permute(0, 2, 3, 1).numpy() * 255


# ---- scales ----------------------------------------------------------------------------------------------------------

def test_to_float_by_hand():
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 1, 1, 1, 3)
    assert aug.to_float(pixels).flatten().tolist() == pytest.approx([0, 0.2, 1])
    frames = torch.arange(2 * 3 * 4 * 5 * 3).remainder(251).to(torch.uint8).view(2, 3, 4, 5, 3)
    clip = aug.to_float(frames)
    assert clip.shape == (2, 3, 3, 4, 5) and clip.dtype == torch.float32
    assert clip[1, 2, 0, 3, 4] * 255 == frames[1, 0, 3, 4, 2]


def test_grey_frames_are_one_channel_seen_three_times():
    stored = torch.from_numpy(scene()[None])
    one, three = aug.to_float(stored[..., :1]), aug.to_float(stored)
    assert torch.equal(one, three) and one.stride(1) == 0


def test_normalise_round_trip():
    clip = batch(scene(colour=True))
    assert torch.allclose(aug.denormalise(aug.normalise(clip)), clip, atol=1e-6)
    black = aug.normalise(torch.zeros(1, 3, 1, 2, 2))[0, :, 0, 0, 0]
    assert black.tolist() == pytest.approx([-0.12741163 / 0.19557191, -0.1279413 / 0.19562256, -0.12912785 / 0.1965878])


# ---- CLAHE -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("size", [(112, 112), (48, 64), (50, 48), (45, 51)])
@pytest.mark.parametrize("limit", [1.0, 2.0, 4.0, 40.0])
def test_clahe_is_opencv_to_the_level(size, limit):
    rng = np.random.default_rng(5)
    frames = np.stack([rng.integers(0, 256, size), cv2.resize(scene(1)[0, ..., 0], size[::-1]), np.zeros(size),
                       rng.integers(100, 104, size)]).astype(np.uint8)
    ours = clahe_batched(torch.from_numpy(frames).long(), limit).numpy()
    engine = cv2.createCLAHE(limit, (8, 8))
    twin = np.stack([engine.apply(frame) for frame in frames]).astype(int)
    assert np.abs(ours - twin).max() <= 1  # a mixture that ends in .5 may round either way
    assert (ours == twin).mean() > 0.999
    assert (clahe_levels(torch.from_numpy(frames), limit).numpy() == twin).all()


@pytest.mark.parametrize("colour", [False, True])
def test_clahe_of_rgb_frames_is_opencvs_on_lightness(colour):
    frames = scene(3, size=112, colour=colour, seed=2)
    ours = levels(clahe(batch(frames)[0].transpose(0, 1), 3.0))
    engine, twin, opencv = cv2.createCLAHE(3.0, (8, 8)), [], []
    for frame in frames:
        lab = rgb2lab(frame)
        lab[..., 0] = engine.apply(np.rint(lab[..., 0] * 2.55).astype(np.uint8)) / 2.55
        twin.append(lab2rgb(lab) * 255)
        lab = cv2.cvtColor(frame, cv2.COLOR_RGB2LAB)
        lab[..., 0] = engine.apply(np.ascontiguousarray(lab[..., 0]))
        opencv.append(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB))
    off = np.abs(ours - np.stack(twin))
    assert (off <= 2).mean() > 0.995 and np.median(off) < 0.2
    # OpenCV's 8-bit L*a*b* is a level off for one grey in six, and CLAHE stretches that: close, not equal.
    assert np.median(np.abs(ours - np.stack(opencv))) < 2
    assert np.abs(ours - frames).max() > 10


# ---- jitter ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 2, 0), (2, 3, 0, 1)])
def test_jitter_is_torchvisions(colour, order):
    frames = batch(scene(3, colour=colour))[0].transpose(0, 1).contiguous()
    one = aug.Draw(**{**STILL, "brightness": 1.17, "contrast": 0.83, "saturation": 1.2, "hue": -0.14, "order": order})
    steps = (lambda f: tv.adjust_brightness(f, 1.17), lambda f: tv.adjust_contrast(f, 0.83),
             lambda f: tv.adjust_saturation(f, 1.2), lambda f: tv.adjust_hue(f, -0.14))
    twin = frames
    for step in order:
        twin = torch.stack([steps[step](frame) for frame in twin])
    assert (jitter(frames, one) - twin).abs().max() < 0.25 / 255  # torchvision's grey weights add up to 0.9999
    assert (twin - frames).abs().max() > 10 / 255


def test_brightness_by_hand():
    frames = torch.tensor([0.1, 0.5, 0.9]).view(1, 1, 1, 3)
    brighter = jitter(frames, aug.Draw(**{**STILL, "brightness": 1.2}))
    assert brighter.flatten().tolist() == pytest.approx([0.12, 0.6, 1.0])
    flatter = jitter(frames, aug.Draw(**{**STILL, "contrast": 0.5}))
    assert flatter.flatten().tolist() == pytest.approx([0.3, 0.5, 0.7])


# ---- warp ------------------------------------------------------------------------------------------------------------

def twin_mask(mask: np.ndarray, degrees: float, shift: tuple[int, int]) -> np.ndarray:
    """Brute force: every output pixel looks up its nearest source pixel (ties to even), or stays False."""
    height, width = mask.shape
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    out = np.zeros_like(mask)
    for y in range(height):
        for x in range(width):
            row, column = y + shift[0], x + shift[1]
            if 0 <= row < height and 0 <= column < width:
                dy, dx = row - (height - 1) / 2, column - (width - 1) / 2
                sx, sy = (width - 1) / 2 + cos * dx - sin * dy, (height - 1) / 2 + sin * dx + cos * dy
                if 0 <= round(sx) < width and 0 <= round(sy) < height:
                    out[y, x] = mask[round(sy), round(sx)]
    return out


def twin_warp(frame: np.ndarray, degrees: float, shift: tuple[int, int], pad: int, flags: int = cv2.INTER_LINEAR) -> np.ndarray:
    """OpenCV, one step after the other: rotate, pad with black, crop."""
    height, width = frame.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
    turned = cv2.warpAffine(frame, matrix, (width, height), flags=flags)
    padded = cv2.copyMakeBorder(turned, pad, pad, pad, pad, cv2.BORDER_CONSTANT)
    return padded[pad + shift[0]:pad + shift[0] + height, pad + shift[1]:pad + shift[1] + width]


@pytest.mark.parametrize("degrees, shift", [(0.0, (3, -2)), (17.3, (0, 0)), (-20.0, (-6, 6)), (8.1, (5, 1)), (90.0, (0, 0))])
@pytest.mark.parametrize("colour", [False, True])
def test_warp_is_opencvs(degrees, shift, colour):
    frames = scene(3, colour=colour)
    mask = frames[..., 0] > 120
    one = aug.Draw(**{**STILL, "degrees": degrees, "shift": shift})
    clip, masks = aug.warp(batch(frames).contiguous(), torch.from_numpy(mask[None]), [one])
    assert masks.dtype == torch.bool and masks.any()
    for k in range(3):
        twin = twin_warp(frames[k].astype(np.float32), degrees, shift, 6)
        off = np.abs(levels(clip[0].transpose(0, 1))[k] - twin)
        assert (off <= 1).mean() >= 0.99
        assert (masks[0, k].numpy() == twin_mask(mask[k], degrees, shift)).all()
        opencv = twin_warp(mask[k].astype(np.uint8), degrees, shift, 6, cv2.INTER_NEAREST).astype(bool)
        assert (masks[0, k].numpy() == opencv).mean() > 0.99  # OpenCV rounds positions to 1/1024 px first


def test_a_quarter_turn_is_exact():
    """Counter-clockwise on the screen: what was at the right edge ends at the top."""
    frames = scene(2)
    one = aug.Draw(**{**STILL, "degrees": 90.0})
    clip, mask = aug.warp(batch(frames).contiguous(), torch.from_numpy(frames[None, 0, ..., 0] > 100), [one])
    assert np.abs(levels(clip[0].transpose(0, 1)) - np.rot90(frames, axes=(1, 2))).max() < 0.01
    assert (mask[0].numpy() == np.rot90(frames[0, ..., 0] > 100)).all()


def test_a_shift_is_exact_and_fills_with_black():
    frames = scene(2)
    one = aug.Draw(**{**STILL, "shift": (4, -3)})
    clip, _ = aug.warp(batch(frames).contiguous(), None, [one])
    seen = levels(clip[0].transpose(0, 1))
    assert np.abs(seen[:, :-4, 3:] - frames[:, 4:, :-3]).max() < 0.01
    assert (seen[:, -4:] == 0).all() and (seen[:, :, :3] == 0).all()


# ---- the whole -------------------------------------------------------------------------------------------------------

def test_grey_and_colour_paths_give_the_same():
    """The one-channel path of a grey clip against the three-channel path of the same clip stored as RGB."""
    grey, spec = scene(2, seed=3), AugmentSpec()
    alone, _ = aug.augment(grey_batch(grey), None, spec, generator(1))
    beside, _ = aug.augment(batch(grey), None, spec, generator(1))
    off = (alone[0] - beside[0]).abs() * 255
    assert off.median() < 0.01 and (off < 0.05).float().mean() > 0.999  # a lightness on the edge of a level may tip over
    assert (beside[0] - beside[0][:1]).abs().max() < 1e-4


def test_deterministic_given_the_generator():
    clip, mask = batch(scene(seed=1), scene(seed=2)), torch.rand(2, 48, 48, generator=generator()) > 0.5
    results = [aug.augment(clip, mask, AugmentSpec(), generator(seed)) for seed in (3, 3, 4)]
    assert torch.equal(results[0][0], results[1][0]) and torch.equal(results[0][1], results[1][1])
    assert not torch.equal(results[0][0], results[2][0])


def test_one_draw_per_clip_for_all_frames_and_masks():
    """A clip whose frames are all alike stays so, with its masks; two equal clips of a batch do not stay equal."""
    frames = np.repeat(scene(1), 4, axis=0)
    masks = torch.from_numpy(frames[..., 0] > 120)
    clip, turned = aug.augment(batch(frames, frames), torch.stack([masks, masks]), AugmentSpec(), generator())
    assert (clip == clip[:, :, :1]).all() and (turned == turned[:, :1]).all()
    assert not torch.equal(clip[0], clip[1])
    _, single = aug.augment(batch(frames, frames), torch.stack([masks[0], masks[0]]), AugmentSpec(), generator())
    assert torch.equal(single, turned[:, 0])


def test_a_batch_is_augmented_clip_by_clip():
    """What happens to a clip depends on its own row of draws only; the values stay in [0, 1]."""
    clip = batch(scene(seed=1), scene(seed=2), scene(seed=3))
    both, _ = aug.augment(clip, None, AugmentSpec(jitter=0.9), generator(8))
    first, _ = aug.augment(clip[:1], None, AugmentSpec(jitter=0.9), generator(8))
    assert torch.equal(both[:1], first)
    assert both.min() >= 0 and both.max() <= 1


def test_nothing_asked_for_changes_nothing():
    clip, mask = batch(scene(colour=True)), torch.rand(1, 48, 48, generator=generator()) > 0.5
    same, kept = aug.augment(clip, mask, AugmentSpec(jitter=0, jitter_p=0, clahe_p=0, rotation=0, pad=0), generator())
    assert torch.equal(same, clip) and torch.equal(kept, mask)


def test_draws_cover_their_ranges():
    draws = aug.draw(4000, AugmentSpec(jitter_p=0.5, clahe_p=0.25), generator())
    changed = [d for d in draws if d.brightness != 1]
    assert abs(len(changed) / 4000 - 0.5) < 0.04
    assert abs(np.mean([d.clahe is not None for d in draws]) - 0.25) < 0.035
    for values, low, high in (([d.brightness for d in changed], 0.8, 1.2), ([d.contrast for d in changed], 0.8, 1.2),
                              ([d.saturation for d in changed], 0.8, 1.2), ([d.hue for d in changed], -0.2, 0.2),
                              ([d.degrees for d in draws], -20, 20), ([d.clahe for d in draws if d.clahe], 1, 4)):
        assert low <= min(values) < low + 0.02 * (high - low) and high - 0.02 * (high - low) < max(values) <= high
    assert {d.shift[0] for d in draws} == {d.shift[1] for d in draws} == set(range(-6, 7))
    assert len({d.order for d in draws}) == 24


# ---- fast against plain ----------------------------------------------------------------------------------------------

ROUTES = {"tables": lambda stored, masks, draws: aug.augment_frames(stored, masks, draws),
          "batched": lambda stored, masks, draws: aug.augment_drawn(aug.to_float(stored), masks, draws)}


def stored_clips(colour: bool, size: int = 112) -> torch.Tensor:
    clips = np.stack([scene(4, size=size, seed=k, colour=colour) for k in range(4)])
    return torch.from_numpy(clips if colour else clips[..., :1].copy())


def against_plain(route: str, colour: bool, draws: list[aug.Draw], size: int = 112) -> tuple[np.ndarray, bool]:
    """How far off in grey levels, and whether all masks agree."""
    stored = stored_clips(colour, size)
    masks = stored[:, 0, ..., 0] > 100
    before = stored.clone()
    clip, turned = ROUTES[route](stored, masks, draws)
    assert clip.shape == (4, 3, 4, size, size) and clip.dtype == torch.float32 and torch.equal(stored, before)
    assert clip.min() >= 0 and clip.max() <= 1
    twins = [plain.augment_clip(f.numpy(), m.numpy(), one) for f, m, one in zip(stored, masks, draws, strict=True)]
    seen = clip[:, :stored.shape[-1]].permute(0, 2, 3, 4, 1).numpy()
    same = all((m.numpy() == twin).all() for m, (_, twin) in zip(turned, twins, strict=True))
    return np.abs(seen - np.stack([f for f, _ in twins])) * 255, same


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("colour", [False, True])
def test_fast_rotation_and_crop_are_the_plain_ones(route, colour):
    moves = ((17.3, (2, -5)), (-20.0, (-6, 6)), (0.0, (3, 4)), (5.0, (0, 0)))
    draws = [aug.Draw(**{**STILL, "degrees": degrees, "shift": shift}) for degrees, shift in moves]
    off, masks = against_plain(route, colour, draws)
    assert (off <= 1).mean() >= 0.99 and masks


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("size", [112, 48])
def test_fast_jitter_and_clahe_are_the_plain_ones(route, colour, size):
    """Every clip with factors, an order and a limit of its own, one without CLAHE."""
    draws = [replace(one, degrees=0.0, shift=(0, 0)) for one in aug.draw(4, AugmentSpec(), generator(3))]
    draws[1] = replace(draws[1], clahe=None)
    assert len({one.order for one in draws}) == 4 and len({one.clahe for one in draws}) == 4
    off, masks = against_plain(route, colour, draws, size)
    assert (off <= 2).mean() >= 0.999 and masks
    assert off[1].max() <= 0.01  # jitter alone


def test_three_equal_channels_are_augmented_as_grey():
    """Whatever the other clips of the batch are; and the same as the colour route, to a rounding."""
    grey, colour = stored_clips(False), stored_clips(True)
    mixed = torch.cat([grey.expand(-1, -1, -1, -1, 3), colour])
    draws = aug.draw(8, AugmentSpec(), generator(6))
    seen = aug.augment_frames(mixed, None, draws)[0]
    assert torch.equal(seen[:4], aug.augment_frames(grey, None, draws[:4])[0])
    assert torch.equal(seen[4:], aug.augment_frames(colour, None, draws[4:])[0])
    nearly = mixed[:4].contiguous()
    nearly[:, -1, 0, 0, 2] += 1  # one pixel of the last frame: no longer grey
    off = (aug.augment_frames(nearly, None, draws[:4])[0] - seen[:4]).abs()
    assert 0 < off.max() and (255 * off <= 2).float().mean() >= 0.99


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("colour", [False, True])
def test_the_fast_whole_is_the_plain_whole(route, colour):
    off, masks = against_plain(route, colour, aug.draw(4, AugmentSpec(), generator(4)))
    assert (off <= 2).mean() >= 0.999 and (off <= 1).mean() >= 0.99 and masks


def test_clahe_takes_a_limit_for_every_frame():
    frames = torch.from_numpy(np.stack([scene(1, size=112, seed=k)[0, ..., 0] for k in range(3)]))
    each = torch.cat([clahe_levels(frames[k:k + 1], limit) for k, limit in enumerate((1.0, 2.5, 4.0))])
    assert torch.equal(clahe_levels(frames, [1.0, 2.5, 4.0]), each)
    assert (clahe_batched(frames.long(), [1.0, 2.5, 4.0]) - each).abs().max() <= 1
    assert not torch.equal(each[2:], clahe_levels(frames[2:], 1.0))


@pytest.mark.gpu
def test_a_gpu_gives_what_the_cpu_gives():
    """Of RGB and grey clips; and the host never waits for the device meanwhile."""
    for clip in (batch(scene(4, size=112, seed=1, colour=True), scene(4, size=112, seed=2)), grey_batch(scene(4, size=112))):
        mask = clip[:, 0, 0] > 0.5
        ours, turned = aug.augment(clip, mask, AugmentSpec(), generator(5))
        given = clip[:, :1].cuda().expand(clip.shape) if clip.stride(1) == 0 else clip.cuda()
        aug.normalise(aug.augment(given, mask.cuda(), AugmentSpec(), generator(5))[0])  # constants are copied once
        torch.cuda.set_sync_debug_mode("error")
        try:
            theirs, also = aug.augment(given, mask.cuda(non_blocking=True), AugmentSpec(), generator(5))
            aug.normalise(theirs)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert torch.equal(turned, also.cpu())
        assert ((ours - theirs.cpu()).abs() < 1 / 255).float().mean() > 0.99


# ---- mirror images ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("colour", [False, True])
def test_flips_mirror_clip_and_masks_on_every_path_and_leave_the_other_draws_alone(colour):
    spec = AugmentSpec(flip_p=0.5)
    plainly, flipped = aug.draw(16, AugmentSpec(), generator()), aug.draw(16, spec, generator())
    assert 3 < sum(one.flip for one in flipped) < 13
    assert [replace(one, flip=False) for one in flipped] == plainly
    frames = np.stack([scene(seed=k, colour=colour) for k in range(16)])[..., :3 if colour else 1].copy()
    masks = torch.from_numpy(frames[..., 0] > 120)
    for path in (lambda draws: aug.augment_frames(torch.from_numpy(frames), masks, draws),
                 lambda draws: aug.augment_drawn(aug.to_float(torch.from_numpy(frames)), masks, draws)):
        (still, still_masks), (clip, turned) = path(plainly), path(flipped)
        for k, one in enumerate(flipped):
            assert torch.equal(clip[k], still[k].flip(-1) if one.flip else still[k])
            assert torch.equal(turned[k], still_masks[k].flip(-1) if one.flip else still_masks[k])
    one = next(k for k, drawn in enumerate(flipped) if drawn.flip)
    clip, turned = plain.augment_clip(frames[one], masks[one].numpy(), flipped[one])
    still, still_masks = plain.augment_clip(frames[one], masks[one].numpy(), plainly[one])
    assert np.array_equal(clip, still[:, :, ::-1]) and np.array_equal(turned, still_masks[..., ::-1])
