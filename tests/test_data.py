import io
import json
import os

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from PIL import Image, ImageEnhance, ImageOps

from cnn_app import data as sources
from cnn_app.cli.main import cli
from cnn_app.data import augment, images, pipeline, randaugment
from cnn_app.data.check import check
from cnn_app.data.dataset import SPLITS, Dataset, by_hash, complete, from_array, split_of
from cnn_app.errors import DataError
from cnn_app.recipe import Data

CLASSES = ("bird", "cat", "dog")
STEP = 40  # of red from class to class in the images of `tree`


def tree(root, **counts):
    """train_cat=3 draws train/cat/0.png to 2.png, cat=3 without the split; red tells the class, green the image."""
    for place, count in counts.items():
        folder = root.joinpath(*place.split("_"))
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            red = STEP * CLASSES.index(folder.name) if folder.name in CLASSES else 200
            Image.new("RGB", (8 + number, 9), (red, number, len(place))).save(folder / f"{number}.png")
    return root


def load(root):
    return sources.load(Data(source=str(root)))


def png(mode="RGB", size=(8, 8)):
    stream = io.BytesIO()
    Image.new(mode, size).save(stream, "PNG")
    return stream.getvalue()


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def names(dataset):
    return {split: list(dataset.splits[split].names) for split in SPLITS}


# Sources


def test_digits():
    dataset = sources.load(Data(source="digits"))
    found = names(dataset)
    assert dataset.classes == tuple("0123456789")
    assert sorted(sum(found.values(), [])) == [f"digit-{number:04d}" for number in range(1797)]
    for name, split in dataset.splits.items():
        assert set(split.labels) == set(range(10)), name
        assert split.array.shape == (len(split), 8, 8, 1) and split.array.dtype == np.uint8
        assert [split_of(image) for image in split.names] == [name] * len(split)
        np.testing.assert_array_equal(split.read(tf.constant(5, tf.int64)), split.array[5])
    # the first row of the first image is 0 0 5 13 9 1 0 0 of 16, a zero
    first = found["train"].index("digit-0000")
    assert dataset.splits["train"].labels[first] == 0
    assert dataset.splits["train"].array[first, 0, :, 0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]


def test_shapes_are_the_same_every_time():
    one, two = (sources.load(Data(source="shapes")) for _ in range(2))
    assert one.fingerprint() == two.fingerprint() and sum(one.counts().values()) == 1000
    for name, split in one.splits.items():
        assert split.array.shape == (len(split), 64, 64, 3) and set(split.labels) == set(range(5))
        np.testing.assert_array_equal(split.array, two.splits[name].array)
        assert all(image.startswith(one.classes[label]) for image, label in zip(split.names, split.labels, strict=True))


def test_a_folder_with_three_splits(tmp_path):
    tree(tmp_path, train_cat=3, train_dog=2, val_cat=1, val_dog=1, test_dog=2)
    dataset = load(tmp_path)
    assert dataset.classes == ("cat", "dog") and dataset.source == str(tmp_path)
    assert names(dataset) == {
        "train": ["train/cat/0.png", "train/cat/1.png", "train/cat/2.png", "train/dog/0.png", "train/dog/1.png"],
        "val": ["val/cat/0.png", "val/dog/0.png"],
        "test": ["test/dog/0.png", "test/dog/1.png"],
    }
    assert [dataset.splits[name].labels.tolist() for name in SPLITS] == [[0, 0, 0, 1, 1], [0, 1], [1, 1]]
    assert dataset.splits["val"].read(tf.constant(1, tf.int64)).numpy()[0, 0].tolist() == [2 * STEP, 0, len("val_dog")]


def test_val_stands_in_for_test(tmp_path):
    dataset = load(tree(tmp_path, train_cat=2, train_dog=2, val_cat=1, val_dog=1))
    assert dataset.splits["test"] is dataset.splits["val"] and dataset.counts() == {"train": 4, "val": 2, "test": 2}
    prepared = pipeline.prepare(dataset, (8, 8, 3))
    assert prepared.splits["test"] is prepared.splits["val"]
    assert prepared.in_order(("dog", "cat")).splits["test"].labels.tolist() == [1, 0]


