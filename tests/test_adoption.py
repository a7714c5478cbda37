"""Networks of keras.applications and of one's own code as model directories, through the whole chain."""

import json

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from keras import layers

import cnn_app
from cnn_app.artifacts import ModelDir
from cnn_app.cli.main import cli
from cnn_app.data import arrays
from cnn_app.errors import ArtifactError, ModelError, UnknownName
from cnn_app.export.graph import deployable
from cnn_app.jobs.adopt import adopt
from cnn_app.layers import GroupedConv2D
from cnn_app.recipe import Export, Schedule, Transfer
from cnn_app.transfer.adoption import CAFFE_MEAN, adopted

SIDE, LABELS = 32, ("ant", "bee", "cat")
PIXELS = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, 3)).astype(np.float32)


def scored(network):
    return keras.ops.convert_to_numpy(keras.ops.softmax(network.predict_on_batch(PIXELS)))


def trunk():
    return keras.Sequential([layers.Conv2D(4, 3, activation="relu"), layers.BatchNormalization()], name="trunk")


def small(*tail, scale=True, side=SIDE):
    seen = keras.Input((side, side, 3))
    x = layers.Rescaling(1 / 255)(seen) if scale else seen
    x = layers.GlobalAveragePooling2D()(trunk()(x))
    for layer in tail:
        x = layer(x)
    return keras.Model(seen, x, name="theirs")


def softmax():
    return layers.Dense(3, activation="softmax", name="predictions")


@pytest.mark.parametrize("tail", [
    (softmax(),), (layers.Dense(3), layers.Softmax()), (layers.Dense(3), layers.Activation("softmax")),
    (layers.Dense(8, name="logits"), layers.Dense(3, "softmax")),
], ids=["dense", "softmax", "activation", "a layer called logits"])  # fmt: skip
def test_probabilities_become_logits_of_the_same_answers(tail):
    theirs = small(*tail)
    ours = adopted(theirs)
    np.testing.assert_allclose(scored(ours), theirs.predict_on_batch(PIXELS), atol=1e-6)
    assert ours.input.name == "image" and ours.layers[-1].name == "logits"
    assert not any(isinstance(layer, keras.Model) for layer in ours.layers)


def test_logits_are_told_and_probabilities_of_no_layer_are_taken_by_their_logarithm():
    theirs = small(layers.Dense(3))
    np.testing.assert_allclose(adopted(theirs, scores="logits").predict_on_batch(PIXELS),
                               theirs.predict_on_batch(PIXELS), atol=1e-6)  # fmt: skip
    shares = keras.Model(theirs.input, keras.ops.softmax(theirs.output))
    np.testing.assert_allclose(scored(adopted(shares, scores="probabilities")), shares.predict_on_batch(PIXELS),
                               atol=1e-6)  # fmt: skip
    with pytest.raises(ModelError, match="does not tell whether it gives logits or"):
        adopted(theirs)


@pytest.mark.parametrize(("pixels", "seen"), [
    ("0..255", PIXELS), ("0..1", PIXELS / 255), ("-1..1", PIXELS / 127.5 - 1),
    ("imagenet", (PIXELS / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]),
    ("caffe", PIXELS[..., ::-1] - CAFFE_MEAN),
])  # fmt: skip
def test_pixels_are_scaled_as_they_were(pixels, seen):
    theirs = small(softmax(), scale=False)
    wanted = theirs.predict_on_batch(np.asarray(seen, np.float32))
    np.testing.assert_allclose(scored(adopted(theirs, pixels=pixels)), wanted, atol=1e-5)


def test_a_network_in_a_network_and_layers_of_one_name():
    """As the guides for transfer have it: a trunk that is called as a layer, twice here, with weights it shares."""
    inner = keras.Sequential([layers.Conv2D(3, 1, name="conv2d")], name="inner")
    seen = keras.Input((None, None, 3))
    x = layers.Conv2D(3, 1, name="conv2d")(layers.Rescaling(1 / 255)(seen))
    x = layers.GlobalMaxPooling2D()(inner(inner(x)))
    theirs = keras.Model(seen, softmax()(x))
    with pytest.raises(ModelError, match="any size; say which by image"):
        adopted(theirs)
    ours = adopted(theirs, (SIDE, SIDE))
    np.testing.assert_allclose(scored(ours), theirs.predict_on_batch(PIXELS), atol=1e-6)
    assert len(ours.trainable_weights) == 6  # two convolutions and a layer


