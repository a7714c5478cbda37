import io
import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from PIL import Image, ImageEnhance, ImageOps

from cnn_app import inputs
from cnn_app.cli.main import cli
from cnn_app.data import memory, pipeline
from cnn_app.data.dataset import SPLITS, Column, Dataset, Split, in_memory
from cnn_app.errors import DataError
from cnn_app.inputs import augment, draws, pixels, randaugment
from cnn_app.inputs.image import Image as Input
from cnn_app.recipe import Data, Schedule
from cnn_app.tasks.classification import Classification
from cnn_app.tasks.image_folders import check

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


def classifier(size=(8, 8, 3), labels=CLASSES):
    return Classification(input=inputs.named("image")(size), labels=labels)


def load(source):
    return classifier().load(Data(source=str(source)))


def prepare(dataset, size=(8, 8, 3), **options):
    """All splits of the data set, read."""
    found = pipeline.prepare(dataset, classifier(size).converters(), **options)
    found.counts()
    return found


def held(names, images, classes):
    return Split(names, {"image": in_memory(np.asarray(images))}, {"class": in_memory(np.asarray(classes, np.int64))})


def places(split):
    return split.targets["class"].array


def images(split):
    return split.inputs["image"].array


def read(split, i):
    return split.inputs["image"].read(tf.constant(i, tf.int64)).numpy()


def in_order(dataset, labels):
    return classifier().in_order(dataset, labels)


def training(split, batch, augment=(), labels=CLASSES, **options):
    """One epoch of training batches."""
    task = classifier(labels=labels)
    return pipeline.training_batches(
        split, batch, lambda inputs, targets, seed: task.augmented(inputs, targets, seed, augment),
        **{"seed": 5, "epoch": 2} | options,
    )  # fmt: skip


def pairs(batches):
    """(images, classes) of batches, as arrays."""
    return [(inputs["image"], targets["class"]) for inputs, targets in batches.as_numpy_iterator()]


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
    dataset = load("digits")
    found = names(dataset)
    assert dataset.labels == tuple("0123456789")
    assert sorted(sum(found.values(), [])) == [f"digit-{number:04d}" for number in range(1797)]
    for name, split in dataset.splits.items():
        assert set(places(split)) == set(range(10)), name
        assert images(split).shape == (len(split), 8, 8, 1) and images(split).dtype == np.uint8
        np.testing.assert_array_equal(read(split, 5), images(split)[5])
    # the first row of the first image is 0 0 5 13 9 1 0 0 of 16, a zero
    (name,) = (name for name in SPLITS if "digit-0000" in found[name])
    first = found[name].index("digit-0000")
    assert places(dataset.splits[name])[first] == 0
    assert images(dataset.splits[name])[first, 0, :, 0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]


def test_shapes_are_the_same_every_time():
    one, two = (load("shapes") for _ in range(2))
    assert one.fingerprint() == two.fingerprint() and sum(one.counts().values()) == 1000
    for name, split in one.splits.items():
        assert images(split).shape == (len(split), 64, 64, 3) and set(places(split)) == set(range(5))
        np.testing.assert_array_equal(images(split), images(two.splits[name]))
        assert all(image.startswith(one.labels[i]) for image, i in zip(split.names, places(split), strict=True))


def test_a_folder_with_three_splits(tmp_path):
    tree(tmp_path, train_cat=3, train_dog=2, val_cat=1, val_dog=1, test_dog=2)
    dataset = load(tmp_path)
    assert dataset.labels == ("cat", "dog") and dataset.source == str(tmp_path)
    assert names(dataset) == {
        "train": ["train/cat/0.png", "train/cat/1.png", "train/cat/2.png", "train/dog/0.png", "train/dog/1.png"],
        "val": ["val/cat/0.png", "val/dog/0.png"],
        "test": ["test/dog/0.png", "test/dog/1.png"],
    }
    assert [places(dataset.splits[name]).tolist() for name in SPLITS] == [[0, 0, 0, 1, 1], [0, 1], [1, 1]]
    assert pixels.decode(tf.constant(read(dataset.splits["val"], 1)))[0, 0].numpy().tolist() == [
        2 * STEP,
        0,
        len("val_dog"),
    ]


