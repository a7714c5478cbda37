"""Published weights: every kind of file and of names, what comes into the graph with them, and what is refused."""

import http.server
import io
import json
import pickle
import threading
from contextlib import contextmanager

import keras
import numpy as np
import parity
import pytest
from safetensors.numpy import save_file

import cnn_app
from cnn_app import registry
from cnn_app.analysis.complexity import complexity
from cnn_app.errors import CnnAppError, ModelError
from cnn_app.export import graph
from cnn_app.jobs import finetune
from cnn_app.jobs.opened import task_of
from cnn_app.layers import GroupedConv2D
from cnn_app.recipe import Schedule, Transfer
from cnn_app.transfer import copy_weights, load_weights
from cnn_app.transfer.pretrained import conventions, naming, published
from cnn_app.transfer.pretrained.naming import Conventions

RNG = np.random.default_rng(0)
TORCH_MEAN, TORCH_STD = np.array([0.485, 0.456, 0.406]) * 255, np.array([0.229, 0.224, 0.225]) * 255
PARITY = {
    "resnet18": ("resnet18", {}, "torchvision resnet"),
    "mobilenet_v2_0.35": ("mobilenet_v2", {"width": 0.35}, "torchvision mobilenet_v2"),
    "shufflenet_v2_x0_5": ("shufflenet_v2", {"scale": 0.5}, "torchvision shufflenet_v2"),
    "vgg11": ("vgg11", {}, "torchvision vgg"),
    "own_lenet5": ("lenet5", {}, "plain PyTorch lenet"),
    "own_cifar_resnet20_A": ("resnet20", {}, "plain PyTorch resnet"),
}


def state_of(golden):
    state, inputs, logits = parity.case(golden)
    state = {name: np.ascontiguousarray(value, np.float32) for name, value in state.items()}
    return state, inputs.transpose(0, 2, 3, 1), logits


def write(path, state):
    if path.suffix == ".safetensors":
        save_file(state, path)
    elif path.suffix == ".npz":
        np.savez(path, **state)
    else:
        torch = pytest.importorskip("torch")
        tensors = {f"module.{name}": torch.tensor(value) for name, value in state.items()}
        torch.save({"state_dict": tensors, "epoch": 3}, path)
    return path


@pytest.fixture(scope="module")
def small():
    """A residual network of six layers with torchvision's names: (model, state)."""
    model = cnn_app.create_model("resnet20", depths=(1, 1, 1), stem=4, group_width=4, classes=3)
    return model, torch_state(model, "cifar_torchvision")


def torch_state(model, scheme):
    """Random weights for `model` in PyTorch's layout under a known scheme's names."""
    network = naming.Network("resnet", tuple(x.name for x in model.layers if x.weights),
                             tuple(x.name for x in model.layers), frozenset())  # fmt: skip
    names = next(n for n in naming.candidates(network) if n.style == "torch" and n.source == scheme or
                 scheme == "cifar_torchvision" and "akamaster" in n.source)  # fmt: skip
    state = {}
    for layer in model.layers:
        for weight in layer.weights:
            value = RNG.uniform(0.5, 1.5, weight.shape) if weight.name in ("gamma", "moving_variance") else (
                RNG.normal(0, 0.3, weight.shape))  # fmt: skip
            if weight.name == "kernel":
                value = value.T if value.ndim == 2 else value.transpose(3, 2, 0, 1)
            state[names.key(layer.name, weight.name)] = np.ascontiguousarray(value, np.float32)
    return state | {"bn1.num_batches_tracked": np.array(7)}


@pytest.mark.parametrize(
    ("golden", "kind"),
    [
        ("resnet18", ".pth"),
        ("mobilenet_v2_0.35", ".npz"),
        ("shufflenet_v2_x0_5", ".safetensors"),
        pytest.param("vgg11", ".safetensors", marks=pytest.mark.slow),
        ("own_lenet5", ".npz"),
        ("own_cifar_resnet20_A", ".th"),
    ],
)
def test_pytorch_logits_from_every_kind_of_file(golden, kind, tmp_path):
    name, columns, source = PARITY[golden]
    state, inputs, logits = state_of(golden)
    columns = columns | {"image": inputs.shape[1:], "classes": logits.shape[1], "pixel_mean": 0.0, "pixel_std": 1.0}
    model = cnn_app.create_model(name, **columns)
    loaded = load_weights(model, write(tmp_path / f"weights{kind}", state))
    assert (loaded.source, loaded.tensors, loaded.new_head) == (source, len(state), False)
    rescale = model.get_layer("rescale")
    own = source.startswith("plain")  # a file that says nothing of scaling leaves it
    pixels = inputs if own else inputs * TORCH_STD + TORCH_MEAN
    assert own or np.allclose(rescale.scale, 1 / TORCH_STD)
    np.testing.assert_allclose(model.predict_on_batch(pixels), logits, atol=1e-4 * np.abs(logits).max())


