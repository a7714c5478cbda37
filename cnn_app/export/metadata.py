"""What a file says of itself, written into it: see `runtimes.about`, which also reads it.

Into a TFLite file by TFLite Model Metadata, which MediaPipe Tasks and the Task Library read on phones, and as files in
a zip behind it; in ONNX as metadata_props; in a SavedModel as assets.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from cnn_app import tasks
from cnn_app.errors import ExportError
from cnn_app.quiet import native_silence
from cnn_app.runtimes.about import FILE, LABELS, About

PARSER = "1.0.0"  # of TFLite Model Metadata, that can read all of it
IDENTIFIER = b"M001"  # of its flatbuffer


def attach(path: Path, about: About) -> bool:
    """Write `about` into the file or SavedModel directory at `path`.

    False for TFLite where there is no schema: then phones' libraries do not find the labels, ours do.
    """
    if any("\n" in label for label in about.labels):
        raise ExportError(f"a label has a line break, which label files cannot hold: {about.labels}")
    if path.is_dir():
        (path / "assets").mkdir(exist_ok=True)
        (path / "assets" / LABELS).write_text(about.lines(), encoding="utf-8")
        (path / "assets" / FILE).write_text(about.json(), encoding="utf-8")
    elif path.suffix == ".onnx":
        path.write_bytes(_onnx(path.read_bytes(), about))
    else:
        schema = _schema()
        path.write_bytes(_tflite(schema, path.read_bytes(), about))
        return schema is not None
    return True


def _onnx(data: bytes, about: About) -> bytes:
    import onnx

    proto = onnx.load_from_string(data)
    onnx.helper.set_model_props(proto, about.texts())
    return proto.SerializeToString()


def _tflite(schema, data: bytes, about: About) -> bytes:
    """The flatbuffer with its metadata, and behind it a zip with the files that these name, stored as they are."""
    stream = io.BytesIO()
    stream.write(data if schema is None else _noted(schema, data, about))
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        for name, text in ((LABELS, about.lines()), (FILE, about.json())):
            archive.writestr(zipfile.ZipInfo(name), text)  # of 1980: the same file at every export
    return stream.getvalue()


def _noted(schema, data: bytes, about: About) -> bytes:
    from ai_edge_litert.tools import flatbuffer_utils as utils

    model = utils.read_model_from_bytearray(bytearray(data))
    note, buffer = utils.schema_fb.MetadataT(), utils.schema_fb.BufferT()
    note.name, note.buffer = b"TFLITE_METADATA", len(model.buffers)
    buffer.data = list(_packed(schema, about))
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or ()), note]
    return bytes(utils.convert_object_to_bytearray(model))


def _packed(schema, about: About) -> bytes:
    import flatbuffers

    task = tasks.of_facts(about.facts())
    model = schema.ModelMetadataT()
    model.name, model.description, model.version = about.name, about.description, about.version
    model.author, model.license, model.minParserVersion = about.author, about.license, PARSER
    model.associatedFiles = [_file(schema, FILE, "Where the model comes from.", "DESCRIPTIONS")]
    graph = schema.SubGraphMetadataT()
    graph.inputTensorMetadata = [task.input.tensor_metadata(schema)]
    graph.outputTensorMetadata = task.tensor_metadata(schema, _file(schema, LABELS, "A label a line.",
                                                                    "TENSOR_AXIS_LABELS"))  # fmt: skip
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
