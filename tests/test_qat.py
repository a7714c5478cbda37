"""Quantization-aware training: layers by hand arithmetic, the simulation against the model and against its own file."""

from dataclasses import asdict, replace

import keras
import numpy as np
import pytest
from ai_edge_litert.tools import flatbuffer_utils
from keras import ops
from scores import scores

import cnn_app
from cnn_app.artifacts import Card, ModelDir
from cnn_app.export import tflite
from cnn_app.export.graph import deployable
from cnn_app.export.quantization import correction, qat, simulation
from cnn_app.inputs.image import Image
from cnn_app.jobs.opened import task_of
from cnn_app.layers import FakeQuant, FakeQuantKernel
from cnn_app.recipe import Schedule
from cnn_app.runtimes.tflite import open_model
from cnn_app.tasks import named

NETWORKS = {
    "lenet5": {"image": (32, 32, 1)},
    "vgg11_bn": {"image": (32, 32, 3)},
    "inception_bn": {"image": (64, 64, 3)},
    "resnet20": {"image": (32, 32, 3), "depths": (1, 1, 1)},
    "resnext50_32x4d": {"image": (64, 64, 3), "depths": (1, 1, 1, 1)},
    "seresnet18": {"image": (32, 32, 3), "depths": (1, 1, 1, 1)},
    "mobilenet_v1": {"image": (32, 32, 3), "width": 0.25},
    "mobilenet_v2": {"image": (32, 32, 3), "width": 0.35},
    "shufflenet_v1": {"image": (32, 32, 3), "scale": 0.5},
    "shufflenet_v2": {"image": (32, 32, 3), "scale": 0.5},
}
QUICK = ("resnet20",)


@pytest.mark.parametrize("seen, low, high", [([[-1.0, 3.0]], -1.0, 3.0), ([[-1.0, 3.0], [-3.0, 1.0]], -1.1, 2.9),
                                             ([[1.0, 2.0]], 0.0, 2.0), ([[-2.0, -1.0]], -2.0, 1e-6)])  # fmt: skip
def test_a_range_follows_the_batches_and_holds_zero(seen, low, high):
    layer = FakeQuant()
    for batch in seen:
        layer(np.array([batch], "float32"), training=True)
    np.testing.assert_allclose(layer.range(), (low, high), rtol=1e-6)
    layer.trainable = False
    layer(np.full((1, 2), 99.0, "float32"), training=True)
    layer.trainable = True
    layer(np.full((1, 2), 99.0, "float32"), training=False)
    np.testing.assert_allclose(layer.range(), (low, high), rtol=1e-6)


def test_tensors_of_one_scale_share_the_range_of_all():
    layer = FakeQuant(2)
    layer(np.array([[-1.0, 1.0]], "float32"), member=0, training=True)
    layer(np.array([[0.0, 5.0]], "float32"), member=1, training=True)
    np.testing.assert_allclose(layer.range(), (-1.0, 5.0))
    np.testing.assert_allclose(layer.step(), 6 / 255)


def test_values_round_to_steps_and_gradients_end_where_the_range_does():
    import tensorflow as tf

    layer = FakeQuant(fixed=(0.0, 255.0))
    x = tf.constant([[-3.0, 0.4, 7.6, 254.9, 300.0]])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    np.testing.assert_allclose(y, [[0, 0, 8, 255, 255]])
    np.testing.assert_allclose(tape.gradient(y, x), [[0, 1, 1, 1, 0]])


@pytest.mark.parametrize("inner, kernel, expected", [
    (keras.layers.Dense(2), [[1.27, 0.5], [0.004, -0.25]], [[1.27, 0.5], [0.0, -63 * 0.5 / 127]]),
    (keras.layers.DepthwiseConv2D(1), [[[[1.27], [0.5]]]], [[[[1.27], [0.5]]]]),
    (keras.layers.Conv2D(2, 1), [[[[1.27, 0.5], [0.004, -0.25]]]], [[[[1.27, 0.5], [0.0, -63 * 0.5 / 127]]]]),
], ids=["dense", "depthwise", "conv"])  # fmt: skip
def test_kernels_round_by_output_channel_and_biases_to_products(inner, kernel, expected):
    kernel = np.array(kernel, "float32")
    layer = FakeQuantKernel(inner, step=lambda: ops.convert_to_tensor(0.1))
    layer.build((None, 2) if kernel.ndim == 2 else (None, 1, 1, 2))
    layer.set_weights([kernel, np.array([0.0104, 1.0], "float32")])
    held_kernel, held_bias = map(np.asarray, layer.held())
    np.testing.assert_allclose(held_kernel, expected, atol=1e-6)
    units = np.array([0.01, 0.5 / 127]) * 0.1
    np.testing.assert_allclose(held_bias, np.round([0.0104, 1.0] / units) * units, rtol=1e-5)
    x = np.ones((1, 2) if kernel.ndim == 2 else (1, 1, 1, 2), "float32")
    inner.set_weights([held_kernel, held_bias])
    np.testing.assert_allclose(layer(x), inner(x), rtol=1e-6)


