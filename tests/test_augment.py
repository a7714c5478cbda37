"""Augmentations against Pillow, SciPy and hand arithmetic, their draws, presets, and the sheet that shows them."""

import colorsys
import zlib
from math import pi

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from PIL import Image as Picture
from PIL import ImageEnhance, ImageOps
from scipy import ndimage

from cnn_app.augmentations import AUGMENT, AUGMENTATIONS, MOVES, OF_CLIPS, PRESETS
from cnn_app.cli.main import cli
from cnn_app.data import pipeline
from cnn_app.data.dataset import Split, in_memory
from cnn_app.errors import RecipeError, TrainingError
from cnn_app.inputs import augment, draws, recolour, trivialaugment, warps
from cnn_app.inputs.audio import Audio
from cnn_app.inputs.image import Image
from cnn_app.inputs.text import Text
from cnn_app.jobs import train
from cnn_app.recipe import Schedule
from cnn_app.tasks.classification import Classification
from cnn_app.tasks.drawing import caption
from cnn_app.tasks.segmentation import Segmentation

NEW = ("vflip", "rotate", "resized-crop", "jitter", "trivialaugment", "erase")
STRIPES = np.repeat(np.arange(32, dtype=np.uint8)[:, None] // 11, 32, 1)  # three classes
MASKS = Segmentation(input=Image((24, 32, 3)), labels=("ground", "thing"))
RANDAUGMENT = [127.45, 125.57, 129.71, 124.22, 127.33, 213.63, 131.77, 119.35, 129.09, 177.68, 186.31, 127.38, 128.49,
               186.2, 105.7, 186.49]  # fmt: skip
MIXED = [0.7937, 0.9375, 0.9999, 0.9999, 1.0, 0.4911, 0.0, 0.2195, 1.0, 0.3333, 0.0008, 0.6875, 0.5, 0.0009, 0.0303,
         0.1727]  # fmt: skip
SEED = tf.constant([3, 4], tf.int64)


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def smooth(high=40, wide=56):
    """Colours that change slowly and stay away from 0 and 255."""
    y, x = np.mgrid[:high, :wide]
    waves = (np.sin(x / 9), np.cos(y / 7), np.sin((x + y) / 8))
    return np.round(128 + np.stack(waves, -1) * (50, 30, 40)).astype(np.uint8)


def changed(images, names, seed=(3, 4)):
    return augment.augmented(tf.constant(images), seed, names).numpy()


def apart(ours, theirs):
    return np.abs(np.asarray(ours).astype(int) - np.asarray(theirs).astype(int))


# --- what was there


@pytest.mark.parametrize(("names", "checksum"), [
    (("flip",), 2540775348), (("crop",), 900782842), (("flip", "crop"), 1418519338), (("crop", "flip"), 1418519338),
])  # fmt: skip
def test_runs_of_earlier_versions_go_on_with_the_same_pixels(names, checksum):
    assert zlib.crc32(changed(noise((16, 24, 20, 3), 1), names, (5, 123)).tobytes()) == checksum


def test_randaugment_and_mixing_are_those_of_earlier_versions():
    """Means of whole batches, for others' processors round elsewhere."""
    whole = noise((16, 24, 20, 3), 1)
    assert changed(whole, ("randaugment",), (5, 123)).mean((1, 2, 3)) == pytest.approx(RANDAUGMENT, abs=0.2)
    _, shares = augment.mixed(tf.constant(whole), tf.eye(16), (5, 123), ("mixup", "cutmix"))
    assert np.diag(shares) == pytest.approx(MIXED, abs=1e-4)


# --- draws


@pytest.mark.parametrize("name", NEW)
@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_is_changed_by_the_seed_and_its_place_alone(name, channels):
    """The same image 32 times: every place has draws of its own, and every batch has."""
    whole = np.tile(noise((1, 24, 32, channels)), (32, 1, 1, 1))
    first, again, other = (changed(whole, (name,), seed) for seed in ((1, 2), (1, 2), (1, 3)))
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.uint8 and first.shape == whole.shape and (first != other).any()
    kinds = len({image.tobytes() for image in first})
    assert kinds == 2 if name == "vflip" else kinds > (4 if name == "erase" else 16)
    alone = changed(whole[:1], (name,), (1, 2))
    assert alone.shape == whole[:1].shape


def test_an_epoch_with_nearly_all_of_them_goes_on_where_it_stood():
    """Without RandAugment, which takes long to trace."""
    images, places = noise((24, 16, 16, 3)), np.arange(24) % 3
    split = Split([str(i) for i in range(24)], {"image": in_memory(images)}, {"class": in_memory(places)})
    task = Classification(input=Image((16, 16, 3)), labels=("a", "b", "c"))
    names = tuple(name for name in task.augmentations if name != "randaugment")
    assert {*names, "randaugment"} == set(AUGMENTATIONS) - set(Audio.augmentations) - set(OF_CLIPS)

    def epoch(skip):
        batches = pipeline.training_batches(
            split, 6, lambda inputs, targets, seed: task.augmented(inputs, targets, seed, names),
            seed=5, epoch=2, skip=skip,
        )  # fmt: skip
        return [(inputs["image"], targets["class"]) for inputs, targets in batches.as_numpy_iterator()]

    whole, rest = epoch(0), epoch(2)
    assert (len(whole), len(rest)) == (4, 2)
    for before, after in zip(whole[2:], rest, strict=True):
        np.testing.assert_array_equal(before[0], after[0])
        np.testing.assert_array_equal(before[1], after[1])


@pytest.mark.parametrize("name", ("crop", "mixup"))
def test_each_batch_of_an_epoch_is_changed_in_its_own_way(name):
    """All images are the same one in two colours, so that only what is drawn for a batch tells batches apart."""
    images = np.repeat(noise((1, 16, 16, 3)), 24, 0)
    images[::2] //= 2
    split = Split([""] * 24, {"image": in_memory(images)}, {"class": in_memory(np.arange(24) % 3)})
    task = Classification(input=Image((16, 16, 3)), labels=("a", "b", "c"))
    batches = pipeline.training_batches(
        split, 6, lambda inputs, targets, seed: task.augmented(inputs, targets, seed, (name,)), seed=5, epoch=2
    )
    changed = {tuple(sorted(image.tobytes() for image in inputs["image"])) for inputs, _ in batches.as_numpy_iterator()}
    assert len(changed) == 4


def test_uses_of_a_seed_share_no_numbers():
    first, again, other = (draws.uniform(SEED, use, (1000,)).numpy() for use in ("a", "a", "b"))
    np.testing.assert_array_equal(first, again)
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.15


@pytest.mark.parametrize(("sides", "area", "ratio"), [
    ((224, 224), (0.08, 1), (3 / 4, 4 / 3)), ((224, 224), (0.02, 1 / 3), (0.3, 3.3)),
    ((60, 200), (0.08, 1), (3 / 4, 4 / 3)),
])  # fmt: skip
def test_boxes_lie_in_the_image_with_the_areas_and_ratios_asked_for(sides, area, ratio):
    top, left, height, width = draws.boxes(SEED, "test", 4000, sides, area, ratio, (1, 1)).numpy().T
    found = (height > 1) | (width > 1)
    assert found.mean() > 0.9  # of the long image some hold no box of their area and ratio
    assert (
        (top >= 0).all() and (left >= 0).all() and (top + height <= sides[0]).all() and (left + width <= sides[1]).all()
    )
    shares, shapes = (height * width / (sides[0] * sides[1]))[found], (width / height)[found]
    rounding = 1.05
    assert shares.min() > area[0] / rounding and shares.max() < min(1.0001, area[1] * rounding)
    assert shapes.min() > ratio[0] / rounding and shapes.max() < ratio[1] * rounding
    if sides == (224, 224) and area[1] < 1:
        assert shares.mean() == pytest.approx(np.mean(area), abs=0.01)
        assert np.log(shapes).mean() == pytest.approx(0, abs=0.03)
    assert (
        (top + height == sides[0]).any() and (top == 0).any() and (left + width == sides[1]).any()
    )  # up to the border


def test_a_box_that_fits_nowhere_is_the_other():
    found = draws.boxes(SEED, "test", 50, (8, 800), (0.5, 1), (3 / 4, 4 / 3), (8, 10)).numpy()
    assert (found[:, 2:] == (8, 10)).all() and len(set(found[:, 1])) > 20 and (found[:, 0] == 0).all()


# --- moves


@pytest.mark.parametrize("shape", [(64, 16, 24, 3), (64, 9, 17, 1)])
def test_vflip_is_the_image_or_it_upside_down(shape):
    whole = noise(shape)
    out = changed(whole, ("vflip",))
    kept, turned = (out == whole).all((1, 2, 3)), (out == whole[:, ::-1]).all((1, 2, 3))
    assert np.all(kept ^ turned) and 16 <= turned.sum() <= 48  # half of 64, four sigma
    both = changed(whole, ("vflip", "flip"))
    np.testing.assert_array_equal(both, np.where(turned[:, None, None, None], changed(whole, ("flip",))[:, ::-1],
                                                 changed(whole, ("flip",))))  # fmt: skip


@pytest.mark.parametrize("degrees", [-15, 7, 90])
def test_rotation_is_scipys_with_a_mirrored_border(degrees):
    image, mask = smooth(), (smooth()[..., 0] > 128).astype(np.uint8)
    both = tf.constant(image[None]), tf.constant(mask[None])
    ours, places = (found.numpy()[0] for found in warps.turned(both, tf.constant([np.radians(degrees)], tf.float32)))
    theirs = ndimage.rotate(image.astype(float), degrees, reshape=False, order=1, mode="reflect")
    assert apart(ours, np.round(theirs)).max() <= 1
    assert (places == ndimage.rotate(mask, degrees, reshape=False, order=0, mode="reflect")).mean() > 0.99


def test_rotation_is_by_up_to_15_degrees_either_way():
    """A dot to the right of the middle comes to where its angle says."""
    whole = np.zeros((200, 101, 101, 1), np.uint8)
    whole[:, 49:52, 89:92] = 255
    weights = changed(whole, ("rotate",))[..., 0].astype(float)
    weights /= weights.sum((1, 2), keepdims=True)
    y, x = (weights.sum(axis) @ (np.arange(101) - 50) for axis in (2, 1))
    assert np.hypot(x, y) == pytest.approx(np.full(200, 40), abs=0.5)
    angles = np.degrees(np.arctan2(y, x))
    assert -15.1 < angles.min() < -13.5 and 13.5 < angles.max() < 15.1
    assert angles.std() == pytest.approx(30 / np.sqrt(12), abs=1)


@pytest.mark.parametrize("box", [(5, 8, 20, 30), (0, 0, 40, 56), (39, 0, 1, 3)])
def test_a_resized_crop_is_pillows(box):
    image, mask = smooth(), noise((40, 56))
    both = tf.constant(image[None]), tf.constant(mask[None])
    ours, places = (found.numpy()[0] for found in warps.enlarged(both, tf.constant([box])))
    top, left, height, width = box
    part = Picture.fromarray(image).crop((left, top, left + width, top + height))
    assert apart(ours, part.resize((56, 40), Picture.BILINEAR)).max() <= 1
    part = Picture.fromarray(mask).crop((left, top, left + width, top + height))
    np.testing.assert_array_equal(places, np.asarray(part.resize((56, 40), Picture.NEAREST)))


@pytest.mark.parametrize("name", ["rotate", "resized-crop", "vflip"])
def test_masks_follow_their_images(name):
    """A marker in both: where the one is bright the other is 1, but for pixels on its edge."""
    rng, whole, mask = np.random.default_rng(0), np.zeros((48, 48, 64, 3), np.uint8), np.zeros((48, 48, 64), np.uint8)
    for image, places in zip(whole, mask, strict=True):
        y, x = rng.integers(2, 24), rng.integers(2, 40)
        image[y : y + 20, x : x + 20] = 200
        places[y : y + 20, x : x + 20] = 1
    moved, target = MASKS.augmented({"image": tf.constant(whole)}, {"mask": tf.constant(mask)}, (1, 2), (name,))
    image, places = moved["image"].numpy(), target["mask"].numpy()
    assert set(np.unique(places)) == {0, 1} and (places != mask).any((1, 2)).sum() > 16
    agreeing = ((image[..., 0] > 100) == (places == 1)).mean((1, 2))
    assert agreeing.min() > (0.9999 if name == "vflip" else 0.95) and agreeing.mean() > 0.985
    assert (image == changed(whole, (name,), (1, 2))).all()  # as without masks


def test_masks_keep_their_places_when_colours_change():
    whole, mask = noise((8, 24, 32, 3)), noise((8, 24, 32))
    (image, target), (plain, same) = (
        MASKS.augmented({"image": tf.constant(whole)}, {"mask": tf.constant(mask)}, (1, 2), names)
        for names in (("flip", "jitter"), ("flip",))
    )
    np.testing.assert_array_equal(target["mask"], same["mask"])
    assert (image["image"].numpy() != plain["image"].numpy()).any((1, 2, 3)).all()
    assert set(MASKS.augmentations) == {*MOVES, "jitter"}


# --- colours


def recoloured(image, bright=1.0, contrast=1.0, saturation=1.0, hue=0.0):
    factors = (tf.constant([value], tf.float32) for value in (bright, contrast, saturation, hue))
    return recolour.recoloured(tf.constant(image[None]), *factors).numpy()[0]


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.4])
@pytest.mark.parametrize(("what", "theirs"), [
    ("bright", ImageEnhance.Brightness), ("contrast", ImageEnhance.Contrast), ("saturation", ImageEnhance.Color),
])  # fmt: skip
def test_jitter_is_pillows(what, theirs, factor):
    found = apart(recoloured(smooth(), **{what: factor}), theirs(Picture.fromarray(smooth())).enhance(factor))
    assert found.max() <= 1 if factor != 1 else found.max() == 0