def test_val_stands_in_for_test(tmp_path):
    dataset = load(tree(tmp_path, train_cat=2, train_dog=2, val_cat=1, val_dog=1))
    assert dataset.splits["test"] is dataset.splits["val"] and dataset.counts() == {"train": 4, "val": 2, "test": 2}
    assert list(dataset.distinct()) == ["train", "val"]
    for one in (prepare(dataset), in_order(dataset, ("dog", "cat")), prepare(in_order(dataset, ("dog", "cat")))):
        assert one.splits["test"] is one.splits["val"]
    assert places(one.splits["test"]).tolist() == [1, 0]


def test_val_is_divided_off_train_where_only_test_is_there(tmp_path):
    dataset = load(tree(tmp_path, train_cat=20, train_dog=20, test_cat=1))
    found = names(dataset)
    assert found["test"] == ["test/cat/0.png"]
    assert sorted(found["train"] + found["val"]) == sorted(
        f"train/{c}/{i}.png" for c in ("cat", "dog") for i in range(20)
    )
    assert places(dataset.splits["val"]).tolist() == [0] * 4 + [1] * 4  # of 20, 15 to 70: 3.5


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
        ({}, "has no classes with images in it; see docs/data.md"),
        ({"train_cat": 2, "train_dog": 2, "val": 0}, "val has no classes with images in it; see docs/data.md"),
        ({"cat": 9}, "has one class only .cat."),
        ({"val_cat": 2, "val_dog": 2}, "has val but no train/"),
        ({"val_cat": 2, "test_cat": 2}, "has val, test but no train/"),
        ({"cat": 1, "dog": 1}, "nothing falls into val"),
    ],
    ids="extra-class empty-class empty-class-in-val empty empty-val one-class no-train no-train-2 few".split(),
)
def test_folders_that_are_no_data(tmp_path, counts, message):
    with pytest.raises(DataError, match=message) as caught:
        load(tree(tmp_path, **counts))
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


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
    split = held(list("abcd"), np.zeros((4, 1)), [0, 1, 2, 1])
    dataset = Dataset("x", dict.fromkeys(SPLITS, split), CLASSES)
    turned = in_order(dataset, ("dog", "bird", "cat"))
    assert turned.labels == ("dog", "bird", "cat")
    for name in SPLITS:
        assert [turned.labels[place] for place in places(turned.splits[name])] == ["bird", "cat", "dog", "cat"]
        assert turned.splits[name].names == list("abcd")
    assert places(dataset.splits["train"]).tolist() == [0, 1, 2, 1]


@pytest.mark.parametrize(
    "labels, difference",
    [
        (("cat", "dog"), "the model does not know bird; finetune"),
        (("bird", "cat", "dog", "eel"), "the data has no eel; finetune"),
        (("ant", "cat", "dog"), "the model does not know bird; the data has no ant; finetune"),
    ],
)
def test_in_order_refuses_other_classes(labels, difference):
    with pytest.raises(DataError, match=f"here has other classes than the model: {difference} makes a new head"):
        in_order(Dataset("here", {}, CLASSES), labels)


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
        Dataset("x", dict.fromkeys(SPLITS, held(list("pqr"), pixels, classes)), ("a", "b")).fingerprint()
        for classes in ([0, 1, 1], [1, 0, 1], [0, 1, 1])
    }
    assert len(found) == 2


def test_take():
    array = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1)
    taken = held(list("abcd"), array, [0, 1, 2, 3]).take(np.array([3, 1, 1])).take(np.array([2, 0]))
    assert taken.names == ["b", "d"] and places(taken).tolist() == [1, 3] and images(taken).ravel().tolist() == [1, 3]
    assert [int(read(taken, i)[0, 0, 0]) for i in (0, 1)] == [1, 3]