def test_val_is_divided_off_train_where_only_test_is_there(tmp_path):
    dataset = load(tree(tmp_path, train_cat=20, train_dog=20, test_cat=1))
    found = names(dataset)
    assert found["test"] == ["test/cat/0.png"]
    assert sorted(found["val"]) == sorted(
        f"train/{c}/{i}.png" for c in ("cat", "dog") for i in range(20) if split_of(f"{i}.png") == "val"
    )
    assert len(found["train"]) + len(found["val"]) == 40


def test_which_split_a_name_falls_into_never_changes():
    """A change here moves test images into the training of every model that exists."""
    fixed = {"0.png": "test", "1.png": "train", "2.png": "val", "3.png": "train", "cat.jpg": "test", "ü.png": "train"}
    assert {name: split_of(name) for name in fixed} == fixed
    counted = [split_of(f"image {number}") for number in range(10_000)]
    assert abs(counted.count("val") - 1500) < 110 and abs(counted.count("test") - 1500) < 110  # three sigma


def test_new_files_never_move_old_ones(tmp_path):
    before = names(load(tree(tmp_path, cat=20, dog=20)))
    after = names(load(tree(tmp_path, cat=50, dog=30, bird=40)))
    assert sum(map(len, after.values())) == 120
    for split in SPLITS:
        assert set(before[split]) == {name for name in after[split] if name in sum(before.values(), [])}
        assert all(split_of(name.split("/")[-1]) == split for name in after[split])


def test_shares_that_are_not_wanted_go_to_train():
    """Also where no name falls into train by itself: 2 is in val, 0 in test."""
    divided = by_hash(from_array(["a/2.png", "a/0.png", "b/0.png"], np.arange(3), np.zeros((3, 4, 4, 1), np.uint8)),
                      ("train", "val"))  # fmt: skip
    assert {name: split.names for name, split in divided.items()} == {
        "train": ["a/0.png", "b/0.png"],
        "val": ["a/2.png"],
    }


def test_only_images_count(tmp_path):
    tree(tmp_path, cat=20, dog=20)
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "readme.txt").write_text("text")
    (tmp_path / "cat" / "notes.txt").write_text("text")
    (tmp_path / "cat" / "deeper").mkdir()
    os.rename(tmp_path / "cat" / "0.png", tmp_path / "cat" / "deeper" / "0.PNG")
    found = sum(names(load(tmp_path)).values(), [])
    assert len(found) == 40 and "cat/deeper/0.PNG" in found


@pytest.mark.parametrize(
    "counts, message",
    [
        ({"train_cat": 2, "train_dog": 2, "val_cat": 1, "val_bird": 1}, "val has the class 'bird', which train lacks"),
        ({"cat": 2, "dog": 0}, "the class folder 'dog' has no images"),
        ({"train_cat": 2, "train_dog": 2, "val_cat": 1, "val_dog": 0}, "the class folder 'dog' has no images"),
        ({}, "is empty: it needs a folder for each class"),
        ({"train_cat": 2, "train_dog": 2, "val": 0}, "val is empty: it needs a folder for each class"),
        ({"cat": 9}, "has one class only .cat."),
        ({"val_cat": 2, "val_dog": 2}, "has val but no train/"),
        ({"val_cat": 2, "test_cat": 2}, "has val, test but no train/"),
        ({"cat": 1, "dog": 1}, "no image falls into train"),
    ],
    ids="extra-class empty-class empty-class-in-val empty empty-val one-class no-train no-train-2 few".split(),
)
def test_folders_that_are_no_data(tmp_path, counts, message):
    with pytest.raises(DataError, match=message) as caught:
        load(tree(tmp_path, **counts))
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_class_that_train_would_lack(tmp_path):
    tree(tmp_path, cat=20, dog=1)  # 0.png falls into test
    with pytest.raises(DataError, match="train has no image of dog; add images of it or remove the class"):
        load(tmp_path)