def test_all_of_jitter_is_one_after_the_other():
    picture = Picture.fromarray(smooth())
    for enhance, factor in ((ImageEnhance.Brightness, 0.9), (ImageEnhance.Contrast, 1.2), (ImageEnhance.Color, 0.7)):
        picture = enhance(picture).enhance(factor)
    once = recoloured(np.asarray(picture), hue=0.08)
    assert apart(recoloured(smooth(), 0.9, 1.2, 0.7, 0.08), once).max() <= 4  # they round four times


@pytest.mark.parametrize("share", [-0.1, 0.05, 0.25])
def test_hue_turns_in_the_plane_of_i_and_q(share):
    """By colorsys, whose I and Q have two digits; the luma stays."""
    colour = np.array([140, 110, 120], np.uint8)
    found = recoloured(np.tile(colour, (4, 4, 1)), hue=share)[0, 0]
    (y, i, q), (luma, real, imaginary) = (colorsys.rgb_to_yiq(*(c / 255)) for c in (colour, found))
    assert luma == pytest.approx(y, abs=0.004)
    assert np.hypot(real, imaginary) == pytest.approx(np.hypot(i, q), rel=0.08)
    angle = np.angle(complex(real, imaginary) / complex(i, q))
    assert angle == pytest.approx(2 * pi * share, abs=0.1)
    np.testing.assert_array_equal(recoloured(smooth(), hue=0.0), smooth())