def test_what_is_wrong_with_a_record_moves_with_it():
    """`problem` and `fault` are asked by place, also of a part of a split."""
    column = Column(lambda i: i, "problem {}".format, None, "fault {}".format)
    taken = Split(list("abc"), {"x": column}).take([2, 0]).take([1]).inputs["x"]
    assert (taken.problem(0), taken.fault(0)) == ("problem 0", "fault 0")


# Pipeline

TRUNCATED = bytes(png(size=(64, 64)))[:-20]
BAD = {
    "text": (b"this is no image", "it is no JPEG, PNG, WebP, BMP or GIF"),
    "empty": (b"", "the file is empty"),
    "truncated": (TRUNCATED, "damaged or cut off"),
    "tiny": (png(size=(1, 1)), "it has 1x1 pixels"),
    "huge": (png("1", (20_000, 20_000)), "more than 64,000,000"),
}
memory_or_stream = pytest.mark.parametrize("share", [0.25, 0], ids=["memory", "stream"])


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_image_is_named(tmp_path, kind):
    data, reason = BAD[kind]
    tree(tmp_path, train_cat=3, train_dog=3, val_cat=1, val_dog=1)
    (tmp_path / "train" / "dog" / "1.png").write_bytes(data)
    with pytest.raises(DataError, match="cannot read train/dog/1.png: .*--on-bad-image skip") as caught:
        prepare(load(tmp_path))
    assert reason in str(caught.value) and "\n" not in str(caught.value)


def test_a_bad_image_is_named_where_the_folder_is_divided(tmp_path):
    found = load(tree(tmp_path, cat=20, dog=20)).splits
    bad = [found[name].names[-1] for name in SPLITS]
    for name in bad:
        (tmp_path / name).write_bytes(b"")
    skipped = prepare(load(tmp_path), skip_bad=True).skipped
    assert skipped == [f"{name}: the file is empty" for name in bad]


@memory_or_stream
def test_bad_images_are_left_out_and_listed(tmp_path, monkeypatch, share):
    monkeypatch.setattr(pipeline, "MEMORY_SHARE", share)
    tree(tmp_path, train_cat=12, train_dog=12, val_cat=2, val_dog=2)
    for number, (data, _) in enumerate(BAD.values()):
        (tmp_path / "train" / "cat" / f"{2 * number}.png").write_bytes(data)
    (tmp_path / "val" / "dog" / "1.png").write_bytes(TRUNCATED)
    dataset = prepare(load(tmp_path), skip_bad=True)
    reasons = {line.split(": ")[0]: line for line in dataset.skipped}
    assert sorted(reasons) == [f"train/cat/{number}.png" for number in (0, 2, 4, 6, 8)] + ["val/dog/1.png"]
    for number, (_, reason) in enumerate(BAD.values()):
        assert reason in reasons[f"train/cat/{2 * number}.png"]
    assert dataset.counts() == {"train": 19, "val": 3, "test": 3}
    assert not set(reasons) & set(dataset.splits["train"].names)
    with pytest.raises(DataError, match="and 4 more; remove it, or use --on-bad-image skip"):
        prepare(load(tmp_path))
    aligned(dataset)


def aligned(dataset):
    """Every image's red is its class and its green its number, in order and shuffled; no image is lost."""
    for split in dataset.splits.values():
        found = []
        for batch, classes in pairs(pipeline.batches(split, 4)):
            assert batch.dtype == np.uint8 and batch.shape == (len(classes), 8, 8, 3)
            assert (batch == batch[:, :1, :1]).all()
            found += [(*image[0, 0, :2].tolist(), place) for image, place in zip(batch, classes, strict=True)]
        assert [green for _, green, _ in found] == [int(name.split("/")[-1][:-4]) for name in split.names]
        assert [place for *_, place in found] == places(split).tolist()
        assert all(red == STEP * CLASSES.index(dataset.labels[place]) for red, _, place in found)
        shuffled = []
        for batch, shares in pairs(training(split, 1, ("flip", "crop"), dataset.labels, seed=1, epoch=0)):
            assert shares.shape == (1, len(dataset.labels)) and shares.dtype == np.float32 and shares.sum() == 1
            shuffled.append((*batch[0, 0, 0, :2].tolist(), shares.argmax()))
        assert sorted(shuffled) == sorted(found)


