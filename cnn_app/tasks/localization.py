"""A class and one box for each image: logits (N, classes) and x1, y1, x2, y2 as shares of what the network sees."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from cnn_app import data as sources
from cnn_app.augmentations import MOVES
from cnn_app.data import Records
from cnn_app.data.dataset import Dataset, Split, in_memory
from cnn_app.errors import DataError, RecipeError, unknown
from cnn_app.heads import MAIN
from cnn_app.inputs import Input
from cnn_app.names import TOP
from cnn_app.tasks import boxes
from cnn_app.tasks.box_report import Report, overlaps
from cnn_app.tasks.probabilities import OUTPUT, Probabilities, best, class_weights, in_order
from cnn_app.tensors import Spec

if TYPE_CHECKING:
    from cnn_app.data.pipeline import Samplers
    from cnn_app.recipe import Data, Schedule
    from cnn_app.tensors import Arrays

CLASS, BOX = "class", "box"  # targets
PIXELS, SIDES = "box_pixels", "sides"  # what is told of an encoded image
LOSSES = ("smooth-l1", "giou", "both")
BETA = 0.05  # of the side: errors below it count by their squares
WEIGHT = 5.0  # of smooth-L1 beside the others (arXiv:2005.12872, section 3.1)
AGREED = 0.9  # intersection over union of boxes that are one decision
CORNERS = ("x1", "y1", "x2", "y2")


@dataclass(frozen=True, kw_only=True)
class Localization(Probabilities):
    loss: str = "both"

    name: ClassVar = "localization"
    taught: ClassVar = False
    monitor: ClassVar = ("mean_iou", "-loss")
    batch_metrics: ClassVar = ("mean_iou",)
    titles: ClassVar = {"mean_iou": "mean IoU", "iou50": "IoU >= 0.5", "top1": "top-1", "both": "both right",
                        "loss": "loss"}  # fmt: skip
    memorised: ClassVar = 0.9
    familiar: ClassVar = False  # it was not tried on the features of boxes
    augmentations: ClassVar = (*MOVES, "jitter", "erase")

    def __post_init__(self):
        if self.loss not in LOSSES:
            raise unknown("loss of localization", str(self.loss), LOSSES, RecipeError)

    @classmethod
    def of_specs(cls, taken: Input, outputs: dict[str, Spec]) -> None:
        """Nothing tells four numbers of a file that says nothing of itself from any other four."""

    def load(self, data: Data | Records) -> Dataset:
        """`shapes:boxes`, a folder with a table of boxes or VOC's annotations/, or arrays."""
        if self.input.kind != "image":
            raise DataError(f"boxes are in images; the network takes {self.input.plural}")
        records = sources.named(data)
        if records is None:
            return boxes.load(sources.told(data), self.input, self.strata)
        for split in records.splits.values():
            if set(split.inputs) != {"image"} or set(split.targets) != {CLASS, BOX}:
                raise DataError(f"{data.source} has {', '.join([*split.inputs, *split.targets])}; image, {CLASS} and "
                                f"{BOX} are needed")  # fmt: skip
        splits = {name: boxes.checked(data.source, name, split) for name, split in records.splits.items()}
        return boxes.complete(sources.told(data), records.labels, splits, self.strata)

    def in_order(self, dataset: Dataset, labels: tuple[str, ...]) -> Dataset:
        return in_order(dataset, labels, lambda column, place: in_memory(place[column.array]), CLASS)

    def converters(self) -> dict[str, tuple[Spec, Callable]]:
        import tensorflow as tf

        from cnn_app.inputs.framing import seen

        def placed(row):
            """A box with its image's width and height -> what of it the network sees."""
            found = seen(row[:4], tf.cast(row[:3:-1], tf.int32), self.input)
            return tf.clip_by_value(found, 0.0, 1.0)

        return self.input.converters() | {BOX: (Spec("float32", (4,)), placed)}

    def samplers(self, names: tuple[str, ...]) -> Samplers:
        """None: image and box are cut alike."""
        return {}

    def strata(self, split: Split) -> np.ndarray:
        return split.targets[CLASS].array

    def augmented(self, inputs: dict, targets: dict, seed: tuple, names: tuple[str, ...]) -> tuple[dict, dict]:
        """Image and box are moved together; other colours are the image's alone."""
        from cnn_app.inputs.augment import changed
        from cnn_app.inputs.box_moves import moved_with_boxes

        (name, image), *_ = inputs.items()
        image, box = moved_with_boxes(image, targets[BOX], seed, names)
        return {name: changed(image, seed, names)}, targets | {BOX: box}

    def objective(self, schedule: Schedule, split: Split) -> Callable:
        """Cross-entropy of smoothed shares, times the class's weight, and the distance of boxes: smooth-L1
        (arXiv:1504.08083, equation 3), 1 - GIoU (arXiv:1902.09630, algorithm 1), or both.
        """
        from keras import ops

        classes, smooth = len(self.labels), schedule.label_smoothing
        counts = np.bincount(split.targets[CLASS].array, minlength=classes)
        if counts.min() == 0:
            raise DataError(f"not one record of the class {self.labels[counts.argmin()]!r} in train can be read")
        weights = class_weights(counts, schedule.class_weights)

        def loss(outputs, targets):
            shares = ops.one_hot(targets[CLASS], classes)
            spread = shares * (1 - smooth) + smooth / classes
            total = -ops.sum(spread * ops.log_softmax(outputs[MAIN], -1), -1)
            if weights is not None:
                total = total * ops.matmul(shares, weights)
            if self.loss != "giou":
                total += WEIGHT * smooth_l1(outputs[BOX], targets[BOX])
            if self.loss != "smooth-l1":
                total += 1 - overlap(outputs[BOX], targets[BOX])[1]
            return total

        return loss

    def step_metrics(self, outputs, targets) -> dict:
        return {"mean_iou": overlap(outputs[BOX], targets[BOX])[0]}

    def measure(self, batches: Iterable[tuple[Arrays, Arrays]]) -> Report:
        parts = [(outputs[OUTPUT], targets[CLASS], overlaps(outputs[BOX].clip(0, 1), targets[BOX]))
                 for outputs, targets in batches]  # fmt: skip
        return Report(*(np.concatenate(part) for part in zip(*parts, strict=True)), self.labels)

    def agreement(self, found: Arrays, wanted: Arrays) -> float:
        """The share of records of the same class whose boxes overlap by 0.9 or more."""
        same = found[OUTPUT].argmax(-1) == wanted[OUTPUT].argmax(-1)
        return float((same & (overlaps(found[BOX].clip(0, 1), wanted[BOX].clip(0, 1)) >= AGREED)).mean())

    def averaged(self, several: list[Arrays]) -> Arrays:
        return {name: np.mean([outputs[name] for outputs in several], 0) for name in (OUTPUT, BOX)}

    def reordered(self, outputs: Arrays, places: list[int]) -> Arrays:
        return outputs | super().reordered(outputs, places)

    def served(self, outputs: dict, table, encoded) -> dict:
        """Beside the outputs the labels of the best classes with theirs, and boxes in pixels (n, 4): of the encoded
        image as it is seen, or of what the network takes.
        """
        import tensorflow as tf

        from cnn_app.inputs.framing import original

        found = outputs | best(outputs[OUTPUT], table)
        if encoded is None:
            high, wide = self.input.shape[:2]
            return found | {PIXELS: tf.clip_by_value(outputs[BOX], 0.0, 1.0) * [wide, high, wide, high]}
        pixels = tf.map_fn(lambda pair: original(tf.clip_by_value(pair[0], 0.0, 1.0), pair[1], self.input),
                           (outputs[BOX], self.input.sides(encoded)),
                           fn_output_signature=tf.TensorSpec((4,), tf.float32))  # fmt: skip
        return found | {PIXELS: pixels}

    def placed(self, outputs: Arrays, encoded: Iterable[bytes]) -> Arrays:
        import tensorflow as tf

        from cnn_app.inputs.conversion import as_png
        from cnn_app.inputs.framing import original

        sides = self.input.sides(tf.constant([as_png(data) for data in encoded])).numpy()
        pairs = zip(outputs[BOX].clip(0, 1), sides, strict=True)
        pixels = [original(tf.constant(box), tf.constant(size), self.input).numpy() for box, size in pairs]
        return outputs | {PIXELS: np.stack(pixels), SIDES: sides}

    def named(self, outputs: Arrays) -> Arrays:
        return {name: outputs[name] for name in (OUTPUT, BOX, PIXELS)} | self.best(outputs[OUTPUT])

    def named_specs(self, outputs: dict[str, Spec]) -> dict[str, Spec]:
        top = (None, min(TOP, len(self.labels)))
        return {name: outputs[name] for name in (OUTPUT, BOX)} | {
            PIXELS: Spec("float32", (None, 4)), "classes": Spec("string", top), "scores": Spec("float32", top)
        }  # fmt: skip

    def answer(self, outputs: Arrays, top: int = TOP) -> dict:
        """{"top": [{"label", "probability"}], "box": {"x1", "y1", "x2", "y2"}}, the box in pixels of the image as it
        was given.
        """
        scores = outputs[OUTPUT]
        order = np.argsort(-scores, kind="stable")[:top]
        box = dict(zip(CORNERS, map(float, self._pixels(outputs)), strict=True))
        return {"top": [{"label": self.labels[i], "probability": float(scores[i])} for i in order], "box": box}

    def _pixels(self, outputs: Arrays) -> np.ndarray:
        """Of an array that nothing else is known of, the pixels are its own."""
        high, wide = self.input.shape[:2]
        return outputs[PIXELS] if PIXELS in outputs else outputs[BOX].clip(0, 1) * [wide, high, wide, high]

    def text(self, answer: dict) -> str:
        shown = "  ".join(f"{row['label']} {row['probability']:.3f}" for row in answer["top"])
        return f"{shown}  at {', '.join(f'{value:.0f}' for value in answer['box'].values())}"

    def draw(self, outputs: Arrays, record: Arrays, name: str, path: Path) -> None:
        from cnn_app.tasks.box_pictures import draw

        sides = outputs.get(SIDES, np.array(self.input.shape[:2]))
        draw(record["image"], self._view(sides), sides, self._pixels(outputs), f"{name}: "
             f"{self.labels[outputs[OUTPUT].argmax()]} {outputs[OUTPUT].max():.1%}", path)  # fmt: skip

    def _view(self, sides: np.ndarray) -> np.ndarray:
        """Where the network's view lies in an image of `sides`, x1, y1, x2, y2, also beyond it."""
        import tensorflow as tf

        from cnn_app.inputs.framing import seen

        whole = tf.constant([0, 0, sides[1], sides[0]], tf.float32)
        x1, y1, x2, y2 = seen(whole, tf.constant(sides, tf.int32), self.input).numpy()
        scale = sides[[1, 0]] / [x2 - x1, y2 - y1]
        return np.array([*(-np.array([x1, y1]) * scale), *((1 - np.array([x1, y1])) * scale)])

    def shown(self, inputs: Arrays, targets: Arrays) -> tuple[np.ndarray, str]:
        """The image with its box, and its class."""
        from cnn_app.tasks.box_pictures import framed

        return framed(inputs["image"], targets[BOX]), self.labels[int(targets[CLASS])]

    def tensor_metadata(self, schema, labels_file) -> list:
        """TFLite's TensorMetadata of the outputs, in the file's order, which is that of their names."""
        scores, box = schema.TensorMetadataT(), schema.TensorMetadataT()
        scores.name, scores.description = OUTPUT, "One for each label; they sum to one."
        scores.associatedFiles = [labels_file]
        box.name, box.description = BOX, "x1, y1, x2, y2 as shares of the image's width and height."
        return [box, scores]


def smooth_l1(found, wanted):
    """Of boxes (b, 4), summed over their numbers."""
    from keras import ops

    far = ops.abs(found - wanted)
    return ops.sum(ops.where(far < BETA, far * far / (2 * BETA), far - BETA / 2), -1)


def overlap(found, wanted):
    """IoU and GIoU of boxes (b, 4), each (b,); a box whose corners changed places is empty."""
    from keras import ops

    def area(low, high):
        sides = ops.maximum(high - low, 0.0)
        return sides[:, 0] * sides[:, 1]

    lows, highs = (found[:, :2], wanted[:, :2]), (found[:, 2:], wanted[:, 2:])
    inside = area(ops.maximum(*lows), ops.minimum(*highs))
    union = area(lows[0], highs[0]) + area(lows[1], highs[1]) - inside
    around = area(ops.minimum(*lows), ops.maximum(*highs))
    iou = inside / ops.maximum(union, 1e-7)
    return iou, iou - (around - union) / ops.maximum(around, 1e-7)
