"""The image itself, through a code of few numbers: logits of pixels (N, h, w, channels) against pixels in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from cnn_app import data as sources
from cnn_app import heads
from cnn_app.data import Records
from cnn_app.data.dataset import Dataset, Split, mapped
from cnn_app.data.division import divided, table_of
from cnn_app.errors import DataError, ModelError, RecipeError, TrainingError, unknown
from cnn_app.heads import CODE
from cnn_app.inputs import Input
from cnn_app.names import TOP, code_text
from cnn_app.tasks.base import Base
from cnn_app.tasks.reconstruction_report import Report, report
from cnn_app.tensors import Spec

if TYPE_CHECKING:
    import keras

    from cnn_app.data.pipeline import Samplers
    from cnn_app.recipe import Data, Schedule
    from cnn_app.runtimes import Runtime
    from cnn_app.tensors import Arrays

OUTPUT, KL = "reconstruction", "aux_kl"
PNG = f"{OUTPUT}_bytes"  # to encoded images
LOSSES = ("mse", "bce")
BINARIZATIONS = ("stochastic",)  # a pixel is white with the probability that its grey value is
NEAR = 0.1  # of a pixel in [0, 1]: an image that differs nowhere by more is the same


@dataclass(frozen=True, kw_only=True)
class Reconstruction(Base):
    """Grey values are taken as probabilities of a pixel being white: a cross-entropy is that of stochastically
    binarized images, in expectation, so that no draw of them is needed; the network sees the grey values.
    """

    input: Input
    labels: tuple[str, ...] = ()  # there are none
    loss: str | None = None  # one of LOSSES; None: mse, and of a variational autoencoder the negative ELBO
    binarization: str = BINARIZATIONS[0]  # what cross-entropies take grey values for; in every card and file

    name: ClassVar = "reconstruction"
    monitor: ClassVar = ("-mse", "-loss")
    batch_metrics: ClassVar = ("mse",)
    titles: ClassVar = {"mse": "squared error", "elbo": "ELBO (nats)", "reconstruction": "reconstruction (nats)",
                        "kl": "KL (nats)", "loss": "loss"}  # fmt: skip
    labelled: ClassVar = False
    probed: ClassVar = False
    familiar: ClassVar = False  # it was not tried on codes
    memorised: ClassVar = 0.02
    views: ClassVar[tuple[str, ...]] = ()
    head: ClassVar = "reconstruction"
    key: ClassVar[dict[str, str]] = {}

    def __post_init__(self):
        if self.loss is not None and self.loss not in LOSSES:
            raise unknown("loss of reconstruction", str(self.loss), LOSSES, RecipeError)
        if self.binarization not in BINARIZATIONS:
            raise unknown("binarization", str(self.binarization), BINARIZATIONS, RecipeError)

    @classmethod
    def of_specs(cls, taken: Input, outputs: dict[str, Spec]) -> None:
        """Nothing tells an image from a map of scores in a file that says nothing of itself."""

    @property
    def augmentations(self) -> tuple[str, ...]:
        """The changed image is what is to come out again."""
        return self.input.augmentations

    # --- data

    def load(self, data: Data | Records) -> Dataset:
        """A named source or arrays, whose targets are left out, or a folder with images anywhere in it."""
        if self.input.kind != "image":
            raise DataError(f"images are reconstructed; the network takes {self.input.plural}")
        records, table = sources.named(data), None
        if records is None:
            table = table_of(Path(data.source))
            splits = self._folder(Path(data.source), whole=table is not None)
        else:
            splits = {name: _alone(data.source, split) for name, split in records.splits.items()}
        splits, how = divided(data.source, splits, sources.told(data), table=table)
        return mapped(Dataset(data.source, splits, division=how), _with_target)

    def _folder(self, root: Path, whole: bool) -> dict[str, Split]:
        from cnn_app.inputs.files import relative
        from cnn_app.inputs.image_files import KINDS, image_files

        try:
            found = {name: image_files(place) for name, place in self.input.places(root).items()}
        except OSError as error:
            raise DataError(f"cannot read {error.filename}: {error.strerror}") from error
        for name, files in found.items():
            if not files:
                raise DataError(f"{root} has no images for {name}; add some ({KINDS})")
        found = {"train": [*chain(*found.values())]} if whole else found
        return {name: Split([relative(file, root) for file in files], self.input.raw([*map(str, files)]))
                for name, files in found.items()}  # fmt: skip

    def in_order(self, dataset: Dataset, labels: tuple[str, ...]) -> Dataset:
        return dataset

    def converters(self) -> dict[str, tuple[Spec, Callable]]:
        return self.input.converters()

    def samplers(self, names: tuple[str, ...]) -> Samplers:
        return self.input.samplers(names)

    def strata(self, split: Split) -> np.ndarray:
        return np.zeros(len(split), int)

    def augmented(self, inputs: dict, targets: dict, seed: tuple, names: tuple[str, ...]) -> tuple[dict, dict]:
        inputs = self.input.augmented(inputs, seed, names)
        return inputs, dict(inputs)

    def shown(self, inputs: Arrays, targets: Arrays) -> tuple[np.ndarray, str]:
        return targets["image"], ""

    # --- training

    def columns(self) -> dict:
        return self.input.columns()

    def objective(self, schedule: Schedule, split: Split) -> Callable:
        """The mean squared error of a pixel, or the cross-entropy of an image in nats; of a variational autoencoder
        the negative evidence lower bound in nats, its divergence times beta.
        """
        from keras import ops

        if schedule.class_weights != "none" or schedule.label_smoothing:
            raise TrainingError("images to be reconstructed have no classes; leave out class_weights and "
                                "label_smoothing")  # fmt: skip

        def loss(outputs, targets):
            logits, wanted = outputs[heads.MAIN], _shares(targets)
            if KL in outputs and self.loss == "mse":
                raise ModelError("a variational autoencoder learns by its evidence lower bound; leave out loss=mse")
            if KL not in outputs and self.loss != "bce":
                return _squared(logits, wanted)
            nats = ops.sum(ops.binary_crossentropy(wanted, logits, from_logits=True), (1, 2, 3))
            return nats + outputs[KL] if KL in outputs else nats

        return loss

    def step_metrics(self, outputs, targets) -> dict:
        return {"mse": _squared(outputs[heads.MAIN], _shares(targets))}

    def measured(self, runtime: Runtime) -> Runtime:
        from cnn_app.tasks.reconstruction_draws import drawing

        return drawing(runtime)

    def measure(self, batches: Iterable[tuple[Arrays, Arrays]]) -> Report:
        return report(((outputs, targets["image"]) for outputs, targets in batches), in_nats=self.loss == "bce")

    # --- answers

    def deployed(self, model: keras.Model) -> keras.Model:
        return heads.named(self.name).deployed(model)

    def parts(self, model: keras.Model) -> dict[str, keras.Model]:
        return heads.named(self.name).parts(self.deployed(model))

    def served(self, outputs: dict, table, encoded) -> dict:
        """To encoded images PNGs `reconstruction_bytes` (n,), of the network's size, in the place of pixels."""
        import tensorflow as tf

        if encoded is None:
            return outputs
        pixels = tf.cast(tf.round(255 * outputs[OUTPUT]), tf.uint8)
        png = tf.map_fn(tf.io.encode_png, pixels, fn_output_signature=tf.TensorSpec((), tf.string))
        return {PNG: png, CODE: outputs[CODE]}

    def named(self, outputs: Arrays) -> Arrays:
        from cnn_app.tasks.mask_pictures import png
        from cnn_app.tasks.reconstruction_pictures import as_pixels

        images = [image[..., 0] if image.shape[-1] == 1 else image for image in as_pixels(outputs[OUTPUT])]
        return {PNG: np.array(list(map(png, images)), object), CODE: outputs[CODE]}

    def named_specs(self, outputs: dict[str, Spec]) -> dict[str, Spec]:
        return {PNG: Spec("string", (None,)), CODE: outputs[CODE]}

    def agreement(self, found: Arrays, wanted: Arrays) -> float:
        """The share of images that differ by NEAR or less in all of their pixels."""
        return float((np.abs(found[OUTPUT] - wanted[OUTPUT]).max((1, 2, 3)) <= NEAR).mean())

    def averaged(self, several: list[Arrays]) -> Arrays:
        """The images; codes of different networks have no mean."""
        return {OUTPUT: np.mean([outputs[OUTPUT] for outputs in several], 0)}

    def reordered(self, outputs: Arrays, places: list[int]) -> Arrays:
        return outputs

    def answer(self, outputs: Arrays, top: int = TOP) -> dict:
        """{"code": [numbers]}."""
        return {CODE: list(map(float, outputs[CODE]))}

    def text(self, answer: dict) -> str:
        return code_text(answer[CODE])

    def draw(self, outputs: Arrays, record: Arrays, name: str, path: Path) -> None:
        from cnn_app.tasks.reconstruction_pictures import draw

        draw(record["image"], outputs[OUTPUT], name, path)

    def tensor_metadata(self, schema, labels_file) -> list:
        """TFLite's TensorMetadata of the outputs, in the file's order, which is that of their names."""
        code, image = schema.TensorMetadataT(), schema.TensorMetadataT()
        code.name, code.description = CODE, "The numbers that the image is told by."
        image.name, image.description = OUTPUT, "Pixels in [0, 1], of the image that the code stands for."
        return [code, image]


def _alone(source: str, split: Split) -> Split:
    if set(split.inputs) != {"image"}:
        raise DataError(f"{source} has {', '.join(split.inputs)}; image is needed")
    return Split(split.names, split.inputs)


def _with_target(split: Split) -> Split:
    """Its images are its targets; a column of one name is read once, and held once."""
    return Split(split.names, split.inputs, dict(split.inputs))


def _shares(targets: dict):
    from keras import ops

    return ops.cast(targets["image"], "float32") / 255


def _squared(logits, wanted):
    from keras import ops

    return ops.mean(ops.square(ops.sigmoid(logits) - wanted), (1, 2, 3))