def applications():
    nets = keras.applications
    options = {"weights": None, "classifier_activation": None}
    return {
        "mobilenet_v2": (lambda: nets.MobileNetV2(alpha=0.35, input_shape=(96, 96, 3), **options), {"width": 0.35}),
        "mobilenet_v1": (lambda: nets.MobileNet(alpha=0.25, input_shape=(128, 128, 3), **options), {"width": 0.25}),
        "resnet50": (lambda: nets.ResNet50(input_shape=(64, 64, 3), classes=10, **options), {"stride_on": 3}),
        "vgg16": (lambda: nets.VGG16(input_shape=(32, 32, 3), classes=10, **options), {}),
    }


def randomise(model):
    """Weights and statistics that leave nothing at zero or one."""
    for layer in model.layers:
        weights = layer.get_weights()
        if isinstance(layer, keras.layers.BatchNormalization):
            low = (0.6, -0.5, -0.5, 0.5)
            weights = [RNG.uniform(a, 1.2, w.shape) for a, w in zip(low, weights, strict=True)]
        elif len(weights) == 2:
            weights[1] = RNG.normal(0, 0.2, weights[1].shape)
        layer.set_weights(weights)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "mobilenet_v2" else pytest.mark.slow) for name in applications()]
)
def test_keras_applications(name, tmp_path):
    build, columns = applications()[name]
    peer = build()
    randomise(peer)
    pixels = RNG.integers(0, 256, (2, *peer.input_shape[1:])).astype(np.float32)
    caffe = name in ("resnet50", "vgg16")
    expected = peer.predict_on_batch(pixels[..., ::-1] - [103.939, 116.779, 123.68] if caffe else pixels / 127.5 - 1)
    peer.save(tmp_path / "peer.keras")
    peer.save_weights(tmp_path / "peer.weights.h5")
    legacy(peer, tmp_path / "peer.h5")
    for file in ("peer.weights.h5", "peer.h5") if caffe else ("peer.keras", "peer.weights.h5", "peer.h5"):
        model = cnn_app.create_model(name, image=pixels.shape[1:], classes=expected.shape[1], **columns)
        assert load_weights(model, tmp_path / file).source.startswith("keras.applications")
        assert model.resizing == {"resize": "crop", "crop_share": 0.875} and task_of(model).input.resize == "crop"
        logits = model.predict_on_batch(pixels)
        np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max())
    model.save(tmp_path / "ours.keras")
    np.testing.assert_array_equal(cnn_app.load_model(tmp_path / "ours.keras").predict_on_batch(pixels), logits)


@pytest.mark.slow
@pytest.mark.parametrize("columns, taken", [({}, ("crop", 0.875)), ({"resize": "stretch"}, ("stretch", 0.875))])
def test_published_weights_bring_the_middle_that_they_were_measured_on(columns, taken, tmp_path):
    """Unless another way is asked for; a model that is trained further keeps its own."""
    build, row = applications()["mobilenet_v2"]
    peer = build()
    peer.save_weights(tmp_path / "peer.weights.h5")
    row = row | {"image": (96, 96, 3)} | columns
    transfer = Transfer(weights=str(tmp_path / "peer.weights.h5"), recipe="tune")
    job = finetune.prepare("mobilenet_v2", row, "shapes", Schedule(), transfer)
    assert (job.task.input.resize, job.task.input.crop_share) == taken
    assert job.columns.get("resize", "stretch") == taken[0]
    kept = finetune.prepare("mobilenet_v2", job.columns, "shapes", Schedule(), transfer)
    assert kept.task.input == job.task.input
    taken_by_evaluate = task_of(cnn_app.create_model("mobilenet_v2", weights=transfer.weights, **row)).input
    assert (taken_by_evaluate.resize, taken_by_evaluate.crop_share) == taken


