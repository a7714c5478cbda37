"""The page in a real browser: what is dropped, pasted, chosen, drawn or written gets the right class."""

import numpy as np
import pytest
import served
import urllib3
from browsing import answered, find, give, labels, needs_chromium, visit, wait

from cnn_app.inputs import files, headers
from cnn_app.serving.server import access, offer


@pytest.fixture
def page(browser, addresses):
    visit(browser, addresses.rest)
    return browser


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
    sizes = [
        float(one.value_of_css_property("font-size")[:-2]) for one in page.find_elements("css selector", "#top li")
    ]
    assert sizes[0] > 1.5 * sizes[1] == 1.5 * sizes[2]
    assert find(page, "#shown").is_displayed() and not find(page, "#error").is_displayed()
    assert not find(page, "#several").is_displayed() and not find(page, "#window").is_displayed()


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


@pytest.mark.slow
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
        visit(browser, found.rest)
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


@pytest.mark.slow
@needs_chromium
def test_a_mask_lies_over_its_image_with_a_legend(browser, colours, tmp_path):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.support.ui import Select

    with served.running(f"a_mask={served.masks(tmp_path / 'masks')}", colours) as found:
        visit(browser, found.rest)
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
        visit(browser, found.rest)
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


@pytest.mark.slow
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
        for place in ("/", *(f"/{file.name}" for file in offer.FILES)):
            response = http.request("GET", addresses.rest + place)
            assert response.status == 200 and b"://" not in response.data.replace(b"http://www.w3.org", b"")
            policy = response.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'; script-src 'self'") and "unsafe" not in policy


@needs_chromium
def test_it_names_the_formats_that_the_server_takes(page):
    assert find(page, "#file").get_attribute("accept") == ",".join(files.SENT) == ".jpg,.jpeg,.png,.webp,.bmp,.gif"
    assert find(page, "#drop .soft").text == headers.KINDS == "JPEG, PNG, WebP, BMP or GIF"


@needs_chromium
def test_it_tells_of_the_model(browser, colours, tmp_path):
    from selenium.webdriver.support.ui import Select

    names = tuple(f"thing {number}" for number in range(40))
    served.export(*served.unet(16, names), tmp_path / "many")
    served.export(*served.text_cnn(), tmp_path / "texts")
    unknown = f"unknown={served.several(tmp_path / 'unknown')}"
    with (
        served.running(colours, tmp_path / "many", tmp_path / "texts", unknown) as found,
        urllib3.PoolManager() as http,
    ):
        models = served.asked(http, "GET", f"{found.rest}/models.json")[1]
        visit(browser, found.rest)
        told = {}
        for place, model in enumerate(models):
            Select(find(browser, "#model")).select_by_index(place)
            pairs = zip(*(browser.find_elements("css selector", f"#facts {tag}") for tag in ("dt", "dd")), strict=True)
            facts = told.setdefault(model["name"], {term.text: fact.text for term, fact in pairs})
            assert model["name"] == "colours" or facts.pop("Size") == f"{model['bytes'] / 1e6:.3f} MB"
            if model["name"] == "many":
                assert not find(browser, "#facts li").is_displayed()
                find(browser, "#facts summary").click()
                assert [one.text for one in browser.find_elements("css selector", "#facts li")] == list(names)
        # of the last: a model of several labels, whose shares do not sum to one
        give(browser, served.png(served.one_colour("red")))
        answered(browser, "a \u2713")
        shares = [one.text for one in browser.find_elements("css selector", "#top .share")]
        assert shares == ["90.0 %", "80.0 %", "70.0 %", "60.0 %", "50.0 %", "30.0 %"]
    common = {"Version": "1", "Engine": "TensorFlow"}
    note = "pixels of red, green and blue. An image of another size is stretched to this one."
    assert told["colours"]["Classes"] == "3: red, green, blue" and told["colours"]["Input"] == f"8x8 {note}"
    assert told["many"] == common | {"Name": "many", "Task": "segmentation", "Input": f"16x16 {note}",
                                     "Classes": "40, by name"}  # fmt: skip
    assert told["texts"] == common | {"Name": "texts", "Task": "classification", "Classes": "2: sad, glad",
                                      "Input": "Up to 8 words, of 8 that it knows."}  # fmt: skip
    assert told["unknown"] == common | {"Name": "unknown"}


@pytest.mark.slow
def test_every_file_of_the_page_is_small_and_needs_no_key():
    for file in (*offer.FILES, offer.INDEX):
        assert len(file.read_text().splitlines()) < 250
    assert {f"/{file.name}" for file in offer.FILES} < set(access.OPEN)