@pytest.mark.parametrize(("model", "options", "told"), [
    (lambda: small(softmax(), scale=False), {}, "say by pixels what it was trained on: 0..255, 0..1"),
    (lambda: small(layers.Dense(3, "sigmoid")), {}, "each class stands by itself"),
    (lambda: small(softmax()), {"scores": "logits"}, "ends with a softmax"),
    (lambda: small(layers.Dense(1)), {}, r"gives \(None, 1\)"),
    (lambda: small(softmax()), {"image": (64, 64)}, "takes images of 32x32, received 64x64"),
    (lambda: keras.Sequential([keras.Input((5,)), layers.Dense(2)]), {}, r"takes \(None, 5\)"),
    (lambda: small(softmax(), side=None), {}, "takes images of any size; say which by image, such as 224x224"),
    (lambda: small(layers.Dense(3), layers.ReLU()), {}, "does not tell whether it gives logits or"),
    (lambda: several(inputs=2), {}, "one input of images .* can be adopted"),
    (lambda: several(outputs=2), {}, "scores .* of two classes or more can be adopted"),
    (lambda: Code(), {}, "is no graph of layers, but code; build it by Keras's functional API"),
])  # fmt: skip
def test_what_cannot_be_adopted(model, options, told):
    """Each in one line."""
    with pytest.raises(ModelError, match=told) as caught:
        adopted(model(), **options)
    assert "\n" not in str(caught.value)


def several(inputs=1, outputs=1):
    seen = [keras.Input((SIDE, SIDE, 3)) for _ in range(inputs)]
    x = layers.GlobalAveragePooling2D()(layers.Add()(seen) if inputs > 1 else seen[0])
    return keras.Model(seen, [layers.Dense(3, activation="softmax")(x) for _ in range(outputs)])


class Code(keras.Model):
    """Somebody's own, which nothing but its Python can carry out."""

    def __init__(self):
        super().__init__()
        self.last = softmax()

    def call(self, x):
        return self.last(keras.ops.mean(x, (1, 2)))


class Own(layers.Layer):
    """A layer that no file can bring along."""

    def call(self, x):
        return 2 * x


def test_a_file_with_a_layer_that_is_elsewhere_is_one_line(tmp_path):
    Own.__module__ = "nowhere"  # or Keras would find it here
    small(Own(), softmax()).save(tmp_path / "own.keras")
    with pytest.raises(
        ArtifactError, match="own.keras: it has Own, which is code that is not in the file; build"
    ) as caught:
        adopt(tmp_path / "own.keras", LABELS, tmp_path / "out")
    assert "\n" not in str(caught.value) and not (tmp_path / "out" / "card.json").exists()


def test_convolutions_in_groups_are_those_that_servers_have():
    """Keras compiles its own by XLA, which neither TF Serving nor ONNX take."""
    seen = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(8, 3, activation="relu")(layers.Rescaling(1 / 255)(seen))
    x = layers.Conv2D(8, 3, 2, "same", groups=4, activation="tanh")(x)
    x = layers.Conv2D(4, 3, groups=2, dilation_rate=2, use_bias=False)(x)
    theirs = keras.Model(seen, softmax()(layers.GlobalAveragePooling2D()(x)))
    ours = adopted(theirs)
    np.testing.assert_allclose(scored(ours), theirs.predict_on_batch(PIXELS), atol=1e-6)
    assert sum(isinstance(layer, GroupedConv2D) for layer in ours.layers) == 2
    oblong = keras.Model(seen, softmax()(layers.Flatten()(layers.Conv2D(6, (1, 3), groups=3)(seen))))
    with pytest.raises(ModelError, match="in 3 groups with kernel, strides or dilation that are not square"):
        adopted(oblong, pixels="0..255")


def test_operations_between_layers_become_layers(tmp_path):
    """As `x * 0.5 + 1` in the code of a network; a file of ours holds them, and exports go through them."""
    seen = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(4, 3, 2)(layers.Rescaling(1 / 255)(seen))
    x = 1 - keras.ops.concatenate([x * 0.5 + 1, x * keras.ops.relu(x)], axis=-1)
    theirs = keras.Model(seen, softmax()(keras.ops.mean(x, axis=(1, 2))))
    ours = adopted(theirs)
    assert all(isinstance(operation, keras.Layer) for operation in ours.operations)
    ours.save(tmp_path / "ours.keras")
    for network in (ours, cnn_app.load_model(tmp_path / "ours.keras"), deployable(ours)):
        np.testing.assert_allclose(scored(network), theirs.predict_on_batch(PIXELS), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "pixels"), [("MobileNetV3Small", None), ("MobileNetV2", "-1..1")])
