"""The accuracy budget: intervals against other ways to compute them, and what is published by them."""

import math
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats
from scipy.optimize import minimize_scalar

import cnn_app
from cnn_app.artifacts import ModelDir
from cnn_app.cli.main import cli
from cnn_app.errors import ExportError, RecipeError
from cnn_app.export import budget, choice, run, verification
from cnn_app.export.quantization.strategies import Attempt
from cnn_app.export.verification import Reference
from cnn_app.inputs.image import Image
from cnn_app.recipe import Export, Schedule
from cnn_app.tasks.classification import Classification
from cnn_app.tasks.segmentation import Segmentation

Z = stats.norm.ppf(0.975)
TASK = Classification(input=Image((1, 1, 1)), labels=("a", "b"))


# --- intervals


def test_an_unchanged_file_may_still_lose_by_chance():
    """By hand: with nothing lost and won, the score is -n d / sqrt(n d (1 - d)), which is z at z^2 / (n + z^2)."""
    low, high = budget.tango(0, 0, 141, 0.95)
    assert high == pytest.approx(Z**2 / (141 + Z**2)) == pytest.approx(0.02652, abs=1e-5) and low == pytest.approx(
        -high
    )
    assert budget.smallest(1.0, 0.95) == 381  # 3.8415 * 0.99 / 0.01 = 380.3
    assert 100 * budget.tango(0, 0, 381, 0.95)[1] <= 1.0 < 100 * budget.tango(0, 0, 380, 0.95)[1]
    assert budget.smallest(0.0, 0.95) == budget.MOST


@pytest.mark.parametrize(("lost", "won", "n"), [(12, 2, 50), (3, 3, 40), (0, 7, 100), (5, 0, 20), (30, 1, 2000)])
def test_the_ends_are_where_the_score_is_z(lost, won, n):
    """Its variance is that of the most likely shares with such a difference, here found by search."""
    low, high = budget.tango(lost, won, n, 0.95)
    assert -1 < low < (lost - won) / n < high < 1
    for end, z in ((low, Z), (high, -Z)):

        def unlikely(gained, end=end):
            shares = gained + end, gained, 1 - 2 * gained - end
            counts = lost, won, n - lost - won
            return -sum(count * math.log(max(share, 1e-300)) for count, share in zip(counts, shares, strict=True))

        gained = minimize_scalar(unlikely, bounds=(max(0.0, -end), (1 - end) / 2), method="bounded",
                                 options={"xatol": 1e-12}).x  # fmt: skip
        score = (lost - won - n * end) / math.sqrt(n * (2 * gained + end - end**2))
        assert score == pytest.approx(z, abs=1e-3)
    assert budget.tango(won, lost, n, 0.95) == pytest.approx((-high, -low))


def test_the_interval_holds_the_truth_as_often_as_it_says():
    draw = np.random.default_rng(0).multinomial(80, (0.1, 0.05, 0.85), 3000)
    held = [low <= 0.05 <= high for low, high in (budget.tango(*row[:2], 80, 0.9) for row in draw)]
    assert 0.88 < np.mean(held) < 0.92


def test_how_many_records_would_do():
    lost, won, n = 6, 2, 1000
    found = budget.Interval(0, 0, 0.95, "", (lost, won))
    more = budget.needed(found, n, 0.6)
    ends = [100 * budget.tango(lost / n * m, won / n * m, m, 0.95)[1] for m in (more - 1, more)]
    assert ends[1] <= 0.6 < ends[0] and more > n
    assert budget.needed(found, n, 0.4) is None  # it is what is lost itself


def test_leaving_out_one_at_a_time_is_students_interval():
    values = np.random.default_rng(0).normal(0.7, 1.0, 15)
    found = budget.jackknife(15, lambda places: float(values[places].mean()), 0.9)
    expected = stats.t.interval(0.9, 14, values.mean(), values.std(ddof=1) / math.sqrt(15))
    assert (found.low, found.high) == pytest.approx(expected)