@memory_or_stream
def test_images_and_labels_stay_together(tmp_path, monkeypatch, share):
    monkeypatch.setattr(pipeline, "MEMORY_SHARE", share)
    tree(tmp_path, train_cat=9, train_dog=7, val_cat=2, val_dog=3)
    calls = []
    dataset = prepare(load(tmp_path), progress=lambda *call: calls.append(call))
    assert dataset.skipped == [] and calls == [("reading train", 16, 16), ("reading val", 5, 5)]
    assert [images(split) is None for split in dataset.splits.values()] == [share == 0] * 3
    aligned(dataset)


def test_a_split_is_read_when_it_is_asked_for_and_once(tmp_path):
    tree(tmp_path, train_cat=2, train_dog=2, val_cat=1, val_dog=1)
    (tmp_path / "train" / "cat" / "0.png").write_bytes(b"")
    calls = []
    dataset = pipeline.prepare(load(tmp_path), classifier().converters(), progress=lambda *call: calls.append(call))
    assert calls == [] and len(dataset.splits) == 3 and list(dataset.splits) == list(SPLITS)
    assert dataset.splits["test"] is dataset.splits["val"] and calls == [("reading test", 2, 2)]
    with pytest.raises(DataError, match="train/cat/0.png: the file is empty"):
        dataset.splits["train"]


def test_skipping_may_leave_nothing_of_a_split(tmp_path):
    tree(tmp_path, train_cat=2, train_dog=2, val_cat=2, val_dog=2)
    for path in [tmp_path / "train/cat/0.png", *tmp_path.glob("val/*/*")]:
        path.write_bytes(b"")
    with pytest.raises(DataError, match="not one record of val can be read, such as val/cat/0.png: "):
        prepare(load(tmp_path), skip_bad=True)


def test_skipping_may_leave_nothing_of_a_class(tmp_path):
    """That is told before the first step."""
    tree(tmp_path, train_cat=2, train_dog=2, val_cat=2, val_dog=2)
    for path in tmp_path.glob("train/cat/*"):
        path.write_bytes(b"")
    dataset = prepare(load(tmp_path), skip_bad=True)
    with pytest.raises(DataError, match="not one record of the class 'cat' in train can be read"):
        classifier(labels=dataset.labels).objective(Schedule(), dataset.splits["train"])


