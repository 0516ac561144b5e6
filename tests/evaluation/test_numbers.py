"""Ejection fractions clip by clip: which clips, the mirrored beat, five clips as five runs, areas under curves, bad input."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from echolib.config import ClipSpec, DataSpec
from echolib.errors import DataError
from echolib.evaluation.evaluation import Inputs
from echolib.evaluation.kinds.number import NumberSpec
from echolib.evaluation.numbers import below, mirrored_clip, one_clip_runs, predicted, tables, video_clips
from tests.training.css_standin import store
from tests.training.test_numbers import SEGMENTER, spec_of

CLIP = ClipSpec(frames=4, period=2)


class Mean(nn.Module):
    """Gives the mean of the frame numbers that the stand-in store writes into its pixels."""

    def forward(self, clip):
        from echolib.data.augment import denormalise
        return (denormalise(clip)[:, 0, :, 0, 0] * 255).round().mean(1)


def test_clips_at_the_stride_and_the_last_one_that_fits():
    assert video_clips(24, CLIP, 8).tolist() == [[0, 2, 4, 6], [8, 10, 12, 14], [16, 18, 20, 22], [17, 19, 21, 23]]
    assert video_clips(9, CLIP, 8)[:, 0].tolist() == [0, 2] and video_clips(7, CLIP, 8).tolist() == [[0, 2, 4, 6]]
    assert video_clips(5, CLIP, 8).tolist() == [[0, 2, 4, -1]]
    assert len(video_clips(24, CLIP, 1)) == 18


def test_a_half_cycle_is_mirrored_into_a_beat():
    assert mirrored_clip(5, ClipSpec(frames=4, period=2)).tolist() == [[0, 2, 4, 3]]
    assert mirrored_clip(3, ClipSpec(frames=5, period=2)).tolist() == [[0, 2, 1, -1, -1]]
    assert mirrored_clip(3, ClipSpec(frames=5, period=2), "repeat").tolist() == [[0, 2, 1, 0, 2]]
    beat = mirrored_clip(20, ClipSpec(frames=32, period=2))[0]
    assert (beat[:20] >= 0).all() and (beat[20:] == -1).all(), "of 32 frames 20 are filled"


def test_the_tables_of_clips_and_studies():
    cohort = store()
    clips = [("test0", video_clips(24, CLIP, 8)), ("test1", video_clips(25, CLIP, 100))]
    cohort.studies = cohort.studies.assign(view="4CH", quality="")
    made = tables(cohort, predicted(Mean(), cohort, clips, None, device="cpu"))
    assert made["clips"].predicted_ef.tolist() == [3, 11, 19, 20, 3, 21] and made["clips"].start.tolist() == [0, 8, 16, 17, 0, 18]
    one = made["studies"].set_index("study").loc["test0"]
    assert (one.predicted_ef, one.clips) == (13.25, 4) and one.clip_sd == pytest.approx(np.std([3, 11, 19, 20], ddof=1))
    assert made["studies"].ef.tolist() == cohort.studies.ef[["test0", "test1"]].tolist()


def test_the_evaluation_of_a_run():
    cohort = store()
    cohort.studies = cohort.studies.assign(view="4CH", quality="")
    inputs = Inputs(store=cohort, truth=None, cohort=lambda: None, model=Mean, shown=lambda items, total: items)
    data = DataSpec(layout="echonet", size=32, channels=1)
    made = NumberSpec(run=spec_of(), data=data, stride=8).compute(inputs)
    assert made.studies == 2 and made.unit == "%" and list(made.tables["studies"].study) == ["test0", "test1"]
    camus = NumberSpec(run=spec_of(), data=DataSpec(layout="camus", size=32, channels=1))
    assert camus.compute(inputs).studies == len(cohort.studies), "no half cycle was trained on"
    with pytest.raises(ValueError, match="must give a number; .* gives masks"):
        NumberSpec(run=SEGMENTER, data=data)


def test_five_runs_that_are_five_clips():
    studies = pd.DataFrame({"study": ["a", "b"], "ef": [50.0, 60.0]})
    clips = pd.DataFrame({"study": ["a"] * 2 + ["b"] * 2, "predicted_ef": [49.0, 53.0, 60.0, 60.0]})
    found = one_clip_runs(studies, clips, runs=400)
    assert set(found.round(6)) == {0.5, 1.5} and found.mean() == pytest.approx(1.0, abs=0.1)
    assert (one_clip_runs(studies, clips) == one_clip_runs(studies, clips)).all()


def test_the_area_under_the_curve_by_hand():
    table = pd.DataFrame({"patient": list("abcdef"), "found": [30.0, 55, 45, 60, 65, 50], "exact": [30.0, 40, 48, 55, 60, 65]})
    # three of six lie below 50: 30, 55, 45 against 60, 65, 50; eight of nine pairs are in order
    assert below(table, "found", "exact", 50).mean == pytest.approx(8 / 9)
    inverse = below(table.assign(found=-table.found), "found", "exact", 50)
    assert inverse.mean == pytest.approx(1 / 9) and inverse.low <= inverse.mean <= inverse.high
    assert below(table.assign(found=1.0), "found", "exact", 50).mean == 0.5
    assert np.isnan(below(table, "found", "exact", 20).mean)
    with pytest.raises(DataError, match="no study has both"):
        below(table.assign(found=np.nan), "found", "exact", 50)


def test_patients_are_drawn_with_all_their_studies():
    rng = np.random.default_rng(0)
    exact = rng.uniform(20, 70, 40)
    table = pd.DataFrame({"patient": [f"p{k}" for k in range(40)], "exact": exact, "found": exact + rng.normal(0, 12, 40)})
    once = below(table, "found", "exact", 50, resamples=300)
    thrice = below(pd.concat([table] * 3), "found", "exact", 50, resamples=300)
    assert thrice.mean == pytest.approx(once.mean) and thrice.patients == once.patients == 40
    assert (thrice.high - thrice.low) == pytest.approx(once.high - once.low, rel=1e-6), "more of the same is no more"


def test_the_network_s_mode_and_order_of_studies_stay():
    cohort, model = store(), Mean().train()
    found = list(predicted(model, cohort, [("train1", video_clips(25, CLIP, 4)), ("train0", video_clips(24, CLIP, 4))], None,
                           device="cpu"))
    assert [study for study, *_ in found] == ["train1", "train0"] and model.training
    assert all(len(indices) == len(values) and torch.isfinite(torch.from_numpy(values)).all() for _, indices, values in found)
