"""Do a segmenter's features know the heart's cycle? The soft match of CSS against the true phase of every frame.

CSS (Dai et al., IEEE TMI 2023) looks for a phase of the template softly in the frames after it. A phantom's truth has the
phase of every frame, from 0 at end-diastole to 1 at the next, so the match can be judged: its error in beats, at most a half,
is a quarter on average where the match is blind. Beside it stand the distances between frames that the paper draws (Figure
A2), and how features of one study lie to each other and to those of others (Figure 5).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from echolib.data.augment import normalise, to_float
from echolib.data.store import ClipStore
from echolib.losses.css import Cycle, cyclical

MATCH_COLUMNS = ("study", "patient", "start", "phase", "error", "soft_error", "entropy", "loss", "came_round",
                 "beats_in_template")
STUDY_COLUMNS = ("study", "patient", "error", "soft_error", "entropy", "loss", "came_round", "phase_correlation", "beat_frames")
#: Beats between two frames above which they belong to different beats.
APART = 0.5


def clip_features(model: nn.Module | None, store: ClipStore, study: str, indices: np.ndarray, device: torch.device) -> Tensor:
    """Features ``(F, d)`` float32 on the CPU of some frames: a segmenter's encoder's, or without one the pixels themselves."""
    frames = torch.from_numpy(store.clip(study, indices)[None])
    if model is None:
        return to_float(frames)[0, 0].flatten(1)
    with torch.no_grad():
        return model(normalise(to_float(frames.to(device))), features=True)[0].T.float().cpu()


def wrapped(difference: np.ndarray) -> np.ndarray:
    """Distance of two phases in beats, 0 to 0.5."""
    return np.abs((difference + 0.5) % 1 - 0.5)


def match_table(study: str, patient: str, features: Tensor, phase: np.ndarray, cycle: Cycle) -> pd.DataFrame:
    """Every match of a clip against the true phases, one row a starting point.

    Args:
        study, patient: whose clip it is.
        features: ``(F, d)``.
        phase: ``(F,)``, true phase of each frame, 0 to below 1.
        cycle: what is matched with what.

    Returns:
        Columns :data:`MATCH_COLUMNS`: ``phase`` of the starting point; ``error`` of the likeliest place, ``soft_error`` of the
        circular mean under alpha, beats; ``beats_in_template``: how much of the cycle the template spans.
    """
    rows, places = [], phase[cycle.template:cycle.template + cycle.searched(len(features))]
    spans = float((np.diff(phase[:cycle.template]) % 1).sum())
    for start in range(cycle.starts):
        match = cyclical(features, start, cycle)
        alpha = match.alpha.double().numpy()
        mean = np.angle(np.sum(alpha * np.exp(2j * np.pi * places))) / (2 * np.pi)
        target = start + cycle.offset - cycle.classes.start
        rows.append((study, patient, start, phase[start], float(wrapped(places[alpha.argmax()] - phase[start])),
                     float(wrapped(mean - phase[start])), float(match.entropy), float(match.loss),
                     int(match.beta.argmax() == target), spans))
    return pd.DataFrame(rows, columns=list(MATCH_COLUMNS))


def distances(features: Tensor) -> np.ndarray:
    """Euclidean distance of every two frames over the largest one, ``(F, F)``; 0 where all frames are the same."""
    found = torch.cdist(features[None].double(), features[None].double())[0].numpy()
    return found / found.max() if found.max() > 0 else found


def phase_correlation(features: Tensor, phase: np.ndarray) -> float:
    """Spearman's correlation of distances in feature space and in phase, over pairs of frames of different beats.

    1: the farther apart two phases, the farther apart their features, from beat to beat. NaN without two beats.
    """
    elapsed = np.concatenate([[0.0], np.cumsum(np.diff(phase) % 1)])
    i, j = np.triu_indices(len(phase), 1)
    pairs = elapsed[j] - elapsed[i] > APART
    if pairs.sum() < 3:
        return np.nan
    apart = distances(features)[i[pairs], j[pairs]]
    between = wrapped(phase[j[pairs]] - phase[i[pairs]])
    return float(spearmanr(apart, between).statistic) if np.ptp(apart) > 0 else np.nan


def separation(features: Sequence[Tensor]) -> float:
    """Mean distance of frames of different studies over that of frames of one study; above 1 studies lie apart."""
    inside = np.mean([torch.pdist(one.double()).mean().item() for one in features])
    pairs = [(a, b) for k, a in enumerate(features) for b in features[k + 1:]]
    across = np.mean([torch.cdist(a.double(), b.double()).mean().item() for a, b in pairs])
    return float(across / inside) if inside > 0 else np.nan


def embedding(features: Sequence[Tensor], seed: int = 0) -> np.ndarray:
    """t-SNE of the frames of some studies into the plane, ``(N, 2)``; scikit-learn's, from its principal components."""
    from sklearn.manifold import TSNE  # seconds to load, for the one evaluation that draws it

    points = torch.cat(list(features)).double().numpy()
    spread = points.std()
    points = (points - points.mean(0)) / (spread if spread > 0 else 1)
    options = dict(perplexity=min(30.0, (len(points) - 1) / 3), init="pca", random_state=seed)
    return TSNE(2, method="exact" if len(points) < 300 else "barnes_hut", **options).fit_transform(points).astype(np.float64)