def test_arrays_of_the_right_size_are_not_touched():
    dataset = load("digits")
    same, larger = prepare(dataset, (8, 8, 1)), prepare(dataset, (12, 10, 3))
    assert all(same.splits[name] is split for name, split in dataset.splits.items())
    one = images(larger.splits["val"])[7]
    assert one.shape == (12, 10, 3)
    np.testing.assert_array_equal(
        one, pixels.to_size(tf.constant(images(dataset.splits["val"])[7]), Input((12, 10, 3)))
    )


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The same 41 noisy images of many sizes, kept in memory and streamed from their files."""
    root = tmp_path_factory.mktemp("noise")
    for number in range(41):
        for split in ("train", "val"):
            folder = root / split / CLASSES[number % 3]
            folder.mkdir(parents=True, exist_ok=True)
            pattern = noise((20 + number, 50 - number, 3), seed=number)
            Image.fromarray(pattern).save(folder / f"{number}.{'png' if number % 2 else 'jpg'}")
    found = []
    for share in (0.25, 0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pipeline, "MEMORY_SHARE", share)
            found.append(prepare(load(root), (16, 24, 3)).splits["train"])
    assert images(found[0]) is not None and images(found[1]) is None
    return found


def equal(one, two):
    """Whether two runs of batches are the same, to the last bit."""
    one, two = map(pairs, (one, two))
    assert len(one) == len(two) > 0
    return all(
        a.dtype == b.dtype and np.array_equal(a, b)
        for pair in zip(one, two, strict=True)
        for a, b in zip(*pair, strict=True)
    )


@pytest.mark.parametrize("size", [1, 8, 41, 100])
def test_streaming_gives_the_same_batches(both, size):
    assert equal(*(pipeline.batches(split, size) for split in both))


@pytest.mark.parametrize("augment", [(), ("flip",), ("crop",), ("flip", "crop"), ("mixup", "cutmix")], ids=str)
@pytest.mark.parametrize("size", [8, 100])
def test_streaming_gives_the_same_training_batches(both, augment, size):
    assert equal(*(training(split, size, augment) for split in both))


@pytest.mark.parametrize("which", [0, 1], ids=["memory", "stream"])
@pytest.mark.parametrize("skip", [1, 4])
def test_an_epoch_goes_on_where_it_stood(both, which, skip):
    def epoch(**options):
        return training(both[which], 8, ("flip", "crop"), **options)

    assert equal(epoch().skip(skip), epoch(skip=skip))
    assert len(list(epoch())) == 5 and len(list(epoch(skip=5))) == 0


def test_epochs_and_seeds_differ(both):
    def order(**options):
        return b"".join(image.tobytes() for batch, _ in pairs(training(both[0], 8, **options)) for image in batch)

    assert order(seed=0, epoch=0) == order(seed=0, epoch=0)
    assert len({order(seed=seed, epoch=epoch) for seed in (0, 1) for epoch in (0, 1)}) == 4
    same_order = [order(seed=0, epoch=0, augment=augment) for augment in ((), ("flip",), ("crop",))]
    assert len(set(same_order)) == 3


@pytest.mark.parametrize("size, steps", [(8, 5), (41, 1), (42, 1), (1, 41)])
def test_full_batches_only_and_no_image_twice(both, size, steps):
    split = both[0]
    assert pipeline.steps_per_epoch(split, size) == steps
    batches = pairs(training(split, size, seed=0, epoch=3))
    assert [len(batch) for batch, _ in batches] == [min(size, 41)] * steps
    seen = {image.tobytes() for batch, _ in batches for image in batch}
    assert len(seen) == steps * min(size, 41) and seen <= {image.tobytes() for image in images(split)}


def test_arrays_are_the_pixels_in_order(both):
    for split in both:
        found = pipeline.stacked(inputs | targets for inputs, targets in pipeline.arrays(split, 7))
        inputs, targets = pipeline.gathered(split)
        for arrays in (found, inputs | targets):
            np.testing.assert_array_equal(arrays["image"], images(both[0]))
            np.testing.assert_array_equal(arrays["class"], places(both[0]))


@pytest.mark.parametrize("count", [3, 12, 20, 30, 99])
def test_stratified(count):
    strata = np.array([0] * 20 + [1] * 6 + [2] * 4)
    chosen = pipeline.stratified(strata, count)
    expected = {3: [1, 1, 1], 12: [4, 4, 4], 20: [10, 6, 4], 30: [20, 6, 4], 99: [20, 6, 4]}[count]
    assert len(set(chosen.tolist())) == len(chosen) and np.bincount(strata[chosen]).tolist() == expected
    np.testing.assert_array_equal(chosen, pipeline.stratified(strata, count))
    assert count > 20 or set(chosen) != set(pipeline.stratified(strata, count, seed=1))


# Memory

CGROUPS = {
    2: ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    1: ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
}


@pytest.mark.parametrize("version", CGROUPS)
@pytest.mark.parametrize(
    "limit, expected",
    [
        ("1000", 1000 - 700 + 200),
        ("500", 0),
        (str(2**63 - 4096), 5000),
        ("max", 5000),
        ("nonsense", 5000),
        (None, 5000),
    ],
    ids="limit over-limit no-limit-in-version-1 no-limit-in-version-2 damaged none".split(),
)
def test_the_limit_of_a_container_is_heeded(tmp_path, monkeypatch, version, limit, expected):
    """What the kernel holds of files counts as free; without a limit the machine's free memory does."""
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=5000))
    most, used, statistics, cached = CGROUPS[version]
    (tmp_path / "memory").mkdir()
    if limit:
        (tmp_path / most).write_text(f"{limit}\n")
    (tmp_path / used).write_text("700\n")
    (tmp_path / statistics).write_text(f"anon 500\n{cached} 200\nslab 1\n")
    assert memory.available(tmp_path) == expected


