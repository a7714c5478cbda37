"""Files with errors through the real entry points: each is to be accepted, or refused by an error of ours.

    python benchmarks/fuzz_files.py --inputs 200 --seed 0 --kind onnx --kind tflite --keep kept/

Every input is made from one that is good, by flipped bits, cuts, splices, and for JSON other values. They run in a
child, so that a crash or a hang costs its own input and not the run; what it was is kept. Printed is one table.
"""

import argparse
import shutil
import tempfile
import time
import traceback
from collections import Counter
from importlib import import_module
from pathlib import Path

import numpy as np
from damage import STORE, about, card, keras_file, one, picture, saved_model

from cnn_app.child import Child, ChildError
from cnn_app.errors import CnnAppError

HANG_SECONDS = 10.0
COLUMNS = ("kind", "inputs", "accepted", "refused", "crashes", "tracebacks", "hangs", "seconds")
KINDS = ("picture", "card", "about", "recipe", "tflite", "onnx", "keras", "saved_model")


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
    from cnn_app.jobs.opened import opened_as
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