def test_jitter_of_grey_by_hand():
    """Mean 100 becomes 120; 60 and 140 lie 40 from it, which is 48 brighter and half of that with less contrast."""
    image = np.array([[60, 140], [100, 100]], np.uint8)[..., None]
    assert recoloured(image, 1.2, 0.5, 1.4, 0.1)[..., 0].tolist() == [[96, 144], [120, 120]]


def test_jitter_draws_its_factors_from_their_ranges():
    """Of a grey that is all the same contrast, saturation and hue change nothing."""
    values = changed(np.full((400, 4, 4, 3), 100, np.uint8), ("jitter",))
    assert (values == values[:, :1, :1, :1]).all()
    factors = values[:, 0, 0, 0] / 100
    assert 0.6 <= factors.min() < 0.63 and 1.37 < factors.max() <= 1.4 and abs(factors.mean() - 1) < 0.05
    red = changed(np.tile(np.array([120, 80, 80], np.uint8), (400, 4, 4, 1)), ("jitter",))[:, 0, 0].astype(float)
    chroma = np.array([complex(*colorsys.rgb_to_yiq(*colour)[1:]) for colour in red / 255])
    angles = np.angle(chroma / complex(*colorsys.rgb_to_yiq(120, 80, 80)[1:])) / (2 * pi)
    assert -0.12 < angles.min() < -0.08 and 0.08 < angles.max() < 0.12