def legacy(model, path):
    """As `model.save_weights` of Keras 2 wrote it, and publishers still have it."""
    import h5py

    with h5py.File(path, "w") as file:
        for layer in (layer for layer in model.layers if layer.weights):
            for weight in layer.weights:
                depthwise = isinstance(layer, keras.layers.DepthwiseConv2D) and weight.name == "kernel"
                variable = "depthwise_kernel" if depthwise else weight.name
                file[f"{layer.name}/{layer.name}/{variable}:0"] = keras.ops.convert_to_numpy(weight)


CEIL = json.loads((parity.FOLDER.parent / "ceil_pools.json").read_text())
ROUND_UP = {
    "torchvision googlenet": ("googlenet", {"torchvision": True}, "torchvision googlenet"),
    "timm legacy_seresnet18": ("seresnet18", {"depths": (1, 1, 1, 1)}, "timm legacy_seresnet"),
    "timm legacy_seresnet50": ("seresnet50", {"depths": (1, 1, 1, 1)}, "timm legacy_seresnet"),
    "timm legacy_seresnext50": ("seresnext50_32x4d", {"depths": (1, 1, 1, 1)}, "timm legacy_seresnet"),
    "pytorchcv shufflenetv2_wd2": ("shufflenet_v2", {"scale": 0.5}, "pytorchcv shufflenetv2"),
    "pytorchcv bninception": ("inception_bn", {"conv_bias": True}, "pytorchcv bninception"),
}
QUICK = ("googlenet-97", "seresnet18-97", "seresnet18-100", "shufflenetv2_wd2-97")


def regenerated_state(model, source):
    """The tensors that `source` would have for `model`, as the peer in PyTorch had them."""
    network = naming.Network(
        registry.family(model.name).__name__.rpartition(".")[2],
        tuple(layer.name for layer in model.layers if layer.weights),
        tuple(layer.name for layer in model.layers),
        frozenset(layer.name for layer in model.layers if isinstance(layer, GroupedConv2D)),
    )
    names, state = next(found for found in naming.candidates(network) if found.source == source), {}
    for layer in model.layers:
        for weight in layer.weights:
            key, shape = names.key(layer.name, weight.name), tuple(weight.shape)
            if weight.name == "kernel":
                depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
                *sides, width, filters = shape[:-2] + shape[:-3:-1] if depthwise else shape
                shape = (filters, width, *sides)
            state[key] = parity.regenerated(key, CEIL["seed"], shape).astype(np.float32)
    return state


@pytest.mark.parametrize(
    ("peer", "size"),
    [
        pytest.param(peer, size, marks=() if f"{peer}-{size}".endswith(QUICK) else pytest.mark.slow)
        for peer in ROUND_UP
        for size in (97, 100, 224)
    ],
)
def test_pools_that_round_up(peer, size, tmp_path):
    """Logits of PyTorch at sizes where maps are odd, and where they are even."""
    name, columns, source = ROUND_UP[peer]
    expected = np.array(CEIL["logits"][peer][str(size)])
    model = cnn_app.create_model(name, image=(size, size, 3), classes=len(expected), **columns)
    path = write(tmp_path / "weights.npz", regenerated_state(model, source))
    assert load_weights(model, path).source == source
    inputs = parity.image(CEIL["seed"], 1, 3, size, size)
    scale = model.get_layer("rescale")
    pixels = (inputs - np.array(scale.offset)) / np.array(scale.scale)
    near = {"atol": 1e-5 * np.abs(expected).max(), "rtol": 0}
    np.testing.assert_allclose(model.predict_on_batch(pixels)[0], expected, **near)