@pytest.mark.parametrize("source", ["digit", "", "/nowhere/at/all", __file__])
def test_sources_that_are_not_there(source):
    with pytest.raises(DataError, match="no data at .*give digits, shapes, tfds:NAME or a folder"):
        load(source)


@pytest.mark.skipif(os.fsencode("\udce9") != b"\xe9", reason="file names are text here")
def test_a_name_that_is_not_utf8(tmp_path):
    tree(tmp_path, cat=9, dog=9)
    os.rename(tmp_path / "cat" / "1.png", os.fsencode(tmp_path / "cat") + b"/caf\xe9.png")
    with pytest.raises(DataError, match="caf.*is not UTF-8; rename it") as caught:
        load(tmp_path)
    assert str(caught.value).isascii()


# Datasets


def test_in_order_relabels():
    dataset = complete("x", CLASSES, dict.fromkeys(SPLITS, from_array(list("abcd"), [0, 1, 2, 1], np.zeros((4, 1)))))
    turned = dataset.in_order(["dog", "bird", "cat"])
    assert turned.classes == ("dog", "bird", "cat")
    for name in SPLITS:
        assert [turned.classes[label] for label in turned.splits[name].labels] == ["bird", "cat", "dog", "cat"]
        assert turned.splits[name].names == list("abcd")
    assert dataset.splits["train"].labels.tolist() == [0, 1, 2, 1]


@pytest.mark.parametrize(
    "labels, difference",
    [
        (["cat", "dog"], "the model does not know bird; finetune"),
        (["bird", "cat", "dog", "eel"], "the data has no eel; finetune"),
        (["ant", "cat", "dog"], "the model does not know bird; the data has no ant; finetune"),
    ],
)
def test_in_order_refuses_other_classes(labels, difference):
    with pytest.raises(DataError, match=f"here has other classes than the model: {difference} makes a new head"):
        Dataset("here", CLASSES, {}).in_order(labels)


def test_fingerprint(tmp_path):
    first = load(tree(tmp_path, cat=20, dog=20)).fingerprint()
    assert load(tmp_path).fingerprint() == first
    tree(tmp_path, cat=21)
    added = load(tmp_path).fingerprint()
    os.rename(tmp_path / "cat" / "20.png", tmp_path / "dog" / "20.png")
    moved = load(tmp_path).fingerprint()
    os.rename(tmp_path / "dog", tmp_path / "eel")
    assert len({first, added, moved, load(tmp_path).fingerprint()}) == 4


def test_fingerprint_sees_labels():
    pixels = np.zeros((3, 4, 4, 1), np.uint8)
    found = {
        complete("x", "ab", dict.fromkeys(SPLITS, from_array(list("pqr"), labels, pixels))).fingerprint()
        for labels in ([0, 1, 1], [1, 0, 1], [0, 1, 1])
    }
    assert len(found) == 2


def test_take():
    array = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1)
    taken = from_array(list("abcd"), [0, 1, 2, 3], array).take(np.array([3, 1, 1])).take(np.array([2, 0]))
    assert taken.names == ["b", "d"] and taken.labels.tolist() == [1, 3] and taken.array.ravel().tolist() == [1, 3]
    assert [int(taken.read(tf.constant(i, tf.int64))[0, 0, 0]) for i in (0, 1)] == [1, 3]


# Pipeline

TRUNCATED = bytes(png(size=(64, 64)))[:-20]
BAD = {
    "text": (b"this is no image", "it is no JPEG, PNG, BMP or GIF"),
    "empty": (b"", "the file is empty"),
    "truncated": (TRUNCATED, "the image is damaged or cut off"),
    "tiny": (png(size=(1, 1)), "it has 1x1 pixels"),
    "huge": (png("1", (20_000, 20_000)), "64,000,000 pixels"),
}
memory_or_stream = pytest.mark.parametrize("share", [0.25, 0], ids=["memory", "stream"])


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_image_is_named(tmp_path, kind):
    data, reason = BAD[kind]
    tree(tmp_path, train_cat=3, train_dog=3, val_cat=1, val_dog=1)
    (tmp_path / "train" / "dog" / "1.png").write_bytes(data)
    with pytest.raises(DataError, match="cannot read train/dog/1.png: .*--on-bad-image skip") as caught:
        pipeline.prepare(load(tmp_path), (8, 8, 3))
    assert reason in str(caught.value) and "\n" not in str(caught.value)


