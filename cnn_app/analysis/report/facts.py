"""What a report shows of a measurement, as JSON: figures, tables, counts, and pictures of wrong answers."""

from __future__ import annotations

import base64
import io

import keras
import numpy as np
from PIL import Image

from cnn_app.analysis import inspection
from cnn_app.analysis.attribution import explained
from cnn_app.analysis.attribution.gradcam import of_classes
from cnn_app.data.dataset import Split
from cnn_app.errors import CnnAppError, ModelError
from cnn_app.runtimes.keras_model import KerasRuntime
from cnn_app.tasks import Report, Task
from cnn_app.tasks.mistakes import Mistake
from cnn_app.tasks.probabilities import OUTPUT

WORST, NARROW = 12, 6  # wrong answers that are shown: the most and the least certain
SIDE = 160  # pixels of a picture along its longer side, at most
PALETTE = np.array([[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]])  # of "inferno"


def measured(task: Task, report: Report, split: Split, deployed: keras.Model | None) -> dict:
    """`deployed`: the Keras model that was measured, if it was one."""
    told, titles = report.as_json(), {**task.titles, "n": task.input.plural}
    return {
        "metrics": [[titles.get(name, name), value] for name, value in report.metrics.items()],
        "tables": [[list(columns), [list(map(str, row)) for row in rows]] for columns, rows in report.tables()],
        "confusion": told.get("confusion"), "labels": list(task.labels),
        "cost": _cost(deployed) if deployed else {}, "mistakes": _mistakes(task, report, split, deployed),
    }  # fmt: skip


def _cost(model: keras.Model) -> dict[str, int]:
    try:
        return inspection.totals(model)
    except (AttributeError, TypeError, ValueError):  # a layer without a shape, in a network of others
        return {}


def _mistakes(task: Task, report: Report, split: Split, deployed: keras.Model | None) -> list[dict]:
    """The most certain first, then the least certain of the others; none where a task has no wrong answers."""
    if not task.input.pictured:
        return []
    try:
        every = report.mistakes(report.n)
    except ModelError:
        return []
    chosen = every[:WORST] + every[WORST:][-NARROW:][::-1]
    if not chosen:
        return []
    columns = split.inputs
    images = [task.input.picture({name: column.one(one.place) for name, column in columns.items()}) for one in chosen]
    seen = _heats(task, chosen, images, deployed)
    return [
        {"record": str(split.names[one.place]), "true": one.true, "found": one.found, "probability": one.probability,
         "narrow": place >= WORST, "image": encoded(image),
         "seen": encoded(_over(image, seen[place])) if seen is not None else None}
        for place, (one, image) in enumerate(zip(chosen, images, strict=True))
    ]  # fmt: skip


def _heats(task: Task, mistakes: list[Mistake], images: list[np.ndarray], deployed: keras.Model | None):
    """Grad-CAM (n, h, w) of what was found; None where a network has no maps or no one class."""
    found = [task.labels.index(one.found) if one.found in task.labels else -1 for one in mistakes]
    if deployed is None or keras.backend.backend() != "tensorflow":  # gradients are TensorFlow's
        return None
    if task.input.kind != "image" or min(found) < 0 or OUTPUT not in deployed.output:
        return None
    logits = keras.Model(deployed.input, deployed.get_layer(OUTPUT).input)
    try:
        return of_classes(explained(KerasRuntime(deployed), task, 0, logits, None), np.stack(images), found)
    except CnnAppError:
        return None


def _over(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A heat (h, w) over a grey image, both uint8 (h, w, 3) then."""
    share = np.clip(heat / max(float(heat.max()), 1e-30), 0, 1) * (len(PALETTE) - 1)
    colours = np.stack([np.interp(share, range(len(PALETTE)), PALETTE[:, channel]) for channel in range(3)], -1)
    return np.round(0.4 * image.mean(-1, keepdims=True) + 0.6 * colours).astype(np.uint8)


def encoded(image: np.ndarray) -> str:
    """A uint8 image (h, w, 1 or 3) as a data URL: small ones exactly, others as JPEG of at most 160 pixels."""
    pixels = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    small = max(pixels.size) <= 64
    pixels.thumbnail((SIDE, SIDE))
    stream = io.BytesIO()
    pixels.save(stream, "PNG" if small else "JPEG", quality=80)
    kind = "png" if small else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
