"""Where a network looked: by hand arithmetic, by theorems, and on objects whose places are known."""

import json
from dataclasses import replace
from functools import partial

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from keras import layers
from PIL import Image as Pictures

import cnn_app
from cnn_app.analysis import field, sheets, ways
from cnn_app.analysis.attribution import explained, method
from cnn_app.analysis.attribution.guided import attributions as guided
from cnn_app.analysis.attribution.integrated import attributions as integrated
from cnn_app.analysis.attribution.rectified import rectified_back
from cnn_app.analysis.maximised import maximised
from cnn_app.analysis.receptive_field import views
from cnn_app.analysis.strongest import Strongest
from cnn_app.cli.main import cli
from cnn_app.inputs.image import Image
from cnn_app.jobs import visualize as job
from cnn_app.runtimes.keras_model import KerasRuntime
from cnn_app.tasks.classification import Classification
from cnn_app.tasks.segmentation import Segmentation

SHAPES = "tests/compat/store/shapes"


def seen(model, place=0, layer=None, kind=Classification):
    """`explained` of a network whose input is `image` and whose output is logits."""
    labels = tuple("abcdef"[: model.output_shape[-1]])
    task = kind(input=Image(tuple(model.input_shape[1:])), labels=labels)
    return explained(KerasRuntime(task.deployed(model)), task, place, model, layer)


def chain(*row, image=(6, 6, 3)):
    keras.utils.set_random_seed(0)
    pixels = x = keras.Input(image, name="image")
    for layer in row:
        x = layer(x)
    return keras.Model(pixels, x)