def test_a_bad_image_is_named_where_the_folder_is_divided_by_hash(tmp_path):
    tree(tmp_path, cat=20, dog=20)
    for name in ("3.png", "2.png", "0.png"):  # one in each split
        (tmp_path / "dog" / name).write_bytes(b"")
    skipped = pipeline.prepare(load(tmp_path), (8, 8, 3), skip_bad=True).skipped
    assert skipped == tuple(f"dog/{name}: the file is empty" for name in ("3.png", "2.png", "0.png"))


@memory_or_stream
def test_bad_images_are_left_out_and_listed(tmp_path, monkeypatch, share):
    monkeypatch.setattr(pipeline, "MEMORY_SHARE", share)
    tree(tmp_path, train_cat=12, train_dog=12, val_cat=2, val_dog=2)
    for number, (data, _) in enumerate(BAD.values()):
        (tmp_path / "train" / "cat" / f"{2 * number}.png").write_bytes(data)
    (tmp_path / "val" / "dog" / "1.png").write_bytes(TRUNCATED)
    dataset = pipeline.prepare(load(tmp_path), (8, 8, 3), skip_bad=True)
    reasons = {line.split(": ")[0]: line for line in dataset.skipped}
    assert sorted(reasons) == [f"train/cat/{number}.png" for number in (0, 2, 4, 6, 8)] + ["val/dog/1.png"]
    for number, (_, reason) in enumerate(BAD.values()):
        assert reason in reasons[f"train/cat/{2 * number}.png"]
    assert dataset.counts() == {"train": 19, "val": 3, "test": 3}
    assert not set(reasons) & set(dataset.splits["train"].names)
    with pytest.raises(DataError, match="and 5 more; remove it, or use --on-bad-image skip"):
        pipeline.prepare(load(tmp_path), (8, 8, 3))
    aligned(dataset)


def aligned(dataset):
    """Every image's red is its class and its green its number, in order and shuffled; no image is lost."""
    for split in dataset.splits.values():
        found = []
        for pixels, labels in pipeline.batches(split, 4).as_numpy_iterator():
            assert pixels.dtype == np.uint8 and pixels.shape == (len(labels), 8, 8, 3)
            assert (pixels == pixels[:, :1, :1]).all()
            found += [(*image[0, 0, :2].tolist(), label) for image, label in zip(pixels, labels, strict=True)]
        assert [green for _, green, _ in found] == [int(name.split("/")[-1][:-4]) for name in split.names]
        assert [label for *_, label in found] == split.labels.tolist()
        assert all(red == STEP * CLASSES.index(dataset.classes[label]) for red, _, label in found)
        shuffled = []
        for pixels, labels in pipeline.training_batches(
            split, 1, len(dataset.classes), seed=1, epoch=0, augment=("flip", "crop")
        ).as_numpy_iterator():
            assert labels.shape == (1, len(dataset.classes)) and labels.dtype == np.float32 and labels.sum() == 1
            shuffled.append((*pixels[0, 0, 0, :2].tolist(), labels.argmax()))
        assert sorted(shuffled) == sorted(found)


@memory_or_stream
def test_images_and_labels_stay_together(tmp_path, monkeypatch, share):
    monkeypatch.setattr(pipeline, "MEMORY_SHARE", share)
    tree(tmp_path, train_cat=9, train_dog=7, val_cat=2, val_dog=3)
    calls = []
    dataset = pipeline.prepare(load(tmp_path), (8, 8, 3), progress=lambda *call: calls.append(call))
    assert dataset.skipped == () and calls == [("reading train", 16, 16), ("reading val", 5, 5)]
    assert [split.array is None for split in dataset.splits.values()] == [share == 0] * 3
    aligned(dataset)