@pytest.mark.slow
def test_pools_that_round_up_stay_so_in_files_and_exports(tmp_path):
    """Shapes change in place, on a model that has run, too."""
    model = cnn_app.create_model("seresnet18", image=(97, 97, 3), classes=3, depths=(1, 1, 1, 1))
    pixels = RNG.integers(0, 256, (1, 97, 97, 3)).astype(np.float32)
    model.predict(pixels, verbose=0)
    conventions.apply(model, Conventions(padding="symmetric", pool_padding="ceil"))
    logits = model.predict(pixels, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = cnn_app.load_model(tmp_path / "model.keras")
    assert [x.output.shape for x in loaded.layers] == [x.output.shape for x in model.layers]
    assert model.get_layer("stem_pool").output.shape == (None, 24, 24, 64)
    np.testing.assert_array_equal(loaded.predict(pixels, verbose=0), logits)
    np.testing.assert_allclose(graph.deployable(loaded).predict_on_batch(pixels), logits, rtol=1e-4)


def test_a_copy_rounds_as_its_source_also_at_another_size():
    columns = {"depths": (1, 1, 1, 1), "stem": 8, "group_width": 8, "classes": 3}
    for padding, at_97, at_96 in (("ceil", (0, 0), (0, 1)), (None, (1, 1), (1, 1))):
        for size, other in ((97, 96), (96, 97)):
            source, target = (cnn_app.create_model("seresnet18", image=(n, n, 3), **columns) for n in (size, other))
            conventions.apply(source, Conventions(padding="symmetric", pool_padding=padding))
            copy_weights(source, target)
            expected = {97: at_97, 96: at_96}  # the stem leaves 49 and 48 positions
            for model in (source, target):
                assert model.get_layer("stem_pool_pad").padding == (expected[model.input_shape[1]],) * 2


@pytest.mark.slow
def test_a_network_of_before_pools_had_layers_of_zeros_copies_as_it_was():
    """Its pools pad inside, as TensorFlow does; the copy's do the same in front."""
    columns = {"torchvision": True, "image": (97, 97, 3), "classes": 3}
    target = cnn_app.create_model("googlenet", **columns)

    def inside(layer):
        config = layer.get_config()
        if layer.name.startswith("pool"):
            if isinstance(layer, keras.layers.ZeroPadding2D):
                return keras.layers.Activation("linear", name=f"no_{layer.name}")
            config |= {"padding": "same"} if "pool_size" in config else {}
        return layer.__class__.from_config(config)

    source = keras.models.clone_model(target, clone_function=inside)
    copy_weights(source, target)
    pixels = RNG.integers(0, 256, (1, 97, 97, 3)).astype(np.float32)
    assert target.get_layer("pool").input.shape == (None, 4, 4, 1024)
    np.testing.assert_allclose(target.predict_on_batch(pixels), source.predict_on_batch(pixels), atol=1e-5)


@pytest.mark.slow
def test_strides_and_padding_move_on_a_model_that_has_run(tmp_path):
    """v1 -> v1.5 in place: compiled functions, shapes, saved files and the deployment copy follow."""
    columns = {"image": (64, 64, 3), "classes": 3, "depths": (1, 1, 1, 1)}
    first = cnn_app.create_model("resnet50", **columns)
    built = cnn_app.create_model("resnet50", **columns, stride_on=3)
    pixels = RNG.integers(0, 256, (1, 64, 64, 3)).astype(np.float32)
    first.predict(pixels, verbose=0)
    load_weights(first, write(tmp_path / "v15.npz", torch_state(built, "torchvision resnet")))
    load_weights(built, tmp_path / "v15.npz")
    logits = built.predict_on_batch(pixels)
    np.testing.assert_allclose(first.predict(pixels, verbose=0), logits, rtol=1e-5)
    assert complexity(first) == complexity(built)
    assert [x.output.shape for x in first.layers] == [x.output.shape for x in built.layers]
    first.save(tmp_path / "moved.keras")
    again = cnn_app.create_model("resnet50", **columns, weights=tmp_path / "moved.keras")
    np.testing.assert_array_equal(again.predict_on_batch(pixels), first.predict_on_batch(pixels))
    copy = graph.deployable(first)
    np.testing.assert_allclose(copy.predict_on_batch(pixels), logits, rtol=1e-4)


@pytest.mark.slow
def test_padding_that_is_tensorflows_goes_back_into_the_convolution():
    """The deployment copy pads in layers only where the weights want it symmetric and the size is even."""
    model = cnn_app.create_model("mobilenet_v2", width=0.35, image=(64, 64, 3), classes=3)
    pixels = RNG.integers(0, 256, (2, 64, 64, 3)).astype(np.float32)
    for padding, layers in (("same", 0), ("symmetric", 5)):
        conventions.apply(model, Conventions(padding=padding))
        copy = graph.deployable(model)
        assert sum(isinstance(layer, keras.layers.ZeroPadding2D) for layer in copy.layers) == layers
        np.testing.assert_allclose(copy.predict_on_batch(pixels), model.predict_on_batch(pixels), atol=1e-5)


@pytest.mark.slow
def test_zeros_go_back_into_a_pool_behind_a_relu_only():
    """A pool that pads inside has no zeros, which only differs where everything is negative."""
    inputs = keras.Input((8, 8, 2))
    for first, layers in ((keras.layers.ReLU(), 0), (keras.layers.Rescaling(1.0), 1)):
        y = keras.layers.ZeroPadding2D(((0, 1), (0, 1)))(first(inputs))
        model = keras.Model(inputs, keras.layers.MaxPooling2D(3, 2)(y))
        copy = graph.deployable(model)
        assert sum(isinstance(layer, keras.layers.ZeroPadding2D) for layer in copy.layers) == layers
        maps = RNG.normal(-2, 1, (2, 8, 8, 2)).astype(np.float32)
        np.testing.assert_array_equal(copy.predict_on_batch(maps), model.predict_on_batch(maps))
    for name, columns in (("googlenet", {"torchvision": True}), ("seresnet18", {"depths": (1, 1, 1, 1)})):
        for size in (96, 97):  # one zero behind even maps, none around odd ones
            model = cnn_app.create_model(name, image=(size, size, 3), classes=2, **columns)
            conventions.apply(model, Conventions(pool_padding="ceil"))
            kept = [x.name for x in graph.deployable(model).layers if isinstance(x, keras.layers.ZeroPadding2D)]
            assert not [layer for layer in kept if "pool" in layer]


@pytest.mark.slow
def test_moved_strides_cost_what_version_15_costs():
    model = cnn_app.create_model("resnet50")
    conventions.apply(model, Conventions(stride_on=3))
    assert complexity(model).macs == 4_089_184_256
    conventions.apply(model, Conventions(stride_on=1))
    assert complexity(model).macs == 3_857_973_248


def test_shortcuts_without_parameters_pad_around(small, tmp_path):
    model, state = small
    assert load_weights(model, write(tmp_path / "a.npz", state)).source == "akamaster resnet"
    shortcuts = [layer for layer in model.layers if layer.name.endswith("_shortcut")]
    assert [(layer.filters, layer.before) for layer in shortcuts] == [(8, 2), (16, 4)]


def test_other_classes_keep_a_new_head_and_say_so(small, tmp_path):
    path = write(tmp_path / "a.safetensors", small[1])
    model = cnn_app.create_model("resnet20", depths=(1, 1, 1), stem=4, group_width=4, classes=5)
    head = model.get_layer("logits").get_weights()
    assert load_weights(model, path).new_head
    np.testing.assert_array_equal(model.get_layer("logits").get_weights()[0], head[0])
    without = {name: value for name, value in small[1].items() if not name.startswith("linear")}
    assert load_weights(model, write(tmp_path / "b.safetensors", without)).new_head
    assert not load_weights(small[0], path).new_head


def test_models_of_ours_are_all_accounted_for_too(tmp_path):
    columns = {"stem": 4, "group_width": 4, "image": (32, 32, 3), "classes": 3}
    deep = cnn_app.create_model("resnet34", depths=(2, 1, 1, 1), **columns)
    deep.save(tmp_path / "deep.keras")
    shallow = cnn_app.create_model("resnet18", depths=(1, 1, 1, 1), **columns)
    refused(shallow, tmp_path / "deep.keras", r"4 layers left over \(stage1_unit2_a_conv, ")
    other = cnn_app.create_model("resnet34", **columns | {"depths": (2, 1, 1, 1), "classes": 9})
    assert load_weights(other, tmp_path / "deep.keras").new_head
    np.testing.assert_array_equal(other.get_layer("stem_conv").kernel, deep.get_layer("stem_conv").kernel)


def test_a_copy_computes_as_its_source_also_at_another_size():
    source = cnn_app.create_model("mobilenet_v2", width=0.35, image=(64, 64, 3), classes=3)
    conventions.apply(
        source, Conventions(mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0), epsilon=0.5, padding="symmetric", act="relu")
    )
    for size in (64, 96):
        target = cnn_app.create_model("mobilenet_v2", width=0.35, image=(size, size, 3), classes=3)
        copy_weights(source, target)
        assert target.get_layer("stem_pad").padding == ((1, 1), (1, 1))
        assert target.get_layer("stem_bn").epsilon == 0.5 and target.get_layer("rescale").scale[0] == 0.25
    pixels = RNG.integers(0, 256, (1, 64, 64, 3)).astype(np.float32)
    target = cnn_app.create_model("mobilenet_v2", width=0.35, image=(64, 64, 3), classes=3)
    copy_weights(source, target)
    np.testing.assert_array_equal(target.predict_on_batch(pixels), source.predict_on_batch(pixels))


