"""A TFLite file for images in headless Chromium, by the page of docs/web.md, beside the Python interpreter.

python benchmarks/web.py FILE.tflite [--images FOLDER] [--packages FOLDER]

Times one record; with images, how far the canvas is from the pixels that training saw, of 255. --packages: where
`npm install` of docs/web.md was run; without it, it is run in a folder for the time being.
"""

import argparse
import base64
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.append(str(Path(__file__).parents[1] / "tests"))

import browsing
import numpy as np

from cnn_app.cli.view import table
from cnn_app.export import golden
from cnn_app.inputs import pixels
from cnn_app.inputs.image import Image
from cnn_app.inputs.image_files import image_files
from cnn_app.runtimes import open_model

RUNS, WARM = 50, 5
PAGE = Path(__file__).parents[1] / "docs" / "web.md"
ISOLATED = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}
CALL = """
const [given, done] = arguments;
const unpacked = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
(async () => {
  const { open, pixels } = await import(new URL("classifier.js", location));
  %s
})().then((value) => done({ value }), (error) => done({ error: String(error) }));
"""


def examples() -> dict[str, str]:
    """The page's code blocks, by the name of their file."""
    return dict(re.findall(r"`([\w.]+)`:\n\n```\w+\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))


def install(folder: Path) -> None:
    """Carry out what the page says, without anybody's scripts."""
    (command,) = re.findall(r"^npm install (\S+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    npm = [
        "npm",
        "install",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--fetch-retries=1",
        "--prefix",
        str(folder),
        command,
    ]
    subprocess.run(npm, check=True, capture_output=True, text=True, timeout=120)


def site(folder: Path, packages: Path, file: Path) -> Path:
    """The page as it tells to lay it out, with `file` in the place of its model."""
    folder.mkdir()
    for name, text in examples().items():
        (folder / name).write_text(text.replace("photos-int8.tflite", file.name), encoding="utf-8")
    shutil.copy(file, folder)
    (folder / "node_modules").symlink_to(packages / "node_modules")
    return folder


class Handler(SimpleHTTPRequestHandler):
    extensions_map = SimpleHTTPRequestHandler.extensions_map | {".js": "text/javascript", ".wasm": "application/wasm"}

    def __init__(self, *args, headers: dict[str, str], **options):
        self.extra = headers
        super().__init__(*args, **options)

    def end_headers(self):
        for name, value in self.extra.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, *_):
        pass


@contextmanager
def serving(folder: Path, headers: dict[str, str] | None = None):
    handler = partial(Handler, directory=str(folder), headers=headers or {})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def call(driver, body: str, given=None):
    """What `body` returns: JavaScript with `open` and `pixels` of the page's module, and `given`."""
    found = driver.execute_async_script(CALL % body, given)
    if "error" in found:
        raise RuntimeError(found["error"])
    return found["value"]


def packed(data: bytes | np.ndarray) -> str:
    return base64.b64encode(bytes(data)).decode()


TIMED = """
const model = await open(given.file), record = unpacked(given.record), took = [];
for (let i = 0; i < given.runs; i++) {
  const start = performance.now();
  await model.scores(record);
  took.push(performance.now() - start);
}
return took;
"""
SEEN = "return [...pixels(await createImageBitmap(new Blob([unpacked(given.image)])), given.input)];"


def interpreted(file: Path, record: np.ndarray) -> list[float]:
    """Milliseconds of each run in Python, on one thread."""
    runtime, took = open_model(file), []
    for _ in range(RUNS):
        start = time.perf_counter()
        runtime.run({"image": record})
        took.append(1000 * (time.perf_counter() - start))
    return took


def differences(driver, files: list[Path], input: Image) -> list[np.ndarray]:
    """Of each image as the page draws it and as training saw it."""
    found = []
    for file in files:
        data = file.read_bytes()
        ours = pixels.load(data, str(file), input)
        seen = call(driver, SEEN, {"image": packed(data), "input": input.facts()})
        found.append(np.abs(np.reshape(seen, ours.shape) - ours.astype(int)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--packages", type=Path)
    options = parser.parse_args()
    record = golden.read(golden.place(options.file))["input/image"][:1]
    times, seen = {"Python": interpreted(options.file, record)}, []
    with tempfile.TemporaryDirectory() as folder:
        packages = options.packages or Path(folder, "packages")
        if not options.packages:
            install(packages)
        pages = site(Path(folder, "site"), packages.resolve(), options.file)
        for name, headers in (("Chromium", {}), ("Chromium, isolated", ISOLATED)):
            driver = browsing.chromium()
            driver.set_script_timeout(100)
            with serving(pages, headers) as address:
                driver.get(address)
                given = {"file": options.file.name, "record": packed(record.astype(np.uint8)), "runs": RUNS}
                times[name] = call(driver, TIMED, given)
                for resize in ("stretch", "crop", "pad") if options.images and not headers else ():
                    found = differences(driver, image_files(options.images), Image((224, 224, 3), resize))
                    mean, most = np.mean([one.mean() for one in found]), np.mean([(one > 8).mean() for one in found])
                    seen.append(
                        (resize, f"{mean:.2f}", f"{100 * most:.2f}", max(one.max() for one in found), len(found))
                    )
            driver.quit()
    table(["where", ">median ms", ">p90 ms"],
          [(name, f"{np.median(took[WARM:]):.2f}", f"{np.quantile(took[WARM:], 0.9):.2f}")
           for name, took in times.items()])  # fmt: skip
    if seen:
        table(["resize", ">mean difference", ">% above 8", ">largest", ">images"], seen)


if __name__ == "__main__":
    main()
