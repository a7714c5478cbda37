"""Every mobile variant in the phone's fast path, and every family that sees images in every target."""

import keras
import numpy as np
import onnx
import pytest
from scores import keras_scores, scores, write

import cnn_app
from cnn_app.export import graph, tflite
from cnn_app.export.targets import TARGETS, target

MOBILE = [
    *(("mobilenet_v1", {"width": width}) for width in (0.25, 0.5, 0.75, 1.0)),
    *(("mobilenet_v2", {"width": width}) for width in (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)),
    *(("shufflenet_v1", {"groups": groups}) for groups in (1, 2, 3, 4, 8)),
    *(("shufflenet_v1", {"scale": scale}) for scale in (0.5, 1.5, 2.0)),
    *(("shufflenet_v2", {"scale": scale}) for scale in (0.5, 1.0, 1.5, 2.0)),
    *(("mobilenet_v2", {"image": (side, side, 3)}) for side in (96, 128, 160, 192)),
    *(("shufflenet_v1", {"image": (side, side, 3)}) for side in (96, 128, 160, 192)),
    ("mobilenet_v2", {"output_stride": 16}),
    ("mobilenet_v1", {"image": (160, 128, 1)}),
    ("resnet20", {}),
    *(("unet", {"image": (128, 128, 3), "width": 8, "padding": "same", "up": up}) for up in ("deconv", "upconv")),
    ("resnet18", {}),
    *(("googlenet", {"torchvision": True, "image": (side, side, 3)}) for side in (97, 224)),
]
QUICK = (("shufflenet_v1", {"groups": 3}), ("resnet20", {}))
FAMILIES = {
    "perceptron": {"classes": 2}, "neocognitron": {}, "lenet5": {}, "alexnet": {"units": 64}, "zfnet": {"units": 64},
    "vgg11": {"image": (64, 64, 3), "units": 64}, "vgg11_bn": {"image": (64, 64, 3), "units": 64}, "googlenet": {},
    "inception_bn": {}, "plain20": {}, "resnet20": {}, "resnet50": {"image": (64, 64, 3)},
    "resnext50_32x4d": {"image": (64, 64, 3)}, "seresnet50": {"image": (64, 64, 3)},
    "mobilenet_v1": {"image": (64, 64, 3)}, "mobilenet_v2": {"image": (64, 64, 3)},
    "shufflenet_v1": {"image": (64, 64, 3)}, "shufflenet_v2": {"image": (64, 64, 3)},
    "unet": {"image": (64, 64, 3), "width": 8, "padding": "same", "batch_norm": True},
}  # fmt: skip
MAX_DIFFERENCE = {"float32": 1e-4, "float16": 0.02, "int8": 0.3, "int16": 0.3}  # random deep networks


def written(kind, model, folder, pixels):
    """The runtime of the file or directory of a target."""
    suffix = {"saved_model": "", "onnx": ".onnx", "tflite": ".tflite"}[target(kind).module]
    path = folder / f"{kind}{suffix}"
    return path, write(kind, model, path, pixels)


@pytest.mark.parametrize(
    "name, columns",
    [pytest.param(*row, marks=() if row in QUICK else pytest.mark.slow, id=f"{row[0]}-{row[1]}") for row in MOBILE],
)
def test_int8_runs_in_one_delegate(name, columns, tmp_path):
    """At 224 where nothing else is said: no Flex operator, none outside but the input's quantization."""
    model = cnn_app.create_model(name, **columns)
    pixels = np.random.default_rng(0).integers(0, 256, (2, *model.input_shape[1:])).astype(np.uint8)
    path, runtime = written("tflite-int8", graph.deployable(model), tmp_path, pixels)
    assert runtime.coverage() == (1, {"QUANTIZE": 1})
    (taken,), (given,) = (list(details.values()) for details in runtime.details)
    assert taken["dtype"] == np.uint8 and taken["quantization"] == (1.0, 0)
    assert given["dtype"] == np.float32 and path.stat().st_size < 1.2 * model.count_params() + 2**16


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_goes_to_every_target(name, tmp_path):
    keras.utils.set_random_seed(0)
    model = cnn_app.create_model(name, **{"classes": 5} | FAMILIES[name])
    pixels = np.random.default_rng(1).integers(0, 256, (8, *model.input_shape[1:])).astype(np.uint8)
    for _ in range(10):
        model(pixels, training=True)
    expected, copy = keras_scores(model, pixels), graph.deployable(model)
    for kind, row in TARGETS.items():
        if obstacle := tflite.obstacle(copy, row):
            assert name in ("alexnet", "zfnet", "googlenet") and kind == "tflite-int16x8" and "Local" in obstacle
            continue
        path, runtime = written(kind, copy, tmp_path, pixels)
        worst = MAX_DIFFERENCE[min(row.weights, row.activations, key=lambda kind: int(kind.strip("floatin")))]
        np.testing.assert_allclose(scores(runtime, pixels), expected, atol=worst, err_msg=kind)
        if path.suffix == ".onnx":
            proto = onnx.load(path)
            assert {node.domain for node in proto.graph.node} == {""}
            assert [found.version for found in proto.opset_import if found.domain == ""] == [17]
    half, whole = (tmp_path / f"tflite-{kind}.tflite" for kind in ("float16", "float32"))
    if model.count_params() > 10**5:
        assert half.stat().st_size < 0.52 * whole.stat().st_size