def lively(name, seed=0, head=None):
    """A small network with statistics as training leaves them, and images for it."""
    keras.utils.set_random_seed(seed)
    model = cnn_app.create_model(name, head=head, classes=10, **NETWORKS[name])
    draw = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.gamma.shape
            layer.set_weights([draw.uniform(0.5, 1.5, shape), draw.normal(0, 0.2, shape), draw.normal(0, 0.1, shape),
                               draw.uniform(0.5, 1.5, shape)])  # fmt: skip
    return deployable(model), draw.integers(0, 256, (64, *model.input_shape[1:])).astype("uint8")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in NETWORKS]
)
def test_folding_changes_nothing_and_the_file_computes_as_the_simulation(name, tmp_path):
    model, pixels = lively(name)
    wanted = model.predict_on_batch(pixels)
    plain = simulation.folded(model)
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in plain.layers)
    np.testing.assert_allclose(plain.predict_on_batch(pixels), wanted, atol=2e-5 * np.abs(wanted).max())

    rounding = simulation.simulated(plain, {"image": pixels})
    simulated = rounding.predict_on_batch(pixels)
    final = simulation.rangeful(plain, rounding)
    step = float(final.layers[-1].step())
    assert np.median(np.abs(final.predict_on_batch(pixels) - simulated)) < step / 10  # a rare tie may fall differently

    file = tmp_path / "x.tflite"
    tflite.write_trained(task_of(model), final, file)
    runtime = open_model(file)
    assert runtime.coverage() == (1, {"QUANTIZE": 1}) and runtime.inputs["image"].dtype == "uint8"
    found = np.log(np.maximum(scores(runtime, pixels).astype(np.float64), 1e-38))
    apart = steps_apart(found, simulated, step)
    assert np.median(apart) < 1 and (found.argmax(1) == simulated.argmax(1)).mean() > 0.95


def network(*rows, scale=1 / 255, offset=0.0):
    """Pixels, a convolution of 1x1 whose bias and kernel are drawn, and `rows` of layers that take what it gives."""
    keras.utils.set_random_seed(0)
    image = keras.Input((4, 4, 3), name="image")
    x = keras.layers.Rescaling(scale, offset, name="scaled")(image)
    x = keras.layers.Conv2D(3, 1, bias_initializer="random_normal", name="first")(x)
    outputs = []
    for row in rows:
        y = x
        for layer in row:
            y = layer(y)
        outputs.append(y)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 4, 4, 3)).astype("float32")
    return keras.Model(image, keras.layers.Add()(outputs) if len(outputs) > 1 else outputs[0]), pixels


def norm():
    """Its epsilon is as large as what it has seen varies."""
    layer = keras.layers.BatchNormalization(epsilon=0.1, name="norm")
    layer.build((None, 4, 4, 3))
    layer.set_weights([np.array(row, "f") for row in ([1, 2, 3], [0.5, 0, -1], [0.2, 0, 0.1], [0.1, 0.3, 0.05])])
    return layer


@pytest.mark.parametrize(("rows", "folds"), [(([norm()],), True), (([norm()], []), False),
                                             (([keras.layers.ReLU(), norm()],), False),
                                             (([keras.layers.Conv2D(3, 1, activation="relu"), norm()],), False)],
                         ids=["alone", "read by two", "behind a ReLU", "of what is rectified"])  # fmt: skip
def test_a_normalization_goes_into_the_kernel_that_it_alone_reads(rows, folds):
    model, pixels = network(*rows)
    plain = simulation.folded(model)
    assert folds != any(isinstance(layer, keras.layers.BatchNormalization) for layer in plain.layers)
    np.testing.assert_allclose(plain.predict_on_batch(pixels), model.predict_on_batch(pixels), atol=1e-5)


def test_shifted_pixels_lie_between_no_two_steps():
    """Their range is a 256th wider, by hand: (-1, 1) times 257 / 256; where nothing is shifted a byte is a step."""
    shifted, pixels = network([], scale=1 / 127.5, offset=-1.0)
    plain = simulation.folded(shifted)
    np.testing.assert_allclose(plain.predict_on_batch(pixels), shifted.predict_on_batch(pixels), atol=1e-5)
    rounding = simulation.simulated(plain, {"image": pixels})
    assert rounding.get_layer("scaled_offset_range").fixed == pytest.approx((-257 / 256, 257 / 256))
    plain = simulation.folded(network([])[0])
    assert simulation.simulated(plain, {"image": pixels}).get_layer("scaled_range").fixed == pytest.approx((0, 1))