def test_what_fits_is_decided_by_the_memory_that_is_free(tmp_path, monkeypatch):
    """Four images of 192 bytes, of a quarter of what is free."""
    dataset = load(tree(tmp_path, train_cat=2, train_dog=2, val_cat=1, val_dog=1))
    for free, held in ((4 * 4 * 192, True), (4 * 4 * 192 - 4, False)):
        monkeypatch.setattr(memory, "available", lambda free=free: free)
        assert (images(prepare(dataset).splits["train"]) is not None) == held


# Augmentation


@pytest.mark.parametrize("shape", [(64, 16, 24, 3), (64, 9, 17, 1)])
def test_flip_is_the_image_or_its_mirror_image(shape):
    whole = noise(shape)
    out = augment.augmented(tf.constant(whole), (3, 4), ("flip",)).numpy()
    kept, turned = (out == whole).all((1, 2, 3)), (out == whole[:, :, ::-1]).all((1, 2, 3))
    assert np.all(kept ^ turned) and 16 <= turned.sum() <= 48  # half of 64, four sigma
    again = augment.augmented(tf.constant(whole), (3, 5), ("flip",)).numpy()
    assert not np.array_equal(out, again)


@pytest.mark.parametrize("shape", [(200, 16, 24, 3), (200, 9, 17, 1), (20, 6, 7, 3)])
def test_crop_moves_by_up_to_an_eighth(shape):
    number, height, width, _ = shape
    whole = noise(shape)
    out = augment.augmented(tf.constant(whole), (3, 4), ("crop",)).numpy()
    assert out.shape == shape and out.dtype == np.uint8
    reach = height // 8, width // 8
    padded = np.pad(whole, ((0, 0), (reach[0],) * 2, (reach[1],) * 2, (0, 0)), mode="reflect")
    found = [
        [
            (down, right)
            for down in range(2 * reach[0] + 1)
            for right in range(2 * reach[1] + 1)
            if np.array_equal(padded[i, down : down + height, right : right + width], out[i])
        ]
        for i in range(number)
    ]
    assert all(len(place) == 1 for place in found)  # each is one crop of its own image
    assert {place[0] for place in found} == {
        (down, right) for down in range(2 * reach[0] + 1) for right in range(2 * reach[1] + 1)
    }


def test_augmentation_leaves_constant_colour_alone():
    whole = np.broadcast_to(np.arange(32, dtype=np.uint8)[:, None, None, None] * 8, (32, 16, 16, 3))
    out = augment.augmented(tf.constant(whole), (0, 0), ("flip", "crop"))
    assert out.dtype == tf.uint8
    np.testing.assert_array_equal(out, whole)


def test_no_augmentation_is_none():
    whole = noise((4, 8, 8, 3))
    np.testing.assert_array_equal(augment.augmented(tf.constant(whole), (0, 0), ()), whole)


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
        "conflicts": [],
        "repeated": [],
        "left_out": {},
        "sizes": {"smallest": 8, "largest": 10, "width": 8, "height": 9},
        "formats": {"PNG": 9},
        "refusal": None,
        "division": {"rule": "own"},
        "tested": "test",
        "few": {"dog": 2},
        "unlabelled": None,
    }


def test_check_divides_as_training_does(tmp_path):
    tree(tmp_path, cat=30, dog=25)
    found, dataset = check(Data(source=str(tmp_path))), load(tmp_path)
    for place, name in enumerate(dataset.labels):
        assert found.counts[name] == {split: int((places(dataset.splits[split]) == place).sum()) for split in SPLITS}


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
    assert [sorted(group) for group in found["repeated"]] == [
        [str(tmp_path / "train" / "dog" / name) for name in ("1.png", "9.png")]
    ]


