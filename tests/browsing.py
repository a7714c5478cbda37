"""The server's page in Chromium: what a person does there, and sees."""

import base64
import shutil

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_chromium = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium and chromedriver")
GIVE = """
const data = new DataTransfer();
for (const [name, kind, content] of arguments[1]) {
  data.items.add(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], name, {type: kind}));
}
const target = document.getElementById("drop");
if (arguments[0] === "drop") {
  target.dispatchEvent(new DragEvent("dragover", {bubbles: true, cancelable: true, dataTransfer: data}));
  target.dispatchEvent(new DragEvent("drop", {bubbles: true, cancelable: true, dataTransfer: data}));
} else {
  document.dispatchEvent(new ClipboardEvent("paste", {bubbles: true, clipboardData: data}));
}
"""


def chromium():
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    driver.set_window_size(1000, 900)
    return driver


def find(page, selector):
    return page.find_element("css selector", selector)


def wait(page, what):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(page, 20, poll_frequency=0.02).until(lambda _: what())


def visit(page, address):
    """The page of a server, once it knows its models."""
    page.get(address)
    wait(page, lambda: find(page, "#model").text)


def give(page, data, how="drop", name="image.png", kind="image/png"):
    give_all(page, {name: data}, how, kind)


def give_all(page, files, how="drop", kind="image/png"):
    """`files`: name -> bytes."""
    page.execute_script(GIVE, how, [[name, kind, base64.b64encode(data).decode()] for name, data in files.items()])


def labels(page):
    return page.execute_script("return [...document.querySelectorAll('#top .label')].map((one) => one.textContent)")


def answered(page, label):
    """Wait until `label` is the best one."""
    wait(page, lambda: labels(page)[:1] == [label] and "ms" in find(page, "#status").text)
