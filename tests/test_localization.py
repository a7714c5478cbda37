"""A class and one box for each image: losses by hand, data and what is refused, moves, pixels by every door."""

import io
import json

import browsing
import keras
import numpy as np
import PIL.Image
import pytest
import served
import tensorflow as tf
from click.testing import CliRunner

import cnn_app
from cnn_app.cli.main import cli
from cnn_app.data import Records, is_named
from cnn_app.data.boxed_shapes import load as drawn
from cnn_app.data.dataset import Split, in_memory
from cnn_app.errors import DataError, ModelError, RecipeError
from cnn_app.heads import localization as head
from cnn_app.inputs.augment import moved, stacked
from cnn_app.inputs.box_moves import moved_boxes, moved_with_boxes
from cnn_app.inputs.extent import turned
from cnn_app.inputs.framing import original
from cnn_app.inputs.image import Image
from cnn_app.jobs.predict import predict
from cnn_app.recipe import Data, Schedule
from cnn_app.runtimes import open_model
from cnn_app.serving import Client
from cnn_app.tasks.box_report import Report, overlaps
from cnn_app.tasks.localization import BETA, Localization, overlap, smooth_l1

TASK = Localization(input=Image((32, 32, 3)), labels=("cat", "dog"))


# --- numbers by hand


def test_overlaps_by_hand():
    """Two squares of 2 that share one of 1; apart; inside; turned inside out."""
    one = np.array([[0, 0, 2, 2], [0, 0, 1, 1], [0, 0, 4, 4], [2, 2, 0, 0]], np.float32)
    other = np.array([[1, 1, 3, 3], [3, 0, 4, 1], [1, 1, 3, 3], [0, 0, 2, 2]], np.float32)
    iou, giou = (np.asarray(each) for each in overlap(tf.constant(one), tf.constant(other)))
    np.testing.assert_allclose(iou, [1 / 7, 0, 4 / 16, 0], rtol=1e-6)
    np.testing.assert_allclose(giou[:3], [1 / 7 - 2 / 9, 0 - 2 / 4, 4 / 16], rtol=1e-6)
    np.testing.assert_allclose(overlaps(one, other), iou, rtol=1e-6)


def test_smooth_l1_by_hand():
    found = tf.constant([[BETA / 2, 0, 0.3, 0]])
    assert float(smooth_l1(found, tf.zeros((1, 4)))[0]) == pytest.approx(BETA / 8 + 0.3 - BETA / 2)


@pytest.mark.parametrize("loss", ["smooth-l1", "giou", "both"])
def test_the_loss_is_that_of_the_class_and_of_the_box(loss):
    task = Localization(input=Image((8, 8, 3)), labels=("cat", "dog"), loss=loss)
    targets = {"class": in_memory(np.array([0, 1])), "box": in_memory(np.zeros((2, 4), np.float32))}
    of = task.objective(Schedule(), Split(["a", "b"], {}, targets))
    box = tf.constant([[0.0, 0.0, 0.5, 0.5]])
    outputs = {"logits": tf.constant([[2.0, 0.0]]), "box": box + [[0.25, 0.25, 0.25, 0.25]]}
    smooth, giou = 5 * 4 * (0.25 - BETA / 2), 1 - (1 / 7 - 2 / 9)
    expected = {"smooth-l1": smooth, "giou": giou, "both": smooth + giou}[loss] + np.log(1 + np.exp(-2))
    assert float(of(outputs, {"class": tf.constant([0]), "box": box})[0]) == pytest.approx(expected, rel=1e-5)


def test_a_report_counts_what_is_right():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]])
    report = Report(probabilities, np.array([0, 1, 1, 1]), np.array([0.9, 0.4, 0.7, 0.6]), ("cat", "dog"))
    metrics = report.metrics
    assert metrics["mean_iou"] == pytest.approx(0.65)
    assert (metrics["iou50"], metrics["top1"], metrics["both"], metrics["n"]) == (0.75, 0.75, 0.5, 4)
    assert metrics["loss"] == pytest.approx(0.35 - np.log([0.9, 0.8, 0.4, 0.7]).mean())
    told = [(one.place, one.true, one.found) for one in report.mistakes(9)]
    assert told == [(1, "dog", "dog, IoU 0.40"), (2, "dog", "cat, IoU 0.70")]
    assert report.as_json()["classes"]["dog"]["mean_iou"] == pytest.approx(1.7 / 3)