def test_a_failed_load_leaves_the_model_alone(small, tmp_path):
    model, state = small
    before = [weight.numpy() if hasattr(weight, "numpy") else np.asarray(weight) for weight in model.weights]
    with pytest.raises(ModelError):
        load_weights(model, write(tmp_path / "bad.npz", state | {"layer3.0.bn2.bias": np.full(16, np.nan, np.float32)}))
    for weight, old in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(weight), old)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"layer1.0.bn1.weight": None, "fc2.bias": np.zeros(3, np.float32)},
         r"1 missing \(layer1.0.bn1.weight\); 1 left over \(fc2.bias\)"),
        ({"conv1.weight": np.zeros((8, 3, 3, 3), np.float32)}, "1 of another shape .stem_conv 3x3x3x8 for 3x3x3x4"),
        ({"conv1.weight": np.full((4, 3, 3, 3), np.inf, np.float32)}, "NaN or infinity in the tensors of stem_conv"),
        ({"linear.bias": None}, r"1 missing \(linear.bias\)"),
    ],
)  # fmt: skip
def test_every_tensor_is_accounted_for(small, tmp_path, change, text):
    state = {name: value for name, value in (small[1] | change).items() if value is not None}
    refused(small[0], write(tmp_path / "x.safetensors", state), text)