def test_of_maps_whole_images_are_left_out():
    rng, task = np.random.default_rng(0), Segmentation(input=Image((8, 8, 1)), labels=("a", "b"))
    masks = rng.integers(0, 2, (30, 8, 8)).astype(np.uint8)
    wanted = {"probabilities": np.eye(2, dtype=np.float32)[masks]}
    wrong = masks ^ (rng.random(masks.shape) < 0.05).astype(np.uint8)
    found = budget.interval(task, {"mask": masks}, wanted, {"probabilities": np.eye(2, dtype=np.float32)[wrong]}, 0.95)
    drop = 100 * (1 - np.mean([((masks == k) & (wrong == k)).sum() / ((masks == k) | (wrong == k)).sum()
                               for k in (0, 1)]))  # fmt: skip
    assert found.low < drop < found.high and (found.low + found.high) / 2 == pytest.approx(drop)
    assert found.high - found.low < 5 and found.method == "delete-a-group jackknife"
    same = budget.interval(task, {"mask": masks}, wanted, wanted, 0.95)
    assert (same.low, same.high) == (0, 0)


# --- what is published


class Stored:
    """A population of answers, Keras's and a file's, that stands for both."""

    def __init__(self, lost, won, right, n):
        truth = np.zeros(n, int)
        keras = np.where(np.arange(n) < lost + right, 0, 1)
        file = np.where((np.arange(n) >= lost) & (np.arange(n) < lost + right + won), 0, 1)
        self.truth, self.keras, self.file = truth, *(np.eye(2, dtype=np.float32)[column] for column in (keras, file))

    inputs = ("image",)

    def run(self, inputs):
        return {"probabilities": self.file[inputs["image"]]}

    def reference(self, places, figures=None):
        targets, outputs = {"class": self.truth[places]}, {"probabilities": self.keras[places]}
        metrics = TASK.measure([(outputs, targets)]).metrics
        return Reference(TASK, {"image": places}, targets, outputs, outputs, metrics, figures or {})


@pytest.fixture
def proven(monkeypatch, tmp_path):
    """proven(stored, test, val, **options): the comparison by which it would be published.

    stored: what the file answers, or, in tiers, what the files of each strategy do.
    """
    told = []

    def attempts(files, target):
        return [Attempt(target, name, lambda path, name=name: path.write_text(name)) for name in files]

    def of(stored, test, val=None, target="tflite-int8", **options):
        tiers = stored if isinstance(stored, list) else [{"200 images": stored}]
        files = {name: answers for tier in tiers for name, answers in tier.items()}
        monkeypatch.setattr(verification, "open_model", lambda path: files[path.read_text()])
        first = next(iter(files.values()))
        proof = first.reference(test)
        val = proof if val is None else first.reference(val, {"split": "val"})
        bench = run._Bench(None, Export(targets=(target,), **options), False, None, proof, val, told.append, False)
        asked = iter(attempts(tier, target) for tier in tiers)
        chosen = choice.choose(target, asked, bench.choice, bench.options, tmp_path, told.append)
        chosen[0].write(tmp_path / "published")
        return run._proven(*chosen, tmp_path / "published", bench)

    of.told = told
    return of


def test_of_files_that_lose_two_points_few_pass_one(proven):
    """1,000 exports of a network whose true drop is 2 points, each chosen and proven on 500 records of its own."""
    stored, rng, published = Stored(300, 100, 8600, 10_000), np.random.default_rng(0), 0
    assert 100 * (stored.keras[:, 0].mean() - stored.file[:, 0].mean()) == pytest.approx(2.0)
    for _ in range(1000):
        val, test = rng.integers(0, 10_000, (2, 500))
        try:
            proven(stored, test, val, max_drop=1.0, confidence=0.95)
        except ExportError:
            continue
        published += 1
    assert published <= 50


def test_without_a_confidence_the_drop_itself_counts(proven):
    """Exactly as much as is allowed passes, more does not; a gain is no loss."""
    test = np.arange(1000)
    result = proven(Stored(10, 0, 900, 1000), test, test, max_drop=1.0)
    assert result.drop == pytest.approx(1.0) and result.chosen.drop == pytest.approx(1.0)
    low, high = (100 * end for end in budget.tango(10, 0, 1000, 0.95))
    assert result.as_json()["drop_interval"] == pytest.approx([low, high])
    assert result.as_json()["chosen"] == {"split": "val", "n": 1000, "drop": result.chosen.drop, "agreement": 0.99}
    assert proven(Stored(0, 30, 900, 1000), test, max_drop=1.0).drop == pytest.approx(-3.0)
    with pytest.raises(ExportError, match="tflite-int8 loses 1.10 points.*of val"):
        proven(Stored(11, 0, 900, 1000), test, test, max_drop=1.0)