# --- erase


@pytest.mark.parametrize("shape", [(400, 48, 64, 3), (400, 32, 32, 1)])
def test_a_quarter_of_the_images_lose_a_box_to_noise(shape):
    out = changed(np.full(shape, 77, np.uint8), ("erase",))
    other = (out != 77).any(-1)
    erased = np.flatnonzero(other.any((1, 2)))
    assert 65 <= len(erased) <= 135  # 100, four sigma
    number = shape[1] * shape[2]
    for one in erased:
        rows, columns = np.flatnonzero(other[one].any(1)), np.flatnonzero(other[one].any(0))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert 0.015 < height * width / number < 0.36 and 0.25 < width / height < 4
        assert other[one].sum() > 0.95 * height * width  # noise is 77 at times
    values = out[erased][other[erased]]
    assert values.min() == 0 and values.max() == 255 and abs(values.mean() - 127.5) < 10


# --- TrivialAugment


@pytest.mark.parametrize(("name", "amount", "theirs"), [
    ("solarize", 0.5, lambda p: ImageOps.solarize(p, 128)), ("solarize", 0.0, lambda p: p),
    ("posterize", 1.0, lambda p: ImageOps.posterize(p, 2)), ("posterize", 0.5, lambda p: ImageOps.posterize(p, 5)),
    ("rotate", 0.2, lambda p: p.rotate(27, Picture.BILINEAR, fillcolor=(128, 128, 128))),
    ("translate_x", 1.0, lambda p: p.transform(p.size, Picture.AFFINE, (1, 0, 0.405 * p.width, 0, 1, 0),
                                               Picture.BILINEAR, fillcolor=(128, 128, 128))),
])  # fmt: skip
def test_operations_of_the_wide_space_are_pillows(name, amount, theirs):
    image = smooth()
    operation = getattr(trivialaugment, name)
    ours = draws.rounded(operation(tf.constant(image), tf.constant(amount)), tf.constant(image)).numpy()
    assert np.quantile(apart(ours, theirs(Picture.fromarray(image))), 0.9) <= 1