def refused(model, path, text):
    with pytest.raises(CnnAppError, match=text) as error:
        load_weights(model, path)
    assert "\n" not in str(error.value)


def test_other_networks_and_damaged_files(small, tmp_path):
    model, state = small
    refused(model, write(tmp_path / "vgg.npz", {"features.0.weight": np.zeros((4, 3, 3, 3), np.float32)}),
            "has no tensor of resnet20, but features.0.weight; known for this network .* akamaster resnet")  # fmt: skip
    deeper = cnn_app.create_model("resnet20", depths=(2, 1, 1), stem=4, group_width=4, classes=3)
    refused(deeper, write(tmp_path / "short.npz", state), r"10 missing \(layer1.1.conv1.weight, .* and 6 more\)")
    for kind in (".safetensors", ".npz", ".pth", ".h5"):
        path = tmp_path / f"cut{kind}"
        whole = (
            write(tmp_path / f"whole{kind}", state).read_bytes() if kind != ".h5" else b"\x89HDF\r\n\x1a\n" + b"0" * 99
        )
        path.write_bytes(whole[: len(whole) * 2 // 3])
        refused(model, path, "cut")
    refused(model, tmp_path / "none.npz", "no weights at")
    refused(model, tmp_path / "x.onnx", "no known type of weights; known: .keras, .safetensors")
    np.savez(tmp_path / "object.npz", a=np.array([{}], object))
    refused(model, tmp_path / "object.npz", "cannot read")
    np.savez(tmp_path / "empty.npz")
    refused(model, tmp_path / "empty.npz", "holds 0 tensors")
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)], name="mine")
    refused(other, tmp_path / "whole.npz", "'mine' is no network of create_model")
    model.save_weights(tmp_path / "ours.weights.h5")
    refused(model, tmp_path / "ours.weights.h5", "without their graph; give the .keras file")


class Code:
    def __reduce__(self):
        return (print, ("never",))


def test_code_in_a_pickle_is_not_run(small, tmp_path, capsys):
    torch = pytest.importorskip("torch")
    torch.save({"state_dict": {"a": Code()}}, tmp_path / "code.pth")
    refused(small[0], tmp_path / "code.pth", "holds code")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Code()))
    refused(small[0], tmp_path / "plain.pt", "holds code")
    assert capsys.readouterr().out == ""


