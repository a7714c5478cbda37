"""A tiny classifier of colours, its versions on disk, and servers in a thread of the test's own process."""

import asyncio
import base64
import io
import json
import struct
import threading
import zlib
from collections.abc import Callable
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module

import grpc
import keras
import numpy as np
import PIL.Image
import tensorflow as tf

import cnn_app
from cnn_app import tasks
from cnn_app.artifacts import Card, ModelDir, sha256
from cnn_app.export import metadata
from cnn_app.export.graph import deployable
from cnn_app.export.targets import place, target
from cnn_app.inputs.image import Image
from cnn_app.inputs.text import Text
from cnn_app.runtimes import keras_model
from cnn_app.runtimes.about import About
from cnn_app.serving import messages_pb2
from cnn_app.serving.client.grpc import SERVICE
from cnn_app.serving.server.discovery import discover
from cnn_app.serving.server.run import Server, Settings
from cnn_app.tasks.classification import Classification
from cnn_app.tasks.segmentation import Segmentation

LABELS = ("red", "green", "blue")
SIDE = 8
SETTINGS = Settings(port=0, grpc_port=0, poll_s=0.05)


def probabilities(pixels):
    """What the classifier says, by NumPy."""
    logits = np.asarray(pixels, np.float64).mean((1, 2)) / 64
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def publish(base, version):
    """Write a version beside the base path, then rename it in."""
    module = tf.Module()
    module.number = tf.Variable(version)

    @tf.function(input_signature=[tf.TensorSpec((None, SIDE, SIDE, 3), tf.uint8, name="image")])
    def serve(image):
        logits = tf.reduce_mean(tf.cast(image, tf.float32), (1, 2)) / 64
        return {
            "probabilities": tf.nn.softmax(logits),
            "version": tf.fill(tf.shape(image)[:1], module.number),
        }

    module.serve = serve
    scratch = base.parent / f"writing-{version}"
    tf.saved_model.save(module, str(scratch), signatures={"serving_default": serve})
    taken = Image((SIDE, SIDE, 3)).facts()
    metadata.attach(scratch, About(task="classification", input=taken, labels=LABELS))
    base.mkdir(parents=True, exist_ok=True)
    scratch.rename(base / str(version))


def model_dir(path, *versions):
    taken = Image((SIDE, SIDE, 3)).facts()
    ModelDir(path).write_card(Card(architecture="lenet5", columns={}, labels=LABELS, input=taken))
    for version in versions:
        publish(path / "serving", version)
    return path


def pixels(seed, n=1):
    return np.random.default_rng(seed).integers(0, 256, (n, SIDE, SIDE, 3)).astype(np.uint8)


def png(array):
    out = io.BytesIO()
    PIL.Image.fromarray(array).save(out, "PNG")
    return out.getvalue()


def one_colour(label, side=SIDE):
    array = np.zeros((side, side, 3), np.uint8)
    array[..., LABELS.index(label)] = 255
    return array


@dataclass(frozen=True)
class Running:
    """Addresses of a server, and what tells it to stop."""

    rest: str
    grpc: str
    stop: Callable[[], None]


@contextmanager
def running(*places, **changes):
    """Addresses of a server that ends with the block; whatever it raises is raised here."""
    server, failed, opened = Server(discover(map(str, places)), replace(SETTINGS, **changes)), [], threading.Event()
    found = []

    def tell(addresses):
        found.append(addresses)
        opened.set()

    def run():
        try:
            asyncio.run(server.run(tell))
        except BaseException as error:
            failed.append(error)
        finally:
            opened.set()

    thread = threading.Thread(target=run)
    thread.start()
    opened.wait()
    try:
        if found:
            yield Running(found[0].rest, found[0].grpc, server.stop)
    finally:
        server.stop()
        thread.join()
    if failed:
        raise failed[0]


def asked(http, method, url, body=None, headers=None):
    """Status and JSON of a request."""
    data = json.dumps(body) if isinstance(body, dict | list) else body
    response = http.request(method, url, body=data, headers=headers)
    return response.status, json.loads(response.data)


def moods(base):
    """A model of texts: version 1, with the signature `text` alone."""

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="text")])
    def mood(text):
        good = tf.cast(tf.strings.regex_full_match(text, "(?s).*good.*"), tf.float32) * 0.5 + 0.25
        scores = tf.stack([good, 1 - good], 1)
        order = tf.argsort(scores, direction="DESCENDING")
        return {
            "classes": tf.gather(tf.constant(["glad", "sad"]), order),
            "scores": tf.sort(scores, direction="DESCENDING"),
        }

    module = tf.Module()
    module.mood = mood
    tf.saved_model.save(module, str(base / "1"), signatures={"text": mood})
    return base


def masks(base):
    """A model that lays half-transparent red over what is bright: version 1, with the signature `image_bytes` alone."""

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="image_bytes")])
    def mask(image_bytes):
        def one(data):
            pixels = tf.image.resize(tf.io.decode_image(data, 3, expand_animations=False), (32, 32))
            bright = tf.cast(tf.reduce_mean(pixels, -1, keepdims=True) > 127, tf.uint8)
            return tf.io.encode_png(tf.concat([bright * 255, bright * 0, bright * 0, bright * 128], -1))

        legend = tf.fill((tf.size(image_bytes), 1), "bright things #ff0000")
        return {"overlay_bytes": tf.map_fn(one, image_bytes, fn_output_signature=tf.string), "legend": legend}

    module = tf.Module()
    module.mask = mask
    tf.saved_model.save(module, str(base / "1"), signatures={"image_bytes": mask})
    return base