def test_networks_of_keras_applications(name, pixels, tmp_path):
    """The very answers; a file of theirs opens; the last layer with weights is where a new head goes."""
    theirs = getattr(keras.applications, name)(weights=None, input_shape=(SIDE, SIDE, 3), classes=3)
    theirs.save(tmp_path / "theirs.keras")
    (tmp_path / "labels.txt").write_text("ant\nbee\ncat\n")
    asked = ["--pixels", pixels] if pixels else []
    result = CliRunner().invoke(cli, ["adopt", str(tmp_path / "theirs.keras"), "--labels", str(tmp_path / "labels.txt"),
                                      "--out", str(tmp_path / "ours"), "--json", *asked])  # fmt: skip
    assert json.loads(result.stdout)["input"] == {"kind": "image", "image": [SIDE, SIDE, 3]}
    scaled = PIXELS / 127.5 - 1 if pixels else PIXELS
    ours = cnn_app.load_model(tmp_path / "ours")
    np.testing.assert_allclose(scored(ours), theirs.predict_on_batch(scaled), atol=1e-5)


# --- through the chain


def coloured(count=90):
    """Red, green and blue images."""
    random = np.random.default_rng(1)
    places = np.arange(count) % 3
    images = random.integers(0, 100, (count, SIDE, SIDE, 3)).astype(np.uint8)
    images[np.arange(count), :, :, places] += 100
    return arrays({"train": (images, places)}, LABELS)


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """A network that tells colours, as others would have trained it."""
    theirs = small(softmax())
    records = coloured().splits["train"]
    theirs.compile(keras.optimizers.Adam(0.03), "sparse_categorical_crossentropy", jit_compile=False)
    theirs.fit(records.inputs["image"].array, records.targets["class"].array, epochs=60, verbose=0)
    place = tmp_path_factory.mktemp("adopted") / "colours"
    adopt(theirs, LABELS, place)
    return place


def test_every_command_takes_it(ours):
    assert cnn_app.evaluate(ours, coloured()).report.metrics["top1"] == 1.0
    targets = ("saved_model", "tflite-float32", "tflite-int8", "onnx")
    results = cnn_app.export(ours, Export(targets=targets, max_drop=0.0), coloured())
    assert [(result.agreement, result.value) for result in results] == [(1.0, 1.0)] * 4
    assert max(result.max_difference for result in results if result.target != "tflite-int8") < 1e-4
    (found,) = cnn_app.predict(
        ModelDir(ours).mobile / "colours-int8.tflite", coloured().splits["train"].inputs["image"].array[:1]
    )
    assert found.answer["top"][0]["label"] == "ant"


@pytest.mark.parametrize("freeze", ["none", "backbone"])
def test_it_is_trained_further(ours, tmp_path, freeze):
    """On the same classes from where it stood; on others with a new head."""
    schedule = Schedule(epochs=1, batch=16, lr=1e-3, augment=())
    card = cnn_app.finetune(ours, coloured(), tmp_path / "same", schedule=schedule, transfer=Transfer(freeze=freeze))
    assert card.architecture == "adopted" and card.metrics["test"]["top1"] == 1.0
    known = coloured()
    two = arrays(
        {"train": (known.splits["train"].inputs["image"].array, known.splits["train"].targets["class"].array % 2)},
        ("even", "odd"),
    )
    card = cnn_app.finetune(ours, two, tmp_path / "other", schedule=schedule, transfer=Transfer(freeze=freeze))
    assert card.labels == ("even", "odd") and card.metrics["test"]["top1"] >= 0.9
    assert cnn_app.load_model(tmp_path / "other").output_shape == (None, 2)


def test_files_and_labels_that_do_not_fit(ours, tmp_path):
    with pytest.raises(ModelError, match="2 labels for 3 classes"):
        adopt(small(softmax()), ("a", "b"), tmp_path / "a")
    with pytest.raises(ModelError, match="stands twice"):
        adopt(small(softmax()), ("a", "b", "a"), tmp_path / "a")
    with pytest.raises(ModelError, match="a model of ours"):
        adopt(ours / "model.keras", LABELS, tmp_path / "a")
    with pytest.raises(UnknownName, match="no column of an adopted network named 'width'"):
        cnn_app.finetune(ours, coloured(), tmp_path / "a", columns={"width": 2})
    with pytest.raises(ModelError, match="has no head for segmentation"):
        cnn_app.finetune(ours, coloured(), tmp_path / "a", task={"name": "segmentation"})
    code = keras.Sequential([keras.Input((SIDE, SIDE, 3)), layers.Lambda(lambda x: x), layers.Flatten(), softmax()])
    code.save(tmp_path / "code.keras")
    with pytest.raises(ArtifactError, match="holds code"):
        adopt(tmp_path / "code.keras", LABELS, tmp_path / "a")
    assert not (tmp_path / "a").exists() or not (tmp_path / "a" / "card.json").exists()
