"""The page in a real browser: images are dropped, pasted, chosen and drawn, and the right class appears."""

import base64
import shutil

import numpy as np
import pytest
import served
import urllib3

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_chromium = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium and chromedriver")
GIVE = """
const bytes = Uint8Array.from(atob(arguments[0]), (c) => c.charCodeAt(0));
const data = new DataTransfer();
data.items.add(new File([bytes], arguments[1], {type: arguments[2]}));
const target = document.getElementById("drop");
if (arguments[3] === "drop") {
  target.dispatchEvent(new DragEvent("dragover", {bubbles: true, cancelable: true, dataTransfer: data}));
  target.dispatchEvent(new DragEvent("drop", {bubbles: true, cancelable: true, dataTransfer: data}));
} else {
  document.dispatchEvent(new ClipboardEvent("paste", {bubbles: true, clipboardData: data}));
}
"""


@pytest.fixture(scope="module")
def browser():
    pytest.importorskip("selenium")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    driver.set_window_size(1000, 900)
    yield driver
    driver.quit()


@pytest.fixture
def page(browser, addresses):
    browser.get(addresses.rest)
    wait(browser, lambda: find(browser, "#model").text)
    return browser


def find(page, selector):
    return page.find_element("css selector", selector)


def wait(page, what):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(page, 20, poll_frequency=0.02).until(lambda _: what())


def give(page, data, how="drop", name="image.png", kind="image/png"):
    page.execute_script(GIVE, base64.b64encode(data).decode(), name, kind, how)


def labels(page):
    return page.execute_script("return [...document.querySelectorAll('#top .label')].map((one) => one.textContent)")


def answered(page, label):
    """Wait until `label` is the best one."""
    wait(page, lambda: labels(page)[:1] == [label] and "ms" in find(page, "#status").text)


@needs_chromium
@pytest.mark.parametrize("how", ["drop", "paste"])
def test_an_image_that_is_given_gets_the_right_class(page, how):
    for label in served.LABELS:
        give(page, served.png(served.one_colour(label, 50)), how)
        answered(page, label)
    assert sorted(labels(page)) == sorted(served.LABELS)
    assert find(page, "#status").text.startswith("colours, version 2: ")
    shares = [one.text for one in page.find_elements("css selector", "#top .share")]
    widths = [one.size["width"] for one in page.find_elements("css selector", "#top .bar")]
    assert shares[0] == "96.4 %" and widths[0] > 10 * widths[1] > 0
    assert find(page, "#shown").is_displayed() and not find(page, "#error").is_displayed()


@needs_chromium
def test_a_file_is_chosen_by_keyboard_and_another_version_is_asked(page, tmp_path):
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import Select

    order = []
    for _ in range(3):
        page.switch_to.active_element.send_keys(Keys.TAB)
        order.append(page.switch_to.active_element.get_attribute("id") or page.switch_to.active_element.tag_name)
    assert order == ["model", "choose", "summary"]
    (tmp_path / "blue.png").write_bytes(served.png(served.one_colour("blue")))
    page.execute_script("document.getElementById('file').hidden = false")
    find(page, "#file").send_keys(str(tmp_path / "blue.png"))
    answered(page, "blue")
    Select(find(page, "#model")).select_by_visible_text("colours, version 1 (stable), TensorFlow")
    wait(page, lambda: find(page, "#status").text.startswith("colours, version 1: "))


@needs_chromium
def test_errors_are_shown_and_go_away(page):
    give(page, b"no image", name="notes.txt", kind="text/plain")
    wait(page, lambda: find(page, "#error").is_displayed())
    assert "400: cannot read the record: it is no JPEG, PNG, WebP, BMP or GIF" in find(page, "#error").text
    give(page, served.png(served.one_colour("green")))
    answered(page, "green")
    assert not find(page, "#error").is_displayed()