def test_the_wide_space_reaches_as_far_as_the_paper_says():
    image = tf.constant(np.full((128, 128, 1), 100, np.uint8))
    by_name = {
        getattr(getattr(choice, "args", [choice])[0], "__name__", ""): choice for choice in trivialaugment.CHOICES
    }
    assert len(by_name) == len(trivialaugment.CHOICES) == 14
    assert by_name["brightness"](image, 1.0).numpy() == pytest.approx(199, abs=0.01)
    assert by_name["brightness"](image, -1.0).numpy() == pytest.approx(1, abs=0.01)
    opened = (by_name["translate_x"](image, tf.constant(1.0)).numpy() != 100).any((0, 2)).sum()
    assert opened == 32
    slanted = (by_name["shear_x"](image, tf.constant(-1.0)).numpy()[..., 0] != 100).sum(1)
    assert slanted[-1] == pytest.approx(0.99 * 127, abs=1) and slanted[0] == 0


@pytest.mark.slow
def test_trivialaugment_takes_each_operation_as_often():
    """Of a ramp, where identity and none of a strength are all that changes nothing."""
    whole = np.tile(np.arange(64, dtype=np.uint8)[None, None, :, None] * 2 + 40, (600, 64, 1, 1))
    out = changed(whole, ("trivialaugment",))
    same = (out == whole).all((1, 2, 3)).mean()
    assert 1 / 14 < same < 0.35  # colour of grey, shifts along the ramp's constant axis, weak ones
    assert len({image.tobytes() for image in out}) > 150


# --- presets


def augment_of(task, *names):
    return train.with_known_augmentations(task, Schedule(augment=names)).augment


STRONG = tuple(name for name in PRESETS["strong"] if name != "run")  # which images do not know
CLASSES = Classification(input=Image((8, 8, 3)), labels=("a", "b"))
SENTENCES = Classification(input=Text(length=4, words=4), labels=("a", "b"))


@pytest.mark.parametrize(("task", "names", "found"), [
    (CLASSES, ("light",), ("flip", "crop")), (CLASSES, ("strong",), STRONG),
    (CLASSES, ("vflip", "light", "flip"), ("vflip", "flip", "crop")), (CLASSES, (), ()),
    (MASKS, ("strong",), ("flip", "resized-crop")), (MASKS, ("strong", "jitter"), ("flip", "resized-crop", "jitter")),
    (SENTENCES, ("light",), ()), (SENTENCES, AUGMENT, ()), (CLASSES, AUGMENT, ("crop",)),
])  # fmt: skip
def test_a_preset_gives_what_the_task_knows(task, names, found):
    assert augment_of(task, *names) == found


