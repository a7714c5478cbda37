"""Many records at once: every one in the table, whatever is killed and whatever cannot be read."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from cnn_app.cli.main import cli
from cnn_app.errors import DataError
from cnn_app.jobs import score as scoring
from cnn_app.jobs.opened import opened_as

ROOT = Path(__file__).parents[1]
STORE = ROOT / "tests" / "compat" / "store" / "shapes"
SHAPES = STORE / "mobile" / "shapes-int8.tflite"
WITHOUT = ("tensorflow", "keras")  # which take seconds to start


def draw(folder, count):
    folder.mkdir()
    for number in range(count):
        noise = np.random.default_rng(number).integers(0, 256, (40, 48, 3), np.uint8)
        Image.fromarray(noise).save(folder / f"{number:03}.png")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return draw(tmp_path_factory.mktemp("scoring") / "photos", 30)


def invoked(*words):
    return CliRunner().invoke(cli, list(map(str, words)))


def rows(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_table_has_what_predict_says_of_each(photos, tmp_path):
    result = invoked("predict", SHAPES, "--data", photos, "--out", tmp_path / "answers.csv", "--top", 2, "--json")
    told = json.loads(result.stdout)
    assert told | {"per_second": 0} == {"records": 30, "errors": 0, "taken": 0, "per_second": 0}
    assert list(tmp_path.iterdir()) == [tmp_path / "answers.csv"]
    found = rows(tmp_path / "answers.csv")
    assert list(found[0]) == ["image", "label1", "probability1", "label2", "probability2"]
    assert [row["image"] for row in found] == [f"{number:03}.png" for number in range(30)]
    one = json.loads(invoked("predict", SHAPES, photos, "--top", 2, "--json").stdout)
    for row, answer in zip(found, one, strict=True):
        for place, best in enumerate(answer["top"], start=1):
            assert row[f"label{place}"] == best["label"]
            assert float(row[f"probability{place}"]) == pytest.approx(best["probability"], abs=1e-6)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_what_cannot_be_read_has_its_row(tmp_path, ending):
    photos = draw(tmp_path / "photos", 6)
    (photos / "001.png").write_bytes(b"")
    (photos / "003.png").write_bytes((photos / "003.png").read_bytes()[:900])
    Image.open(photos / "005.png").save(photos / "005.tiff")
    table = tmp_path / "list.csv"
    names = [file.name for file in sorted(photos.iterdir())]
    table.write_text("\n".join(("path", *names, "gone.png")))
    out = tmp_path / f"answers.{ending}"
    result = invoked("predict", SHAPES, "--data", table, "--data-dir", photos, "--out", out, "--top", 1)
    assert result.exit_code == 0 and result.stdout.startswith(f"{out}: 8 images, 3 could not be read; ")
    if ending == "csv":
        found = rows(out)
    elif ending == "jsonl":
        found = [json.loads(line) for line in out.read_text().splitlines()]
    else:
        import pyarrow.parquet

        found = pyarrow.parquet.read_table(out).to_pylist()
    assert [row["image"] for row in found] == [*names, "gone.png"]
    errors = {row["image"]: row["error"] for row in found if row.get("error")}
    assert errors == {"001.png": "the file is empty", "003.png": "the image is damaged or cut off",
                      "gone.png": f"cannot read {photos / 'gone.png'}: No such file or directory"}  # fmt: skip
    same = [row for row in found if row["image"].startswith("005")]
    assert [{**row, "image": ""} for row in same[:1]] == [{**row, "image": ""} for row in same[1:]]


@pytest.mark.parametrize("kills", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_every_image_is_there_once_whatever_is_killed(tmp_path, kills):
    """A pipe in the place of an image holds the process where it is to be killed."""
    photos, out = draw(tmp_path / "photos", 5 * kills), tmp_path / "answers.csv"
    names = [f"{number:03}.png" for number in range(5 * kills)]
    (tmp_path / "all.csv").write_text("\n".join(("path", *names)))
    (tmp_path / "sitecustomize.py").write_text(
        f"import sys; sys.modules |= dict.fromkeys({WITHOUT})\n"
        "import cnn_app.jobs.score as s; s.PART, s.AHEAD, s.score.__kwdefaults__['batch'] = 2, 1, 1"
    )
    command = [sys.executable, "-m", "cnn_app", "predict", SHAPES, "--data", tmp_path / "all.csv", "--data-dir", photos]
    paths = os.pathsep.join(map(str, (tmp_path, ROOT)))
    env = os.environ | {"PYTHONPATH": paths}
    answered = 0
    for kill in range(kills):
        held = photos / names[5 * kill + 4]
        data = held.read_bytes()
        held.unlink()
        os.mkfifo(held)
        process = subprocess.Popen([*command, "--out", out], env=env, stderr=subprocess.PIPE)
        with held.open("wb"):  # once it reads there
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL, process.stderr.read()
        process.stderr.close()
        held.unlink()
        held.write_bytes(data)
        parts = list((tmp_path / "answers.csv.part").glob("*.jsonl"))
        assert not out.exists() and len(parts) >= answered
        answered = len(parts)
    assert answered > 0
    done = subprocess.run([*command, "--out", out, "--json"], env=env, capture_output=True, text=True)
    assert done.returncode == 0 and json.loads(done.stdout)["taken"] == 2 * answered, done.stderr
    assert [row["image"] for row in rows(out)] == names and not (tmp_path / "answers.csv.part").exists()
    runtime, task = opened_as(SHAPES)
    scoring.score(runtime, task, str(photos), tmp_path / "other.csv")
    assert [row["label1"] for row in rows(out)] == [row["label1"] for row in rows(tmp_path / "other.csv")]


def test_a_run_of_other_records_or_another_file_starts_anew(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(scoring, "PART", 10)
    runtime, task = opened_as(SHAPES)

    def stop(done, total, rate):
        if done == 15:
            raise KeyboardInterrupt

    def again(top):
        with pytest.raises(KeyboardInterrupt):
            scoring.score(runtime, task, str(photos), tmp_path / "answers.csv", progress=stop)
        return scoring.score(runtime, task, str(photos), tmp_path / "answers.csv", top).taken

    assert again(5) == 10 and again(4) == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--data", "nothing"), "no data at 'nothing'; give a folder, or a table with the column path"),
        (("--data", "empty"), "empty has no images in it (.jpg, "),
        (("--data", "outside.csv"), "outside.csv:2 names the file '../x.png'; a path inside the folder of the table"),
        (("--data", "twice.csv"), "twice.csv has the path x.png twice; remove one"),
        (("--data", "label.csv"), "label.csv:1 has the columns label; path is needed, split may be there"),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else "",
)
def test_what_is_no_list_of_records_is_one_line(tmp_path, monkeypatch, words, told):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("outside.csv").write_text("path\n../x.png\n")
    Path("twice.csv").write_text("path\nx.png\n./x.png\n")
    Path("label.csv").write_text("label\nx\n")
    result = invoked("predict", SHAPES, *words, "--out", "answers.csv")
    assert result.exit_code == 1 and len(result.stderr.splitlines()) == 1 and told in result.stderr
    assert not list(tmp_path.glob("answers*"))


def test_usage(photos):
    for words in (("--out", "x.csv", photos), (), ("--out", "x.csv", "--draw", "drawn")):
        result = invoked("predict", SHAPES, "--data", photos, *words)
        assert result.exit_code == 2 and "--data goes with an ARTIFACT and --out" in result.stderr


def test_a_table_without_its_library(photos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    runtime, task = opened_as(SHAPES)
    with pytest.raises(DataError, match=r"answers.parquet is Parquet, which needs: pip install 'cnn-app\[parquet\]'"):
        scoring.score(runtime, task, str(photos), tmp_path / "answers.parquet")
