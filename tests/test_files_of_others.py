"""Files that say nothing of themselves: answered where it is clear what they take, refused in a line elsewhere."""

import os
from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from PIL import Image as Picture
from scores import write

import cnn_app
from cnn_app import data as sources
from cnn_app.cli.main import cli
from cnn_app.errors import ModelError
from cnn_app.export import graph, tflite
from cnn_app.tensors import Spec

DIGITS = tuple("0123456789")
PEERS = Path(os.environ.get("CNN_APP_PEERS", "nowhere"))  # files that Google published
MOBILENET = PEERS / "mobilenet_v2_1.0_224_quant.tflite"
DEEPLAB = PEERS / "deeplabv3_mnv2_dm05_pascal_quant.tflite"


def line(*arguments):
    """The one line on stderr of a command that fails."""
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == 1 and len(result.stderr.splitlines()) == 1, result.output
    assert result.stdout == ""
    return result.stderr


def lite(folder, model, integers=False):
    """`model` by TensorFlow's own converter, as others make files."""
    path = folder / "other.tflite"
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if integers:
        shape = (1, *model.input_shape[1:])
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: iter([[np.random.default_rng(0).normal(size=shape).astype("f")]])
        converter.inference_input_type = converter.inference_output_type = integers
    with tflite.silence():
        path.write_bytes(converter.convert())
    return path


@pytest.fixture(scope="module")
def networks():
    """Random LeNets by their number of classes."""
    keras.utils.set_random_seed(0)
    return {classes: cnn_app.create_model("lenet5", classes=classes) for classes in (5, 10)}


@pytest.fixture
def image(tmp_path):
    Picture.new("RGB", (32, 32), (200, 30, 30)).save(tmp_path / "red.png")
    return tmp_path / "red.png"


def bare(model, kind, path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, *model.input_shape[1:])).astype(np.uint8)
    write(kind, graph.deployable(model), path, pixels)
    return path


def names(path, labels):
    path.write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ["tflite-float32", "tflite-int8", "onnx"])
def test_labels_in_the_order_of_the_outputs_give_the_right_figures(networks, tmp_path, kind):
    """A file whose classes stand in another order than the data's, against the network that it is of."""
    model, order = networks[10], np.random.default_rng(1).permutation(10)
    moved = keras.models.clone_model(model)
    moved.set_weights(model.get_weights())
    kernel, bias = model.get_layer("logits").get_weights()
    moved.get_layer("logits").set_weights([kernel[:, order], bias[order]])
    file, labels = bare(moved, kind, tmp_path / f"x.{kind.partition('-')[0]}"), [DIGITS[place] for place in order]
    found = cnn_app.evaluate(file, "digits", labels=labels).report
    wanted = cnn_app.evaluate(model, "digits", labels=DIGITS).report
    assert found.labels == tuple(labels) and wanted.labels == DIGITS
    exact = kind != "tflite-int8"
    assert (found.n, found.top1) == (wanted.n, pytest.approx(wanted.top1, abs=1e-6 if exact else 0.05))
    assert found.loss == pytest.approx(wanted.loss, abs=1e-4 if exact else 0.05)
    if exact:
        assert found.per_class == wanted.per_class and max(found.per_class.values()) > 0
        np.testing.assert_array_equal(found.confusion, wanted.confusion[np.ix_(order, order)])
    wrong = cnn_app.evaluate(file, "digits", labels=DIGITS).report
    assert wrong.loss != pytest.approx(found.loss, abs=1e-3)


@pytest.mark.slow
def test_evaluate_tells_what_it_lacks_in_one_line(networks, tmp_path):
    five, ten = (bare(networks[n], "onnx", tmp_path / f"{n}.onnx") for n in (5, 10))
    few, many = names(tmp_path / "5.txt", "abcde"), names(tmp_path / "10.txt", DIGITS)
    evaluate = ("evaluate", "--data", "digits")
    assert f"{ten} has no labels inside" in line(*evaluate, ten) and "--labels FILE names them" in line(*evaluate, ten)
    assert "10 outputs and 5 labels; give the labels of these outputs" in line(*evaluate, ten, "--labels", few)
    assert "5 outputs and 10 labels; give the labels of these outputs" in line(*evaluate, five, "--labels", many)
    assert "digits has other classes than the model: the model does not know 0, 1" in line(
        *evaluate, five, "--labels", few
    )
    assert "other classes than the model" in line("evaluate", "--data", "shapes", ten, "--labels", many)
    (tmp_path / "latin.txt").write_bytes("Löwe\n".encode("latin-1"))
    assert "latin.txt is not UTF-8" in line(*evaluate, ten, "--labels", tmp_path / "latin.txt")
    assert "'a' stands twice" in line(*evaluate, five, "--labels", names(tmp_path / "twice.txt", "abcda"))
    result = CliRunner().invoke(cli, [*evaluate, str(ten), "--labels", str(many)])
    assert result.exit_code == 0 and "recall" in result.stdout


