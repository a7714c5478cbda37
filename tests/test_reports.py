"""What is measured of one class for each record: scikit-learn's figures, calibration, and the worst mistakes."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image as Picture
from sklearn.metrics import precision_recall_fscore_support

import cnn_app
from cnn_app import data as sources
from cnn_app import tasks
from cnn_app.cli.main import cli
from cnn_app.errors import DataError, ModelError
from cnn_app.inputs.image import Image
from cnn_app.inputs.text import Text
from cnn_app.tasks import mistakes
from cnn_app.tasks.classification_report import calibration_error, report
from cnn_app.tasks.mistakes import Mistake

LABELS = ("ant", "bee", "cow", "dog")


@pytest.fixture(params=["all classes", "a class that is nowhere", "a class that is found alone"])
def measured(request):
    """A report, and the places that it is of."""
    rng = np.random.default_rng(0)
    places = rng.integers(0, 4 if request.param == "all classes" else 3, 80)
    scores = rng.random((80, 4)) + 0.5 * np.eye(4)[places]
    scores[:, 3] *= request.param != "a class that is nowhere"
    probabilities = (scores / scores.sum(1, keepdims=True)).astype(np.float32)
    return report(probabilities, places, LABELS), places, probabilities.argmax(1)


def test_precision_recall_and_f1_are_those_of_scikit_learn(measured):
    found, places, guessed = measured
    *wanted, counts = precision_recall_fscore_support(places, guessed, labels=range(4), zero_division=0)
    np.testing.assert_allclose(found.scores, wanted)
    means = precision_recall_fscore_support(places, guessed, average="macro", zero_division=0)
    assert [found.metrics[name] for name in ("precision", "recall", "f1")] == pytest.approx(means[:3])
    told = json.loads(json.dumps(found.as_json()))
    assert [told["classes"][label]["n"] for label in LABELS] == counts.tolist()
    assert [told["classes"][label]["f1"] for label in LABELS] == pytest.approx(list(wanted[2]))
    (columns, rows), (names, averages) = found.tables()
    assert columns == ["class", ">precision", ">recall", ">F1", ">n"]
    assert rows[0] == ("ant", *(f"{one[0]:.4f}" for one in wanted), counts[0])
    assert [row[0] for row in rows] == [label for label, count in zip(LABELS, counts, strict=True) if count]
    assert averages[0][:3] == tuple(f"{one:.4f}" for one in means[:3]) and len(names) == 4


def test_what_was_told_before_is_told_as_it_was(measured):
    found, places, guessed = measured
    told = found.as_json()
    assert told["top1"] == pytest.approx((places == guessed).mean()) and told["n"] == 80 and told["top5"] == 1
    assert told["per_class"] == {label: pytest.approx((guessed[places == i] == i).mean())
                                 for i, label in enumerate(LABELS) if (places == i).any()}  # fmt: skip
    assert np.array(told["confusion"]).sum() == 80 and told["loss"] > 0


def test_calibration_by_hand():
    """Bins end at 1/15, 2/15, ...: 0.9 and 0.92 lie in the 14th, 0.95 in the 15th, and 0.2 on an end in the third."""
    confidence = np.array([0.9, 0.92, 0.95, 0.19, 3 / 15], np.float64)
    right = np.array([True, False, True, False, True])
    apart = [abs((0.9 + 0.92) - 1), abs(0.95 - 1), abs((0.19 + 0.2) - 1)]
    assert calibration_error(confidence, right) == pytest.approx(sum(apart) / 5)
    assert calibration_error(np.array([1.0, 1.0]), np.array([True, True])) == 0
    assert calibration_error(np.array([1.0, 0.0]), np.array([False, True])) == 1


def test_a_report_has_the_calibration_of_its_best_classes():
    probabilities = np.array([[0.7, 0.3], [0.4, 0.6]], np.float32)
    found = report(probabilities, np.array([0, 0]), ("a", "b"))
    assert found.metrics["ece"] == pytest.approx(((1 - 0.7) + 0.6) / 2)


def test_mistakes_are_the_most_confident_wrong_answers():
    probabilities = np.array([[0.8, 0.2], [0.4, 0.6], [0.1, 0.9], [0.55, 0.45]], np.float32)
    found = report(probabilities, np.array([1, 1, 0, 1]), ("a", "b"))
    rows = [(one.place, one.true, one.found, round(one.probability, 2)) for one in found.mistakes(9)]
    assert rows == [(2, "a", "b", 0.9), (0, "b", "a", 0.8), (3, "b", "a", 0.55)]
    assert found.mistakes(2) == found.mistakes(9)[:2]


@pytest.mark.parametrize(("count", "columns", "lines"), [(0, 3, 1), (2, 3, 1), (5, 5, 1), (24, 6, 4)])
def test_a_sheet_shows_each_image_once(tmp_path, count, columns, lines):
    """Images of one colour, of which as many patches stand on white paper."""
    cells = [(Mistake(i, "a label $x_1$ of many words", "b" * 40, 0.5), np.full((9, 9, 3), (250, 0, 0), np.uint8))
             for i in range(count)]  # fmt: skip
    mistakes.draw(cells, "title", tmp_path / "sheet.png")
    with Picture.open(tmp_path / "sheet.png") as drawn:
        pixels = np.asarray(drawn.convert("RGB")).astype(int)
    red = (np.abs(pixels - (250, 0, 0)).max(-1) < 10).any(0), (np.abs(pixels - (250, 0, 0)).max(-1) < 10).any(1)
    patches = [int(side[0]) + int((np.diff(side.astype(int)) > 0).sum()) for side in red]
    assert patches == [min(count, columns), -(-count // columns)]
    assert pixels.shape[1] / pixels.shape[0] == pytest.approx(2.1 * columns / (2.6 * lines + 0.4), rel=0.01)


def test_text_over_neighbouring_images_stays_apart():
    """The widest labels, as they are drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    cells = [(Mistake(i, "m" * 60, "m" * 60, 0.999), np.zeros((9, 9, 3), np.uint8)) for i in range(12)]
    figure = mistakes.sheet(cells, "title")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = [axes.title.get_window_extent(canvas.get_renderer()) for axes in figure.axes]
    assert len(boxes) == 12 and not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