def test_check_tells_what_is_in_two_classes_or_left_out_and_which_class_a_split_lacks(tmp_path):
    tree(tmp_path, train_cat=3, train_dog=3, val_cat=1, val_dog=1, test_dog=1)
    (tmp_path / "train" / "dog" / "cat.png").write_bytes((tmp_path / "train" / "cat" / "1.png").read_bytes())
    for name in ("a.psd", "b.PSD", "c.svg", "d", ".hidden"):
        (tmp_path / "train" / "cat" / name).write_bytes(b"")
    code, found = run(tmp_path)
    assert code == 1 and found["duplicates"] == found["repeated"] == []
    assert [sorted(group) for group in found["conflicts"]] == [
        [str(tmp_path / "train" / place) for place in ("cat/1.png", "dog/cat.png")]
    ]
    assert found["left_out"] == {".psd": 2, ".svg": 1, "": 1}
    told = CliRunner().invoke(cli, ["data", "check", str(tmp_path)]).stdout
    assert "in more than one class: " in told and "test has no image of cat" in told
    assert "left out: " in told and "2 .psd" in told and "1 without a suffix" in told and "images end in .jpg" in told


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
    reported = {os.path.relpath(path, tmp_path) for path in check(Data(source=str(tmp_path))).unreadable}
    prepared = prepare(load(tmp_path), skip_bad=True)
    assert reported == {line.split(": ")[0] for line in prepared.skipped}
    assert "train/cat/cut0000.png" not in reported and len(reported) > 10


def test_check_prints_tables(tmp_path):
    tree(tmp_path, train_cat=2, train_dog=2, val_cat=1, val_dog=1)
    (tmp_path / "train" / "dog" / "0.png").write_bytes(b"")
    result = CliRunner().invoke(cli, ["data", "check", str(tmp_path)])
    assert result.exit_code == 1
    assert "5 PNG; sides from 8 to 9 pixels, median 8x9" in result.stdout
    assert f"unreadable: {tmp_path / 'train' / 'dog' / '0.png'}: the file is empty" in result.stdout


@pytest.mark.parametrize(
    "counts, message", [({}, "has no classes with images"), ({"val_cat": 1}, "has val but no train/")]
)
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
    ours = draws.rounded(operation(tf.constant(image), 1.0), tf.constant(image)).numpy().astype(int)
    difference = np.abs(ours - np.asarray(theirs(Image.fromarray(image))).astype(int))
    assert np.quantile(difference, 0.9) <= (8 if name == "colour" else 1)
    assert not np.array_equal(ours, image)


def test_randaugment_changes_each_image_by_its_seed_alone():
    whole = tf.constant(noise((24, 20, 28, 3)))
    first, again, other = (augment.augmented(whole, (1, k), ("randaugment",)).numpy() for k in (2, 2, 3))
    np.testing.assert_array_equal(first, again)
    changed = (first != whole.numpy()).any((1, 2, 3))
    assert changed.sum() >= 18 and (first != other).any((1, 2, 3)).sum() >= 18 and first.dtype == np.uint8


@pytest.mark.parametrize("kinds", [("mixup",), ("cutmix",), ("mixup", "cutmix")])
def test_mixed_images_and_labels_by_hand(kinds):
    """Images of constant value: what an image shows is what its label says."""
    number = 64
    values = np.arange(number) * 3
    whole = np.broadcast_to(values[:, None, None, None], (number, 16, 16, 1)).astype(np.uint8)
    labels = tf.one_hot(np.arange(number), number)
    mixed, shares = augment.mixed(tf.constant(whole), labels, (0, 1), kinds)
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
    np.testing.assert_array_equal(augment.mixed(tf.constant(whole), labels, (0, 1), kinds)[0], mixed)