def test_decisions_agree_by_class_and_box():
    found = {"probabilities": np.eye(2)[[0, 0, 1, 1]], "box": np.array([[0, 0, 1, 1]] * 4, float)}
    other = {"probabilities": np.eye(2)[[0, 1, 1, 1]],
             "box": np.array([[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0.95, 1], [0, 0, 0.85, 1]])}  # fmt: skip
    assert TASK.agreement(found, other) == 0.5


# --- data

HEADER = "file,label,x1,y1,x2,y2"
XML = """<annotation><filename>{file}</filename><size><width>40</width><height>30</height></size>
{objects}</annotation>"""
OBJECT = """<object><name>{label}</name><bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax>
</bndbox></object>"""


def xml(file, *objects):
    parts = "".join(OBJECT.format(*box, label=label) for label, *box in objects)
    return XML.format(file=file, objects=parts)


def folder(place, files):
    """Images of 40x30 for names that end in .png, text for the others."""
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".png"):
            PIL.Image.new("RGB", (40, 30)).save(place / name)
        else:
            (place / name).write_text(text)
    return place


IMAGES = {f"images/{name}.png": None for name in "abcd"}
BOXES = {"a": ("cat", 1, 2, 11, 12), "b": ("dog", 0, 0, 40, 30), "c": ("cat", 5, 5, 6, 6), "d": ("dog", 4, 3, 9, 20)}
LINES = "\n".join(f"images/{name}.png,{','.join(map(str, box))}" for name, box in BOXES.items())
LAYOUTS = {
    "boxes.csv": {"boxes.csv": f"{HEADER}\n{LINES}\n"},
    "pascal's names in any table": {
        "some.csv": "filename,width,height,class,xmin,ymin,xmax,ymax\n"
        + "".join(f"{name}.png,40,30,{','.join(map(str, box))}\n" for name, box in BOXES.items())
    },
    "annotations": {f"annotations/{name}.xml": xml(f"{name}.png", box) for name, box in BOXES.items()},
}
SPLITS = {"splits.csv": "file,split\nimages/a.png,train\nimages/b.png,train\nimages/c.png,val\nimages/d.png,val\n"}


def loaded(place):
    found = TASK.load(Data(source=str(place)))
    rows = {name: (found.labels[label], *box[:4].tolist(), *box[4:].tolist()) for split in found.distinct().values()
            for name, label, box in zip(split.names, split.targets["class"].array, split.targets["box"].array,
                                        strict=True)}  # fmt: skip
    return found, rows


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_says_the_same(tmp_path, layout):
    found, rows = loaded(folder(tmp_path, IMAGES | LAYOUTS[layout] | SPLITS))
    assert found.labels == ("cat", "dog") and found.counts() == {"train": 2, "val": 2, "test": 2}
    assert rows == {f"images/{name}.png": (*box, 40, 30) for name, box in BOXES.items()}


