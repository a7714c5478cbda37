"""A class for each pixel: logits (N, h, w, classes) against a mask, whose middle they are where nothing is padded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from cnn_app import data as sources
from cnn_app import heads
from cnn_app.augmentations import MOVES
from cnn_app.data import Records
from cnn_app.data.dataset import Column, Dataset, Split
from cnn_app.errors import DataError, RecipeError
from cnn_app.inputs import Input
from cnn_app.names import TOP
from cnn_app.tasks import mask_losses, mask_pictures, masks
from cnn_app.tasks.drawing import caption
from cnn_app.tasks.mask_report import Report, report
from cnn_app.tasks.masks import IGNORED
from cnn_app.tasks.probabilities import OUTPUT, Probabilities, best, class_weights, in_order, main, with_auxiliary
from cnn_app.tensors import Spec

if TYPE_CHECKING:
    from cnn_app.recipe import Data, Schedule
    from cnn_app.tensors import Arrays

TARGET = "mask"


@dataclass(frozen=True, kw_only=True)
class Segmentation(Probabilities):
    loss: str = "cross-entropy"  # one of mask_losses.LOSSES
    decoder: str | None = None  # one of heads.segmentation.DECODERS, on a backbone that has none of its own
    auxiliary: bool = False  # while training a backbone's second deepest map tells the classes as well
    ignore: int = IGNORED  # the value in masks of pixels that do not count

    name: ClassVar = "segmentation"
    monitor: ClassVar = ("mean_iou", "-loss")
    batch_metrics: ClassVar = ("pixel_accuracy",)
    titles: ClassVar = {"mean_iou": "mean IoU", "pixel_accuracy": "pixel accuracy",
                              "boundary_f1": "boundary F1", "loss": "loss (nats)"}  # fmt: skip
    memorised: ClassVar = 0.99
    tuning: ClassVar = {"batch": 16, "lr": 1e-3, "label_smoothing": 0.0, "augment": ("flip", "resized-crop", "jitter")}
    tuning_steps: ClassVar = 360
    familiar: ClassVar = False  # its features are of places
    is_map: ClassVar = True
    augmentations: ClassVar = (*MOVES, "jitter")

    def __post_init__(self):
        if self.loss not in mask_losses.NAMES:
            known = ", ".join(mask_losses.NAMES)
            raise RecipeError(f"the loss of segmentation is one of {known}, received {self.loss!r}")
        if type(self.ignore) is not int or not 0 <= self.ignore <= 255:
            raise RecipeError(f"ignore is a value of a mask, from 0 to 255, received {self.ignore!r}")

    @property
    def head(self) -> str:
        form = (self.decoder or "") + heads.WITH_AUXILIARY * self.auxiliary
        return f"{self.name}/{form}" if form else self.name

    @classmethod
    def of_specs(cls, taken: Input, outputs: dict[str, Spec]) -> Segmentation | None:
        """For one map as large as the image: of classes by their numbers, (n, h, w), or of scores, (n, h, w, classes).

        The numbers are integers, and may have a last axis of one.
        """
        shape, spec = next(iter(taken.specs().values())).shape or (), next(iter(outputs.values()))
        sides, classes = (spec.shape or ())[:3], (spec.shape or ())[3:]
        if len(outputs) > 1 or len(shape) != 4 or sides != shape[:3]:
            return None
        is_map = classes in ((), (1,)) if "int" in spec.dtype else spec.dtype == "float32" and classes not in ((), (1,))
        return cls(input=taken) if is_map else None

    def load(self, data: Data | Records) -> Dataset:
        """A folder of images/ and masks/, with or without train/ val/ test/ above them, `shapes:masks`, or arrays."""
        records = sources.named(data)
        if records is None:
            return masks.load(sources.told(data), self.ignore, self.input)
        if any(set(split.targets) != {TARGET} for split in records.splits.values()):
            raise DataError(f"{data.source} has no masks; give shapes:masks or a folder with images/ and masks/")
        return masks.complete(sources.told(data), records.labels, records.splits)

    def in_order(self, dataset: Dataset, labels: tuple[str, ...]) -> Dataset:
        def moved(column: Column, place: np.ndarray) -> Column:
            import tensorflow as tf

            table = np.full(256, IGNORED, np.uint8)
            table[: len(place)] = place
            array = None if column.array is None else table[column.array]
            return Column(lambda i: tf.gather(table, tf.cast(column.read(i), tf.int32)), column.problem, array,
                          column.fault)  # fmt: skip

        return in_order(dataset, labels, moved, TARGET)

    def converters(self) -> dict[str, tuple[Spec, Callable]]:
        import tensorflow as tf

        from cnn_app.inputs.framing import NEAREST, framed

        def sized(mask):
            """The nearest neighbours; where the image is padded, nothing counts."""
            found = framed(IGNORED - mask[..., None], self.input, kernel=NEAREST)
            return IGNORED - tf.cast(found[..., 0], tf.uint8)

        return self.input.converters() | {TARGET: (Spec("uint8", self.input.shape[:2]), sized)}

    def samplers(self, names: tuple[str, ...]) -> dict:
        """None: image and mask are cut alike."""
        return {}

    def augmented(self, inputs: dict, targets: dict, seed: tuple, names: tuple[str, ...]) -> tuple[dict, dict]:
        """Image and mask are moved together; other colours are the image's alone."""
        from cnn_app.inputs.augment import changed, moved

        (name, image), *_ = inputs.items()
        image, mask = moved((image, targets[TARGET]), seed, names)
        return {name: changed(image, seed, names)}, {TARGET: mask}

    def objective(self, schedule: Schedule, split: Split) -> Callable:
        """The loss over the pixels that count, times the class's weight where it is one of pixels."""
        classes, balanced = len(self.labels), schedule.class_weights != "none"
        weights = class_weights(_counts(split, classes), schedule.class_weights) if balanced else None
        of_logits = mask_losses.LOSSES[self.loss]

        def loss(outputs, targets):
            def of(logits):
                mask = middle(targets[TARGET], logits.shape[1:3])
                return of_logits(mask_losses.Pixels.of(logits, mask, weights, schedule.label_smoothing))

            return with_auxiliary(outputs, of)

        return loss

    def step_metrics(self, outputs, targets) -> dict:
        from keras import ops

        outputs = main(outputs)
        mask = ops.cast(middle(targets[TARGET], outputs.shape[1:3]), "int32")
        counted = ops.cast(mask != IGNORED, "float32")
        right = ops.cast(ops.cast(ops.argmax(outputs, -1), "int32") == mask, "float32") * counted
        return {"pixel_accuracy": ops.sum(right, (1, 2)) / ops.maximum(ops.sum(counted, (1, 2)), 1.0)}

    def measure(self, batches: Iterable[tuple[Arrays, Arrays]]) -> Report:
        found = ((outputs[OUTPUT], targets[TARGET]) for outputs, targets in batches)
        return report(((maps, middle(mask, maps.shape[1:3])) for maps, mask in found), self.labels)

    def served(self, outputs: dict, table, encoded) -> dict:
        """The places of the most probable classes, uint8 (n, h, w), and the classes by their share of pixels (n, k).

        To encoded records two PNGs of each (n,) in the place of the probabilities: of the mask as it is, grey, and
        coloured, which lies over the whole image that the network sees, with its legend (n, classes).
        """
        import tensorflow as tf

        mask = tf.argmax(outputs[OUTPUT], -1, tf.int32)
        classes = outputs[OUTPUT].shape[-1]
        shares = tf.reduce_mean(tf.one_hot(mask, classes), (1, 2))
        found = {"mask": tf.cast(mask, tf.uint8)} | best(shares, table)
        if encoded is None:
            return outputs | found
        colours = tf.constant(mask_pictures.colours(classes))
        around = (*mask_pictures.margins(mask.shape[1:], self.input.shape[:2]), (0, 0))
        drawn = tf.map_fn(lambda one: tf.io.encode_png(tf.pad(tf.gather(colours, one), around)), mask,
                          fn_output_signature=tf.TensorSpec((), tf.string))  # fmt: skip
        keys = tf.constant([f" {colour}" for colour in mask_pictures.legend(classes)])
        legend = table.lookup(tf.range(classes, dtype=tf.int64)) + keys
        plain = tf.map_fn(lambda one: tf.io.encode_png(one[..., None]), found["mask"],
                          fn_output_signature=tf.TensorSpec((), tf.string))  # fmt: skip
        return found | {
            "mask_bytes": plain,
            "overlay_bytes": drawn,
            "legend": tf.tile(legend[None], [tf.shape(mask)[0], 1]),
        }

    def named(self, outputs: Arrays) -> Arrays:
        mask, classes = outputs[OUTPUT].argmax(-1).astype(np.uint8), len(self.labels)
        shares = np.stack([np.bincount(one.reshape(-1), minlength=classes) / one.size for one in mask])
        pictures = [mask_pictures.overlay(one, classes, self.input.shape[:2]) for one in mask]
        legend = [f"{label} {colour}" for label, colour in zip(self.labels, mask_pictures.legend(classes), strict=True)]
        return {
            "mask": mask,
            **self.best(shares.astype(np.float32)),
            "mask_bytes": np.array(list(map(mask_pictures.png, mask)), object),
            "overlay_bytes": np.array(list(map(mask_pictures.png, pictures)), object),
            "legend": np.array([legend] * len(mask), object),
        }  # fmt: skip

    def named_specs(self, outputs: dict[str, Spec]) -> dict[str, Spec]:
        sides, classes = (outputs[OUTPUT].shape or (None,) * 4)[:3], len(self.labels)
        top = (None, min(TOP, classes))
        png = Spec("string", (None,))
        return {"mask": Spec("uint8", sides), "classes": Spec("string", top), "scores": Spec("float32", top),
                "mask_bytes": png, "overlay_bytes": png, "legend": Spec("string", (None, classes))}  # fmt: skip

    def answer(self, outputs: Arrays, top: int = 5) -> dict:
        """{"top": [{"label", "share"}], "mask": places (h, w)}: the classes by their share of the pixels."""
        mask = self.places(outputs)
        return self.of_places(mask, top) | {"mask": mask.tolist()}

    def places(self, outputs: Arrays) -> np.ndarray:
        """The most probable ones; files of others may give nothing else."""
        found = outputs[OUTPUT]
        if found.dtype.kind == "f":
            return found.argmax(-1)
        return found[..., 0] if found.shape[-1] == 1 else found

    def of_places(self, places: np.ndarray, top: int) -> dict:
        """Those that do not count are left out."""
        counts = np.bincount(places[places != IGNORED].reshape(-1))
        order = [i for i in np.argsort(-counts, kind="stable")[:top] if counts[i]]
        labels = self.numbered(len(counts))
        return {"top": [{"label": labels[i], "share": float(counts[i] / counts.sum())} for i in order]}

    def numbered(self, count: int) -> tuple[str, ...]:
        """Labels of so many classes or more; those without a name are numbers."""
        return (*self.labels, *map(str, range(len(self.labels), count)))

    def text(self, answer: dict) -> str:
        return "  ".join(f"{row['label']} {row['share']:.1%}" for row in answer["top"])

    def draw(self, outputs: Arrays, record: Arrays, name: str, path: Path) -> None:
        mask = self.places(outputs)
        labels = self.numbered(int(mask.max(initial=0, where=mask != IGNORED)) + 1)
        mask_pictures.draw(record["image"], mask, labels, name, path)

    def shown(self, inputs: Arrays, targets: Arrays) -> tuple[np.ndarray, str]:
        """The image under its mask, and the shares of its pixels."""
        image, mask = inputs["image"], targets[TARGET]
        shares = np.bincount(mask.reshape(-1), minlength=256)[: len(self.labels)] / mask.size
        return mask_pictures.painted(image, mask, len(self.labels)), caption(self.labels, shares)

    @property
    def key(self) -> dict[str, str]:
        return dict(zip(self.labels, mask_pictures.legend(len(self.labels)), strict=True)) | {
            "not counted": mask_pictures.VOID_COLOUR
        }

    def tensor_metadata(self, schema, labels_file) -> list:
        """TFLite's TensorMetadata of the output."""
        scores = schema.TensorMetadataT()
        scores.name, scores.description = OUTPUT, "One for each label at each place; they sum to one."
        scores.associatedFiles = [labels_file]
        return [scores]


def middle(mask, sides):
    """The middle of masks (n, H, W), as large as the map of a network that does not pad."""
    top, left = ((have - keep) // 2 for have, keep in zip(mask.shape[1:3], sides, strict=True))
    return mask[:, top : top + sides[0], left : left + sides[1]]


def _counts(split: Split, classes: int) -> np.ndarray:
    """Pixels of each class in a prepared split."""
    column = split.targets[TARGET]
    held = [column.array] if column.array is not None else (column.read(i).numpy() for i in range(len(split)))
    return np.sum([np.bincount(mask.reshape(-1), minlength=256)[:classes] for mask in held], 0)
