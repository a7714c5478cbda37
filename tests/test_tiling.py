"""Masks as large as their images: by tiles against the whole, by what the network sees, and as files."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image as Picture

import cnn_app
from cnn_app import data as sources
from cnn_app.cli.main import cli
from cnn_app.errors import ModelError
from cnn_app.heads.segmentation import deployed
from cnn_app.inputs.image import Image
from cnn_app.jobs import maps
from cnn_app.recipe import Schedule
from cnn_app.runtimes.keras_model import KerasRuntime
from cnn_app.tasks import mask_pictures, tiling, whole_masks
from cnn_app.tasks.classification import Classification
from cnn_app.tasks.segmentation import Segmentation
from cnn_app.tasks.tiling import Axis

COLUMNS = {"width": 6, "depth": 2, "padding": "same", "classes": 4}  # sees 23 pixels to either side
SIDES = (160, 224)


def smooth(height, width, seed=0):
    """A picture of soft patches, uint8 (h, w, 3)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 10, width // 10, 3)).astype(np.uint8)
    return np.asarray(Picture.fromarray(coarse).resize((width, height), Picture.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def networks():
    """The same random weights for tiles and for the whole."""
    keras.utils.set_random_seed(1)
    small = cnn_app.create_model("unet", image=(96, 96, 3), **COLUMNS)
    large = cnn_app.create_model("unet", image=(*SIDES, 3), **COLUMNS)
    large.set_weights(small.get_weights())
    return KerasRuntime(deployed(small)), KerasRuntime(deployed(large))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model directory of three classes, 64x64."""
    rng = np.random.default_rng(0)
    images = np.stack([smooth(64, 64, seed) for seed in range(8)])
    masks = (images[..., 0] > 128).astype(np.uint8) + (rng.random(images.shape[:3]) < 0.01)
    splits = {"train": (images, masks.astype(np.uint8)), "val": (images[:2], masks[:2].astype(np.uint8))}
    place = tmp_path_factory.mktemp("store") / "m"
    columns = {"width": 4, "depth": 1, "padding": "same", "image": (64, 64, 3)}
    records = sources.arrays(splits, ("ground", "thing", "dot"), target="mask")
    cnn_app.train("unet", records, place, columns=columns, schedule=Schedule(epochs=2, batch=4, augment=()))
    return place


def invoked(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


# --- along a side


@pytest.mark.parametrize(("total", "size", "overlap"), [(500, 96, 24), (96, 96, 24), (97, 96, 95), (60, 96, 0),
                                                        (4000, 256, 64), (300, 256, 200), (128, 64, 0)])  # fmt: skip
def test_maps_cover_the_side_and_share_what_they_should(total, size, overlap):
    axis = Axis.of(total, size, overlap)
    ends = [start + size for start in axis.starts]
    assert axis.starts[0] == 0 and max(ends) == max(total, size)
    assert all(end - start >= overlap for end, start in zip(ends, axis.starts[1:], strict=False))
    weights, owners = np.zeros(max(total, size)), np.zeros(total, int)
    for place, start in enumerate(axis.starts):
        weights[start : start + size] += axis.weights(place)
        first, last = axis.cuts(place)
        assert start <= first < last <= max(total, start + size)
        owners[first:last] += 1
    assert (owners == 1).all() and weights[:total].min() > 0.2
    if overlap <= size // 2 and len(axis.starts) == 2:
        np.testing.assert_allclose(weights[:total], 1, atol=1e-6)


def test_weights_by_hand():
    """Maps of 8 that share 4: the outer quarter of the overlap does not count, then sin^2 of 22.5 and 67.5 degrees."""
    axis = Axis(12, 8, (0, 4))
    low, high = np.sin(np.pi / 8) ** 2, np.cos(np.pi / 8) ** 2
    np.testing.assert_allclose(axis.weights(0), [1, 1, 1, 1, 1, high, low, 0], atol=1e-7)
    np.testing.assert_allclose(axis.weights(1), [0, low, high, 1, 1, 1, 1, 1], atol=1e-7)
    assert axis.cuts(0) == (0, 6) and axis.cuts(1) == (6, 12)


def test_what_lacks_around_is_mirrored():
    axis = Axis.of(5, 4, 1)
    assert axis.starts == (0, 1) and axis.mirrored(8).tolist() == [2, 1, 0, 1, 2, 3, 4, 3, 2]


# --- tiles


def test_tiles_say_what_the_whole_says_where_they_see_as_far(networks):
    """To the pixel where maps are cut in the middle; within 0.1 % where they are blended."""
    tiles, whole = networks
    image = smooth(*SIDES)
    wanted = whole.run({"image": image[None]})["probabilities"][0].argmax(-1)
    assert (np.bincount(wanted.reshape(-1), minlength=4) > 200).sum() >= 3

    def look(pixels):
        return tiles.run({"image": pixels[None]})["probabilities"][0]

    def differ(overlap, sharp):
        return (tiling.mask_of(image, look, (96, 96), (96, 96), overlap, sharp) != wanted).mean()

    assert maps._reach(tiles) == 23
    assert differ(46, True) == 0 and differ(46, False) <= 0.001
    assert differ(0, True) > 0.005  # or the comparison would be worth nothing


def test_a_network_without_padding_is_shown_what_lacks(networks):
    """Of a map that repeats its pixels the image comes out, to the border."""
    image = smooth(70, 90)

    def look(pixels):
        assert pixels.shape == (40, 40, 3)
        return np.stack([255.0 - pixels[4:-4, 4:-4, 0], pixels[4:-4, 4:-4, 0]], -1)

    found = tiling.mask_of(image, look, (40, 40), (32, 32), 8)
    near = np.abs(image[..., 0].astype(int) - 127.5) < 1
    np.testing.assert_array_equal(found[~near], (image[..., 0] > 127)[~near])


def test_places_themselves_are_cut_and_a_small_image_is_filled_up():
    image = smooth(20, 130)
    found = tiling.mask_of(image, lambda pixels: pixels[..., 0].astype(np.int64), (32, 64), (32, 64), 16)
    np.testing.assert_array_equal(found, image[..., 0])


# --- the size of the image


@pytest.mark.parametrize(("resize", "seen"), [("stretch", 1), ("pad", 1), ("crop", 0)])
def test_a_map_grows_to_its_image(resize, seen):
    """Each pixel of 16x24 gets the nearest place; where the network saw nothing it does not count."""
    frame = Image((8, 8, 3), resize, 1.0)
    places = np.arange(64, dtype=np.uint8).reshape(8, 8)
    found = whole_masks.at_size(places, frame, (16, 24))
    rows, columns = np.arange(16), np.arange(24)
    if resize == "stretch":
        wanted = places[np.ix_(rows // 2, columns // 3)]
    elif resize == "pad":  # 24 wide are 8, 16 high are 5 of 8, with 2 above or 1
        wanted = places[np.ix_(np.floor((rows + 0.5) * 5 / 16).astype(int) + 2, columns // 3)]
    else:  # 16 high are 8, 24 wide are 12, of which the middle 8
        wanted = np.full((16, 24), 255, np.uint8)
        wanted[:, 4:20] = places[np.ix_(rows // 2, (columns[4:20] - 4) // 2)]
    np.testing.assert_array_equal(found, wanted)
    smaller = whole_masks.at_size(places[2:6, 1:7], Image((8, 8, 3)), (16, 16))
    assert (smaller[:4] == 255).all() and (smaller[:, 14:] == 255).all() and smaller[4, 2] == places[2, 1]


def test_files_are_places_with_colours_and_the_image_under_them(tmp_path):
    places = np.array([[0, 1, 2], [2, 255, 0]], np.uint8)
    image = np.full((2, 3, 3), 100, np.uint8)
    whole_masks.write(places, 3, tmp_path / "deep" / "m.png")
    whole_masks.write_over(image, places, 3, tmp_path / "o.png")
    with Picture.open(tmp_path / "deep" / "m.png") as mask, Picture.open(tmp_path / "o.png") as over:
        assert mask.mode == "P" and mask.size == (3, 2)
        np.testing.assert_array_equal(mask, places)
        colours = mask_pictures.colours(3)[:, :3]
        np.testing.assert_array_equal(np.asarray(mask.convert("RGB"))[0], colours)
        np.testing.assert_allclose(np.asarray(over)[0], (100 + colours.astype(float)) / 2, atol=0.51)
        assert np.asarray(over)[1, 1].tolist() == [50, 50, 50]


# --- the command


@pytest.mark.slow
def test_predict_writes_masks_of_a_folder(model, tmp_path):
    """At the size of each image; two of one name keep apart, and what is no image is told."""
    for name, sides in (("a/x.png", (40, 100)), ("b/x.png", (64, 64)), ("c.jpg", (90, 30))):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Picture.fromarray(smooth(*sides)).save(tmp_path / "in" / name)
    (tmp_path / "in" / "d.png").write_bytes(b"no picture")
    folders = ("--masks", tmp_path / "m", "--overlays", tmp_path / "o", "--draw", tmp_path / "d")
    result = invoked("predict", model, tmp_path / "in", *folders)
    assert result.exit_code == 1 and len(result.stdout.splitlines()) == 3, result.output
    assert "d.png: it is no JPEG" in result.stderr and len(result.stderr.splitlines()) == 1
    names = {"x.png": (100, 40), "x-2.png": (64, 64), "c.png": (30, 90)}
    for folder in ("m", "o", "d"):
        assert {file.name for file in (tmp_path / folder).iterdir()} == set(names)
    for name, size in names.items():
        with Picture.open(tmp_path / "m" / name) as mask, Picture.open(tmp_path / "o" / name) as over:
            assert mask.mode == "P" and mask.size == over.size == size and over.mode == "RGB"
    (found,) = cnn_app.predict(model, tmp_path / "in" / "b" / "x.png")
    np.testing.assert_array_equal(Picture.open(tmp_path / "m" / "x-2.png"), found.answer["mask"])


def test_predict_by_tiles(model, tmp_path):
    """The mask of the whole network, and shares of it; nothing is said of the network's size."""
    image = smooth(150, 210)
    Picture.fromarray(image).save(tmp_path / "x.png")
    options = ("--tile", "--overlap", "32", "--masks", tmp_path / "m", "--draw", tmp_path / "d", "--json")
    result = invoked("predict", model, tmp_path / "x.png", *options)
    assert result.exit_code == 0, result.output
    (answer,) = json.loads(result.stdout)
    with Picture.open(tmp_path / "m" / "x.png") as mask:
        found = np.asarray(mask)
    whole = cnn_app.create_model("unet", image=(150, 210, 3), classes=3, width=4, depth=1, padding="same")
    whole.set_weights(cnn_app.load_model(model).get_weights())
    wanted = np.asarray(whole(image[None]))[0].argmax(-1)
    assert found.shape == (150, 210) and (found != wanted).mean() < 0.001
    assert "mask" not in answer and answer["top"][0]["share"] == pytest.approx(np.bincount(found.reshape(-1)).max() /
                                                                             found.size)  # fmt: skip
    assert (tmp_path / "d" / "x.png").is_file()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--tile", "--overlap", "64"), "maps of 64x64 pixels share 63 at most, received 64"),
        (("--labels", "labels.txt"), "has labels inside; leave out labels.txt"),
    ],
)
def test_what_cannot_be_done_is_one_line(model, tmp_path, monkeypatch, options, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.txt").write_text("a\nb\n")
    Picture.fromarray(smooth(64, 64)).save("x.png")
    result = invoked("predict", model, "x.png", *options)
    assert result.exit_code == 1 and told in result.stderr and len(result.stderr.splitlines()) == 1


def test_options_that_do_not_go_together():
    assert "--overlap is of tiles" in invoked("predict", ".", "x.png", "--overlap", "3").stderr
    for option in (("--masks", "m"), ("--overlays", "m"), ("--tile",)):
        result = invoked("predict", "--endpoint", "http://x:1/y", "x.png", *option)
        assert result.exit_code == 2 and f"{option[0]} needs an ARTIFACT" in result.stderr


def test_classes_of_whole_images_are_no_map(networks):
    with pytest.raises(ModelError, match="is for classification, whose answers are no maps of an image; leave out"):
        maps.maps(networks[0], Classification(input=Image((8, 8, 3)), labels=("a", "b")), "x.png")


def test_labels_that_lack_are_numbers():
    task = Segmentation(input=Image((2, 2, 3)), labels=("a",))
    places = np.array([[0, 2], [2, 255]])
    assert [row["label"] for row in task.of_places(places, 5)["top"]] == ["2", "a"]
    np.testing.assert_array_equal(task.places({"probabilities": places[..., None]}), places)


@pytest.mark.slow
def test_a_picture_of_12_million_pixels_takes_little_memory(tmp_path):
    """4,000 x 3,000 through the U-Net of 256x256 in under 1.5 GiB, all that TensorFlow takes counted."""
    model = cnn_app.create_model("unet", image=(256, 256, 3), padding="same", width=8, classes=12)
    model.save(tmp_path / "unet.keras")
    Picture.fromarray(smooth(3000, 4000)).save(tmp_path / "x.jpg", quality=90)
    code = (
        "import sys, cnn_app; from cnn_app.cli.main import cli; from cnn_app.jobs.maps import *\n"
        "from cnn_app.jobs.opened import opened_as\n"
        f"import keras; runtime, task = opened_as(keras.saving.load_model({str(tmp_path / 'unet.keras')!r}))\n"
        f"(found,) = maps(runtime, task, {str(tmp_path / 'x.jpg')!r}, tiles=Tiles())\n"
        f"found.keep(task, 'x.png', masks={str(tmp_path)!r}, overlays={str(tmp_path / 'o')!r})\n"
        "import resource; print(found.places.shape, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    shape, peak = done.stdout.split(") ")
    assert shape == "(3000, 4000" and float(peak) < 1.5, done.stdout