BAD = {
    "inverted": ("images/a.png,cat,11,2,1,12", "boxes.csv:2 .*inverted"),
    "empty": ("images/a.png,cat,1,2,1,12", "boxes.csv:2 .*empty"),
    "outside": ("images/a.png,cat,1,2,60,12", "boxes.csv:2 .*out of its image of 40x30"),
    "negative": ("images/a.png,cat,-9,2,6,12", "boxes.csv:2 .*out of its image"),
    "no number": ("images/a.png,cat,one,2,6,12", "boxes.csv:2 has 'one' for x1"),
    "nan": ("images/a.png,cat,nan,2,6,12", "boxes.csv:2 has 'nan' for x1"),
    "no label": ("images/a.png,,1,2,6,12", "boxes.csv:2 has the label ''"),
    "unknown file": ("images/z.png,cat,1,2,6,12", "boxes.csv:2: there is no file images/z.png"),
    "elsewhere": ("../a.png,cat,1,2,6,12", "boxes.csv:2 names the file '../a.png'"),
    "two boxes": ("images/b.png,cat,1,2,6,12", "boxes.csv:3 has a second box of b.png, after .*:2"),
    "cells": ("images/a.png,cat,1,2", "boxes.csv:2 has 4 cells, the header 6"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_wrong_in_a_table_is_told_with_its_line(tmp_path, what):
    line, told = BAD[what]
    place = folder(tmp_path, IMAGES | {"boxes.csv": f"{HEADER}\n{line}\n" + LINES.partition("\n")[2]})
    with pytest.raises(DataError, match=told) as error:
        TASK.load(Data(source=str(place)))
    assert "\n" not in str(error.value)


BOMB = '<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;&b;">]>\n' + xml("a.png", ("&c;", 1, 2, 3, 4))
BAD_XML = {
    "two": (xml("a.png", ("cat", 1, 2, 3, 4), ("cat", 1, 2, 3, 4)), "a.xml:3 has 2 boxes"),
    "none": (xml("a.png"), "a.xml:1 has no box"),
    "entities": (BOMB, "a.xml:1 declares a document type"),
    "a document type": ('<!DOCTYPE a SYSTEM "file:///etc/passwd">' + xml("a.png"), "a.xml:1 declares a document type"),
    "no size": (xml("a.png", ("cat", 1, 2, 3, 4)).replace("40", ""), "a.xml:2 lacks the size"),
    "another size": (xml("a.png", ("cat", 1, 2, 3, 4)).replace("40", "41"), "a.xml:2 says .* 41x30 pixels"),
    "no file": (xml("z.png", ("cat", 1, 2, 3, 4)), "a.xml:2: there is no image .?z.png"),
    "cut off": (xml("a.png", ("cat", 1, 2, 3, 4))[:80], "a.xml:[12] is no XML"),
    "inverted": (xml("a.png", ("cat", 3, 2, 1, 4)), "a.xml:2 .*inverted"),
    "large": (" " * 2**20 + xml("a.png", ("cat", 1, 2, 3, 4)), "a.xml is larger than 1 MiB"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD_XML)
def test_what_is_wrong_in_an_annotation_is_told_with_its_line(tmp_path, what):
    text, told = BAD_XML[what]
    with pytest.raises(DataError, match=told) as error:
        TASK.load(Data(source=str(folder(tmp_path, IMAGES | LAYOUTS["annotations"] | {"annotations/a.xml": text}))))
    assert "\n" not in str(error.value)


def test_a_folder_without_boxes_is_told(tmp_path):
    with pytest.raises(DataError, match="no boxes"):
        TASK.load(Data(source=str(folder(tmp_path, {f"train/{name}": None for name in IMAGES}))))


def test_a_box_of_an_image_as_it_lies_is_turned_with_it(tmp_path):
    """The size that is told says which of the two the box was drawn in."""
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "images").mkdir()
    for name in "abcd":
        PIL.Image.new("RGB", (40, 30)).save(tmp_path / "images" / f"{name}.png", exif=exif)
    header = "filename,width,height,class,xmin,ymin,xmax,ymax\n"
    lines = "a.png,40,30,cat,1,2,11,12\nb.png,30,40,cat,1,2,11,12\nc.png,40,30,cat,1,2,3,4\nd.png,,,cat,1,2,3,39\n"
    folder(tmp_path, {"boxes.csv": header + lines} | SPLITS)
    rows = loaded(tmp_path)[1]
    assert rows["images/a.png"] == ("cat", 18, 1, 28, 11, 30, 40)  # turned clockwise: x = 30 - y, y = x
    assert rows["images/b.png"] == ("cat", 1, 2, 11, 12, 30, 40)
    assert rows["images/d.png"] == ("cat", 1, 2, 3, 39, 30, 40)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_turn_as_images_do(orientation):
    pixels = np.zeros((30, 40), np.uint8)
    pixels[4:9, 7:21] = 255
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).save(stream, "PNG", exif=exif)
    upright = PIL.ImageOps.exif_transpose(PIL.Image.open(stream))
    assert tuple(turned((7, 4, 21, 9), (40, 30), orientation)) == upright.getbbox()


def test_drawn_boxes_fit_their_shapes():
    records = drawn(Data(source="shapes:boxes"))
    assert is_named("shapes:boxes") and records.labels == ("circle", "cross", "square", "star", "triangle")
    split = records.splits["train"]
    images, boxes = split.inputs["image"].array.astype(float), split.targets["box"].array
    for image, (x1, y1, x2, y2) in zip(images[:50], boxes[:50].astype(int), strict=True):
        inside = np.zeros((64, 64), bool)
        inside[y1 : y2 + 1, x1 : x2 + 1] = True
        ground = np.median(image[~inside], 0)
        other = np.abs(image - ground).max(-1) > 50
        assert not other[~inside].any() and other[y1 : y1 + 2].any() and other[:, x2 - 2 : x2 + 1].any()


def test_arrays_are_checked():
    def records(boxes):
        targets = {"class": in_memory(np.array([0, 1] * 5)), "box": in_memory(np.array(boxes * 10, np.float32))}
        images = {"image": in_memory(np.zeros((10, 30, 40, 3), np.uint8))}
        return Records({"train": Split([str(i) for i in range(10)], images, targets)}, ("cat", "dog"))

    found = TASK.load(records([[1, 2, 11, 12]]))
    assert found.splits["train"].targets["box"].array[0].tolist() == [1, 2, 11, 12, 40, 30]
    with pytest.raises(DataError, match="record 0 of train .*inverted"):
        TASK.load(records([[11, 2, 1, 12]]))
    with pytest.raises(DataError, match=r"\(n, 4\)"):
        TASK.load(records([[11, 2, 1]]))
    with pytest.raises(RecipeError, match="loss of localization"):
        Localization(input=TASK.input, loss="l2")


# --- moves

SEEDS = range(24)


@pytest.mark.parametrize("names", [("flip",), ("vflip",), ("crop",), ("flip", "crop"), ("rotate",), ("resized-crop",),
                                   ("flip", "vflip", "crop", "rotate", "resized-crop")])  # fmt: skip
def test_boxes_move_as_their_images_do(names):
    """A white rectangle, moved as an image; the box of what is white then is the moved box, as far as it is turned."""
    side, count = 96, len(SEEDS)
    boxes = np.tile(np.array([[40, 32, 64, 60]], np.float32) / side, (count, 1))
    images = np.zeros((count, side, side, 1), np.uint8)
    images[:, 32:60, 40:64] = 255
    (changed,) = moved((tf.constant(images),), (3, 5), names)
    found = moved_boxes(tf.constant(boxes), (side, side), (3, 5), names).numpy() * side
    assert len(np.unique(found.round(3), axis=0)) > 1  # or nothing was moved
    checked = 0
    for image, box in zip(changed.numpy()[..., 0], found, strict=True):
        if box.min() < 2 or box.max() > side - 2:
            continue  # cut, or mirrored at the border
        rows, columns = np.flatnonzero((image > 127).any(1)), np.flatnonzero((image > 127).any(0))
        white = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        np.testing.assert_allclose(white, box, atol=2.6 if "resized-crop" in names else 1.3)
        checked += 1
    assert checked >= 5


def test_an_image_whose_box_would_leave_stays_as_it_was():
    images = tf.constant(np.random.default_rng(0).integers(0, 256, (32, 64, 64, 3), np.uint8))
    boxes = tf.constant(np.tile(np.array([[0.0, 0.0, 0.2, 0.2]], np.float32), (32, 1)))
    changed, found = moved_with_boxes(images, boxes, (0, 1), ("resized-crop",))
    whole = moved_boxes(boxes, (64, 64), (0, 1), ("resized-crop",)).numpy()
    cut = whole.clip(0, 1)
    share = (cut[:, 2:] - cut[:, :2]).prod(1) / (whole[:, 2:] - whole[:, :2]).prod(1)
    stayed = share < 0.5
    assert 3 < stayed.sum() < 32
    np.testing.assert_array_equal(changed.numpy()[stayed], images.numpy()[stayed])
    np.testing.assert_array_equal(found.numpy()[stayed], boxes.numpy()[stayed])
    np.testing.assert_allclose(found.numpy()[~stayed], cut[~stayed], atol=1e-6)
    assert stacked((0, 1)).dtype == tf.int64


# --- a network that finds what is red

SIDE = 32


def finder(resize="stretch"):
    """A box around the middle of what is red, half as large as the view; weights by hand, so that pixels are known."""
    image = keras.Input((SIDE, SIDE, 3), name="image")
    x = keras.layers.Rescaling(1 / 255, name="rescale")(image)
    logits = keras.layers.Dense(2, name="logits")(keras.layers.GlobalAveragePooling2D(name="pool")(x))
    model = keras.Model(image, {"logits": logits, "box": head.box(x)}, name="finder")
    kernel = np.zeros((1, 1, 3, head.WIDTH), np.float32)
    kernel[0, 0, :, 0] = 1, -1, -1
    model.get_layer("head_places").set_weights([kernel, np.zeros(head.WIDTH, np.float32)])
    kernel = np.zeros((1, 1, head.WIDTH, 1), np.float32)
    kernel[0, 0, 0] = 30
    model.get_layer("head_weights").set_weights([kernel, np.zeros(1, np.float32)])
    return Localization(input=Image((SIDE, SIDE, 3), resize), labels=("cat", "dog")), model


SIZE, DOT = (80, 48), (30, 20, 38, 28)  # width and height; a red square that all views have
MIDDLE = (34, 24)
SEEN = {"stretch": (80, 48), "crop": (48 * 0.875,) * 2, "pad": (80, 80)}  # of the image, by the network
ENGINES = ("saved_model", "tflite-float32", "onnx")


def picture(orientation=1):
    """The dot on white, upright once its orientation is heeded."""
    pixels = np.full((SIZE[1], SIZE[0], 3), 255, np.uint8)
    pixels[DOT[1] : DOT[3], DOT[0] : DOT[2]] = 255, 0, 0
    if orientation == 6:  # lies turned back
        pixels = np.rot90(pixels)
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).save(stream, "PNG", exif=exif)
    return stream.getvalue()


