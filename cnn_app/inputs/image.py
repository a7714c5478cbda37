"""Images: uint8 (N, H, W, C) in [0, 255], or JPEG, PNG, WebP, BMP and GIF."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar

import numpy as np

from cnn_app import names
from cnn_app.augmentations import CHANGES, MOVES, RESIZED_CROP
from cnn_app.data.folder import split_folders
from cnn_app.errors import DataError
from cnn_app.inputs import conversion, files, headers, image_files
from cnn_app.inputs.frame import Frame
from cnn_app.inputs.views import views_of
from cnn_app.registry import CROP, CROP_SHARE, PAD, STRETCH, resize_problem
from cnn_app.tensors import Spec

if TYPE_CHECKING:
    from cnn_app.data.dataset import Column
    from cnn_app.data.pipeline import Samplers
    from cnn_app.tensors import Arrays


@dataclass(frozen=True)
class Image(Frame):
    """Pixels of one size."""

    kind: ClassVar = "image"
    plural: ClassVar = "images"
    encoded: ClassVar = names.IMAGE_BYTES
    formats: ClassVar = files.KINDS
    suffixes: ClassVar = files.SENT
    augmentations: ClassVar = (*MOVES, *CHANGES)
    views: ClassVar = ("flip", "crop")
    pictured: ClassVar = True
    familiar: ClassVar = True

    @classmethod
    def of_row(cls, row, known: Mapping) -> Image:
        return cls(tuple(row.image), row.resize, row.crop_share)

    @classmethod
    def of_facts(cls, facts: Mapping) -> Image:
        shape = tuple(facts["image"])
        if [type(side) for side in shape] != [int] * 3 or min(shape) < 1:
            raise ValueError(f"an image of {list(shape)} has no size")
        resize, share = facts.get("resize", STRETCH), facts.get("crop_share", CROP_SHARE)
        if problem := resize_problem(resize, share):
            raise ValueError(problem)
        return cls(shape, resize, share)

    @classmethod
    def of_specs(cls, specs: dict[str, Spec]) -> Image | None:
        """One tensor of bytes with one or three channels: other types do not say what their values mean."""
        spec = next(iter(specs.values()))
        if len(specs) != 1 or spec.dtype != "uint8" or len(spec.shape or ()) != 4 or spec.shape[3] not in (1, 3):
            return None
        return cls(tuple(spec.shape[1:])) if all(spec.shape[1:]) else None

    def facts(self) -> dict:
        return {"kind": self.kind, "image": list(self.shape)} | self._resizing()

    def brief(self) -> dict:
        height, width, channels = self.shape
        colours = {1: "grey", 3: "red, green and blue"}.get(channels, f"{channels} channels")
        frame = FRAMES[self.resize].format(share=self.crop_share)
        return self.facts() | {"resize": self.resize, "note": f"{width}x{height} pixels of {colours}. {frame}"}

    def columns(self) -> dict:
        return {"image": self.shape} | self._resizing()

    def _resizing(self) -> dict:
        """What is not as it was when there was one way alone."""
        share = {"crop_share": self.crop_share} if self.resize == CROP else {}
        return {} if self.resize == STRETCH else {"resize": self.resize} | share

    def specs(self) -> dict[str, Spec]:
        return {"image": Spec("uint8", (None, *self.shape))}

    def places(self, root: Path) -> dict[str, Path]:
        return split_folders(root)

    def by_class(self, folder: Path, root: Path, encoding: str) -> dict[str, tuple[list[str], list]]:
        found = image_files.class_files(folder)
        for label, paths in found.items():
            if not paths:
                raise DataError(
                    f"{root}: the class folder {label!r} has no images; add some ({image_files.KINDS}) or remove it"
                )
        return {label: ([files.relative(path, root) for path in paths], list(map(str, paths)))
                for label, paths in found.items()}  # fmt: skip

    def raw(self, records: list) -> dict[str, Column]:
        """Of paths: what the files hold."""
        return {"image": image_files.column(records)}

    @staticmethod
    def records(places: Iterable[str], stdin: BinaryIO) -> Iterator[tuple[str, bytes | DataError]]:
        """Files, all images under folders, and `-` for the bytes on `stdin`."""
        return files.named_images(places, stdin)

    def converters(self) -> dict[str, tuple[Spec, Callable]]:
        from cnn_app.inputs import pixels

        def sized(raw):
            return pixels.sized(raw, self) if raw.dtype == "string" else pixels.to_size(raw, self)

        return {"image": (Spec("uint8", self.shape), sized)}

    def decoder(self) -> Callable[[bytes], Arrays]:
        if find_spec("tensorflow"):
            from cnn_app.inputs.pixels import decoder
        else:
            from cnn_app.inputs.pillow_pixels import decoder
        decode = decoder(self)
        return lambda data: {"image": decode(data)}

    def encode(self, record: Arrays) -> bytes:
        import tensorflow as tf

        return tf.io.encode_jpeg(record["image"]).numpy()

    def load(self, data: bytes, name: str) -> Arrays:
        if find_spec("tensorflow"):
            from cnn_app.inputs.pixels import load
        else:
            from cnn_app.inputs.pillow_pixels import load
        return {"image": load(conversion.as_png(data), name, self)}

    @staticmethod
    def decoded_bytes(data: bytes, most: int) -> int:
        """By its header; `most` are the pixels it may have."""
        return headers.read(data, most).decoded_bytes

    @staticmethod
    def example() -> bytes:
        """A small black image, as PNG."""
        import io

        from PIL import Image

        out = io.BytesIO()
        Image.new("RGB", (8, 8)).save(out, "PNG")
        return out.getvalue()

    def picture(self, record: Arrays) -> np.ndarray:
        return record["image"]

    def widened(self, names: tuple[str, ...]) -> Image:
        """What is as large as views need, and has the network's window in its middle."""
        size = views_of(self.shape, names).size
        share = min(1.0, self.crop_share * size[0] / self.shape[0])
        return replace(self, shape=(*size, self.shape[2]), crop_share=share)

    def windows(self, inputs: Arrays, names: tuple[str, ...]) -> Iterator[Arrays]:
        return ({"image": window} for window in views_of(self.shape, names).of(inputs["image"]))

    def samplers(self, names: tuple[str, ...]) -> Samplers:
        """A random crop is of all the pixels that a file has."""
        if RESIZED_CROP not in names:
            return {}

        def sample(raw, seed):
            from cnn_app.inputs import sampling

            return (sampling.resized_crop if raw.dtype == "string" else sampling.of_pixels)(raw, self, seed)

        return {"image": ((RESIZED_CROP,), sample)}

    def augmented(self, inputs: dict, seed: tuple, names: tuple[str, ...]) -> dict:
        from cnn_app.inputs.augment import augmented

        return {"image": augmented(inputs["image"], seed, names)}

    def signatures(self) -> Iterator[tuple[str, dict[str, Spec], Callable]]:
        import tensorflow as tf

        from cnn_app.inputs import pixels

        def decoded(image_bytes):
            return tf.map_fn(lambda data: pixels.sized(data, self), image_bytes,
                             fn_output_signature=tf.TensorSpec(self.shape, tf.uint8))  # fmt: skip

        yield names.DEFAULT, self.specs(), lambda image: {"image": tf.cast(image, tf.float32)}
        yield names.FLOAT_PIXELS, {"image": Spec("float32", (None, *self.shape))}, lambda image: {"image": image}
        encoded = {self.encoded: Spec("string", (None,))}
        yield self.encoded, encoded, lambda image_bytes: {"image": tf.cast(decoded(image_bytes), tf.float32)}

    def sides(self, image_bytes):
        """Height and width of encoded images as they are seen, int32 (n, 2), in TensorFlow's graph."""
        import tensorflow as tf

        from cnn_app.inputs import pixels

        return tf.map_fn(pixels.sides, image_bytes, fn_output_signature=tf.TensorSpec((2,), tf.int32))

    def calibration(self, arrays: Arrays) -> Arrays:
        """Float32 images of which the first reaches from 0 to 255 in two corner pixels.

        So the input's scale is exactly 1 and a pixel's byte is its quantized value, whatever the images' contrast.
        """
        images = arrays["image"].astype("float32")
        images[0, 0, 0], images[0, 0, -1] = 0, 255
        return {"image": images}

    def tensor_metadata(self, schema):
        """TFLite's TensorMetadata: bytes that need no scaling."""
        image, content = schema.TensorMetadataT(), schema.ContentT()
        image.name, image.description = (
            "image",
            f"Pixels: {PIXELS}. {FRAMES[self.resize].format(share=self.crop_share)}",
        )
        image.dimensionNames = None
        content.contentPropertiesType = schema.ContentProperties.ImageProperties
        content.contentProperties = schema.ImagePropertiesT()
        spaces = schema.ColorSpaceType
        content.contentProperties.colorSpace = spaces.RGB if self.shape[2] == 3 else spaces.GRAYSCALE
        scaling, unit, stats = schema.NormalizationOptionsT(), schema.ProcessUnitT(), schema.StatsT()
        scaling.mean, scaling.std = [0.0], [1.0]
        unit.optionsType, unit.options = schema.ProcessUnitOptions.NormalizationOptions, scaling
        stats.min, stats.max = [0.0], [255.0]
        image.content, image.processUnits, image.stats = content, [unit], stats
        return image


FRAMES = {  # what clients that make bitmaps have to know
    STRETCH: "An image of another size is stretched to this one.",
    CROP: "An image is scaled until this window takes {share:.1%} of its shorter side, and the middle is cut out.",
    PAD: "An image is scaled in its proportions and laid in the middle of a black one.",
}
PIXELS = "0 to 255, red, green, blue or grey; nothing is to be scaled"
