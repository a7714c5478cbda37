"""What a file says of itself: labels, pixels, author, licence, version, and where it comes from.

In a TFLite file by TFLite Model Metadata, which MediaPipe Tasks and the Task Library read on phones; in ONNX as
metadata_props; in a SavedModel as assets/labels.txt and assets/model.json.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

from cnn_app.errors import ExportError
from cnn_app.quiet import native_silence

LABELS, ABOUT = "labels.txt", "model.json"
PARSER = "1.0.0"  # of TFLite Model Metadata, that can read all of it
IDENTIFIER = b"M001"  # of its flatbuffer


@dataclass(frozen=True, kw_only=True)
class About:
    """What is the same in all files of a model."""

    name: str
    description: str
    labels: tuple[str, ...]
    image: tuple[int, int, int]
    author: str = ""
    license: str = ""
    version: str = ""
    data_sha256: str = ""  # fingerprint of the training data
    model_sha256: str = ""  # of the Keras file
    pixels: str = "0 to 255, red, green, blue or grey; nothing is to be scaled"

    def facts(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False, indent=2) + "\n"

    def lines(self) -> str:
        return "\n".join(self.labels) + "\n"


def attach(path: Path, about: About) -> bool:
    """Write `about` into the file or SavedModel directory at `path`; False for TFLite where there is no schema."""
    if any("\n" in label for label in about.labels):
        raise ExportError(f"a label has a line break, which label files cannot hold: {about.labels}")
    if path.is_dir():
        (path / "assets").mkdir(exist_ok=True)
        (path / "assets" / LABELS).write_text(about.lines(), encoding="utf-8")
        (path / "assets" / ABOUT).write_text(about.facts(), encoding="utf-8")
    elif path.suffix == ".onnx":
        path.write_bytes(_onnx(path.read_bytes(), about))
    elif (schema := _schema()) is None:
        return False
    else:
        path.write_bytes(_tflite(schema, path.read_bytes(), about))
    return True


def _onnx(data: bytes, about: About) -> bytes:
    import onnx

    proto = onnx.load_from_string(data)
    texts = {name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
             for name, value in asdict(about).items()}  # fmt: skip
    onnx.helper.set_model_props(proto, texts)
    return proto.SerializeToString()


def _tflite(schema, data: bytes, about: About) -> bytes:
    """The flatbuffer with its metadata, and behind it a zip with the files that these name, stored as they are."""
    from ai_edge_litert.tools import flatbuffer_utils as utils

    model = utils.read_model_from_bytearray(bytearray(data))
    note, buffer = utils.schema_fb.MetadataT(), utils.schema_fb.BufferT()
    note.name, note.buffer = b"TFLITE_METADATA", len(model.buffers)
    buffer.data = list(_packed(schema, about))
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or ()), note]
    stream = io.BytesIO()
    stream.write(bytes(utils.convert_object_to_bytearray(model)))
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        for name, text in ((LABELS, about.lines()), (ABOUT, about.facts())):
            archive.writestr(zipfile.ZipInfo(name), text)  # of 1980: the same file at every export
    return stream.getvalue()


def _packed(schema, about: About) -> bytes:
    import flatbuffers

    model = schema.ModelMetadataT()
    model.name, model.description, model.version = about.name, about.description, about.version
    model.author, model.license, model.minParserVersion = about.author, about.license, PARSER
    model.associatedFiles = [_file(schema, ABOUT, "Where the model comes from.", "DESCRIPTIONS")]
    image, scores = schema.TensorMetadataT(), schema.TensorMetadataT()
    image.name, image.description, image.dimensionNames = "image", f"Pixels: {about.pixels}.", None
    image.content = _content(schema, "ImageProperties")
    image.content.contentProperties = schema.ImagePropertiesT()
    spaces = schema.ColorSpaceType
    image.content.contentProperties.colorSpace = spaces.RGB if about.image[2] == 3 else spaces.GRAYSCALE
    scaling = schema.NormalizationOptionsT()
    scaling.mean, scaling.std = [0.0], [1.0]
    unit = schema.ProcessUnitT()
    unit.optionsType, unit.options = schema.ProcessUnitOptions.NormalizationOptions, scaling
    image.processUnits, image.stats = [unit], _range(schema, 0.0, 255.0)
    scores.name, scores.description = "probabilities", "One for each label; they sum to one."
    scores.content, scores.stats = _content(schema, "FeatureProperties"), _range(schema, 0.0, 1.0)
    scores.content.contentProperties = schema.FeaturePropertiesT()
    scores.associatedFiles = [_file(schema, LABELS, "A label a line.", "TENSOR_AXIS_LABELS")]
    graph = schema.SubGraphMetadataT()
    graph.inputTensorMetadata, graph.outputTensorMetadata = [image], [scores]
    model.subgraphMetadata = [graph]
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def _schema():
    """TFLite Model Metadata as MediaPipe ships it; None where that is not installed."""
    try:
        with native_silence():
            from mediapipe.tasks.metadata import metadata_schema_py_generated
    except ImportError:
        return None
    return metadata_schema_py_generated


def _file(schema, name: str, description: str, kind: str):
    file = schema.AssociatedFileT()
    file.name, file.description, file.type = name, description, getattr(schema.AssociatedFileType, kind)
    return file


def _content(schema, kind: str):
    content = schema.ContentT()
    content.contentPropertiesType = getattr(schema.ContentProperties, kind)
    return content


def _range(schema, low: float, high: float):
    stats = schema.StatsT()
    stats.min, stats.max = [low], [high]
    return stats


def labels_of(path: str | os.PathLike[str]) -> list[str]:
    """The labels inside a TFLite file."""
    with zipfile.ZipFile(path) as archive:
        return archive.read(LABELS).decode("utf-8").splitlines()