class Labels:
    """As a lookup table in the graph."""

    @staticmethod
    def lookup(numbers):
        return tf.gather(tf.constant(["cat", "dog"]), numbers)


def test_boxes_are_served_by_hand():
    """Of what the network takes, 8 wide and 4 high, within it."""
    task = Localization(input=Image((4, 8, 3)), labels=("cat", "dog"))
    outputs = {"probabilities": tf.constant([[0.2, 0.8]]), "box": tf.constant([[-0.5, 0.25, 0.5, 1.5]])}
    found = task.served(outputs, Labels, None)
    assert found["box_pixels"].numpy().tolist() == [[0, 1, 4, 4]]
    assert found["classes"].numpy().tolist() == [[b"dog", b"cat"]]


def test_a_box_of_the_image_that_was_padded_by_hand():
    """20 wide and 10 high, a fifth as large in the middle of 4x4, where a row above and below is none of it."""
    image, sides = Image((4, 4, 3), "pad"), tf.constant([10, 20])
    for box, pixels in (([0.25, 0.375, 0.75, 0.5], [5, 2.5, 15, 5]), ([0, 0, 1, 1], [0, 0, 20, 10])):
        np.testing.assert_allclose(original(tf.constant(box, tf.float32), sides, image), pixels, atol=1e-5)


