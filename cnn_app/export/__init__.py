"""Models for other runtimes: written, quantized, and proven against the Keras model.

A target is a row of `targets.TARGETS`; its module has `write(task, deployable, path, target, calibration)`.
The package can be called: `cnn_app.export(...)` is `cnn_app.jobs.export.export`, also once this was imported.
"""

import sys
from importlib import import_module
from types import ModuleType


class _Job(ModuleType):
    def __call__(self, *arguments, **options):
        return import_module("cnn_app.jobs.export").export(*arguments, **options)


sys.modules[__name__].__class__ = _Job
