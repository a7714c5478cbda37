"""The page of docs/web.md in Chromium: LiteRT's JavaScript answers as the golden answers beside each file say."""

import io
import shutil
import subprocess
from contextlib import contextmanager

import numpy as np
import PIL.Image
import pytest
import web
from browsing import find, needs_chromium, wait

from cnn_app.artifacts import ModelDir
from cnn_app.export import golden
from cnn_app.inputs import pixels
from cnn_app.inputs.image import Image
from cnn_app.jobs import train
from cnn_app.jobs.export import export
from cnn_app.recipe import Export, Schedule
from cnn_app.runtimes import open_model

pytestmark = [
    pytest.mark.slow,
    needs_chromium,
    pytest.mark.skipif(not shutil.which("npm"), reason="no npm"),
]
KINDS = ("float32", "float16", "dynamic", "int8", "int16x8")
UNREACHABLE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ENETUNREACH", "ETIMEDOUT")
ANSWERS = """
const model = await open(given.file), found = [];
for (const record of given.records) found.push([...await model.scores(unpacked(record))]);
return { found, labels: model.labels, input: model.input, isolated: crossOriginIsolated,
  loaded: performance.getEntriesByType("resource").map((one) => one.name.split("/").pop()) };
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packages")
    try:
        web.install(folder)
    except subprocess.TimeoutExpired:
        pytest.skip("npm gets no answer from its registry")
    except subprocess.CalledProcessError as error:
        if any(code in error.stderr for code in UNREACHABLE):
            pytest.skip("npm does not reach its registry")
        raise AssertionError(error.stderr) from error
    return folder


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    model = ModelDir(tmp_path_factory.mktemp("store") / "digits")
    train.train("lenet5", "digits", model.path, schedule=Schedule(epochs=1, batch=32, lr=0.003))
    export(model.path, Export(targets=tuple(f"tflite-{kind}" for kind in KINDS), max_drop=100))
    return model


@contextmanager
def opened(browser, packages, folder, file, headers=None):
    """The page with `file` in the place of its model."""
    browser.set_script_timeout(60)
    with web.serving(web.site(folder, packages, file), headers) as address:
        browser.get(address)
        wait(browser, lambda: find(browser, "#status").text != "Loading")
        yield


def png(image):
    out = io.BytesIO()
    PIL.Image.fromarray(image).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize(
    ("kind", "headers", "runtime"),
    [(kind, None, "litert_wasm_internal.wasm") for kind in KINDS]
    + [("int8", web.ISOLATED, "litert_wasm_threaded_internal.wasm")],
)
def test_a_browser_gives_the_golden_answers(browser, packages, digits, tmp_path, kind, headers, runtime):
    """Every file, the same tolerance as `verify`; with the headers for threads, too."""
    file = digits.mobile / f"digits-{kind}.tflite"
    stored, about = golden.read(golden.place(file)), open_model(file).about
    records = [web.packed(record.astype(np.uint8)) for record in stored["input/image"]]
    with opened(browser, packages, tmp_path / "site", file, headers):
        given = web.call(browser, ANSWERS, {"file": file.name, "records": records})
    assert given["labels"] == list(about.labels) and given["input"] == about.input
    assert given["isolated"] == bool(headers) and runtime in given["loaded"]
    expected, found = stored["output/probabilities"], np.array(given["found"])
    assert len(set(expected.argmax(1))) > 2  # so that a constant answer is none
    np.testing.assert_array_equal(found.argmax(1), expected.argmax(1))
    np.testing.assert_allclose(found, expected, rtol=0, atol=stored["tolerance"])


def test_a_chosen_image_gets_its_labels(browser, packages, digits, tmp_path):
    """As a visitor does it; the image is of the network's size, so nothing is resized."""
    file = digits.mobile / "digits-int8.tflite"
    stored = golden.read(golden.place(file))
    allowed = float(stored["tolerance"]) + 0.0005  # three decimals are shown
    with opened(browser, packages, tmp_path / "site", file):
        for i, (record, scores) in enumerate(zip(stored["input/image"], stored["output/probabilities"], strict=True)):
            (tmp_path / f"{i}.png").write_bytes(png(record[..., 0]))
            find(browser, "#file").send_keys(str(tmp_path / f"{i}.png"))
            wait(browser, lambda name=f"{i}.png: ": find(browser, "#status").text.startswith(name))
            lines = [line.text.split() for line in browser.find_elements("css selector", "#best li")]
            assert len(lines) == 5 and lines[0][0] == str(scores.argmax())
            for label, score in lines:
                assert float(score) == pytest.approx(scores[int(label)], abs=allowed)
        (tmp_path / "notes.png").write_text("no image")
        find(browser, "#file").send_keys(str(tmp_path / "notes.png"))
        wait(browser, lambda: find(browser, "#status").text.startswith("That failed: "))


def test_a_model_that_is_not_there_is_told(browser, packages, digits, tmp_path):
    with opened(browser, packages, tmp_path / "site", digits.mobile / "digits-int8.tflite"):
        (tmp_path / "site" / "digits-int8.tflite").unlink()
        browser.refresh()
        wait(browser, lambda: find(browser, "#status").text == "That failed: digits-int8.tflite: 404")
        assert not find(browser, "#file").is_enabled()


def test_a_canvas_shows_what_training_saw(browser, packages, digits, tmp_path):
    """To the bit where nothing is resized: the middle, bars, white behind what is transparent; else near."""
    random = np.random.default_rng(0)
    noise, clear = random.integers(0, 256, (37, 52, 3), np.uint8), np.zeros((16, 16, 4), np.uint8)
    clear[4:] = 255, 0, 0, 255
    coarse = PIL.Image.fromarray(random.integers(0, 256, (12, 18, 3), np.uint8))
    photo = np.asarray(coarse.resize((640, 427), PIL.Image.Resampling.BICUBIC))
    cases = [
        (noise, Image((37, 52, 3)), 0), (noise, Image((32, 32, 3), "crop", 32 / 37), 0), (clear, Image((16, 16, 3)), 0),
        (noise, Image((52, 52, 3), "pad"), 0), (noise, Image((60, 52, 3), "pad"), 0), (noise, Image((37, 52, 1)), 1),
        *((photo, Image((64, 64, 3), resize), 16) for resize in ("stretch", "crop", "pad")),
    ]  # fmt: skip
    with opened(browser, packages, tmp_path / "site", digits.mobile / "digits-int8.tflite"):
        for image, input, most in cases:
            ours = pixels.load(png(image), "image.png", input)
            seen = web.call(browser, web.SEEN, {"image": web.packed(png(image)), "input": input.facts()})
            difference = np.abs(np.reshape(seen, ours.shape) - ours.astype(int))
            assert difference.max() <= most and difference.mean() <= most / 4, (
                input,
                difference.max(),
                difference.mean(),
            )