@pytest.fixture(scope="module", params=SEEN)
def places(request, tmp_path_factory):
    """The kind of resizing, and files of the finder with it."""
    task, model = finder(request.param)
    base = tmp_path_factory.mktemp(request.param)
    files = {kind: served.export(task, model, base / kind, kind) for kind in ENGINES}
    return request.param, files | {"keras": base / ENGINES[0]}


def expected(resize):
    half = np.array(SEEN[resize]) / 4
    box = np.array([*(MIDDLE - half), *(MIDDLE + half)])
    return box.clip(0, [*SIZE, *SIZE])


def pixels_of(answer):
    return [answer["box"][name] for name in ("x1", "y1", "x2", "y2")]


@pytest.mark.parametrize("orientation", [1, 6])
def test_boxes_are_in_pixels_of_the_image_by_every_door(places, orientation, tmp_path):
    resize, files = places
    data = picture(orientation)
    (tmp_path / "it.png").write_bytes(data)
    wanted = expected(resize)
    for kind in ("keras", "tflite-float32", "onnx", "saved_model"):
        (found,) = predict(files[kind], tmp_path / "it.png")
        np.testing.assert_allclose(pixels_of(found.answer), wanted, atol=0.6, err_msg=kind)
    graph = tf.saved_model.load(str(files["saved_model"])).signatures["image_bytes"]
    answer = graph(image_bytes=tf.constant([data, data]))
    np.testing.assert_allclose(answer["box_pixels"].numpy(), [wanted, wanted], atol=0.6)