@pytest.fixture(scope="module")
def records():
    """Noise that two of three classes share, so that a network has to be wrong."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 100, (90, 32, 32, 1)).astype(np.uint8)
    places = np.arange(90) % 3
    images[places == 2] += 100
    return sources.arrays({"train": (images, places), "val": (images, places)}, ("a", "b", "c"))


@pytest.fixture(scope="module")
def trained(records, tmp_path_factory):
    out = tmp_path_factory.mktemp("store") / "noise"
    cnn_app.train("lenet5", records, out, schedule=cnn_app.recipe.Schedule(epochs=1, batch=16, augment=()))
    return out


def test_a_measurement_draws_its_mistakes(trained, records, tmp_path, monkeypatch):
    found, seen = cnn_app.evaluate(trained, records), []
    monkeypatch.setattr(mistakes, "draw", lambda cells, title, path: seen.extend([title, *cells]))
    found.draw_mistakes(tmp_path / "sheet.png")
    title, *cells = seen
    images, places = (column.array for column in found.records.columns.values())
    assert title == f"The {len(cells)} most confident mistakes among 90 images" and 0 < len(cells) <= 24
    for mistake, image in cells:
        assert ("a", "b", "c")[places[mistake.place]] == mistake.true != mistake.found
        np.testing.assert_array_equal(image, images[mistake.place])
    chances = [mistake.probability for mistake, _ in cells]
    assert chances == sorted(chances, reverse=True)
    assert set(found.report.metrics) == {"top1", "top5", "loss", "n", "precision", "recall", "f1", "ece"}


def test_the_command_writes_the_sheet_where_it_is_asked_to(tmp_path):
    rng = np.random.default_rng(1)
    for i in range(12):
        file = tmp_path / "data" / ("train", "val")[i % 2] / ("a", "b", "c")[i % 3] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Picture.fromarray(rng.integers(0, 255, (32, 32)).astype(np.uint8)).save(file)
    cnn_app.train("lenet5", str(tmp_path / "data"), tmp_path / "m",
                  schedule=cnn_app.recipe.Schedule(epochs=1, augment=()))  # fmt: skip
    sheet, data = tmp_path / "sheet.png", str(tmp_path / "data")
    result = CliRunner().invoke(cli, ["evaluate", str(tmp_path / "m"), "--data", data, "--mistakes", str(sheet)])
    assert result.exit_code == 0 and "calibration error" in result.stdout, result.output
    with Picture.open(sheet) as drawn:
        assert drawn.format == "PNG"


def test_what_has_no_wrong_images_says_so(tmp_path):
    from cnn_app.data.dataset import Split, in_memory
    from cnn_app.jobs.evaluate import Measured

    task = tasks.named("segmentation")(input=Image((4, 4, 3)), labels=("a", "b"))
    masks = task.measure(
        [({"probabilities": np.ones((1, 4, 4, 2), np.float32) / 2}, {"mask": np.zeros((1, 4, 4), int)})]
    )
    split = Split(["x"], {"image": in_memory(np.zeros((1, 4, 4, 3), np.uint8))})
    with pytest.raises(ModelError, match="right or wrong by the pixel"):
        Measured(task, split, {"m": masks}, None).draw_mistakes(tmp_path / "x.png")
    words = Split(["x"], {"tokens": in_memory(np.zeros((1, 8), np.int32))})
    with pytest.raises(DataError, match="sentences cannot be drawn; a sheet of mistakes is of images"):
        Measured(replace(task, input=Text(16, 10)), words, {"m": masks}, None).draw_mistakes(tmp_path / "x.png")
    assert not list(tmp_path.iterdir())
