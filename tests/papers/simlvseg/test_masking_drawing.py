"""Stage 1's error: what is measured, on clips made here, prepared as in training and plain."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from echolib.config import AugmentSpec
from echolib.data.augment import denormalise, normalise
from echolib.papers.simlvseg import masking_drawing as masking
from echolib.papers.simlvseg.masking_drawing import CONTRAST, PLAIN, TRAINED
from echolib.papers.simlvseg.method_drawing import SHOWN
from echolib.training.batches import Batch
from echolib.training.recipes.reconstruct import MaskedBatch
from tests.papers.simlvseg.test_method_drawing import moving_disk
from tests.training.standin import MemoryStore, pretrain_spec

MASKED = np.array([1, 0, 0, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], bool)


def masked_batch() -> Batch:
    clip, _ = moving_disk(1, len(MASKED))
    seen = clip.clone()
    seen[:, :, MASKED] = normalise(torch.zeros_like(clip))[:, :, MASKED]
    return MaskedBatch(seen, ["a"], target=clip, masked=torch.tensor(MASKED)[None])


class Filled(nn.Module):
    """Gives a clip back with its black frames filled by its mean frame."""

    def forward(self, clip: Tensor) -> Tensor:
        kept = denormalise(clip).mean((1, 3, 4)) > 0.01
        mean = torch.stack([one[:, which].mean(1) for one, which in zip(clip, kept, strict=True)])
        return torch.where(kept[:, None, :, None, None], clip, mean[:, :, None])


def prepared(**augment: float) -> dict[str, list[Batch]]:
    store = MemoryStore({"train": 2, "test": 3})
    return masking.prepared_batches(store, "test", pretrain_spec(train_augment=AugmentSpec(pad=2, **augment)), 3)


def test_a_network_that_gives_back_what_it_sees_errs_in_masked_frames_only():
    found = masking.reconstruct(nn.Identity(), masked_batch())
    assert (found.error[~MASKED] == 0).all() and (found.error[MASKED] > 50).all()
    assert (found.seen[MASKED] == 0).all() and (found.output == found.seen).all()
    assert (found.copied[~MASKED] == 0).all() and (found.copied[MASKED] < found.error[MASKED]).all()


def test_an_error_is_in_grey_levels():
    batch = masked_batch()
    batch.clip = normalise((batch.target * 0 + 0.5))
    batch.target = normalise((batch.target * 0 + 0.6))
    assert masking.reconstruct(nn.Identity(), batch).error == pytest.approx(25.5, rel=1e-4)


def test_the_error_table_separates_masked_and_kept_frames():
    found = masking.reconstruct(nn.Identity(), masked_batch())
    table = masking.error_table([found], resamples=100).set_index(["frames", "of"])
    assert table.value["masked", "network"] == pytest.approx(found.error[MASKED].mean())
    assert table.value["kept", "network"] == 0 and table.n["kept", "network"] == (~MASKED).sum()
    assert len(masking.masking_figure(found).axes) == 3 * SHOWN + 1
    caption, alt = masking.masking_words(found, PLAIN, 0.25)
    assert "clip of 16 frames, plain, 4 of them masked (ratio 0.25)" in caption
    assert f"{found.error[MASKED].mean():.1f} grey levels in masked frames, 0.0 in kept ones" in alt


def test_the_same_clips_with_the_same_masks_are_prepared_in_three_ways():
    found = prepared()
    assert list(found) == [TRAINED, CONTRAST, PLAIN] and {len(batches) for batches in found.values()} == {3}
    for trained, contrast, plain in zip(*found.values(), strict=True):
        assert trained.studies == contrast.studies == plain.studies
        assert torch.equal(trained.masked, plain.masked) and torch.equal(contrast.masked, plain.masked)
        spread = [float(batch.target.std()) for batch in (contrast, plain)]
        assert spread[0] > 1.05 * spread[1], "CLAHE raises the contrast"
        assert not torch.equal(trained.target, contrast.target), "training also turns, shifts and jitters"
    pixels = (255 * denormalise(found[PLAIN][0].target)).round()
    assert (255 * denormalise(found[PLAIN][0].target) - pixels).abs().max() < 1e-3, "plain pixels are those of the store"


def test_a_way_that_training_does_not_know_is_left_out():
    assert list(prepared(clahe_p=0)) == [TRAINED, PLAIN]
    store = MemoryStore({"train": 2, "test": 3})
    assert list(masking.prepared_batches(store, "test", pretrain_spec(train_augment=None), 2)) == [PLAIN]


def test_the_table_and_the_words_hold_the_numbers_of_each_way():
    tables = masking.errors(Filled(), prepared(), resamples=100)
    means = {way: table.set_index(["frames", "of"]).value for way, table in tables.items()}
    text = masking.error_html({"net": tables}, 3)
    for way, values in means.items():
        assert f"<td>{way}</td><td>{values['masked', 'network']:.2f} <small>" in text
        assert f"{values['masked', 'network']:.1f} ({values['masked', 'nearest kept frame']:.1f}) on clips" in \
            masking.error_words({"net": tables})
    assert text.count("<tr>") == 4


def table(network: float, copied: float):
    """An :func:`error_table` of these values."""
    rows = [("masked", "network", network), ("masked", "nearest kept frame", copied), ("kept", "network", 1.0)]
    return masking.pd.DataFrame([{"frames": f, "of": of, "value": v, "low": v, "high": v, "n": 5} for f, of, v in rows])


def test_the_words_say_who_is_nearer_and_what_contrast_does():
    said = masking.error_words({"net": {TRAINED: table(6, 7.5), CONTRAST: table(8, 7), PLAIN: table(26, 5)}})
    assert "6.0 (7.5) on clips as in training, 8.0 (7.0) on clips that are plain with CLAHE, 26.0 (5.0) on clips that" in said
    assert "it is nearer to the hidden frame" in said and "Of the 20.0 that plain clips add, CLAHE alone takes away 18.0." in said
    said = masking.error_words({"net": {TRAINED: table(12, 7.5), PLAIN: table(11, 5)}})
    assert "it is no nearer to the hidden frame" in said and "takes away" not in said
    everything = {PLAIN: table(3, 2).query("of == 'network'")}
    assert masking.error_words({"net": everything}) == "", "every frame masked: there is no copy to compare with"
