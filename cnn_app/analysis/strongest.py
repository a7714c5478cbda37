"""The images that a channel answers most, cut to what it sees, and what of each its answer goes back to.

Zeiler and Fergus, arXiv:1311.2901, figure 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from cnn_app.analysis.attribution import Explained
from cnn_app.analysis.receptive_field import views
from cnn_app.errors import ModelError

NINE = 9  # images of a channel
BATCH = 32


@dataclass(frozen=True)
class Peak:
    """Where a channel answers most in an image."""

    image: np.ndarray  # uint8 (h, w, c)
    value: float
    row: int  # of the map
    column: int


class Strongest:
    """Takes images one after the other, and keeps those that are among the nine strongest of any channel."""

    def __init__(self, explained: Explained):
        self.network, self.layer = explained.model, explained.layer
        self.maps = keras.Model(self.network.input, self.network.get_layer(self.layer).output)
        self.rectified = explained.rectified
        self.channels = self.maps.output_shape[-1]
        self.values = np.empty((0, self.channels))  # of the nine, the largest first
        self.places = np.empty((0, self.channels, 3), int)  # image, row, column
        self.images: dict[int, np.ndarray] = {}
        self.waiting: list[np.ndarray] = []
        self.count = 0

    def add(self, image: np.ndarray) -> None:
        """An image uint8 (h, w, c) of the network's size."""
        self.waiting.append(image)
        if len(self.waiting) == BATCH:
            self._look()

    def _look(self) -> None:
        batch, self.waiting = self.waiting, []
        maps = np.asarray(self.maps.predict_on_batch(np.stack(batch)))
        flat = maps.reshape(len(batch), -1, self.channels)
        best = flat.argmax(1)  # (n, channels)
        values = np.concatenate([self.values, flat.max(1)])
        number = np.repeat(np.arange(self.count, self.count + len(batch))[:, None], self.channels, 1)
        places = np.concatenate([self.places, np.stack([number, *np.divmod(best, maps.shape[2])], -1)])
        order = np.argsort(-values, 0, kind="stable")[:NINE]
        self.values = np.take_along_axis(values, order, 0)
        self.places = np.take_along_axis(places, order[..., None], 0)
        there = self.images | dict(enumerate(batch, self.count))
        self.images = {place: there[place] for place in np.unique(self.places[..., 0]).tolist()}
        self.count += len(batch)

    def peaks(self, channel: int) -> list[Peak]:
        """At most nine, the strongest first."""
        if self.waiting:
            self._look()
        return [Peak(self.images[place], float(value), int(row), int(column))
                for value, (place, row, column) in zip(self.values[:, channel], self.places[:, channel],
                                                       strict=True)]  # fmt: skip

    def liveliest(self, count: int) -> list[int]:
        """Channels whose strongest answers are largest."""
        if self.waiting:
            self._look()
        return np.argsort(-self.values.mean(0), kind="stable")[:count].tolist()

    def windows(self, peaks: list[Peak]) -> list[tuple[slice, slice]]:
        """Of each image what the place of its peak sees, as far as it lies inside."""
        view = views(self.network)[self.layer]
        if view.windows is None:
            return [(slice(None), slice(None))] * len(peaks)

        def within(position: int, side: int) -> slice:
            first, last = view.at(position)
            return slice(min(max(first, 0), side - 1), min(max(last, 0), side - 1) + 1)

        return [(within(peak.row, peak.image.shape[0]), within(peak.column, peak.image.shape[1])) for peak in peaks]

    def projected(self, peaks: list[Peak], channel: int, through_closed: bool) -> np.ndarray:
        """(n, h, w, c): the gradient of each peak by its image; through_closed: as a deconvnet has it, else guided."""
        network = self.rectified(through_closed)
        maps = keras.Model(network.input, network.get_layer(self.layer).output)
        pixels = tf.convert_to_tensor(np.stack([peak.image for peak in peaks]), tf.float32)
        where = [(place, peak.row, peak.column, channel) for place, peak in enumerate(peaks)]
        with tf.GradientTape() as tape:
            tape.watch(pixels)
            values = tf.gather_nd(maps(pixels, training=False), where)
        return tape.gradient(values, pixels).numpy()


def check_channels(explained: Explained, channels: tuple[int, ...]) -> None:
    """Raises ModelError for one that the layer does not have."""
    there = explained.model.get_layer(explained.layer).output.shape[-1]
    if strange := [channel for channel in channels if not 0 <= channel < there]:
        raise ModelError(f"{explained.layer} has no channel {strange[0]}; it has {there}, from 0 to {there - 1}")
