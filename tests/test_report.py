"""report.html: what a run leaves, what several differ in, and how it looks in a browser."""

import base64
import io
import json
import re
import shlex
from dataclasses import asdict, replace

import numpy as np
import pytest
from browsing import find, needs_chromium
from click.testing import CliRunner
from PIL import Image

import cnn_app
from cnn_app.analysis import report
from cnn_app.analysis.attribution import explained, method
from cnn_app.analysis.attribution.gradcam import of_classes
from cnn_app.analysis.report import charts, facts
from cnn_app.analysis.report.command import command
from cnn_app.artifacts import ModelDir
from cnn_app.cli.main import cli
from cnn_app.jobs.opened import opened_as
from cnn_app.recipe import Distillation, Schedule, Transfer

SHAPES = "tests/compat/store/shapes"
MIXED = "<b>&'\""  # a name that must not become markup


def run(*arguments):
    return CliRunner().invoke(cli, list(map(str, arguments)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model directory of a training that is over at once, and hardly knows anything."""
    directory = ModelDir(tmp_path_factory.mktemp("store") / "small")
    schedule = Schedule(epochs=2, batch=128, lr=0.0011, augment=())
    cnn_app.train("lenet5", "digits", directory.path, columns={"dropout": 0.2}, schedule=schedule)
    return directory


def test_a_training_leaves_a_page_that_needs_nothing_else(trained):
    told, card = trained.report.read_text(), trained.read_card()
    assert len(told) < 5e6 and "://" not in told and {*re.findall(r'(?:src|href)="?(.{5})', told)} == {"data:"}
    test = card.metrics["test"]
    assert f"<b>{test['top1']:.4f}</b>top-1" in told and f"<b>{test['n']}</b>images" in told
    kept = json.loads(trained.report_facts.read_text())
    assert np.trace(kept["confusion"]) == round(test["top1"] * test["n"]) and kept["labels"] == list(card.labels)
    worst = kept["mistakes"][0]
    assert worst["true"] != worst["found"] and worst["seen"] and len(kept["mistakes"]) == facts.WORST + facts.NARROW
    shares = [one["probability"] for one in kept["mistakes"]]
    assert shares[: facts.WORST] == sorted(shares[: facts.WORST], reverse=True) and min(shares) == shares[facts.WORST]
    assert kept["cost"]["macs"] > 1e5 and told.count("<polyline") == 5  # train and val of two, the learning rate


def test_the_command_of_a_run_is_its_own(trained):
    words = shlex.split(command(trained.read_card()))
    assert words[:5] == ["cnn-app", "train", "lenet5", "--data", "digits"]
    assert "dropout=0.2" in words and words[words.index("--lr") + 1] == "0.0011"
    assert words[words.index("--augment") + 1] == "none" and "--optimizer" not in words
    parsed = cli.commands["train"].make_context("train", [*words[2:-1], str(trained.path / "new")])
    assert parsed.params["epochs"] == 2


@pytest.mark.parametrize("transfer", (None, Transfer(weights="w.h5", freeze="stem", unfreeze_at=("1:stage1", "2"))))
def test_the_command_of_a_run_has_all_that_it_was_told(trained, transfer):
    """Read again as the shell and click do, it is the recipe: also what lists, a teacher and another task say."""
    schedule = Schedule(epochs=3, rate="steps", milestones=(1.0, 2.5), augment=("flip", "crop"))
    distillation = Distillation(teacher="big", share=0.25)
    recipe = asdict(schedule) | {"distillation": asdict(distillation)}
    recipe |= {"transfer": asdict(transfer)} if transfer else {}
    data = {
        "source": "shapes:many",
        "split": {"rule": "class", "shares": [80, 10, 10], "seed": 3},
        "encoding": "latin-1",
    }
    card = replace(trained.read_card(), architecture="resnet20", columns={"image": [32, 32, 3], "classes": 5},
                   task="multilabel", options={"loss": "asymmetric"}, data=data, recipe=recipe)  # fmt: skip
    _, name, *words = shlex.split(command(card))
    given = cli.commands[name].make_context(name, [*words[:-1], str(trained.path / "new")]).params
    told = {field: given[field] for field in Schedule.__dataclass_fields__}
    assert Schedule(**told) == schedule
    assert (given["teacher"], given["teacher_share"], given["temperature"]) == ("big", 0.25, 4.0)
    assert dict(given["task"]) == {"name": "multilabel", "loss": "asymmetric"}
    assert dict(given["columns"]) == {"image": (32, 32, 3)}
    assert (given["shares"], given["split_seed"], given["encoding"]) == ("80/10/10", 3, "latin-1")
    if transfer:
        assert Transfer(**{field: given[field] for field in Transfer.__dataclass_fields__}) == transfer


def test_exports_come_into_the_page_without_another_measurement(trained):
    before = trained.report_facts.read_bytes()
    cnn_app.export(trained.path, ["onnx"])
    told = trained.report.read_text()
    assert "Exported files" in told and "onnx/small.onnx" in told and " to +" in told
    assert trained.report_facts.read_bytes() == before


def test_what_was_measured_of_another_model_is_not_shown(trained, tmp_path):
    from shutil import copytree

    other = ModelDir(copytree(trained.path, tmp_path / "other"))
    kept = json.loads(other.report_facts.read_text())
    other.report_facts.write_text(json.dumps(kept | {"model": "0" * 64}))
    report.refresh(other)
    assert "Confusion" not in other.report.read_text() and "Training" in other.report.read_text()


def test_evaluate_writes_a_page_for_what_it_measured(tmp_path):
    page = tmp_path / "page.html"
    result = run("evaluate", SHAPES, "--data", "shapes", "--report", page, "--json")
    assert result.exit_code == 0, result.output
    assert f"<b>{json.loads(result.stdout)['top1']:.4f}</b>" in page.read_text() and "Confusion" in page.read_text()


def test_several_runs_differ_in_what_the_page_says(trained, tmp_path):
    page = tmp_path / "runs.html"
    result = run("report", trained.path, SHAPES, "--out", page)
    assert result.exit_code == 0, result.output
    told = page.read_text()
    assert "2 runs" in told and told.count("<polyline") == 2 and "<td>lr</td><td>0.0011</td>" in told
    assert f"{trained.read_card().metrics['test']['top1']:.4f}" in told
    single = run("report", trained.path, "--out", tmp_path / "one.html")
    assert single.exit_code == 0 and (tmp_path / "one.html").read_text() == trained.report.read_text()


@pytest.mark.parametrize(("given", "told"), [(["tests"], "no card.json"), ([SHAPES, SHAPES], "is given twice")])
def test_what_is_no_run_is_told(tmp_path, given, told):
    result = run("report", *given, "--out", tmp_path / "page.html")
    assert result.exit_code == 1 and told in result.stderr and not (tmp_path / "page.html").exists()


def test_names_are_text_and_never_markup():
    table = report.page.sorted_table([MIXED], [[MIXED]])
    chart = charts.curves({MIXED: [(1, 2), (2, 3)]}, MIXED, MIXED)
    assert MIXED not in table + chart and "&lt;b&gt;" in table and "&lt;b&gt;" in chart


def test_ticks_are_round_and_curves_leave_out_what_is_no_number():
    assert charts.ticks(0, 1) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1]) and charts.ticks(1, 3, whole=True) == [
        1,
        2,
        3,
    ]
    assert charts.ticks(0.013, 0.048) == pytest.approx([0.02, 0.03, 0.04])
    drawn = charts.curves({"a": [(1, float("nan")), (2, 1.0)]}, "epoch", "loss")
    assert drawn.count("<circle") == 1 and "nan" not in drawn and charts.curves({"a": []}, "epoch", "loss") == ""


def test_a_large_picture_is_small_in_the_page_and_a_small_one_exact():
    small, large = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3)).astype(np.uint8), np.zeros((900, 600, 1))
    kept = Image.open(io.BytesIO(base64.b64decode(facts.encoded(small[0]).partition(",")[2])))
    assert np.array_equal(np.asarray(kept), small[0])
    shrunk = Image.open(io.BytesIO(base64.b64decode(facts.encoded(large.astype(np.uint8)).partition(",")[2])))
    assert shrunk.size == (107, 160)


def test_gradcam_of_many_is_that_of_each():
    model = cnn_app.load_model(SHAPES)
    runtime, task = opened_as(model)
    one = explained(runtime, task, 2, model, None)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    for image, heat in zip(images, of_classes(one, images, [2, 2]), strict=True):
        np.testing.assert_allclose(heat, method("gradcam")(one, image), atol=1e-4 * heat.max())


@needs_chromium
def test_in_a_browser_tables_sort_and_nothing_is_wider_than_a_phone(browser, trained, tmp_path):
    """Photographed light and dark, as wide as a desk's and a phone's; no message in the console."""
    pictures = []
    for scheme, width in (("light", 1000), ("dark", 390)):
        wanted = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", wanted)
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(trained.report.as_uri())
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        assert browser.get_log("browser") == []
        with Image.open(io.BytesIO(browser.get_screenshot_as_png())) as picture:
            pictures.append(np.asarray(picture.convert("L")).mean())
    assert pictures[0] > 180 > 90 > pictures[1]
    heads = browser.find_elements("css selector", ".confusion th button")
    labels = trained.read_card().labels
    counts = np.array(json.loads(trained.report_facts.read_text())["confusion"])
    browser.execute_script("arguments[0].click()", heads[1])
    first = find(browser, ".confusion tbody tr th").text
    assert counts[labels.index(first), 0] == counts[:, 0].max()
    browser.execute_script("arguments[0].click()", heads[1])
    assert counts[labels.index(find(browser, ".confusion tbody tr th").text), 0] == counts[:, 0].min()
    loaded = "return [...document.images].every((one) => one.complete && one.naturalWidth > 0)"
    assert browser.execute_script(loaded)
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
