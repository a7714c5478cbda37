"""Parts of a network as files of their own, such as photos-float32.encode.tflite beside photos-float32.tflite.

A task names them, as the signatures of a SavedModel are named. They are written in float for TFLite and ONNX, say
nothing of themselves, and repeat what Keras computes.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import keras
import numpy as np

from cnn_app.atomic import replacing
from cnn_app.errors import ExportError
from cnn_app.export import graph
from cnn_app.export.golden import RECORDS, max_difference
from cnn_app.export.targets import Target
from cnn_app.runtimes import open_model
from cnn_app.runtimes.keras_model import fed
from cnn_app.tasks import Task
from cnn_app.tensors import Arrays

FAR = {"float32": 1e-3, "float16": 0.05}  # share of what Keras says, both root mean square: what is farther is refused


def write(
    task: Task, model: keras.Model, place: Path, target: Target, records: Arrays
) -> Iterator[tuple[Path, Path, dict]]:  # fmt: skip
    """Of each file its place beside `place`, where it is written, and what is to be said of it before it takes it.

    A part takes records, what a part in front of it gives, or zeros.
    """
    if target.calibrated or target.weights not in FAR or target.module not in ("tflite", "onnx"):
        return
    known: Arrays = {name: array[:RECORDS] for name, array in records.items()}
    count = len(next(iter(known.values())))
    for name, part in task.parts(model).items():
        given = {taken.name: known.get(taken.name, np.zeros((count, *taken.shape[1:]), taken.dtype))
                 for taken in part.inputs}  # fmt: skip
        wanted = {key: np.asarray(array) for key, array in part.predict_on_batch(fed(part, given)).items()}
        path = place.with_name(f"{place.stem}.{name}{place.suffix}")
        with replacing(path) as scratch:
            serve = graph.alone(task, part, batch=1 if target.module == "tflite" else None)
            import_module(f"cnn_app.export.{target.module}").write_alone(serve, part, scratch, target)
            found = open_model(scratch).run(given)
            far = max(_power(found[key] - array) / max(_power(array), 1e-6) for key, array in wanted.items())
            if far > FAR[target.weights]:
                raise ExportError(f"{path.name} differs by {far:.1%} from the same part in Keras; it was not written")
            yield path, scratch, {"part": name, "n": count, "max_difference": max_difference(found, wanted)}
        known |= {key: array for key, array in wanted.items() if key not in known}


def _power(array: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.square(array, dtype=np.float64).mean()))
