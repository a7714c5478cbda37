"""A linear classifier on deep features: how good they are, and where a new head starts."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from cnn_app.errors import DataError
from cnn_app.transfer.features import Features

PENALTIES = tuple(10.0**exponent for exponent in (-5, -4, -3, -2, -1, 0, 1))  # C on standardized features
FOLDS = 5
ITERATIONS = 2000


@dataclass(frozen=True)
class Linear:
    """scores = features @ weights + bias."""

    weights: np.ndarray  # (width, classes); one column for an SVM of two classes
    bias: np.ndarray
    penalty: float  # the C that cross-validation chose
    validated: float  # its mean top-1 over the folds

    def predict(self, features: np.ndarray) -> np.ndarray:
        scores = features @ self.weights + self.bias
        return (scores[:, 0] > 0).astype(int) if scores.shape[1] == 1 else scores.argmax(1)


def fit(features: np.ndarray, targets: np.ndarray, classes: int, kind: str = "logistic", seed: int = 0) -> Linear:
    """Fit (n, width) to places below `classes`, with C chosen by cross-validation on standardized features.

    What it chooses is the likelihood where there are probabilities: among few records many C share the best top-1.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    counts = np.bincount(targets, minlength=classes)
    if counts.min() < 2:
        raise DataError(f"a linear classifier needs two training records of every class, received {counts.min()} of "
                        f"class {counts.argmin()}; add some, or finetune with --recipe tune")  # fmt: skip
    if kind == "svm":
        model, chosen_by = LinearSVC(max_iter=ITERATIONS, random_state=seed), "accuracy"
    else:
        model, chosen_by = LogisticRegression(max_iter=ITERATIONS), "neg_log_loss"
    name = type(model).__name__.lower()
    folds = StratifiedKFold(min(FOLDS, counts.min()), shuffle=True, random_state=seed)
    scaled = make_pipeline(StandardScaler(), model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a C that does not get there does not win the validation
        search = GridSearchCV(scaled, {f"{name}__C": PENALTIES}, cv=folds, scoring=list({"accuracy", chosen_by}),
                              refit=chosen_by).fit(features, targets)  # fmt: skip
    scaler, best = search.best_estimator_
    weights = best.coef_.T / scaler.scale_[:, None]
    validated = float(search.cv_results_["mean_test_accuracy"][search.best_index_])
    return Linear(weights, best.intercept_ - scaler.mean_ @ weights, search.best_params_[f"{name}__C"], validated)


def assess(features: Features, classes: int, kind: str) -> dict:
    """Fit on the train images, measure on those of test, or of val where test is val."""
    held_out = "test" if "test" in features.split else "val"
    train, test = features.split == "train", features.split == held_out
    found = fit(features.vectors[train], features.targets[train], classes, kind)
    top1 = float((found.predict(features.vectors[test]) == features.targets[test]).mean())
    return {"split": held_out, "top1": top1, "n": int(test.sum()), "C": found.penalty, "validated": found.validated}


def as_head(linear: Linear) -> tuple[np.ndarray, np.ndarray]:
    """Weights (width, classes) and bias of a softmax layer; two classes share the one column between them."""
    weights, bias = linear.weights, linear.bias
    if weights.shape[1] == 1:
        weights, bias = np.hstack([-weights, weights]) / 2, np.hstack([-bias, bias]) / 2
    return weights.astype(np.float32), bias.astype(np.float32)
