"""Random crops that are decoded in part: what they show, and that a training that goes on draws the same."""

import numpy as np
import photos
import pytest
import tensorflow as tf
from PIL import Image

from cnn_app.data import pipeline
from cnn_app.inputs import orientation, pixels, sampling
from cnn_app.inputs.image import Image as Input
from cnn_app.jobs import train
from cnn_app.recipe import Data, Schedule
from cnn_app.tasks.classification import Classification

WIDE, HIGH = 640, 480


def smooth(seed, size=(WIDE, HIGH)):
    grid = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(grid).resize(size, Image.BICUBIC)


def drawn(data, image, seed):
    return sampling.resized_crop(tf.constant(data), image, tf.constant([5, seed], tf.int64)).numpy()


def box(sides, seed):
    return sampling._box(tf.constant(sides), tf.constant([5, seed], tf.int64)).numpy()


@pytest.mark.parametrize("kind, error", [("JPEG", 9), ("PNG", 3), ("WEBP", 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_box_of_the_file_is_seen(kind, error, channels):
    """As Pillow cuts and scales it; of a JPEG the box alone is decoded, at a fraction where it is large."""
    data, scales = photos.encoded(smooth(0), kind, **photos.KINDS[kind]), set()
    whole = photos.reopened(smooth(0), kind, **photos.KINDS[kind]).convert("RGB")
    for seed in range(8):
        sides = box((HIGH, WIDE), seed)
        scale = max(one for one in sampling.SCALES if one <= sides[2:].min() // 40) if kind == "JPEG" else 1
        top, left, height, width = sides // scale * scale
        scales.add(scale)
        part = whole.crop((left, top, left + width, top + height)).resize((40, 40), Image.BOX)
        found = drawn(data, Input((40, 40, channels)), seed).astype(int)
        wanted = np.asarray(part if channels == 3 else part.convert("L")).reshape(40, 40, channels).astype(int)
        assert np.abs(found - wanted).max() <= error
    assert scales == ({4, 8} if kind == "JPEG" else {1})


@pytest.mark.parametrize("value", photos.ORIENTATIONS)
def test_a_box_is_turned(value):
    data = photos.stored(smooth(1), value, "PNG")
    lies = pixels.decode(tf.constant(data))
    shape = (32, 48, 3)
    across = value in orientation.TRANSPOSED
    part = sampling.of_pixels(lies, Input((48, 32, 3) if across else shape), tf.constant([5, 3], tf.int64))
    found = drawn(data, Input(shape), 3)
    np.testing.assert_array_equal(found, orientation.upright_array(part.numpy(), value))


def test_boxes_lie_within_and_differ():
    found = np.stack([box((HIGH, WIDE), seed) for seed in range(200)])
    top, left, height, width = found.T
    assert (top >= 0).all() and (left >= 0).all() and (top + height <= HIGH).all() and (left + width <= WIDE).all()
    shares, ratios = height * width / (HIGH * WIDE), width / height
    assert shares.min() >= 0.075 and 0.35 < shares.mean() < 0.6 and len(set(map(tuple, found))) == 200
    assert ratios.min() > 0.74 and ratios.max() < 1.35


@pytest.fixture
def folder(tmp_path):
    for split, count in (("train", 5), ("val", 1)):
        for label in ("cat", "dog"):
            place = tmp_path / split / label
            place.mkdir(parents=True)
            for number in range(count):
                smooth(number, (120, 90)).save(place / f"{number}.{'png' if number % 2 else 'jpg'}")
    return tmp_path


def job(folder, augment):
    schedule = Schedule(batch=4, augment=augment)
    return train.plan("lenet5", {"image": (32, 32, 3)}, Data(source=str(folder)), schedule)


def epoch(planned, number, skip=0):
    return [inputs["image"] for inputs, _ in planned.stream.batches(number, skip)]


@pytest.mark.slow
def test_training_draws_from_the_files(folder):
    planned = job(folder, ("flip", "resized-crop"))
    column = planned.dataset.splits["train"].inputs["image"]
    assert column.sampled == ("resized-crop",) and column.array is None
    assert planned.dataset.splits["val"].inputs["image"].array is not None
    first, again, other = epoch(planned, 0), epoch(planned, 0), epoch(planned, 1)
    np.testing.assert_array_equal(first, again)
    assert len(first) == 2 and (np.stack(first) != np.stack(other)).any()
    np.testing.assert_array_equal(epoch(planned, 1, skip=1), other[1:])
    whole = {image.tobytes() for image in planned.stream.first()[0]["image"]}
    assert whole <= {record["image"].tobytes() for record in records(planned)}


def records(planned):
    split = planned.dataset.splits["train"]
    return [{"image": column.read(tf.constant(i, tf.int64)).numpy()} for column in split.inputs.values()
            for i in range(len(split))]  # fmt: skip


def test_what_is_in_memory_at_its_size_is_cut_there():
    """Digits have no file to be read again."""
    task = Classification(input=Input((8, 8, 1)))
    data = pipeline.prepare(
        task.load(Data(source="digits")), task.converters(), samplers=task.samplers(("resized-crop",))
    )
    column = data.splits["train"].inputs["image"]
    assert column.sampled == () and column.array is not None
    assert task.samplers(("flip",)) == {}