def test_pytorch_files_say_what_they_need(small, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "x.pth").write_bytes(b"x")
    refused(small[0], tmp_path / "x.pth", "needs PyTorch to be read: pip install torch")


def test_sizes_are_bounded(small, tmp_path, monkeypatch):
    from cnn_app.transfer.pretrained import files

    path = write(tmp_path / "a.npz", small[1])
    monkeypatch.setattr(files, "MAX_BYTES", 1000)
    refused(small[0], path, "more than 0 are refused")


@contextmanager
def server(files):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            content = files.get(self.path)
            self.send_response(200 if content is not None else 404)
            self.send_header("Content-Length", str(len(content or b"") + (9 if self.path == "/broken" else 0)))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{httpd.server_port}"
        finally:
            httpd.shutdown()
            thread.join()


def test_a_download_is_kept_and_must_stay_what_it_was(tmp_path):
    with server({"/a": b"weights", "/broken": b"half"}) as address:
        entry = published.Published(f"{address}/a", "a.h5", "0" * 32)
        with pytest.raises(ModelError, match="has not the md5 0000"):
            published.fetch(entry, tmp_path)
        assert not list(tmp_path.iterdir())
        entry = published.Published(f"{address}/a", "a.h5")
        path = published.fetch(entry, tmp_path)
        assert path.read_bytes() == b"weights" and (tmp_path / "a.h5.sha256").read_text().endswith("  a.h5\n")
        with pytest.raises(ModelError, match="broke off after 4 of 13 bytes|cannot reach"):
            published.fetch(published.Published(f"{address}/broken", "b.h5"), tmp_path)
        with pytest.raises(ModelError, match=r"cannot reach http://127.*/none \(Not Found\); download it"):
            published.fetch(published.Published(f"{address}/none", "c.h5"), tmp_path)
    assert published.fetch(entry, tmp_path) == path  # from the cache
    path.write_bytes(b"changed")
    with pytest.raises(ModelError, match="has not the sha256 .*; remove .*a.h5"):
        published.fetch(entry, tmp_path)


def test_without_a_network_one_line_says_what_to_do(tmp_path, monkeypatch):
    def unreachable(url):
        raise OSError("Network is unreachable")

    monkeypatch.setenv("CNN_APP_CACHE", str(tmp_path))
    monkeypatch.setattr(published, "_open", unreachable)
    told = r"cannot reach https://storage.*resnet50_weights.*h5 \(Network is unreachable\); .* give its path as weights"
    with pytest.raises(ModelError, match=told) as error:
        cnn_app.create_model("resnet50", image=(64, 64, 3), weights="imagenet")
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())
    with pytest.raises(ModelError, match="no ImageNet weights are known to be published for lenet5"):
        cnn_app.create_model("lenet5", weights="imagenet")


@pytest.mark.parametrize(
    ("name", "columns", "end"),
    [
        ("mobilenet_v2", {"width": 0.35, "image": (96, 96, 3)}, "v2_weights_tf_dim_ordering_tf_kernels_0.35_96.h5"),
        ("mobilenet_v1", {"width": 0.25, "image": (100, 128, 3)}, "/mobilenet/mobilenet_2_5_224_tf.h5"),
        ("vgg16", {}, "/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels.h5"),
        ("resnet152", {}, "/resnet/resnet152_weights_tf_dim_ordering_tf_kernels.h5"),
        ("resnet18", {}, "/timm/resnet18.a1_in1k/resolve/main/model.safetensors"),
    ],
)  # fmt: skip
def test_addresses(name, columns, end):
    assert published.of(name, columns).url.endswith(end)


def test_a_file_of_a_cache_is_loaded(tmp_path, small, monkeypatch):
    """The opener's bytes end in the model."""
    _, state = small
    content = write(tmp_path / "x.safetensors", state).read_bytes()

    @contextmanager
    def opener(url):
        stream = io.BytesIO(content)
        stream.headers = {"Content-Length": str(len(content))}
        yield stream

    path = published.fetch(published.Published("https://example/x", "x.safetensors"), tmp_path / "cache", opener)
    model = cnn_app.create_model("resnet20", depths=(1, 1, 1), stem=4, group_width=4, classes=3, weights=path)
    assert model.get_layer("stem_bn").epsilon == 1e-5