@pytest.mark.parametrize(
    "bad, message",
    [
        (["val/cat", "val/dog", "train/cat/0.png"], "not one image of val can be read, such as val/cat/0.png: "),
        (["train/cat"], "not one image of the class 'cat' in train can be read"),
    ],
)
def test_skipping_may_leave_nothing(tmp_path, bad, message):
    tree(tmp_path, train_cat=2, train_dog=2, val_cat=2, val_dog=2)
    for place in bad:
        for path in [tmp_path / place] if place.endswith("png") else (tmp_path / place).iterdir():
            path.write_bytes(b"")
    with pytest.raises(DataError, match=message):
        pipeline.prepare(load(tmp_path), (8, 8, 3), skip_bad=True)


def test_arrays_of_the_right_size_are_not_touched():
    dataset = sources.load(Data(source="digits"))
    same, larger = pipeline.prepare(dataset, (8, 8, 1)), pipeline.prepare(dataset, (12, 10, 3))
    assert same.splits == dataset.splits
    one = larger.splits["val"].array[7]
    assert one.shape == (12, 10, 3)
    np.testing.assert_array_equal(one, images.to_size(tf.constant(dataset.splits["val"].array[7]), (12, 10, 3)))


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The same 41 noisy images of many sizes, kept in memory and streamed from their files."""
    root = tmp_path_factory.mktemp("noise")
    for number in range(41):
        for split in ("train", "val"):
            folder = root / split / CLASSES[number % 3]
            folder.mkdir(parents=True, exist_ok=True)
            pixels = noise((20 + number, 50 - number, 3), seed=number)
            Image.fromarray(pixels).save(folder / f"{number}.{'png' if number % 2 else 'jpg'}")
    found = []
    for share in (0.25, 0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pipeline, "MEMORY_SHARE", share)
            found.append(pipeline.prepare(load(root), (16, 24, 3)).splits["train"])
    assert found[0].array is not None and found[1].array is None
    return found


def equal(one, two):
    """Whether two runs of batches are the same, to the last bit."""
    one, two = (list(batches.as_numpy_iterator()) for batches in (one, two))
    assert len(one) == len(two) > 0
    return all(
        a.dtype == b.dtype and np.array_equal(a, b)
        for pair in zip(one, two, strict=True)
        for a, b in zip(*pair, strict=True)
    )


@pytest.mark.parametrize("size", [1, 8, 41, 100])
def test_streaming_gives_the_same_batches(both, size):
    assert equal(*(pipeline.batches(split, size) for split in both))


@pytest.mark.parametrize("augment", [(), ("flip",), ("crop",), ("flip", "crop")], ids=str)
@pytest.mark.parametrize("size", [8, 100])
def test_streaming_gives_the_same_training_batches(both, augment, size):
    assert equal(*(pipeline.training_batches(split, size, 3, seed=5, epoch=2, augment=augment) for split in both))


@pytest.mark.parametrize("which", [0, 1], ids=["memory", "stream"])
@pytest.mark.parametrize("skip", [1, 4])
def test_an_epoch_goes_on_where_it_stood(both, which, skip):
    def epoch(**options):
        return pipeline.training_batches(both[which], 8, 3, seed=5, epoch=2, augment=("flip", "crop"), **options)

    assert equal(epoch().skip(skip), epoch(skip=skip))
    assert len(list(epoch())) == 5 and len(list(epoch(skip=5))) == 0


def test_epochs_and_seeds_differ(both):
    def order(**options):
        batches = pipeline.training_batches(both[0], 8, 3, **options)
        return b"".join(image.tobytes() for images, _ in batches.as_numpy_iterator() for image in images)

    assert order(seed=0, epoch=0) == order(seed=0, epoch=0)
    assert len({order(seed=seed, epoch=epoch) for seed in (0, 1) for epoch in (0, 1)}) == 4
    same_order = [order(seed=0, epoch=0, augment=augment) for augment in ((), ("flip",), ("crop",))]
    assert len(set(same_order)) == 3


@pytest.mark.parametrize("size, steps", [(8, 5), (41, 1), (42, 1), (1, 41)])
def test_full_batches_only_and_no_image_twice(both, size, steps):
    split = both[0]
    assert pipeline.steps_per_epoch(split, size) == steps
    batches = list(pipeline.training_batches(split, size, 3, seed=0, epoch=3).as_numpy_iterator())
    assert [len(images) for images, _ in batches] == [min(size, 41)] * steps
    seen = {image.tobytes() for images, _ in batches for image in images}
    assert len(seen) == steps * min(size, 41) and seen <= {image.tobytes() for image in split.array}


def test_arrays_are_the_pixels_in_order(both):
    for split in both:
        np.testing.assert_array_equal(np.concatenate(list(pipeline.arrays(split, 7))), both[0].array)


@pytest.mark.parametrize("count", [3, 12, 20, 30, 99])
def test_stratified(count):
    labels = np.array([0] * 20 + [1] * 6 + [2] * 4)
    split = from_array([str(i) for i in range(30)], labels, np.zeros((30, 1), np.uint8))
    chosen = pipeline.stratified(split, count)
    expected = {3: [1, 1, 1], 12: [4, 4, 4], 20: [10, 6, 4], 30: [20, 6, 4], 99: [20, 6, 4]}[count]
    assert len(set(chosen.tolist())) == len(chosen) and np.bincount(labels[chosen]).tolist() == expected
    np.testing.assert_array_equal(chosen, pipeline.stratified(split, count))
    assert count > 20 or set(chosen) != set(pipeline.stratified(split, count, seed=1))


@pytest.mark.parametrize("shape", [(64, 16, 24, 3), (64, 9, 17, 1)])
def test_flip_is_the_image_or_its_mirror_image(shape):
    images = noise(shape)
    out = augment.augmented(tf.constant(images), (3, 4), ("flip",)).numpy()
    kept, turned = (out == images).all((1, 2, 3)), (out == images[:, :, ::-1]).all((1, 2, 3))
    assert np.all(kept ^ turned) and 16 <= turned.sum() <= 48  # half of 64, four sigma
    again = augment.augmented(tf.constant(images), (3, 5), ("flip",)).numpy()
    assert not np.array_equal(out, again)


@pytest.mark.parametrize("shape", [(200, 16, 24, 3), (200, 9, 17, 1), (20, 6, 7, 3)])
def test_crop_moves_by_up_to_an_eighth(shape):
    number, height, width, _ = shape
    images = noise(shape)
    out = augment.augmented(tf.constant(images), (3, 4), ("crop",)).numpy()
    assert out.shape == shape and out.dtype == np.uint8
    reach = height // 8, width // 8
    padded = np.pad(images, ((0, 0), (reach[0],) * 2, (reach[1],) * 2, (0, 0)), mode="reflect")
    places = [
        [
            (down, right)
            for down in range(2 * reach[0] + 1)
            for right in range(2 * reach[1] + 1)
            if np.array_equal(padded[i, down : down + height, right : right + width], out[i])
        ]
        for i in range(number)
    ]
    assert all(len(place) == 1 for place in places)  # each is one crop of its own image
    assert {place[0] for place in places} == {
        (down, right) for down in range(2 * reach[0] + 1) for right in range(2 * reach[1] + 1)
    }


def test_augmentation_leaves_constant_colour_alone():
    images = np.broadcast_to(np.arange(32, dtype=np.uint8)[:, None, None, None] * 8, (32, 16, 16, 3))
    out = augment.augmented(tf.constant(images), (0, 0), ("flip", "crop"))
    assert out.dtype == tf.uint8
    np.testing.assert_array_equal(out, images)


def test_no_augmentation_is_none():
    images = noise((4, 8, 8, 3))
    np.testing.assert_array_equal(augment.augmented(tf.constant(images), (0, 0), ()), images)


# Check


def run(path):
    result = CliRunner().invoke(cli, ["data", "check", str(path), "--json"])
    return result.exit_code, json.loads(result.stdout)


def test_check_of_sound_folders(tmp_path):
    tree(tmp_path, train_cat=3, train_dog=2, val_cat=1, val_dog=1, test_dog=2)
    code, found = run(tmp_path)
    assert code == 0
    assert found == {
        "counts": {"cat": {"train": 3, "val": 1}, "dog": {"train": 2, "val": 1, "test": 2}},
        "unreadable": {},
        "duplicates": [],
        "sizes": {"smallest": 8, "largest": 10, "width": 8, "height": 9},
        "formats": {"PNG": 9},
        "refusal": None,
    }


def test_check_divides_as_training_does(tmp_path):
    tree(tmp_path, cat=30, dog=25)
    found, dataset = check(tmp_path), load(tmp_path)
    for label, name in enumerate(dataset.classes):
        assert found.counts[name] == {split: int((dataset.splits[split].labels == label).sum()) for split in SPLITS}


def test_check_finds_duplicates_across_splits(tmp_path):
    tree(tmp_path, train_cat=3, train_dog=3, val_cat=1, val_dog=1)
    copied = (tmp_path / "train" / "cat" / "2.png").read_bytes()
    (tmp_path / "val" / "cat" / "copy.png").write_bytes(copied)
    (tmp_path / "train" / "cat" / "again.png").write_bytes(copied)
    (tmp_path / "train" / "dog" / "9.png").write_bytes((tmp_path / "train" / "dog" / "1.png").read_bytes())
    code, found = run(tmp_path)
    assert code == 1 and found["unreadable"] == {}
    assert [sorted(group) for group in found["duplicates"]] == [
        [str(tmp_path / place) for place in ("train/cat/2.png", "train/cat/again.png", "val/cat/copy.png")]
    ]


@pytest.mark.parametrize("kind", BAD)
def test_check_finds_what_training_would_refuse(tmp_path, kind):
    data, reason = BAD[kind]
    tree(tmp_path, train_cat=2, train_dog=2, val_cat=1, val_dog=1)
    bad = tmp_path / "val" / "cat" / "0.png"
    bad.write_bytes(data)
    code, found = run(tmp_path)
    assert code == 1 and list(found["unreadable"]) == [str(bad)] and reason in found["unreadable"][str(bad)]
    assert found["counts"]["cat"] == {"train": 2, "val": 1} and found["formats"] == {"PNG": 5}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF"])
def test_check_agrees_with_training_on_cut_files(tmp_path, kind):
    """Whatever is cut off the end, the report and the reader say the same."""
    stream = io.BytesIO()
    Image.fromarray(noise((9, 9, 3))).save(stream, kind)
    data = stream.getvalue()
    tree(tmp_path, train_cat=1, train_dog=1, val_cat=1, val_dog=1)
    for cut in range(0, len(data), 7):
        (tmp_path / "train" / "cat" / f"cut{cut:04d}.png").write_bytes(data[: len(data) - cut])
    reported = {os.path.relpath(path, tmp_path) for path in check(tmp_path).unreadable}
    prepared = pipeline.prepare(load(tmp_path), (8, 8, 3), skip_bad=True)
    assert reported == {line.split(": ")[0] for line in prepared.skipped}
    assert "train/cat/cut0000.png" not in reported and len(reported) > 10


def test_check_prints_tables(tmp_path):
    tree(tmp_path, train_cat=2, train_dog=2, val_cat=1, val_dog=1)
    (tmp_path / "train" / "dog" / "0.png").write_bytes(b"")
    result = CliRunner().invoke(cli, ["data", "check", str(tmp_path)])
    assert result.exit_code == 1
    assert "5 PNG; sides from 8 to 9 pixels, median 8x9" in result.stdout
    assert f"unreadable: {tmp_path / 'train' / 'dog' / '0.png'}: the file is empty" in result.stdout


@pytest.mark.parametrize("counts, message", [({}, "is empty"), ({"val_cat": 1}, "has val but no train/")])
def test_check_of_no_data(tmp_path, counts, message):
    result = CliRunner().invoke(cli, ["data", "check", str(tree(tmp_path, **counts))])
    assert result.exit_code == 1 and message in result.stderr and "Traceback" not in result.output


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ({"train_cat": 2, "train_dog": 0}, "the class folder 'dog' has no images"),
        ({"train_cat": 2}, "one class only"),
        ({"train_cat": 2, "train_dog": 2, "val_cat": 1, "val_dog": 1, "val_fox": 1}, "'fox', which train lacks"),
    ],
)
def test_check_says_what_training_would_refuse_the_folder_for(tmp_path, counts, text):
    tree(tmp_path, **counts)
    code, found = run(tmp_path)
    assert code == 1 and text in found["refusal"] and found["counts"]["cat"]["train"] == 2


@pytest.mark.parametrize(("name", "theirs"), [
    ("autocontrast", ImageOps.autocontrast), ("equalize", ImageOps.equalize),
    ("solarize", lambda p: ImageOps.solarize(p, randaugment.SOLARIZE)),
    ("posterize", lambda p: ImageOps.posterize(p, randaugment.POSTERIZE)),
    ("colour", lambda p: ImageEnhance.Color(p).enhance(1 + randaugment.ENHANCE)),
    ("brightness", lambda p: ImageEnhance.Brightness(p).enhance(1 + randaugment.ENHANCE)),
    ("rotate", lambda p: p.rotate(np.degrees(randaugment.ROTATE), Image.BILINEAR, fillcolor=(128, 128, 128))),
    ("translate_x", lambda p: p.transform(p.size, Image.AFFINE, (1, 0, randaugment.TRANSLATE * p.width, 0, 1, 0),
                                          Image.BILINEAR, fillcolor=(128, 128, 128))),
])  # fmt: skip
def test_operations_of_randaugment_are_pillows(name, theirs):
    """Within rounding; grey is a plain mean here and luma there, and Pillow paints borders without blending."""
    smooth = np.add.outer(np.arange(40) * 3, np.arange(56) * 2)[..., None] + np.array([0, 12, 24])
    image = smooth.astype(np.uint8)
    operation = getattr(randaugment, name)
    ours = randaugment.finished(operation(tf.constant(image), 1.0), tf.constant(image)).numpy().astype(int)
    difference = np.abs(ours - np.asarray(theirs(Image.fromarray(image))).astype(int))
    assert np.quantile(difference, 0.9) <= (8 if name == "colour" else 1)
    assert not np.array_equal(ours, image)


def test_randaugment_changes_each_image_by_its_seed_alone():
    images = tf.constant(noise((24, 20, 28, 3)))
    first, again, other = (augment.augmented(images, (1, k), ("randaugment",)).numpy() for k in (2, 2, 3))
    np.testing.assert_array_equal(first, again)
    changed = (first != images.numpy()).any((1, 2, 3))
    assert changed.sum() >= 18 and (first != other).any((1, 2, 3)).sum() >= 18 and first.dtype == np.uint8


@pytest.mark.parametrize("kinds", [("mixup",), ("cutmix",), ("mixup", "cutmix")])
def test_mixed_images_and_labels_by_hand(kinds):
    """Images of constant value: what an image shows is what its label says."""
    number = 64
    values = np.arange(number) * 3
    images = np.broadcast_to(values[:, None, None, None], (number, 16, 16, 1)).astype(np.uint8)
    labels = tf.one_hot(np.arange(number), number)
    mixed, shares = augment.mixed(tf.constant(images), labels, (0, 1), kinds)
    mixed, shares = mixed.numpy(), shares.numpy()
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(mixed.mean((1, 2, 3)), shares @ values, atol=0.51)
    own = np.diag(shares)
    assert ((shares > 1e-6).sum(1) <= 2).all() and np.all(shares[np.arange(number), np.arange(number) - 1] == 1 - own)
    plain = (mixed == mixed[:, :1, :1]).all((1, 2, 3))
    if kinds == ("mixup",):
        assert plain.all() and 0.05 < np.minimum(own, 1 - own).mean() < 0.25  # Beta(0.2, 0.2) keeps near 0 and 1
    else:
        assert 8 < (~plain).sum() and set(np.unique(mixed[~plain][0])) <= set(values)
    np.testing.assert_array_equal(augment.mixed(tf.constant(images), labels, (0, 1), kinds)[0], mixed)