def test_what_fails_its_proof_is_told_and_nothing_else_is_tried(proven):
    stored = Stored(40, 0, 900, 1000)
    val, test = np.arange(100, 1000), np.arange(500)
    told = (r"tflite-int8 \(200 images\) loses 8.00 points of top-1 \(1.0000 to 0.9200 on 500 images, 0.00 on those "
            r"of val that chose it\), .*test is asked once")  # fmt: skip
    with pytest.raises(ExportError, match=told):
        proven([{"200 images": stored}, {"second": Stored(0, 0, 940, 1000)}], test, val, max_drop=1.0)
    assert [result.strategy for result in proven.told] == ["200 images"]


def test_of_equally_fast_files_the_one_that_agrees_most_is_taken(proven):
    """Though another one gains on val: 17 answers that change are more harm than 2, whichever way they fell."""
    lucky, close = Stored(8, 9, 142, 300), Stored(2, 0, 148, 300)
    assert (lucky.keras == close.keras).all()
    places = np.arange(300)
    options = {"max_drop": 1.0, "confidence": None}
    found = proven([{"few": lucky, "many": close, "slow": lucky}, {"worse": None}], places, places, **options)
    assert found.strategy == "many" and found.chosen.agreement == pytest.approx(298 / 300) and not proven.told
    same = Stored(0, 0, 150, 300)
    assert proven([{"few": close, "same": same, "never": None}], places, places, **options).strategy == "same"


def test_what_surely_keeps_within_the_budget_is_taken_at_once(proven):
    """With 5,000 records and 5 changes the interval ends below 1; with 200 and none it does not, but none is better."""
    for lost, n in ((5, 5000), (0, 200)):
        places = np.arange(n)
        assert proven([{"few": Stored(lost, 0, n // 2, n), "never": None}], places, places).strategy == "few"


def test_a_confidence_that_does_not_hold_says_what_would(proven):
    stored, test = Stored(5, 3, 900, 1000), np.arange(1000)
    assert proven(stored, test, max_drop=0.5).drop == pytest.approx(0.2)
    enough = budget.needed(budget.Interval(0, 0, 0.9, "", (5, 3)), 1000, 0.5)
    with pytest.raises(ExportError, match=f"with 90% confidence.*--max-drop 0.5 does not allow.*{enough:,} images"):
        proven(stored, test, max_drop=0.5, confidence=0.9)
    assert proven(stored, test, max_drop=1.0, confidence=0.9).interval.high <= 1.0


def test_the_command(tmp_path, monkeypatch):
    """269 test records can sign 1 point with a confidence of 0.8, not with 0.95."""
    path = tmp_path / "m"
    cnn_app.train("lenet5", "digits", path, columns={"image": (32, 32, 1)}, schedule=Schedule(epochs=1, batch=64))
    before = sorted(tmp_path.rglob("*"))
    common = ["export", str(path), "--to", "tflite-float32"]
    result = CliRunner().invoke(cli, [*common, "--confidence", "0.95"])
    assert result.exit_code == 1 and len(result.stderr.strip().splitlines()) == 1
    assert "takes 381 test records even where no answer changes, there are 269" in result.stderr
    assert sorted(tmp_path.rglob("*")) == before
    result = CliRunner().invoke(cli, [*common, "--confidence", "0.8"])
    assert result.exit_code == 0, result.output
    (line,) = ModelDir(path).read_exports()
    assert line["confidence"] == 0.8 and line["interval_method"] == "Tango 1998" and "chosen" not in line
    assert line["drop_interval"][1] == pytest.approx(100 * budget.tango(0, 0, 269, 0.8)[1])
    calibrated, calibration = [], Classification.calibration
    monkeypatch.setattr(Classification, "calibration", lambda task, model, split, count: (
        calibrated.append(len(split)), calibration(task, model, split, count))[1])  # fmt: skip
    (integer,) = cnn_app.export(path, Export(targets=("tflite-int8",), max_drop=5.0))
    assert set(calibrated) == {1797 - 269 - 270}  # train's, and none of those that choose or prove
    assert integer.chosen.figures == {"split": "val"} and integer.figures == {} and integer.chosen.n == 270
    assert replace(integer, chosen=None).as_json().keys() == integer.as_json().keys() - {"chosen"}


def test_a_confidence_is_a_share():
    with pytest.raises(RecipeError, match="confidence"):
        Export(targets=("onnx",), confidence=1.0)
