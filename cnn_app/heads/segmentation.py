"""Probabilities of classes for each place of a map. The networks that were made for it build it themselves."""

from __future__ import annotations

import keras

from cnn_app.heads.classification import OUTPUTS, deployed  # noqa: F401  probabilities along the last axis


def build(family, row) -> keras.Model:
    from cnn_app.heads import of_family

    return of_family(family, row, "segmentation")