def test_a_corrected_bias_brings_the_mean_back_by_hand():
    """A kernel of which all but the largest value round to nothing."""
    model, pixels = network([keras.layers.ReLU(), keras.layers.Conv2D(2, 1, name="second")])
    model.get_layer("first").set_weights([np.array([[[[1.0] * 3, [0.003] * 3, [-0.0035] * 3]]]), np.zeros(3)])
    plain = simulation.folded(model)
    rounding = simulation.simulated(plain, {"image": pixels})

    def means(layers):
        probes = [keras.Model(net.input, net.get_layer(name).output) for net, name in layers]
        return [probe.predict_on_batch(pixels).mean((0, 1, 2)) for probe in probes]

    twins = [(rounding, "first_int8"), (rounding, "second_int8")]
    wanted, before = means([(plain, "first"), (plain, "second")]), means(twins)
    assert min(np.abs(a - b).max() for a, b in zip(before, wanted, strict=True)) > 1e-4
    correction.correct(plain, rounding, {"image": pixels})
    for found, mean in zip(means(twins), wanted, strict=True):
        np.testing.assert_allclose(found, mean, atol=2e-5)


@pytest.mark.slow
def test_the_mean_of_boxes_stays_in_float(tmp_path):
    """A softmax over places in steps of 1/256 does not sum to one."""
    model, pixels = lively("resnet20", head="localization")
    for layer in (model.get_layer(name) for name in ("head_votes", "head_weights")):
        layer.set_weights([np.random.default_rng(1).normal(0, 0.5, weight.shape) for weight in layer.weights])
    plain = simulation.folded(model)
    assert simulation.obstacle(plain) == ""
    wanted = plain.predict_on_batch(pixels)["box"]
    assert wanted.std(0).min() > 0.01
    rounding = simulation.simulated(plain, {"image": pixels})
    simulated = rounding.predict_on_batch(pixels)["box"]
    file = tmp_path / "x.tflite"
    task = named("localization")(input=Image(model.input_shape[1:]), labels=tuple("abcdefghij"))
    tflite.write_trained(task, simulation.rangeful(plain, rounding), file)
    runtime = open_model(file)
    found = np.concatenate([runtime.run({"image": image[None]})["box"] for image in pixels])
    assert np.abs(found - simulated).max() < np.abs(simulated - wanted).max() / 3
    read = flatbuffer_utils.read_model(str(file))
    known, (graph, *_) = flatbuffer_utils.schema_fb, read.subgraphs
    softmax = [
        known.BuiltinOperator.SOFTMAX == read.operatorCodes[op.opcodeIndex].builtinCode for op in graph.operators
    ]
    taken = [graph.tensors[op.inputs[0]].type for op, it in zip(graph.operators, softmax, strict=True) if it]
    assert taken == [known.TensorType.FLOAT32] * 2  # of places and of classes


def steps_apart(logs, logits, step):
    """How many quantization steps lie between log-probabilities and logits, measured from the best class."""
    best = logits.argmax(1)[:, None]
    return np.abs((logs - np.take_along_axis(logs, best, 1)) - (logits - np.take_along_axis(logits, best, 1))) / step


def test_what_has_no_simulation_is_named():
    assert simulation.obstacle(simulation.folded(lively("resnet20")[0])) == ""
    model = cnn_app.create_model("alexnet", classes=3)
    assert simulation.obstacle(simulation.folded(deployable(model))) == "norm1 (LocalResponseNormalization)"


@pytest.mark.parametrize("name", ["mobilenet_v2", "shufflenet_v2"])
@pytest.mark.slow
def test_corrected_biases_bring_every_layers_mean_back(name):
    model, pixels = lively(name)
    plain = simulation.folded(model)
    rounding = simulation.simulated(plain, {"image": pixels})
    layers = [layer.name for layer in plain.layers if isinstance(layer, simulation.KERNELS)]
    outputs = [rounding.get_layer(f"{layer}_int8").output for layer in layers]
    twins = keras.Model(rounding.input, outputs), keras.Model(plain.input, [plain.get_layer(n).output for n in layers])

    def apart():
        found, wanted = (twin.predict_on_batch(pixels) for twin in twins)
        means = [np.abs((a - b).reshape(-1, a.shape[-1]).mean(0)).mean() for a, b in zip(found, wanted, strict=True)]
        return np.array(means)

    before = apart()
    correction.correct(plain, rounding, {"image": pixels})
    after = apart()
    assert np.median(after / before) < 0.2 and after.max() < before.max()


def test_the_schedule_goes_on_where_training_ended(tmp_path):
    directory = ModelDir(tmp_path / "digits")
    directory.path.mkdir()
    own = Schedule(epochs=6, batch=16, lr=0.01, augment=("flip", "crop"), label_smoothing=0.1, warmup=2.0, patience=3,
                   ema=0.9, accumulate=2, precision="bfloat16", clip=1.0)  # fmt: skip
    facts = Image((32, 32, 1)).facts()
    directory.write_card(Card(architecture="lenet5", columns={}, labels=("a",), input=facts, recipe=asdict(own)))
    found = qat.schedule(directory.read_card(), 2)
    plain = {"ema": 0.0, "accumulate": 1, "precision": "float32"}  # a simulation is trained as it will round
    assert found == replace(own, epochs=2, lr=0.0005, warmup=0.0, patience=0, **plain)