def several_labels(base):
    """A model whose answers may hold several labels at once: version 1, with the signature `image_bytes` alone."""

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="image_bytes")])
    def both(image_bytes):
        rows = tf.size(image_bytes)
        repeated = lambda values: tf.tile(tf.constant([values]), (rows, 1))  # noqa: E731
        return {
            "probabilities": repeated([0.9, 0.1, 0.8]),
            "classes": repeated(["red", "blue"]),
            "scores": repeated([0.9, 0.8]),
            "present": repeated([True, False, True]),
        }

    module = tf.Module()
    module.both = both
    tf.saved_model.save(module, str(base / "1"), signatures={"image_bytes": both})
    return base


def unet(side=16, labels=("ground", "cat", "dog"), **columns):
    """A task of masks and a network that was never trained, whose masks have several classes."""
    keras.utils.set_random_seed(1)
    columns = {"padding": "same", "depth": 1, "width": 2, "classes": len(labels), "image": (side, side, 3)} | columns
    model = cnn_app.create_model("unet", **columns)
    kernel, bias = model.get_layer("logits").get_weights()  # no class is to be far from the others
    logits = np.asarray(model.predict_on_batch(np.stack(scenes(side, 4)))).reshape(-1, len(labels))
    model.get_layer("logits").set_weights([kernel / logits.std(0), (bias - logits.mean(0)) / logits.std(0)])
    return Segmentation(input=Image(columns["image"]), labels=labels), model


def scenes(side, count):
    """Images of a few coloured rectangles, uint8 (side, side, 3)."""
    random, found = np.random.default_rng(0), []
    for _ in range(count):
        found.append(np.full((side, side, 3), random.integers(0, 256, 3), np.uint8))
        for _ in range(4):
            y, x, high, wide = random.integers(0, side, 4)
            found[-1][y : y + high, x : x + wide] = random.integers(0, 256, 3)
    return found


WORDS = ("a", "good", "bad", "day", "n't", "movie", "sch\u00f6n", "!")
SENTENCES = ("A good day!", "a bad MOVIE", "don't", "sch\u00f6n \u2013 sch\u00f6n", "good " * 30)


def text_cnn(labels=("sad", "glad")):
    """A task of sentences and a network that was never trained."""
    keras.utils.set_random_seed(1)
    taken = Text(16, len(WORDS) + 2, WORDS)
    columns = taken.columns() | {"width": 4, "maps": 2, "windows": (2, 3), "classes": len(labels)}
    return Classification(input=taken, labels=labels), cnn_app.create_model("text_cnn", **columns)


def export(task, model, path, kind="saved_model"):
    """The file of a target in a model directory, which says of itself what an export says."""
    directory, known = ModelDir(path), tasks.facts(task)
    directory.write_card(Card(architecture=model.name, columns={}, **known | {"labels": task.labels}))
    keras_model.save(model, directory.model)
    file = place(directory, kind)
    file.parent.mkdir(parents=True, exist_ok=True)
    import_module(f"cnn_app.export.{target(kind).module}").write(task, deployable(model), file, target(kind), None)
    metadata.attach(file, About(**known | {"labels": task.labels, "model_sha256": sha256(directory.model)}))
    return file


def half_plus_two(base, version):
    """TF Serving's own test model, with its classify and regress signatures."""
    v1 = tf.compat.v1
    utils = v1.saved_model.signature_def_utils
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, name="x")
        examples = v1.placeholder(tf.string, [None], name="examples")
        parsed = tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"]
        half = v1.get_variable("half", initializer=0.5)
        session.run(half.initializer)
        y, of_examples = half * x + 2, half * parsed + 2
        builder = v1.saved_model.Builder(str(base / str(version)))
        signatures = {
            "serving_default": utils.predict_signature_def({"x": x}, {"y": y}),
            "regress_x_to_y": utils.regression_signature_def(examples, of_examples),
            "classify_x_to_y": utils.classification_signature_def(examples, None, of_examples),
        }
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.save()
    return base


def bomb(side=50_000):
    """A PNG that claims side x side pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@contextmanager
def grpc_server(predict):
    """The address of a model `m` whose Predict is answered by `predict(request, context)`."""

    def about(request, context):
        found = messages_pb2.SignatureDefMap()
        found.signature_def["serving_default"].inputs["image"].dtype = 4
        response = messages_pb2.GetModelMetadataResponse()
        response.metadata["signature_def"].value = found.SerializeToString()
        return response

    def handler(call, kind):
        return grpc.unary_unary_rpc_method_handler(call, kind.FromString, lambda m: m.SerializeToString())

    with futures.ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool)
        calls = {
            "Predict": handler(predict, messages_pb2.PredictRequest),
            "GetModelMetadata": handler(about, messages_pb2.GetModelMetadataRequest),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE.lstrip("/"), calls),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"grpc://127.0.0.1:{port}/m"
        finally:
            server.stop(None).wait()


def b64(data):
    return {"b64": base64.b64encode(data).decode()}
