"""Images on the page in a real browser: several at once, upright, and what a network sees of them."""

import base64
import itertools
from dataclasses import replace

import numpy as np
import photos
import PIL.Image
import pytest
import served
import tensorflow as tf
from browsing import answered, find, give, give_all, labels, needs_chromium, visit, wait

from cnn_app.inputs import framing
from cnn_app.inputs.image import Image
from cnn_app.serving.server.service import Limits

pytestmark = needs_chromium
STRIP = """
return [...document.querySelectorAll("#strip .thumb")].map((one) => [...one.querySelectorAll(".name, .best span")].map(
  (part) => part.textContent));
"""
PIXELS = """
const image = document.querySelector(arguments[0]), canvas = document.createElement("canvas");
[canvas.width, canvas.height] = [image.naturalWidth ?? image.width, image.naturalHeight ?? image.height];
canvas.getContext("2d").drawImage(image, 0, 0);
const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
return [canvas.width, canvas.height, btoa(String.fromCharCode(...data))];
"""
COLOURS = {f"{label}.png": served.png(served.one_colour(label, 50)) for label in served.LABELS}


def opened(browser, found):
    visit(browser, found.rest)


def finished(browser, told):
    wait(browser, lambda: find(browser, "#told").text == told)


def test_several_images_are_a_strip_to_choose_from(browser, addresses):
    from selenium.webdriver.common.keys import Keys

    opened(browser, addresses)
    red, *others = COLOURS.items()
    give_all(browser, dict([red, ("notes.txt", b"no image"), *others]))
    finished(browser, "4 images: 3 answered, 1 failed.")
    assert browser.execute_script(STRIP) == [
        [f"{label}.png", label, "96.4 %"] if label else ["notes.txt", "failed", ""]
        for label in ("red", "", "green", "blue")
    ]
    answered(browser, "red")
    radios = browser.find_elements("css selector", "#strip input")
    assert [one.accessible_name for one in radios][::2] == ["red.png red 96.4 %", "green.png green 96.4 %"]
    find(browser, "#model").send_keys(Keys.TAB)
    assert browser.switch_to.active_element == radios[0] and radios[0].is_selected()
    browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert "no JPEG, PNG, WebP, BMP or GIF" in find(browser, "#error").text and not labels(browser)
    wait(browser, lambda: not find(browser, "#shown").is_displayed())
    browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    answered(browser, "green")
    assert not find(browser, "#error").is_displayed()
    browser.switch_to.active_element.send_keys(Keys.TAB)
    assert browser.switch_to.active_element == find(browser, "#choose")  # the strip is one stop
    browser.find_elements("css selector", ".thumb")[3].click()
    answered(browser, "blue")
    wait(browser, lambda: find(browser, "#shown").get_attribute("alt") == "blue.png")
    give(browser, COLOURS["red.png"])
    answered(browser, "red")
    assert not find(browser, "#several").is_displayed()


def test_several_are_chosen_and_another_model_is_asked_about_all(browser, addresses, tmp_path):
    from selenium.webdriver.support.ui import Select

    opened(browser, addresses)
    for name, data in COLOURS.items():
        (tmp_path / name).write_bytes(data)
    browser.execute_script("document.getElementById('file').hidden = false")
    find(browser, "#file").send_keys("\n".join(str(tmp_path / name) for name in COLOURS))
    finished(browser, "3 images: 3 answered.")
    browser.find_elements("css selector", ".thumb")[2].click()
    answered(browser, "blue")
    Select(find(browser, "#model")).select_by_index(1)
    wait(browser, lambda: find(browser, "#status").text.startswith("colours, version 1: "))
    finished(browser, "3 images: 3 answered.")
    assert labels(browser)[0] == "blue" and [row[1] for row in browser.execute_script(STRIP)] == list(served.LABELS)


def test_it_says_what_it_leaves_out(browser, addresses):
    opened(browser, addresses)
    give_all(browser, {f"{i}.png": COLOURS["green.png"] for i in range(103)}, "paste")
    finished(browser, "100 images: 100 answered. 3 more were left out: 100 at once are the most.")
    assert len(browser.execute_script(STRIP)) == 100
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 320, "height": 700, "deviceScaleFactor": 1,
                                                                   "mobile": True})  # fmt: skip
    widths = [browser.execute_script(f"return document.{place}.scrollWidth") for place in ("documentElement", "body")]
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert max(widths) <= 320
    assert not [line for line in browser.get_log("browser") if "Content Security Policy" in line["message"]]


@pytest.mark.slow
def test_it_asks_again_where_the_server_is_busy(browser, colours):
    noise = {f"{i}.png": served.png(served.scenes(300, 1)[0] ^ np.uint8(i)) for i in range(3)}
    noise = {name: data + bytes(40_000) for name, data in noise.items()}  # behind the end of a PNG anything may be
    most = 4 * max(map(len, noise.values())) // 3 + 2000  # for one of them, as base64
    with served.running(colours, limits=Limits(in_flight_bytes=most)) as found:
        opened(browser, found)
        give_all(browser, noise)
        finished(browser, "3 images: 3 answered.")


UPRIGHT = photos.letter(5000)


def pixels(browser, selector):
    width, height, data = browser.execute_script(PIXELS, selector)
    return np.frombuffer(base64.b64decode(data), np.uint8).reshape(height, width, 4)[..., :3].astype(int)