def pixels(shape=(6, 6, 3), seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def test_of_a_linear_network_gradients_are_its_weights():
    model = chain(layers.Conv2D(3, 1, use_bias=False), layers.Flatten(), layers.Dense(2, name="logits"))
    mixed, dense = model.layers[1].get_weights()[0][0, 0], model.layers[-1].get_weights()[0]
    weights = dense[:, 1].reshape(6, 6, 3) @ mixed.T
    image, one = pixels(), seen(model, 1)
    np.testing.assert_allclose(method("saliency")(one, image), np.abs(weights).max(-1), rtol=1e-5)
    np.testing.assert_allclose(method("smoothgrad")(one, image), np.abs(weights).max(-1), rtol=1e-5)
    np.testing.assert_allclose(integrated(one, image), weights * image, rtol=1e-4)
    for name in ("guided", "deconvnet"):  # there is no ReLU
        np.testing.assert_allclose(method(name)(one, image), np.abs(weights).max(-1), rtol=1e-5)


def test_behind_a_global_mean_gradcam_is_the_class_activation_map():
    """Zhou et al., arXiv:1512.04150: the maps weighed by the classifier, here of 36 places."""
    model = chain(layers.Conv2D(5, 3, padding="same", activation="relu", name="maps"),
                  layers.GlobalAveragePooling2D(), layers.Dense(2, name="logits"))  # fmt: skip
    image, one = pixels(), seen(model)
    assert one.layer == "maps"
    maps = keras.Model(model.input, model.get_layer("maps").output)(image[None].astype("float32"))[0]
    wanted = np.maximum(np.asarray(maps) @ model.layers[-1].get_weights()[0][:, 0], 0) / 36
    np.testing.assert_allclose(method("gradcam")(one, image), wanted, rtol=1e-4, atol=1e-4)


def test_gradcam_plus_by_hand():
    """One map: its weight is positive or none, so the heat is the map times it."""
    model = chain(layers.Conv2D(1, 1, use_bias=False, name="maps"), layers.GlobalAveragePooling2D(),
                  layers.Dense(2, use_bias=False, name="logits"))  # fmt: skip
    model.get_layer("maps").set_weights([np.ones((1, 1, 3, 1))])
    model.layers[-1].set_weights([np.array([[3.6, -3.6]])])
    image = pixels()
    summed, slope = image.sum(-1).astype(float), 3.6 / 36
    weight = 36 * slope * slope**2 / (2 * slope**2 + summed.sum() * slope**3)
    np.testing.assert_allclose(method("gradcam_plus")(seen(model), image), summed * weight, rtol=1e-4)
    assert not method("gradcam_plus")(seen(model, 1), image).any()


def test_integrated_gradients_add_up_to_what_the_score_gained():
    model = cnn_app.load_model(SHAPES)
    image, one = pixels(model.input_shape[1:]) // 2, seen(model, 2)
    black = np.zeros_like(image)
    scores = [float(one.score(model(picture[None].astype("float32")))[0]) for picture in (image, black)]
    assert integrated(one, image).sum() == pytest.approx(scores[0] - scores[1], rel=0.05)


def test_a_relu_passes_back_what_is_positive_and_was_passed():
    """Two units of one pixel with two channels: by hand, for both rules, for ReLU6 and a layer of its own, too."""
    for relu in (layers.ReLU(), layers.ReLU(6.0), layers.Activation("relu"), layers.Activation("relu6")):
        model = chain(layers.Flatten(), layers.Dense(3, use_bias=False), relu,
                      layers.Dense(1, use_bias=False, name="logits"), image=(1, 1, 2))  # fmt: skip
        # Units see 0.01 x, -0.01 x and 0.02 y; the first is passed, the second not, the third counts against.
        model.layers[2].set_weights([np.array([[0.01, -0.01, 0], [0, 0, 0.02]])])
        model.get_layer("logits").set_weights([np.array([[2.0], [3.0], [-1.0]])])
        one = explained(KerasRuntime(model_of(model)), None, 0, None, None)
        one = replace(one, model=model, rectified=partial(rectified_back, model))
        image = np.full((1, 1, 2), 100, np.uint8)
        np.testing.assert_allclose(guided(one, image)[0, 0], [0.02, 0], atol=1e-7)
        np.testing.assert_allclose(method("deconvnet")(one, image), [[0.01]], atol=1e-7)  # |0.02 - 0.03|
        np.testing.assert_allclose(method("saliency")(one, image), [[0.02]], atol=1e-7)  # max of 0.02 and |-0.02|


def model_of(model):
    return keras.Model(model.input, {"probabilities": model.output})


def test_occlusion_is_what_is_lost_under_each_patch():
    """Of a network that looks at one pixel alone: patches of 2x2 that move by one, so up to four cover it."""
    model = chain(layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(1, activation="linear", name="p"),
                  image=(12, 12, 1))  # fmt: skip
    weights = np.zeros((144, 1))
    weights[5 * 12 + 7] = 1
    model.get_layer("p").set_weights([weights, np.zeros(1)])
    image = np.zeros((12, 12, 1), np.uint8)
    image[5, 7] = 144  # the mean is 1
    task = Classification(input=Image((12, 12, 1)), labels=("a",))
    heat = method("occlusion")(explained(KerasRuntime(model_of(model)), task, 0, None, None), image)
    lost, share = 143 / 255, np.zeros((12, 12))
    for row in range(4, 7):
        for column in range(6, 9):
            share[row, column] = (2 - abs(row - 5)) * (2 - abs(column - 7)) / 4
    np.testing.assert_allclose(heat, lost * share, atol=1e-6)


def test_of_a_map_the_places_of_the_class_are_explained():
    model = chain(layers.Conv2D(2, 1, use_bias=False, name="logits"), image=(4, 4, 1))
    model.get_layer("logits").set_weights([np.array([[[[1.0, 0.0]]]])])
    image = np.zeros((4, 4, 1), np.uint8)
    image[:2] = 10  # there the first class has more; elsewhere both have nothing, and the first comes first
    one = seen(model, 0, "logits", Segmentation)
    np.testing.assert_allclose(method("saliency")(one, image), np.full((4, 4), 1 / 16), atol=1e-7)
    one = seen(model, 1, "logits", Segmentation)
    assert not method("saliency")(one, image).any()


def test_a_network_looks_at_the_object():
    """The largest value lies on the shape that was drawn, where the network knows it."""
    from cnn_app.data import shapes

    model, draw, hits = cnn_app.load_model(SHAPES), np.random.default_rng(7), []
    high, wide, _ = model.input_shape[1:]
    task = job.opened_as(model)[1]
    for number in range(10):
        grain, fill, corners = shapes.sketch(shapes.CLASSES[number % 5], draw)
        image = task.input.load(_png(shapes.painted(grain, [(corners, fill)])), "drawn")["image"]
        one = explained(KerasRuntime(task.deployed(model)), task, number % 5, model, None)
        row, column = np.unravel_index(method("gradcam")(one, image).argmax(), image.shape[:2])
        (left, top), (right, low) = corners.min(0) * high / 64, corners.max(0) * high / 64
        hits.append(left - 2 <= column <= right + 2 and top - 2 <= row <= low + 2)
    assert np.mean(hits) >= 0.8


def _png(image):
    import io

    stream = io.BytesIO()
    Pictures.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def test_a_network_is_copied_once_for_all_images():
    one = seen(chain(layers.Conv2D(2, 1, activation="relu"), layers.Flatten(), layers.Dense(2, name="logits")))
    assert replace(one, place=1).rectified(False) is one.rectified(False) is not one.rectified(True)


def test_the_strongest_images_of_a_channel_and_what_it_sees_of_them():
    """A channel that answers the middle of 3x3 pixels by their red, one by their blue: images with a dot in each."""
    model = chain(layers.Conv2D(2, 3, padding="same", activation="relu", name="maps"),
                  layers.GlobalAveragePooling2D(), layers.Dense(2, name="logits"))  # fmt: skip
    kernel = np.zeros((3, 3, 3, 2))
    kernel[1, 1, 0, 0] = kernel[1, 1, 2, 1] = 1
    model.get_layer("maps").set_weights([kernel, np.zeros(2)])
    strongest = Strongest(seen(model))
    for number in range(40):  # more than a batch
        image = np.zeros((6, 6, 3), np.uint8)
        image[number % 6, 5, 0], image[0, number % 5, 2] = 100 + number, 200 - number
        strongest.add(image)
    red, blue = strongest.peaks(0), strongest.peaks(1)
    assert [peak.value for peak in red] == list(range(139, 130, -1))
    assert [peak.value for peak in blue] == list(range(200, 191, -1))
    assert [(peak.row, peak.column) for peak in red[:2]] == [(39 % 6, 5), (38 % 6, 5)]
    assert strongest.windows(red[:1]) == [(slice(2, 5), slice(4, 6))] and strongest.liveliest(1) == [1]
    back = strongest.projected(blue[:2], 1, through_closed=False)
    assert back.sum() == 2 and back[0, 0, 0, 2] == back[1, 0, 1, 2] == 1


@pytest.mark.parametrize(("name", "columns", "layer", "side"), [
    ("resnet20", {"depths": (1, 1, 1)}, "stage2_unit1_out", 64), ("lenet5", {}, "c3", 48),
    ("vgg11", {"width": 1 / 16}, "stage3_pool", 80), ("mobilenet_v2", {"width": 0.35}, "stage3_unit1_project_bn", 96),
    ("resnet18", {}, "stage2_unit1_out", 128), ("alexnet", {"lrn": (), "channels": (4, 4, 4, 4, 4)}, "conv3_relu", 227),
])  # fmt: skip
def test_what_has_a_gradient_is_what_the_closed_form_says(name, columns, layer, side):
    model = cnn_app.create_model(name, image=(side, side, 3 if name != "lenet5" else 1), classes=2, **columns)
    model = keras.Model(model.input, model.get_layer(layer).output)
    found = field.field(model, layer, np.zeros(model.input_shape[1:], np.float32), positive=True)
    wanted = views(model)[layer].size
    assert wanted < side and field.extent(found) == (wanted, wanted)
    there = np.flatnonzero(found.shares.any(1))
    assert (there[0], there[-1]) == found.rows
    assert found.square(0.5)[2] < found.square(0.95)[2] <= wanted


def test_the_square_with_a_share_of_what_is_seen():
    shares = np.zeros((7, 7))
    shares[3, 3], shares[2, 3], shares[3, 0] = 0.5, 0.3, 0.2
    seen_of_it = field.Field(shares, 0, 0, (1, 5), (1, 5))
    assert [seen_of_it.square(share) for share in (0.5, 0.7, 1)] == [(3, 3, 1), (2, 2, 3), (0, 0, 7)]


def test_the_image_that_a_class_answers_most():
    model = chain(layers.GlobalAveragePooling2D(), layers.Dense(3, use_bias=False, name="logits"))
    model.get_layer("logits").set_weights([np.eye(3) - 1 / 3])
    red, blue = maximised(model, [0, 2], steps=24).mean((1, 2))
    assert red[0] > 170 > 120 > red[1:].max() and blue[2] > 170 > 120 > blue[:2].max()


# --- the command


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "square.png"
    path.write_bytes(_png(pixels((48, 40, 3))))
    return str(path)


def test_the_command_draws_a_sheet_for_each_image(tmp_path, photo):
    out = tmp_path / "seen"
    common = ["visualize", SHAPES, photo, "--out", str(out)]
    result = CliRunner().invoke(cli, [*common, "--what", "gradcam", "--what", "filters", "--what", "maps", "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert [row["name"] for row in told] == ["filters", photo, photo] and told[1]["probability"] > 0
    assert sorted(row["path"] for row in told) == sorted(map(str, out.iterdir()))
    assert sorted(path.name for path in out.iterdir()) == ["filters.png", "square.maps.png", "square.seen.png"]
    for path in out.iterdir():
        with Pictures.open(path) as sheet:
            assert min(sheet.size) > 150


def test_what_is_of_the_network_or_of_all_images(tmp_path, photo):
    out, other = tmp_path / "seen", tmp_path / "more"
    other.mkdir()
    (other / "square.png").write_bytes(_png(pixels((40, 40, 3), 1)))
    common = ["visualize", SHAPES, photo, str(other), "--out", str(out), "--layer", "stage1", "--json"]
    ways = ["--what", "strongest", "--channel", "3", "--channel", "1", "--what", "maximised", "--class", "star"]
    result = CliRunner().invoke(cli, [*common, *ways, "--what", "field"])
    assert result.exit_code == 0, result.output
    names = [row["name"] for row in json.loads(result.stdout)]
    assert names == ["maximised", photo, str(other / "square.png"), "strongest"]
    assert sorted(path.name for path in out.iterdir()) == [
        "maximised.png", "square (2).field.png", "square.field.png", "stage1_unit1_out.strongest.png",
    ]  # fmt: skip


def test_a_file_of_others_is_opened_or_told_what_makes_a_model_of_it(tmp_path, photo):
    ours, theirs = tmp_path / "ours.keras", tmp_path / "theirs.keras"
    cnn_app.create_model("resnet20", depths=(1, 1, 1), image=(16, 16, 3), classes=3).save(ours)
    chain(layers.Flatten(), layers.Dense(3), image=(16, 16, 3)).save(theirs)
    _rename_input(theirs)
    result = CliRunner().invoke(cli, ["visualize", str(ours), photo, "--out", str(tmp_path / "seen")])
    assert result.exit_code == 0 and "class " in result.stdout, result.output
    result = CliRunner().invoke(cli, ["visualize", str(theirs), photo, "--out", str(tmp_path / "other")])
    assert result.exit_code == 1 and "cnn-app adopt makes a model directory" in result.stderr


def _rename_input(file):
    model = cnn_app.load_model(file)
    taken = keras.Input(model.input_shape[1:], name="pixels")
    keras.Model(taken, model(taken)).save(file)


def test_a_file_without_gradients_is_asked_by_patches(tmp_path, photo):
    (file,) = (path for path in (cnn_app.artifacts.ModelDir(SHAPES).path / "mobile").glob("*int8.tflite"))
    out = ["--out", str(tmp_path / "seen")]
    result = CliRunner().invoke(cli, ["visualize", str(file), photo, "--what", "occlusion", *out])
    assert result.exit_code == 0, result.output
    result = CliRunner().invoke(cli, ["visualize", str(file), photo, *out])
    assert result.exit_code == 1 and "gradcam needs a Keras model" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(("given", "told"), [
    (["--class", "hexagon"], "no class named 'hexagon'; known: circle"),
    (["--layer", "stage9"], "no layer or stage named 'stage9'"),
    (["--channel", "32"], "has no channel 32; it has 32, from 0 to 31"),
    (["--layer", "logits"], "logits gives (5,), which is no map"),
])  # fmt: skip
def test_what_is_not_there_is_told_before_any_work(tmp_path, photo, given, told):
    result = CliRunner().invoke(cli, ["visualize", SHAPES, photo, *given, "--out", str(tmp_path / "seen")])
    assert result.exit_code == 1 and told in result.stderr and not (tmp_path / "seen").exists()
    assert len(result.stderr.strip().splitlines()) == 1


def test_an_image_that_is_none_is_told_and_the_rest_is_drawn(tmp_path, photo):
    (tmp_path / "broken.png").write_bytes(b"no image")
    arguments = ["visualize", SHAPES, str(tmp_path / "broken.png"), photo, "--out", str(tmp_path / "seen")]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 1 and "1 of the images" in result.stderr
    assert [path.name for path in (tmp_path / "seen").iterdir()] == ["square.seen.png"]


@pytest.mark.parametrize("name", ways.METHODS)
def test_every_method_gives_each_pixel_a_share(name):
    model = cnn_app.create_model("resnet20", depths=(1, 1, 1), image=(16, 12, 1), classes=3)
    heat = method(name)(seen(model), pixels((16, 12, 1)))
    assert heat.shape == (16, 12) and np.isfinite(heat).all() and heat.min() >= 0


def test_a_few_bright_pixels_leave_the_others_visible():
    heat = np.full((100, 100), 0.5)
    heat[0, 0] = 1000
    assert sheets.scaled(heat)[50, 50] == 1 and sheets.scaled(np.zeros((4, 4))).max() == 0
