"""A tiny classifier of colours, its versions on disk, and servers in a thread of the test's own process."""

import asyncio
import base64
import io
import json
import struct
import threading
import zlib
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import PIL.Image
import tensorflow as tf

from cnn_app.artifacts import Card, ModelDir
from cnn_app.export import metadata
from cnn_app.inputs.image import Image
from cnn_app.runtimes.about import About
from cnn_app.serving.server.discovery import discover
from cnn_app.serving.server.run import Server, Settings

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
            yield found[0]
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


def b64(data):
    return {"b64": base64.b64encode(data).decode()}