@needs_chromium
def test_what_is_drawn_is_asked(page):
    from selenium.webdriver import ActionChains

    find(page, "#drawing summary").click()
    find(page, "#dark").click()
    canvas = find(page, "#canvas")
    ActionChains(page).move_to_element(canvas).click_and_hold().move_by_offset(60, 40).release().perform()
    wait(page, lambda: len(labels(page)) == 3)
    ink = "return arguments[0].getContext('2d').getImageData(0, 0, 280, 280).data.filter((v) => v > 128).length"
    drawn = page.execute_script(ink, canvas)
    find(page, "#clear").click()
    assert drawn > page.execute_script(ink, canvas) == 280 * 280  # what is left is the opacity


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_narrow_screens_in_both_colours_and_needs_no_network(page, scheme, addresses):
    emulation = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", emulation)
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 320, "height": 700, "deviceScaleFactor": 1,
                                                                "mobile": True})  # fmt: skip
    give(page, served.png(served.one_colour("red", 700)))
    answered(page, "red")
    assert page.execute_script("return document.documentElement.scrollWidth") <= 320
    back = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert back == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 27)"}[scheme]
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    asked = page.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert asked and all(name.startswith((addresses.rest, "blob:", "data:")) for name in asked)
    assert not [line for line in page.get_log("browser") if "Content Security Policy" in line["message"]]


@needs_chromium
def test_a_model_of_texts_gets_a_text_and_one_of_images_an_image(browser, colours, tmp_path):
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import Select

    with served.running(f"moods={served.moods(tmp_path / 'moods')}", colours) as found:
        browser.get(found.rest)
        wait(browser, lambda: find(browser, "#text").is_displayed())
        assert not find(browser, "#images").is_displayed() and find(browser, "#status").text == "No text yet."
        assert find(browser, "label[for=text]").text == "Text"
        find(browser, "#text").send_keys("a good day,\nall of it")
        browser.switch_to.active_element.send_keys(Keys.TAB)
        browser.switch_to.active_element.send_keys(Keys.ENTER)
        answered(browser, "glad")
        assert [one.text for one in browser.find_elements("css selector", "#top .share")] == ["75.0 %", "25.0 %"]
        Select(find(browser, "#model")).select_by_index(1)
        wait(browser, lambda: find(browser, "#images").is_displayed())
        assert not find(browser, "#texts").is_displayed() and not labels(browser)
        assert find(browser, "#status").text == "No image yet."
        give(browser, served.png(served.one_colour("green")))
        answered(browser, "green")


@needs_chromium
def test_labels_that_are_there_are_ticked_and_never_cut_off(browser, tmp_path):
    with served.running(f"several={served.several(tmp_path / 'several')}") as found:
        browser.get(found.rest)
        wait(browser, lambda: find(browser, "#model").text)
        give(browser, served.png(served.one_colour("red")))
        answered(browser, "a \u2713")
        assert labels(browser) == ["a \u2713", "b", "c", "d", "e", "g \u2713"]


COVER = """
const shown = document.getElementById("shown").getBoundingClientRect();
const mask = document.getElementById("mask").getBoundingClientRect();
return ["left", "top", "width", "height"].map((side) => Math.abs(shown[side] - mask[side]));
"""
TINT = """
const mask = document.getElementById("mask"), canvas = document.createElement("canvas");
[canvas.width, canvas.height] = [mask.naturalWidth, mask.naturalHeight];
canvas.getContext("2d").drawImage(mask, 0, 0);
return arguments[0].map(([x, y]) => [...canvas.getContext("2d").getImageData(x, y, 1, 1).data]);
"""


