"""Losses of maps against masks: of each record (b,), over the pixels that count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cnn_app.tasks.masks import IGNORED

SMOOTH = 1.0  # pixels added to both sides of Dice's fraction, so that an absent class divides by something
FOCUS = 2.0  # gamma of the focal loss (arXiv:1708.02002, section 5.1)


@dataclass(frozen=True)
class Pixels:
    """Logits, and what is true there."""

    logits: Any  # (b, h, w, classes)
    shares: Any  # (b, h, w, classes), 1 for the class of a pixel
    counted: Any  # (b, h, w), 0 where nothing counts
    weights: Any  # (classes,) or None
    smooth: float  # share that is spread over all classes

    @classmethod
    def of(cls, logits, mask, weights, smooth: float) -> Pixels:
        """mask: uint8 (b, h, w), IGNORED where nothing counts."""
        from keras import ops

        classes = logits.shape[-1]
        shares = ops.one_hot(ops.minimum(ops.cast(mask, "int32"), classes - 1), classes)
        return cls(logits, shares, ops.cast(mask != IGNORED, "float32"), weights, smooth)


def cross_entropy(pixels: Pixels):
    return _mean(pixels, _surprise(pixels))


def focal(pixels: Pixels):
    """Cross-entropy, less of it where a pixel is known already (Lin et al., arXiv:1708.02002, equation 4)."""
    from keras import ops

    known = ops.sum(pixels.shares * ops.softmax(pixels.logits, -1), -1)
    return _mean(pixels, _surprise(pixels) * (1 - known) ** FOCUS)


def dice(pixels: Pixels):
    """One minus Dice's coefficient, the mean of all classes (Milletari et al., arXiv:1606.04797, section 3)."""
    from keras import ops

    counted = pixels.counted[..., None]
    shares, found = pixels.shares * counted, ops.softmax(pixels.logits, -1) * counted
    both = ops.sum(shares * found, (1, 2))
    each = (2 * both + SMOOTH) / (ops.sum(shares, (1, 2)) + ops.sum(found, (1, 2)) + SMOOTH)
    return 1 - ops.mean(each, -1)


def both(pixels: Pixels):
    """Cross-entropy and Dice."""
    return cross_entropy(pixels) + dice(pixels)


def lovasz(pixels: Pixels):
    """Lovasz-Softmax: the convex extension of one minus IoU, the mean of the classes that are there.

    Berman, Triki, Blaschko, arXiv:1705.08790, equation 9 and Algorithm 1, for each image.
    """
    from keras import ops

    classes = pixels.logits.shape[-1]
    counted = pixels.counted[..., None]
    there, errors = (
        ops.moveaxis(ops.reshape(x, (-1, x.shape[1] * x.shape[2], classes)), -1, 1)
        for x in (pixels.shares * counted, ops.abs(pixels.shares - ops.softmax(pixels.logits, -1)) * counted)
    )
    order = ops.argsort(-errors, -1)
    there, errors = ops.take_along_axis(there, order, -1), ops.take_along_axis(errors, order, -1)
    total = ops.sum(there, -1, keepdims=True)
    hit, missed = ops.cumsum(there, -1), ops.cumsum(1 - there, -1)
    jaccard = 1 - (total - hit) / (total + missed)
    steps = ops.concatenate([jaccard[..., :1], jaccard[..., 1:] - jaccard[..., :-1]], -1)
    present = ops.cast(total[..., 0] > 0, "float32")
    each = ops.sum(errors * ops.stop_gradient(steps), -1)
    return ops.sum(each * present, -1) / ops.maximum(ops.sum(present, -1), 1.0)


LOSSES: dict[str, Callable[[Pixels], Any]] = {
    "cross-entropy": cross_entropy, "dice": dice, "both": both, "focal": focal, "lovasz": lovasz,
}  # fmt: skip
NAMES = tuple(LOSSES)


def _surprise(pixels: Pixels):
    """Cross-entropy of each pixel with its smoothed shares, (b, h, w)."""
    from keras import ops

    smooth, classes = pixels.smooth, pixels.logits.shape[-1]
    spread = pixels.shares * (1 - smooth) + smooth / classes
    return -ops.sum(spread * ops.log_softmax(pixels.logits, -1), -1)


def _mean(pixels: Pixels, each):
    """Of the pixels that count, by the weights of their classes."""
    from keras import ops

    weight = pixels.counted
    if pixels.weights is not None:
        weight = weight * ops.sum(pixels.shares * pixels.weights, -1)
    return ops.sum(each * weight, (1, 2)) / ops.maximum(ops.sum(weight, (1, 2)), 1.0)