def test_what_is_shown_is_upright_as_what_is_asked(browser, letters):
    """Each format in each orientation: large, small, and by the class of a network that tells how it lies."""
    files = {f"{kind} {orientation}": photos.stored(UPRIGHT, orientation, kind, big=orientation % 2 == 0)
             for kind, orientation in itertools.product(photos.KINDS, photos.ORIENTATIONS)}  # fmt: skip
    with served.running(letters) as found:
        opened(browser, found)
        give_all(browser, files)
        finished(browser, "24 images: 24 answered.")
        assert [row[:2] for row in browser.execute_script(STRIP)] == [[name, "upright"] for name in files]
        small = np.asarray(UPRIGHT.resize((131, 96), PIL.Image.Resampling.BILINEAR)).astype(int)
        for place, name in enumerate(files):
            browser.find_elements("css selector", ".thumb")[place].click()
            wait(browser, lambda name=name: find(browser, "#shown").get_attribute("alt") == name)
            wait(browser, lambda: browser.execute_script("return document.getElementById('shown').complete"))
            assert np.abs(pixels(browser, "#shown") - np.asarray(UPRIGHT)).mean() < 3, name
            thumb = pixels(browser, f".thumb:nth-child({place + 1}) canvas")
            assert np.abs(thumb - small).mean() < 5, name


DAMAGED = {
    "nine": photos.exif(9),
    "a long number": photos.exif(6, kind=4),
    "no TIFF": b"XX" + photos.exif(6)[2:],
    "cut in the entry": photos.exif(6)[:-10],
    "a directory far behind the end": photos.exif(6, directory=2**32 - 1),
    "nothing": b"",
}


def test_exif_that_makes_no_sense_is_upright_here_as_there(browser, addresses):
    opened(browser, addresses)
    plain = photos.encoded(UPRIGHT, "WEBP", lossless=True)
    for name, tiff in DAMAGED.items():
        give(browser, photos.with_exif(plain, tiff), name=name)
        wait(browser, lambda name=name: find(browser, "#shown").get_attribute("alt") == name)
        wait(browser, lambda: browser.execute_script("return document.getElementById('shown').complete"))
        np.testing.assert_array_equal(pixels(browser, "#shown"), np.asarray(UPRIGHT))
    assert not [line for line in browser.get_log("browser") if "TypeError" in line["message"]]


WINDOW = """
const [done, given] = [arguments[arguments.length - 1], arguments[0]];
import(new URL("images.js", document.baseURI)).then(({ windowOf }) => done(given.map((one) => windowOf(...one))));
"""


def window(spec, width, height):
    """Left, top, width, height in shares, by what the network's images are framed with."""
    scaled, before = (np.asarray(part) for part in framing.window(tf.constant([height, width]),
                                                                    tf.constant(spec.shape[:2]), spec))  # fmt: skip
    return [*(before / scaled)[::-1], *(np.array(spec.shape[:2]) / scaled)[::-1]]


def test_the_window_is_the_one_that_images_are_framed_with(browser, addresses):
    opened(browser, addresses)
    random = np.random.default_rng(0)
    specs = [Image((40, 40, 3)), Image((224, 224, 3), "crop", 0.875), Image((48, 33, 3), "crop", 0.7),
             Image((33, 48, 1), "pad"), Image((64, 64, 3), "crop", 1.0)]  # fmt: skip
    cases = [(spec, *map(int, random.integers(4, 900, 2))) for spec in specs for _ in range(40)]
    found = browser.execute_async_script(WINDOW, [[spec.brief(), width, height] for spec, width, height in cases])
    found = [[one[side] for side in ("left", "top", "width", "height")] for one in found]
    np.testing.assert_allclose(found, [window(*case) for case in cases], atol=1e-9)


BOXES = """
const box = (id) => document.getElementById(id).getBoundingClientRect();
const [shown, ...others] = ["shown", "mask", "window"].map(box);
return others.map((one) => [(one.left - shown.left) / shown.width, (one.top - shown.top) / shown.height,
  one.width / shown.width, one.height / shown.height]);
"""


@pytest.mark.slow
def test_a_mask_lies_where_the_network_looked(browser, tmp_path):
    from selenium.webdriver.support.ui import Select

    task, model = served.unet(32)
    specs = {"crop": Image((32, 32, 3), "crop", 0.7), "pad": Image((32, 32, 3), "pad"), "stretch": Image((32, 32, 3))}
    for name, spec in specs.items():
        served.export(replace(task, input=spec), model, tmp_path / name)
    photo = served.png(served.scenes(300, 1)[0][:, :200])
    with served.running(*(tmp_path / name for name in specs)) as found:
        opened(browser, found)
        give(browser, photo)
        for place, (name, spec) in enumerate(specs.items()):
            Select(find(browser, "#model")).select_by_index(place)
            wait(browser, lambda name=name: find(browser, "#status").text.startswith(name))
            wait(browser, lambda: find(browser, "#mask").is_displayed())
            mask, frame = browser.execute_script(BOXES)
            np.testing.assert_allclose(mask, window(spec, 200, 300), atol=0.01)
            assert (
                find(browser, "#window").is_displayed() == find(browser, "#framed").is_displayed() == (name == "crop")
            )
            if name == "crop":
                np.testing.assert_allclose(frame, mask, atol=0.001)
        assert find(browser, "#layers").value_of_css_property("overflow") == "hidden"  # what reaches beyond is not seen