def half_white(side=100):
    array = np.zeros((side, side, 3), np.uint8)
    array[:, side // 2 :] = 255
    return array


@needs_chromium
def test_a_mask_lies_over_its_image_with_a_legend(browser, colours, tmp_path):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.support.ui import Select

    with served.running(f"a_mask={served.masks(tmp_path / 'masks')}", colours) as found:
        browser.get(found.rest)
        wait(browser, lambda: find(browser, "#model").text)
        give(browser, served.png(half_white()))
        wait(browser, lambda: browser.execute_script("return document.getElementById('mask').naturalWidth") == 32)
        assert find(browser, "#mask").is_displayed() and max(browser.execute_script(COVER)) < 1
        assert browser.execute_script(TINT, [[4, 16], [28, 16]]) == [[0, 0, 0, 0], [255, 0, 0, 128]]
        assert [one.text for one in browser.find_elements("css selector", "#legend li")] == ["bright things"]
        swatch = "return getComputedStyle(document.querySelector('#legend .swatch')).backgroundColor"
        assert browser.execute_script(swatch) == "rgb(255, 0, 0)"
        assert find(browser, "#mask").get_attribute("alt") == "Where the model sees bright things"
        Select(find(browser, "#model")).select_by_index(1)
        wait(browser, lambda: len(labels(browser)) == 3)
        assert not find(browser, "#mask").is_displayed() and not find(browser, "#legend").text
        Select(find(browser, "#model")).select_by_index(0)
        wait(browser, lambda: find(browser, "#mask").is_displayed())
        find(browser, "#drawing summary").click()
        canvas = find(browser, "#canvas")
        ActionChains(browser).move_to_element(canvas).click_and_hold().move_by_offset(60, 40).release().perform()
        wait(browser, lambda: find(browser, "#shown").get_attribute("alt") == "The drawing")
        wait(browser, lambda: find(browser, "#mask").is_displayed() and max(browser.execute_script(COVER)) < 1)
        assert not [line for line in browser.get_log("browser") if "Content Security Policy" in line["message"]]


SWATCHES = """
const rows = [...document.querySelectorAll("#top .label, #legend .label")];
const swatches = rows.map((one) => one.querySelector(".swatch") ?? one.parentElement.querySelector(".swatch"));
return rows.map((one, i) => [one.textContent, swatches[i] && getComputedStyle(swatches[i]).backgroundColor]);
"""


@needs_chromium
def test_exported_networks_of_masks_and_texts(browser, tmp_path):
    """Every class has its colour beside its share of the image; the mask covers no more of it than one likes."""
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import Select

    seven = ("ground", "cat", "dog", "tree", "car", "sky", "road")
    served.export(*served.unet(32, seven), tmp_path / "masks")
    served.export(*served.text_cnn(), tmp_path / "texts")
    with served.running(tmp_path / "masks", tmp_path / "texts") as found:
        browser.get(found.rest)
        wait(browser, lambda: find(browser, "#model").text)
        assert not find(browser, "#fading").is_displayed()
        give(browser, served.png(served.scenes(64, 1)[0]))
        wait(browser, lambda: browser.execute_script("return document.getElementById('mask').naturalWidth") == 32)
        assert max(browser.execute_script(COVER)) < 1 and len(labels(browser)) == 5
        colours = dict(browser.execute_script(SWATCHES))
        assert set(colours) == set(seven) and len(browser.find_elements("css selector", "#legend li")) == 2
        assert colours["ground"] == "rgb(31, 119, 180)" and len(set(colours.values())) == 7
        opacity = "return Number(getComputedStyle(document.getElementById('mask')).opacity)"
        assert browser.execute_script(opacity) == 0.6
        find(browser, "#strength").send_keys(Keys.END)
        assert browser.execute_script(opacity) == 1
        Select(find(browser, "#model")).select_by_index(1)
        wait(browser, lambda: find(browser, "#text").is_displayed())
        assert not find(browser, "#fading").is_displayed() and not browser.execute_script(SWATCHES)
        find(browser, "#text").send_keys("sch\u00f6n, isn't it?")
        find(browser, "#writing button").click()
        wait(browser, lambda: find(browser, "#status").text.startswith("texts, version 1: "))
        assert set(labels(browser)) == {"sad", "glad"} and {
            colour for _, colour in browser.execute_script(SWATCHES)
        } == {None}
        assert not [line for line in browser.get_log("browser") if "Content Security Policy" in line["message"]]


@needs_chromium
def test_it_asks_for_a_key_that_is_needed(browser, colours):
    with served.running(colours, key="sesame") as found:
        browser.get(found.rest)
        wait(browser, lambda: find(browser, "#key").is_displayed())
        assert "401: a key is needed" in find(browser, "#error").text
        find(browser, "#key").send_keys("sesame\t")
        wait(browser, lambda: "version 2" in find(browser, "#model").text)
        give(browser, served.png(served.one_colour("blue")))
        answered(browser, "blue")


def test_the_page_says_what_it_may_load(addresses):
    with urllib3.PoolManager() as http:
        for place in ("/", "/page.css", "/page.js"):
            response = http.request("GET", addresses.rest + place)
            assert response.status == 200 and b"://" not in response.data.replace(b"http://www.w3.org", b"")
            policy = response.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'") and "unsafe" not in policy