@pytest.mark.parametrize(("task", "names"), [(MASKS, ("light", "mixup")), (MASKS, ("erase",)), (SENTENCES, ("vflip",))])
def test_a_name_that_a_task_does_not_know_is_an_error_beside_a_preset_too(task, names):
    with pytest.raises(TrainingError, match=f"cannot be changed by '{names[-1]}'"):
        augment_of(task, *names)


def test_presets_are_known_to_recipes_and_cards_hold_names():
    assert all(set(names) <= set(AUGMENTATIONS) for names in PRESETS.values())
    assert not set(PRESETS) & set(AUGMENTATIONS)
    with pytest.raises(RecipeError, match="'stronk'.*strong"):
        Schedule(augment=("stronk",))
    job = train.build("lenet5", {}, "digits", Schedule(augment=("strong",)))
    assert job.recipe["augment"] == STRONG
    result = CliRunner().invoke(cli, ["train", "lenet5", "--data", "digits", "--out", "x", "--augment", "heavy"])
    assert result.exit_code == 2 and "'heavy' is unknown; known: light, strong, flip" in result.stderr


# --- the sheet


def sheet(*arguments):
    return CliRunner().invoke(cli, ["data", "show", *map(str, arguments)])


def test_captions_by_hand():
    labels = ("cat", "dog", "a label that is far too long for a caption")
    assert caption(labels, np.array([1.0, 0, 0])) == "cat"
    assert caption(labels, np.array([0.3, 0.7, 0])) == "dog 70%\ncat 30%"
    assert caption(labels, np.array([0, 0, 1.0])) == "a label that is far too..."
    assert caption(labels, np.zeros(3)) == ""


@pytest.mark.slow
def test_a_sheet_of_digits(tmp_path):
    files = [tmp_path / f"{name}.png" for name in "abcd"]
    common = ("digits", "--image", "32x32x1", "--n", 8)
    for file, options in zip(files, ((), (), ("--seed", 1), ("--augment", "light,mixup")), strict=True):
        result = sheet(*common, "--augment", "strong", *options, "--out", file)
        assert result.exit_code == 0, result.output
    assert result.stdout == f"{files[3]}: flip, crop, mixup\n"
    same, again, other, light = (np.asarray(Picture.open(file).convert("L")) for file in files)
    np.testing.assert_array_equal(same, again)
    assert same.shape == other.shape == light.shape and (same != other).any()
    assert 0.1 < (light < 128).mean() < 0.9
    assert same.shape[1] == pytest.approx(150 * 8.4, abs=2) and same.shape[0] < same.shape[1]  # two rows of five
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.png", "b.png", "c.png", "d.png"]


def test_a_sheet_of_masks_shows_their_colours(tmp_path):
    for i in range(30):
        for kind, values in (("images", np.full((32, 32), 100, np.uint8)), ("masks", STRIPES)):
            file = tmp_path / "data" / kind / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Picture.fromarray(values).save(file)
    out = tmp_path / "sheet.png"
    result = sheet(
        tmp_path / "data", "--model", "unet", "--image", "188x188x1", "--n", 1, "--augment", "strong", "--out", out
    )
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{out}: flip, resized-crop\n"
    pixels = np.asarray(Picture.open(out).convert("RGB")).reshape(-1, 3)
    blue, green = (np.round((np.array(colour) + 100) / 2) for colour in ((31, 119, 180), (44, 160, 44)))
    assert all((apart(pixels, colour).max(1) <= 2).sum() > 50 for colour in (blue, green))


@pytest.mark.parametrize(("arguments", "text"), [
    (("digits", "--model", "text_cnn"), "sentences, which are not drawn"),
    (("nowhere",), "nowhere"),
    (("digits", "--augment", "vflop"), "'vflop' is unknown"),
    (("digits", "--n", 0), "0 is not in the range"),
])  # fmt: skip
def test_what_a_sheet_cannot_show(tmp_path, arguments, text):
    result = sheet(*arguments, "--out", tmp_path / "a.png")
    assert result.exit_code in (1, 2) and text in result.stderr and not (tmp_path / "a.png").exists()
