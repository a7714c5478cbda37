"""Inputs with errors, made from those that the release 0.1.0 wrote: what `fuzz_files.py` sends."""

import io
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np

STORE = Path(__file__).parents[1] / "tests" / "compat" / "store" / "shapes"
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
    from PIL import Image

    stream = io.BytesIO()
    kind, channels = ["PNG", "JPEG", "GIF", "BMP", "WEBP"][int(random.integers(5))], 3
    options = {"lossless": bool(random.integers(2))} if kind == "WEBP" else {}
    if kind in ("PNG", "WEBP"):
        channels += int(random.integers(2))
    Image.fromarray(random.integers(0, 256, (12, 10, channels), np.uint8)).save(stream, kind, **options)
    return mutated(stream.getvalue(), random)


def keras_file(random, folder):
    """With errors in the zip, in its JSON, or in its HDF5."""
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