def test_a_file_of_five_labels_and_one_of_ten_are_not_one_ensemble(networks, tmp_path):
    files = [bare(networks[n], "onnx", tmp_path / f"{n}.onnx") for n in (5, 10)]
    with pytest.raises(ModelError, match="has 5 outputs and 10 labels"):
        cnn_app.evaluate(files[::-1], "digits", labels=DIGITS)


@pytest.mark.parametrize("integers", [False, tf.int8], ids=["float32", "int8"])
def test_sound_is_taken_for_no_image(tmp_path, image, integers):
    """A keyword spotter takes 49x10x1, too: coefficients of sound."""
    inputs = keras.Input((49, 10, 1))
    sound = keras.Model(inputs, keras.layers.Softmax()(keras.layers.Dense(4)(keras.layers.Flatten()(inputs))))
    file = lite(tmp_path, sound, integers)
    kind = "int8" if integers else "float32"
    for command in (("predict", file, image), ("evaluate", file, "--data", "digits")):
        told = line(*command)
        assert "says nothing of itself, and takes" in told and f"{kind} (n, 49, 10, 1), which may mean anything" in told


@pytest.mark.parametrize("case", ["two outputs", "a map"])
def test_outputs_that_answer_no_task_are_told(tmp_path, image, case):
    inputs = keras.Input((8, 8, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(inputs)
    scores = keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(x))
    outputs = [scores, keras.layers.Softmax()(scores)] if case == "two outputs" else keras.layers.Conv2D(4, 2)(x)
    file = lite(tmp_path, keras.Model(inputs, outputs))
    for command in (("predict", file, image), ("evaluate", file, "--data", "digits")):
        told = line(*command)
        assert "says nothing of itself, and gives" in told and "the answer to no task" in told
        assert told.count("float32 (n, ") == (2 if case == "two outputs" else 1)


@pytest.mark.parametrize("kind", ["scores", "places", "places with an axis"])
def test_a_map_as_large_as_its_image_is_segmentation(tmp_path, kind):
    """Of classes without names, numbers; with names, up to an empty line. Places are what ArgMax gives."""
    inputs = keras.Input((8, 8, 3), dtype="uint8")
    x = keras.layers.Rescaling(1.0)(inputs)  # the brightest channel
    places = keras.layers.Lambda(lambda x: tf.argmax(x, -1))
    axis = keras.layers.Lambda(lambda x: tf.argmax(x, -1)[..., None])
    outputs = {"scores": lambda x: x, "places": places, "places with an axis": axis}[kind](x)
    file = lite(tmp_path, keras.Model(inputs, outputs))
    colours = np.zeros((16, 24, 3), np.uint8)
    colours[:8, :, 0], colours[8:, :18, 1], colours[8:, 18:, 2] = 200, 200, 200
    Picture.fromarray(colours).save(tmp_path / "x.png")
    (found,) = cnn_app.predict(file, tmp_path / "x.png")
    assert [(row["label"], row["share"]) for row in found.answer["top"]] == [("0", 0.5), ("1", 0.375), ("2", 0.125)]
    (tmp_path / "labels.txt").write_text("red\ngreen\nblue\n\nand what this file is\n")
    folders = ("--masks", str(tmp_path / "m"), "--draw", str(tmp_path / "d"))
    arguments = ["predict", str(file), str(tmp_path / "x.png"), "--labels", str(tmp_path / "labels.txt")]
    result = CliRunner().invoke(cli, [*arguments, *folders])
    assert result.exit_code == 0 and result.stdout.endswith("red 50.0%  green 37.5%  blue 12.5%\n"), result.output
    with Picture.open(tmp_path / "m" / "x.png") as mask, Picture.open(tmp_path / "d" / "x.png") as drawn:
        np.testing.assert_array_equal(mask, colours.argmax(-1))
        assert drawn.format == "PNG"
    result = CliRunner().invoke(cli, [*arguments, "--tile", *folders])
    assert result.exit_code == 0, result.output
    with Picture.open(tmp_path / "m" / "x.png") as mask:
        np.testing.assert_array_equal(mask, colours.argmax(-1))
    (tmp_path / "labels.txt").write_text("red\nred\n")
    assert "labels.txt names 'red' twice" in line(*arguments)
    if kind == "scores":
        (tmp_path / "labels.txt").write_text("red\ngreen\n")
        assert "labels.txt has 2 labels and" in line(*arguments) and "3 outputs; give the" in line(*arguments)


def test_a_keras_file_of_a_listed_network_is_taken_and_that_of_others_is_not(networks, tmp_path, image):
    """Saved by Keras itself, as a program does that has no model directory."""
    networks[5].save(tmp_path / "plain.keras")
    (found,) = cnn_app.predict(tmp_path / "plain.keras", image)
    assert {row["label"] for row in found.answer["top"]} == set("01234")
    inputs = keras.Input((32, 32, 3))
    scores = keras.layers.Dense(3)(keras.layers.Flatten()(inputs))
    for outputs, told in ((scores, "float32 (n, 32, 32, 3), which may mean anything"),
                          ([scores, scores * 2], "gives 2 outputs, which is the answer to no task")):  # fmt: skip
        keras.Model(inputs, outputs, name="resnet50").save(tmp_path / "other.keras")
        assert told in line("predict", tmp_path / "other.keras", image)


@pytest.mark.slow
@pytest.mark.skipif(not MOBILENET.is_file(), reason="CNN_APP_PEERS names no folder with Google's files")
def test_googles_mobilenet_is_accepted(tmp_path):
    """Numbered classes without labels, names with them: 1,001 that start with the background."""
    from cnn_app.runtimes import open_model

    parrot = PEERS / "parrot.jpg"
    runtime = open_model(MOBILENET)
    assert runtime.about is None and [asdict(spec) for spec in runtime.inputs.values()] == [
        asdict(Spec("uint8", (None, 224, 224, 3)))
    ]
    (found,) = cnn_app.predict(MOBILENET, parrot)
    assert found.answer["top"][0]["label"] == "89" and found.answer["top"][0]["probability"] > 0.5
    lines = (PEERS / "imagenet_labels.txt").read_text().splitlines()
    labels = [f"{place} {name}" for place, name in enumerate(lines)]
    pixels = np.asarray(Picture.open(parrot).convert("RGB"))[None]
    tiny, places = np.zeros((1001, 4, 4, 3), np.uint8), np.arange(1001)
    splits = {"train": (tiny, places), "val": (tiny[:1], places[:1]), "test": (pixels, np.array([89]))}
    report = cnn_app.evaluate(MOBILENET, sources.arrays(splits, labels), labels=labels).report
    assert (report.n, report.top1, labels[89]) == (1, 1.0, "89 macaw")


@pytest.mark.slow
@pytest.mark.skipif(not DEEPLAB.is_file(), reason="CNN_APP_PEERS names no folder with Google's files")
def test_googles_deeplab_is_opened_drawn_and_timed(tmp_path):
    """To the pixel what the interpreter gives, and near the mask that lies beside the picture: a bird, 3 of VOC."""
    from ai_edge_litert.interpreter import Interpreter

    bird, labels = PEERS / "bird_segmentation.bmp", PEERS / "pascal_voc_segmentation_labels.txt"
    folders = ("--draw", str(tmp_path / "d"), "--masks", str(tmp_path / "m"))
    result = CliRunner().invoke(cli, ["predict", str(DEEPLAB), str(bird), "--labels", str(labels), *folders])
    assert result.exit_code == 0 and "background 81.3%  bird 17.1%" in result.stdout, result.output
    interpreter = Interpreter(str(DEEPLAB))
    interpreter.allocate_tensors()
    with Picture.open(bird) as picture:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.asarray(picture)[None])
    interpreter.invoke()
    wanted = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]
    with Picture.open(tmp_path / "m" / bird.with_suffix(".png").name) as mask:
        found = np.asarray(mask)
    np.testing.assert_array_equal(found, wanted)
    with Picture.open(PEERS / "bird_segmentation_mask.bmp") as mask:
        theirs = np.asarray(mask)
    assert (found == theirs).mean() > 0.95
    assert ((found == 3) & (theirs == 3)).sum() / ((found == 3) | (theirs == 3)).sum() > 0.8
    assert (tmp_path / "d" / "bird_segmentation.png").is_file()
    assert "ARG_MAX" in CliRunner().invoke(cli, ["benchmark", str(DEEPLAB)]).stdout.replace("\n", "")
