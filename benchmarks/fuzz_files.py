"""Files with errors through the real entry points: each is to be accepted, or refused by an error of ours.

    python benchmarks/fuzz_files.py --inputs 200 --seed 0 --kind onnx --kind tflite --keep kept/

Every input is made from one that is good, by flipped bits, cuts, splices, and for JSON other values. They run in a
child, so that a crash or a hang costs its own input and not the run; what it was is kept. Printed is one table.
"""

import argparse
import json
import shutil
import tempfile
import time
import traceback
from collections import Counter
from importlib import import_module
from pathlib import Path

import numpy as np

from cnn_app.child import Child, ChildError
from cnn_app.errors import CnnAppError

HANG_SECONDS = 10.0
COLUMNS = ("kind", "inputs", "accepted", "refused", "crashes", "tracebacks", "hangs", "seconds")
STORE = Path(__file__).parents[1] / "tests" / "compat" / "store" / "shapes"
KINDS = ("picture", "card", "about", "recipe", "tflite", "onnx", "keras", "saved_model")
VALUES = (
    None,
    True,
    -1,
    0,
    1.5,
    10**12,
    10**40,
    float("nan"),
    "",
    "\x1b[2J",
    "a" * 10**4,
    [],
    {},
    [[]],
    [-1, 0],
    [[[[[1]]]]],
)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--inputs", type=int, default=100, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", action="append", choices=KINDS)
    parser.add_argument("--keep", type=Path, help="a folder for inputs that did harm")
    given = parser.parse_args()
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for kind in given.kind or KINDS:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            found = run(kind, given.inputs, given.seed, Path(folder), given.keep)
        told = [found[name] for name in ("accepted", "refused", "crash", "traceback", "hang")]
        print(
            f"| {kind} | {given.inputs} | {' | '.join(map(str, told))} | {time.perf_counter() - start:.0f} |",
            flush=True,
        )


def run(kind, inputs, seed, folder, keep):
    """How often each outcome came."""
    found, child = Counter(), None
    for number in range(inputs):
        if child is None or not child.alive:
            child = Child(import_module("fuzz_files").answering, kind, str(folder))  # __main__ is another there
            first = True
        case = f"{seed} {number}".encode()
        try:
            outcome = child.ask(case, HANG_SECONDS + (60 if first else 0)).decode()  # the first imports TensorFlow
        except ChildError as error:
            outcome = f"{'hang' if 'took more' in str(error) else 'crash'} {error}"
        first = False
        found[outcome.split()[0]] += 1
        if outcome.split()[0] not in ("accepted", "refused"):
            print(f"<!-- {kind} --seed {seed} input {number}: {outcome} -->", flush=True)
            if keep:
                place = keep / f"{kind}-{seed}-{number}"
                shutil.rmtree(place, ignore_errors=True)
                shutil.copytree(folder, place)
    if child:
        child.close()
    return found


def answering(kind, folder):
    """The child's side: a seed and a number make an input, which goes where a user's would."""
    from cnn_app.quiet import quiet_tensorflow

    quiet_tensorflow()
    make, use = CASES[kind]

    def answer(case):
        random = np.random.default_rng(list(map(int, case.split())))
        place = make(random, Path(folder))
        try:
            use(place)
            return b"accepted"
        except CnnAppError as error:
            line = str(error)
            return b"refused" if len(line) < 2000 and "\n" not in line else f"traceback long: {line[:300]!r}".encode()
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            return f"traceback {type(error).__name__}: {str(error)[:200]!r} at {where.filename}:{where.lineno}".encode()

    return answer


# --- inputs


def mutated(data, random):
    """Bytes with one to eight errors."""
    data = bytearray(data)
    for _ in range(random.integers(1, 9)):
        place, length = int(random.integers(len(data) or 1)), int(random.integers(1, 65))
        match random.integers(6):
            case 0 if data:
                data[place] ^= 1 << int(random.integers(8))
            case 1 if data:
                data[place] = int(random.choice([0, 1, 127, 128, 255]))
            case 2:
                data = data[:place] if random.random() < 0.3 else data
            case 3:
                start = int(random.integers(len(data) or 1))
                data[place : place + length] = data[start : start + length]
            case 4:
                del data[place : place + length]
            case 5:
                data[place:place] = random.bytes(length)
    return bytes(data)


def changed(value, random):
    """JSON with another value somewhere, or without one."""
    if isinstance(value, dict | list) and value and random.random() < 0.85:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = keys[int(random.integers(len(keys)))]
        copy = dict(value) if isinstance(value, dict) else list(value)
        if random.random() < 0.1:
            del copy[key]
        else:
            copy[key] = changed(value[key], random)
        return copy
    return VALUES[int(random.integers(len(VALUES)))]


def text(data, random):
    """JSON with errors of either sort."""
    if random.random() < 0.3:
        return mutated(data, random)
    value = json.loads(data)
    for _ in range(random.integers(1, 4)):
        value = changed(value, random)
    return json.dumps(value).encode()


