"""Golden answers by hand: what is stored of a file, and what makes a check fail."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from cnn_app.errors import ArtifactError
from cnn_app.export import golden, tflite
from cnn_app.export.golden import Check
from cnn_app.export.targets import target

PASSED = Check("x", n=8, agreement=1.0, max_difference=0.01, tolerance=0.02, untouched=True)
IMAGES = np.arange(20, dtype=np.uint8).reshape(10, 1, 2, 1)
VALUES = IMAGES.reshape(10, 2).astype(np.float32)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A file whose `probabilities` are twice the two pixels that it takes."""

    @tf.function(input_signature=[tf.TensorSpec((1, 1, 2, 1), tf.uint8, name="image")])
    def twice(image):
        return {"probabilities": 2 * tf.reshape(tf.cast(image, tf.float32), (1, 2))}

    folder = tmp_path_factory.mktemp("files")
    tf.saved_model.save(tf.Module(), str(folder / "saved"), {"serving_default": twice})
    with tflite.silence():
        return tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved")).convert()


@pytest.fixture
def doubled(written, tmp_path):
    (tmp_path / "x.tflite").write_bytes(written)
    return tmp_path / "x.tflite"


def stored(file, changes=None, kind="tflite-float32"):
    """What its golden file holds, in which `changes` are made then."""
    golden.write(file, golden.answers(file, target(kind), {"image": IMAGES}, {"probabilities": 3 * VALUES}))
    found = golden.read(golden.place(file))
    np.savez(golden.place(file), **found | (changes or {}))
    return found


def checked(file):
    return golden.check(file, trust=True)


@pytest.mark.parametrize(("changes", "passed"), [
    ({}, True), ({"max_difference": 0.02}, True), ({"max_difference": 0.021}, False), ({"untouched": False}, False),
    ({"stale": True}, False), ({"agreement": 0.5}, True),
])  # fmt: skip
def test_what_passes(changes, passed):
    """Numbers decide, up to the tolerance; records that lie between two classes may fall either way."""
    assert replace(PASSED, **changes).passed == passed


def test_eight_records_with_the_answers_of_file_and_keras(doubled):
    found = stored(doubled)
    assert set(found) == {"input/image", "output/probabilities", "reference/probabilities", "tolerance", "sha256"}
    np.testing.assert_array_equal(found["input/image"], IMAGES[:8])
    np.testing.assert_array_equal(found["output/probabilities"], 2 * VALUES[:8])
    np.testing.assert_array_equal(found["reference/probabilities"], 3 * VALUES[:8])
    check = checked(doubled)
    assert check == Check(str(doubled), 8, 1.0, 0.0, pytest.approx(1e-4), True) and check.passed


@pytest.mark.parametrize(("kind", "tolerance"), [
    ("tflite-float32", 1e-4), ("saved_model", 1e-4), ("tflite-float16", 0.02), ("tflite-dynamic", 0.02),
    ("tflite-int8", 0.02), ("onnx-int8", 0.02),
])  # fmt: skip
def test_kernels_that_round_may_differ_from_machine_to_machine(doubled, kind, tolerance):
    assert stored(doubled, kind=kind)["tolerance"] == pytest.approx(tolerance)


def test_other_numbers_are_told(doubled):
    """The largest difference of any number counts, and decisions that fell otherwise."""
    wrong = 2 * VALUES[:8]
    wrong[5] = wrong[5, ::-1] - 1
    stored(doubled, {"output/probabilities": wrong})
    check = checked(doubled)
    assert (check.max_difference, check.agreement, check.untouched, check.passed) == (3.0, 7 / 8, True, False)


def test_the_largest_difference_is_of_any_number_of_any_output():
    """Of bytes as of numbers: 3 and 250 lie 247 apart."""
    found = {"a": np.array([[3, 7]], np.uint8), "b": np.zeros((1, 2)), "unasked": np.array([[9.0]])}
    wanted = {"a": np.array([[250, 7]], np.uint8), "b": np.array([[0.0, 0.5]])}
    assert golden.max_difference(found, wanted) == 247 and golden.max_difference(wanted, wanted) == 0


def test_another_file_is_told_though_it_answers_alike(doubled):
    stored(doubled)
    doubled.write_bytes(doubled.read_bytes() + b"\0")
    check = checked(doubled)
    assert (check.max_difference, check.untouched, check.passed) == (0.0, False, False)


@pytest.mark.parametrize(("changes", "told"), [
    ({"input/image": IMAGES[:8, :, :1]}, r"takes image uint8 \(n, 1, 2, 1\), its golden answers are of .*; export"),
    ({"output/probabilities": VALUES[:8, :1]}, r"gives probabilities \(8, 2\), its golden answers do not"),
    ({"input/image": IMAGES[:7]}, "is damaged: its arrays do not fit each other; export again"),
], ids=["input", "output", "count"])  # fmt: skip
def test_answers_of_another_file_are_told(doubled, changes, told):
    stored(doubled, changes)
    with pytest.raises(ArtifactError, match=told):
        checked(doubled)


def test_a_golden_file_without_a_digest_is_damaged(doubled):
    found = stored(doubled)
    np.savez(golden.place(doubled), **{name: array for name, array in found.items() if name != "sha256"})
    with pytest.raises(ArtifactError, match="is damaged"):
        checked(doubled)
