"""Convolutional networks that end up somewhere: on a phone, behind an endpoint, in another runtime.

The public functions and sub-packages are resolved when they are first asked for: importing this imports nothing heavy.
"""

from __future__ import annotations

from importlib import import_module
from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

__version__ = "0.1.0"
JOBS = (
    "train",
    "finetune",
    "adopt",
    "evaluate",
    "predict",
    "visualize",
    "compare",
    "report",
    "export",
    "run",
    "tune",
)  # each a module of cnn_app.jobs
__all__ = ["create_model", "list_models", "load_model", *JOBS]


def list_models(pattern: str = "*", task: str | None = None) -> list[str]:
    """Names of the networks that `create_model` builds.

    pattern: of a shell, such as "resnet*".
    task: that of their rows, "classification" or "segmentation"; None for all.
    """
    from cnn_app import registry

    return registry.names(pattern, task)


def create_model(
    name: str,
    *,
    classes: int | None = None,
    image: tuple[int, int, int] | None = None,
    head: str | None = None,
    weights: str | PathLike[str] | None = None,
    **columns,
) -> keras.Model:
    """Build a network, from random weights or from published ones.

    It takes pixels in [0, 255], float32 (n, height, width, channels), or ids of words, int32 (n, length). It gives
    logits, float32 (n, classes) for classification and (n, h, w, classes) for segmentation. With auxiliary classifiers
    it gives a dictionary; for reconstruction one with "logits" of pixels (n, h, w, channels) and "code" (n, code).

    name: one of `list_models()`.
    classes, image: default to the paper's; image is (height, width, channels).
    head: what is put on the features, such as "multilabel"; by default that of the network's task.
    weights: a file of published weights (torchvision's, timm's, pytorchcv's, keras.applications'), a model directory,
        or "imagenet", which downloads; scaling and padding follow them, and with other classes the head stays new.
        None starts from random weights.
    columns: replace columns of the variant's row, e.g. `width=0.5`.

    Raises UnknownName for a name or column that is not there, ModelError for a size or value that cannot be built.
    """
    from cnn_app import heads

    if classes is not None:
        columns["classes"] = classes
    if image is not None:
        columns["image"] = tuple(image)
    model = heads.build(name, columns, head)
    if weights == "imagenet":
        from cnn_app.transfer.pretrained import published

        published.load(model, columns)
    elif weights is not None:
        from cnn_app import transfer

        transfer.load_weights(model, weights)
    if own := {name: columns[name] for name in ("resize", "crop_share") if name in columns}:
        model.resizing = own
    return model


def load_model(path: str | PathLike[str], *, trust: bool = False) -> keras.Model:
    """Load a `.keras` file or a model directory. Code inside the file is refused.

    What the file says of itself, such as its task and the labels of its outputs, is the model's `about`. The model
    takes and gives what `create_model` says.

    path: the file or the directory.
    trust: read it without the limits of files from elsewhere; docs/security.md names them.

    Raises ArtifactError for what is no model, is damaged, or does not match its card.
    """
    from cnn_app.runtimes.keras_model import load

    return load(path, trust=trust)


def __getattr__(name: str):
    """Jobs, and sub-packages such as `cnn_app.transfer`, are imported once they are asked for."""
    if name in JOBS:
        return getattr(import_module(f"{__name__}.jobs.{name}"), name)
    module = f"{__name__}.{name}"
    try:
        if not name.startswith("_"):
            return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
