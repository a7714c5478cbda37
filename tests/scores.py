"""Probabilities of images, by whatever answers, and files of a network that was never trained."""

from importlib import import_module

from cnn_app.export.targets import target
from cnn_app.jobs.opened import task_of
from cnn_app.runtimes import open_model
from cnn_app.runtimes.keras_model import KerasRuntime


def scores(runtime, pixels):
    """(n, classes) of pixels (n, H, W, C)."""
    return runtime.run({"image": pixels})["probabilities"]


def keras_scores(model, pixels):
    return scores(KerasRuntime(task_of(model).deployed(model)), pixels)


def write(kind, model, path, pixels):
    """The file of a target, calibrated by `pixels` where it is to be, without anything that it says of itself."""
    calibration = None if pixels is None else {"image": pixels}
    module = import_module(f"cnn_app.export.{target(kind).module}")
    module.write(task_of(model), model, path, target(kind), calibration)
    return open_model(path)
