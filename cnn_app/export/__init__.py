"""Models for other runtimes: written, quantized, and proven against the Keras model.

A target is a row of `targets.TARGETS`; its module has `write(deployable, path, target, calibration)`.
"""