def test_servers_tell_pixels_of_the_image(places, tmp_path):
    resize, files = places
    (tmp_path / "it.png").write_bytes(picture(6))
    with served.running(*(f"{kind}={files[kind]}" for kind in ENGINES)) as server:
        for kind in ENGINES:
            for address in (server.rest, server.grpc):
                with Client(f"{address}/{kind}") as client:
                    (answer,) = client.each([picture(6)], client.encoded)
                np.testing.assert_allclose(pixels_of(answer.told()), expected(resize), atol=0.6)
                assert " at " in answer.text()
        arguments = ["predict", "--endpoint", f"{server.rest}/onnx", str(tmp_path / "it.png"), "--json"]
        result = CliRunner().invoke(cli, arguments)
        np.testing.assert_allclose(pixels_of(json.loads(result.stdout)[0]), expected(resize), atol=0.6)


@browsing.needs_chromium
def test_the_page_frames_the_box(places, browser):
    """Where it is in the upright image, as shares of its sides."""
    resize, files = places
    with served.running(files["saved_model"]) as found:
        browsing.visit(browser, found.rest)
        browsing.give(browser, picture(6))
        frame = browsing.find(browser, "#box")
        browsing.wait(browser, frame.is_displayed)
        sides = browser.execute_script(
            "return ['left', 'top', 'width', 'height'].map((side) => parseFloat(arguments[0].style[side]))", frame
        )
    x1, y1, x2, y2 = expected(resize)
    wanted = 100 * np.array([x1, y1, x2 - x1, y2 - y1]) / [*SIZE, *SIZE]
    np.testing.assert_allclose(sides, wanted, atol=1.5)


def test_predict_draws_and_writes_the_box(places, tmp_path):
    resize, files = places
    (tmp_path / "it.png").write_bytes(picture())
    arguments = [files["keras"], tmp_path / "it.png", "--draw", tmp_path / "drawn", "--out", tmp_path / "it.csv"]
    result = CliRunner().invoke(cli, ["predict", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    with PIL.Image.open(tmp_path / "drawn" / "it.png") as found:
        assert (np.abs(np.asarray(found.convert("RGB")).astype(int) - (255, 40, 40)).sum(-1) < 30).sum() > 100
    header, line = (row.split(",") for row in (tmp_path / "it.csv").read_text().splitlines())
    row = dict(zip(header, line, strict=True))
    np.testing.assert_allclose([float(row[name]) for name in ("x1", "y1", "x2", "y2")], expected(resize), atol=0.6)


# --- trained


@pytest.mark.slow
def test_a_network_learns_boxes_and_its_files_agree(tmp_path):
    schedule = Schedule(epochs=2, lr=4e-3, augment=("flip",))
    columns = {"image": (32, 32, 3)}
    card = cnn_app.train("resnet20", "shapes:boxes", tmp_path / "it", columns=columns, task={"name": "localization"},
                         schedule=schedule)  # fmt: skip
    assert card.task == "localization" and card.metrics["test"]["mean_iou"] > 0.5
    results = cnn_app.export(tmp_path / "it", (*ENGINES, "tflite-int8"), "shapes:boxes")
    for result in results:
        exact = result.target != "tflite-int8"
        assert result.metric == "mean_iou" and abs(result.drop) < (0.01 if exact else 1.0), result
        assert result.agreement >= (1 if exact else 0.6), result
    measured = cnn_app.evaluate(tmp_path / "it" / "mobile" / "it-float32.tflite", "shapes:boxes")
    assert measured.report.metrics["mean_iou"] == pytest.approx(card.metrics["test"]["mean_iou"], abs=1e-4)
    assert set(open_model(tmp_path / "it").outputs) == {"probabilities", "box"}


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet20", "vgg11", "shufflenet_v2", "lenet5", "googlenet"])
def test_any_network_for_classification_finds_boxes(name):
    small = {"lenet5": (32, 32, 1), "resnet20": (32, 32, 3)}.get(name, (96, 96, 3))
    model = cnn_app.create_model(name, head="localization", classes=3, image=small)
    found = model(np.zeros((2, *small), np.float32))
    assert found["logits"].shape == (2, 3) and found["box"].shape == (2, 4)


@pytest.mark.parametrize("name", ["unet", "text_cnn"])
def test_other_networks_have_no_boxes(name):
    with pytest.raises(ModelError, match="no head for boxes"):
        cnn_app.create_model(name, head="localization")
