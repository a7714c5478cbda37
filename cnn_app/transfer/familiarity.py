"""Where the features of each class lie after training, and how far away those of val: for `runtimes.familiarity`."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np

from cnn_app.data import pipeline
from cnn_app.data.dataset import Dataset, Split
from cnn_app.runtimes.familiarity import Familiarity, averaged
from cnn_app.tasks import Task
from cnn_app.transfer.features import rows, tapped

MOST = 2000  # records of a split, evenly by what the task says
FEWEST = 20  # of val: fewer say nothing of what is rare among them
SHARE = 0.01  # of val that may be told as unlike
QUANTILE = 2.33  # of a normal distribution, which so much lies above
AXES = 256  # at most
RIDGE = 0.01  # of the mean variance, added to each: few records know little of it


def fitted(model: keras.Model, task: Task, dataset: Dataset) -> Familiarity | None:
    """Of a prepared data set; None where features say nothing, or too few records are there."""
    if not task.familiar or len(dataset.splits["val"]) < FEWEST:
        return None
    tap = tapped(model)
    train, val = (_sampled(task, dataset.splits[name]) for name in ("train", "val"))
    known = gaussian(_features(tap, train), task.strata(train))
    return replace(known, threshold=np.float32(threshold(np.asarray(known.told(_features(tap, val))["distance"]))))


def gaussian(features: np.ndarray, strata: np.ndarray, most: int = AXES) -> Familiarity:
    """Of features (n, d) and their classes (n,); without a threshold."""
    features = np.sign(features) * np.sqrt(np.abs(features))
    (count, width), centre = features.shape, features.mean(0, dtype=np.float64)
    _, places = np.unique(strata, return_inverse=True)
    means = np.stack([(features[places == place] - centre).mean(0) for place in range(places.max() + 1)])
    _, singular, axes = np.linalg.svd(features - centre - means[places], full_matrices=False)
    variances = singular**2 / count
    kept, ridge = min(most, len(axes)), max(RIDGE * variances.sum() / width, 1e-12)
    rest = np.sqrt(variances[kept:].sum() / max(width - kept, 1) + ridge)
    numbers = (centre, means, axes[:kept], np.sqrt(variances[:kept] + ridge), rest, np.inf)
    return Familiarity(*(np.asarray(one, np.float32) for one in numbers))


def threshold(distances: np.ndarray) -> float:
    """What SHARE of the distances on val is above; no less than if their logarithms were normal, for there are few."""
    ordered, logs = np.sort(distances), np.log(np.maximum(distances, 1e-12))
    by_rank = ordered[len(ordered) - 1 - int(SHARE * len(ordered))]
    return max(by_rank, float(np.exp(logs.mean() + QUANTILE * logs.std(ddof=1) * (1 + 1 / len(logs)) ** 0.5)))


def _sampled(task: Task, split: Split) -> Split:
    return split if len(split) <= MOST else split.take(pipeline.stratified(task.strata(split), MOST))


def _features(tap: keras.Model, split: Split) -> np.ndarray:
    return np.concatenate([averaged(batch) for batch in rows(tap, split)])