def one(source, mutate=mutated):
    """A function that writes a changed copy of a file."""

    def make(random, folder):
        place = folder / source.name
        place.write_bytes(mutate(source.read_bytes(), random))
        return place

    return make


def card(random, folder):
    (folder / "card.json").write_bytes(text((STORE / "card.json").read_bytes(), random))
    return folder


def about(random, folder):
    return text((STORE / "serving/1/assets/model.json").read_bytes(), random)


def picture(random, folder):
    import io

    from PIL import Image

    stream = io.BytesIO()
    kind = ["PNG", "JPEG", "GIF", "BMP"][int(random.integers(4))]
    Image.fromarray(random.integers(0, 256, (12, 10, 3), np.uint8)).save(stream, kind)
    return mutated(stream.getvalue(), random)


def keras_file(random, folder):
    """With errors in the zip, in its JSON, or in its HDF5."""
    import zipfile

    if random.random() < 0.2:
        return one(STORE / "model.keras")(random, folder)
    with zipfile.ZipFile(STORE / "model.keras") as stored:
        members = {name: stored.read(name) for name in stored.namelist()}
    name = list(members)[int(random.integers(len(members)))]
    members[name] = text(members[name], random) if name.endswith(".json") else mutated(members[name], random)
    with zipfile.ZipFile(folder / "model.keras", "w") as stored:
        for name, data in members.items():
            stored.writestr(name, data)
    return folder / "model.keras"


def saved_model(random, folder):
    place = folder / "1"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(STORE / "serving" / "1", place)
    if random.random() < 0.5:
        graph(place / "saved_model.pb", random)
        return place
    files = sorted(file for file in place.rglob("*") if file.is_file())
    file = place / "saved_model.pb" if random.random() < 0.7 else files[int(random.integers(len(files)))]
    file.write_bytes(mutated(file.read_bytes(), random))
    return place


def graph(file, random):
    """Well-formed, with other numbers, shapes, types, inputs and operators in a few nodes."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    proto = SavedModel.FromString(file.read_bytes())
    found = proto.meta_graphs[0].graph_def
    nodes = [*found.node, *(node for function in found.library.function for node in function.node_def)]
    for _ in range(random.integers(1, 4)):
        node = nodes[int(random.integers(len(nodes)))]
        names = list(node.attr)
        match random.integers(4):
            case 0 if names:
                value = node.attr[names[int(random.integers(len(names)))]]
                kind = value.WhichOneof("value")
                if kind in ("i", "type"):
                    setattr(value, kind, int(random.choice([0, 1, 2, 3, 7, 20, 2**31 - 1])))
                elif kind == "shape":
                    value.shape.dim.add(size=int(random.choice([-1, 0, 2**40])))
                elif kind == "tensor":
                    value.tensor.tensor_shape.dim.add(size=int(random.choice([-2, 0, 2, 2**40])))
                elif kind == "list":
                    value.list.i.append(-1)
            case 1 if names:
                del node.attr[names[int(random.integers(len(names)))]]
            case 2 if node.input:
                node.input[int(random.integers(len(node.input)))] = nodes[int(random.integers(len(nodes)))].name
            case 3:
                node.op = nodes[int(random.integers(len(nodes)))].op
    file.write_bytes(proto.SerializeToString())


# --- where they go


def see(data):
    from cnn_app.inputs.image import Image

    Image((8, 8, 3)).load(data, "picture")


def read_card(folder):
    from cnn_app import tasks
    from cnn_app.artifacts import ModelDir
    from cnn_app.runtimes.keras_model import card_about

    tasks.of_facts(card_about(ModelDir(folder).read_card(), "card").facts())


def read_about(data):
    from cnn_app import tasks
    from cnn_app.runtimes import about

    tasks.of_facts(about.of_json(data, "file").facts())


def read_recipe(place):
    from cnn_app import recipe

    recipe.read(place)


def predict(place):
    """As `cnn_app.predict` does."""
    from cnn_app.jobs.evaluate import opened_as
    from cnn_app.runtimes.latency import example

    runtime, task = opened_as(place)
    outputs = runtime.run(example(runtime))
    task.text(task.answer({name: array[0] for name, array in outputs.items()}, 3))


RECIPES = sorted((Path(__file__).parents[1] / "pipelines").glob("*.toml"))
CASES = {
    "picture": (picture, see), "card": (card, read_card), "about": (about, read_about),
    "recipe": (lambda random, folder: one(RECIPES[int(random.integers(len(RECIPES)))])(random, folder), read_recipe),
    "tflite": (one(sorted((STORE / "mobile").glob("*.tflite"))[0]), predict),
    "onnx": (one(sorted((STORE / "onnx").glob("*.onnx"))[0]), predict),
    "keras": (keras_file, predict), "saved_model": (saved_model, predict),
}  # fmt: skip

if __name__ == "__main__":
    main()
