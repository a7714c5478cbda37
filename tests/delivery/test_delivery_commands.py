"""Golden answers with a real file, and the commands."""

import json
import re
import signal
import subprocess
import sys
import urllib.request
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from packaging.version import Version
from publishing import model_bytes, refused
from scores import keras_scores, write

from cnn_app.artifacts import Card, ModelDir, sha256
from cnn_app.atomic import write_json
from cnn_app.cli.main import cli
from cnn_app.delivery import catalogue, exported
from cnn_app.delivery.entry import SEEN, Entry, Wanted
from cnn_app.delivery.keys import ROLES
from cnn_app.export import golden

# Golden answers, with a real file.


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A tiny int8 file as `export` writes it, in a model directory."""
    import cnn_app
    from cnn_app.export import graph, tflite
    from cnn_app.export.targets import place, target

    directory, kind = ModelDir(tmp_path_factory.mktemp("store") / "digits"), "tflite-int8"
    model = cnn_app.create_model("lenet5")
    pixels = np.random.default_rng(0).integers(0, 256, (8, *model.input_shape[1:])).astype(np.uint8)
    file = place(directory, kind)
    file.parent.mkdir(parents=True)
    write(kind, graph.deployable(model), file, pixels)
    golden.write(
        file, golden.answers(file, target(kind), {"image": pixels}, {"probabilities": keras_scores(model, pixels)})
    )
    facts = {"kind": "image", "image": [32, 32, 1]}
    directory.write_card(Card(architecture="lenet5", columns={}, labels=tuple("0123456789"), input=facts))
    line = {"path": "mobile/digits-int8.tflite", "sha256": sha256(file), "target": "tflite-int8"}
    write_json(directory.exports, [line | {"min_runtime": tflite.min_runtime(file)}])
    return file


def test_golden_answers_travel_and_are_repeated(publisher, server, real):
    model, digits = exported.read(real), Wanted(name="digits")
    assert (model.name, model.kind) == ("digits", "tflite-int8") and Version(model.min_runtime) < Version("2.14")
    entry = Entry(name=model.name, version="1.0.0", kind=model.kind, min_runtime=model.min_runtime)
    catalogue.add(publisher.path, model, entry, publisher.keys)
    fetched = publisher.fetch(server[0], digits)
    assert fetched.changed and fetched.checked == 8 and golden.check(publisher.out).passed
    golden.place(publisher.out).unlink()
    assert publisher.fetch(server[0], digits).changed and golden.check(publisher.out).passed
    with np.load(golden.place(real)) as stored:
        arrays = dict(stored)
    wrong = real.parent / "wrong.npz"
    np.savez(wrong, **arrays | {"output/probabilities": arrays["output/probabilities"] + 0.5})
    wrong_answers = replace(model, answers=wrong.read_bytes())
    catalogue.add(publisher.path, wrong_answers, replace(entry, version="1.1.0"), publisher.keys)
    before = publisher.out.read_bytes(), golden.place(publisher.out).read_bytes()
    with refused("digits 1.1.0 does not answer on this machine as where it was exported: scores differ by"):
        publisher.fetch(server[0], digits)
    assert (publisher.out.read_bytes(), golden.place(publisher.out).read_bytes()) == before
    catalogue.add(publisher.path, replace(model, answers=None), replace(entry, version="1.2.0"), publisher.keys)
    assert publisher.fetch(server[0], digits).entry.version == "1.2.0"
    assert catalogue.remove(publisher.path, "digits", "1.1.0", "stable", "any", publisher.keys).version == "1.1.0"
    assert len(list(publisher.path.rglob("*.npz"))) == 1


def test_golden_answers_that_belong_to_another_file_are_not_published(real, tmp_path):
    (tmp_path / "x.tflite").write_bytes(model_bytes(1))
    golden.place(tmp_path / "x.tflite").write_bytes(golden.place(real).read_bytes())
    with refused("was changed since it was exported", tmp_path):
        exported.read(tmp_path / "x.tflite")


# The commands.


def call(*arguments, code=0):
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


def test_the_commands_from_init_to_fetch(tmp_path, real):
    models, keys, out = tmp_path / "models", tmp_path / "keys", tmp_path / "digits.tflite"
    sign, root = ("--keys", keys, "--json"), models / "metadata" / "1.root.json"
    assert json.loads(call("deliver", "init", models, *sign)) == {"root": str(root)}
    added = json.loads(call("deliver", "add", models, real, "--version", "1.0.0", *sign))[0]
    assert (added["name"], added["kind"], added["bytes"]) == ("digits", "tflite-int8", real.stat().st_size)
    call("deliver", "add", models, real, "--version", "2.0.0", "--min-app", "2", "--channel", "beta", "--keys", keys)
    call("deliver", "add", models, real, "--version", "1.1.0", "--keys", keys)
    fetch = ("fetch", models, "digits", "--root", root, "--out", out)
    fetched = json.loads(call(*fetch, "--json"))
    assert (fetched["version"], fetched["changed"], fetched["checked"]) == ("1.1.0", True, 8)
    assert fetched["sha256"] == sha256(out) and call(*fetch).endswith(f"{added['bytes']:,} bytes, unchanged\n")
    assert json.loads(call(*fetch, "--channel", "beta", "--app", "2.1", "--json"))["version"] == "2.0.0"
    assert json.loads(call("deliver", "rollback", models, "digits", *sign))[0]["version"] == "1.1.0"
    assert (
        call("deliver", "rollback", models, "digits", "--to", "1.0.0", "--keys", keys)
        == "nothing is above digits 1.0.0\n"
    )
    assert "removed digits 1.1.0" in call("deliver", "remove", models, "digits", "--version", "1.1.0", "--keys", keys)
    listed = json.loads(call("deliver", "list", models, "--json"))
    assert [model["version"] for model in listed["models"]] == ["2.0.0", "1.0.0"] and set(listed["expires"]) == set(
        ROLES
    )
    assert re.search(r"digits │ +1.0.0 │ stable .* offered", call("deliver", "list", models))
    assert json.loads(call("deliver", "rotate", models, "timestamp", *sign)) == {"key": str(keys / "timestamp.pem")}
    assert json.loads(call("deliver", "renew", models, *sign)).keys() == set(ROLES)
    assert "signed until: root 20" in call("deliver", "renew", models, "--keys", keys)
    assert "digits 1.0.0" in call(*fetch)
    for text, arguments in {
        "no model named 'digit'; known: digits": ("fetch", models, "digit", "--root", root, "--out", out),
        "2.0.0 needs app 2, yours is 1.4": (*fetch, "--channel", "beta", "--app", "1.4", "--runtime", "0.1"),
        "no entry named 'digits/stable/any/7'": (
            "deliver",
            "remove",
            models,
            "digits",
            "--version",
            "7",
            "--keys",
            keys,
        ),
        "there is no targets key": ("deliver", "add", models, real, "--version", "3"),
        "there is no catalogue at": ("deliver", "list", tmp_path),
    }.items():
        line = call(*arguments, code=1)
        assert text in line and len(line.splitlines()) == 1
    file = tmp_path / "nameless.tflite"
    file.write_bytes(real.read_bytes())
    assert "give --name" in call("deliver", "add", models, file, "--version", "3", "--keys", keys, code=1)


def test_the_commands_offer_what_there_is():
    from cnn_app.cli.deliver import options, sign

    assert tuple(options.CHANNELS.choices) == tuple(SEEN) and tuple(sign.ROLES.choices) == ROLES


def test_serve_is_a_web_server_on_loopback(publisher, tmp_path):
    entry = publisher.add("1.0.0")
    (publisher.path / "private").write_text("beside the catalogue")
    command = [sys.executable, "-c", "from cnn_app.cli.main import cli; cli()"]
    process = subprocess.Popen([*command, "deliver", "serve", publisher.path, "--port", "0"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)  # fmt: skip
    with process:
        address = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())[0]
        assert publisher.fetch(address).changed and publisher.has("1.0.0")
        name = publisher.file(entry).relative_to(publisher.path).as_posix()
        request = urllib.request.Request(f"{address}/{name}", headers={"Range": "bytes=5000-"})
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 206 and answer.read() == publisher.out.read_bytes()[5000:]
        with pytest.raises(urllib.error.HTTPError, match="404") as caught:
            urllib.request.urlopen(f"{address}/private")
        caught.value.close()
        port = address.rpartition(":")[2]
        told = call("deliver", "serve", publisher.path, "--port", port, code=1)
        assert f"cannot serve on port {port}: Address already in use" in told
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0 and process.stderr.read() == ""


def test_without_python_tuf_one_line_says_what_to_install(tmp_path):
    code = "import sys; sys.modules['tuf'] = None; from cnn_app.cli.main import cli; cli(sys.argv[1:])"
    done = subprocess.run([sys.executable, "-c", code, "deliver", "list", tmp_path], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "Error: signed delivery needs python-tuf; pip install 'cnn-app[deliver]'\n"


@pytest.mark.parametrize("name", ["init", "add", "list", "remove", "rollback", "renew", "rotate", "serve"])
def test_help_of_the_subcommands_is_light(name):
    code = (
        f"import sys; from cnn_app.cli.main import cli; cli(['deliver', {name!r}, '--help'], standalone_mode=False); "
    )
    code += "print(sorted({'keras', 'tensorflow', 'numpy', 'rich', 'tuf'} & set(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.endswith("[]\n") and "Usage:" in printed
