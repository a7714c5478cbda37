"""A server under many clients, beside the same SavedModel in process, and beside a model that does nothing; in turns.

python benchmarks/serving.py --seconds 60 --clients 64
"""

import argparse
import base64
import io
import json
import multiprocessing
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import load
import numpy as np
from measure import quiet_tensorflow
from PIL import Image
from server import Server

from cnn_app.names import DEFAULT, IMAGE_BYTES
from cnn_app.serving import messages_pb2, tensor_proto

IMAGE, CLASSES, IMAGES = (96, 96, 3), 10, 64
BATCH = 64  # of the model in process
TURNS = 6  # of each competitor
ALONE_S = 1  # of a single client in each turn
TOLERANCE = 1e-3  # of a probability; images differ by far more
SIGNATURES = {"grpc": DEFAULT, "rest": IMAGE_BYTES}
ROW = ["API", "answers/s", "in process/s", "share", "empty model/s", "p50 ms", "p99 ms", "CPU of the clients",
       "one client, p50 ms", "one picture in process, ms", "errors", "wrong", "memory"]  # fmt: skip


@dataclass
class Result:
    many: load.Turn = field(default_factory=load.Turn)
    alone: load.Turn = field(default_factory=load.Turn)  # a single client
    rss: list[int] = field(default_factory=list)  # bytes, after each turn

    @property
    def rate(self) -> float:
        return len(self.many.seconds) / self.many.busy_s

    def cells(self) -> list[str]:
        """Of the server alone."""
        p50, p99 = np.percentile(self.many.seconds, [50, 99]) * 1e3
        alone = np.median(self.alone.seconds) * 1e3
        warm, end = self.rss[1], self.rss[-1]  # the first two turns warm up
        errors = [*self.many.errors, *self.alone.errors]
        for error in sorted(set(errors))[:3]:
            print(error, file=sys.stderr)
        return [f"{p50:.0f}", f"{p99:.0f}", f"{self.many.cpu_s / self.many.busy_s:.0%} of a core", f"{alone:.2f}",
                f"{len(errors)}", f"{self.many.wrong + self.alone.wrong}",
                f"{end / warm - 1:+.1%} of {warm / 2**20:.0f} MiB"]  # fmt: skip


class InProcess:
    """The SavedModel itself, called by this process; one of its own is to be made for it."""

    def __init__(self, path: Path):
        from cnn_app.serving.server.engines import SavedModelEngine

        self.engine = SavedModelEngine(path)

    def run(self, signature: str, records: np.ndarray, seconds: float) -> list[float]:
        """The seconds of each call."""
        inputs, taken = {next(iter(self.engine.signatures[signature].inputs)): records}, []
        self.engine.run(signature, inputs)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            start = time.perf_counter()
            self.engine.run(signature, inputs)
            taken.append(time.perf_counter() - start)
        return taken


def start_in_process(path: Path) -> None:
    global model
    quiet_tensorflow()
    model = InProcess(path)


def in_process(*arguments) -> list[float]:
    return model.run(*arguments)


def export(base: Path):
    """A SavedModel whose answers to the images are far apart; images and answers."""
    quiet_tensorflow()
    import cnn_app
    from cnn_app.export import graph, saved_model
    from cnn_app.export.targets import target
    from cnn_app.jobs.opened import task_of
    from cnn_app.runtimes import open_model

    made = cnn_app.create_model("mobilenet_v2", classes=CLASSES, image=IMAGE, width=0.35)
    kernel, bias = made.layers[-1].get_weights()
    random = np.random.default_rng(0)
    images = np.stack([image(random) for _ in range(IMAGES)])
    made.layers[-1].set_weights([kernel * 30, bias])
    logits = np.asarray(made.predict_on_batch(images))
    made.layers[-1].set_weights([kernel * 30 * 2 / logits.std(0), bias - logits.mean(0) * 2 / logits.std(0)])
    base.mkdir(parents=True)
    saved_model.write(task_of(made), graph.deployable(made), base / "1", target("saved_model"), None)
    answers = open_model(base / "1").run({"image": images})["probabilities"]
    apart = np.abs(answers[:, None] - answers[None]).max(-1) + np.eye(IMAGES)
    assert apart.min() > 4 * TOLERANCE, "two images have the same answer"
    return images, answers


def export_empty(base: Path) -> None:
    """The same signatures before a graph that looks at the number of records alone."""
    tf = quiet_tensorflow()

    def nothing(records):
        """As many and as large outputs as the other model has."""
        rows = tf.shape(records)[0]
        return {"probabilities": tf.zeros((rows, CLASSES)), "classes": tf.fill((rows, 5), "class"),
                "scores": tf.zeros((rows, 5))}  # fmt: skip

    module = tf.Module()
    module.pixels = tf.function(nothing, input_signature=[tf.TensorSpec((None, *IMAGE), tf.uint8, name="image")])
    module.encoded = tf.function(nothing, input_signature=[tf.TensorSpec((None,), tf.string, name="image_bytes")])
    tf.saved_model.save(module, str(base / "1"), {DEFAULT: module.pixels, IMAGE_BYTES: module.encoded})


def image(random) -> np.ndarray:
    """A few coloured rectangles."""
    found = np.full(IMAGE, random.integers(0, 256, 3), np.uint8)
    for _ in range(6):
        y, x = random.integers(0, 80, 2)
        found[y : y + random.integers(10, 60), x : x + random.integers(10, 60)] = random.integers(0, 256, 3)
    return found


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def requests(api: str, server: Server, images: np.ndarray) -> tuple[str, list]:
    """Where to ask, and a request for each image: pixels by gRPC, PNGs that the server decodes by REST."""
    if api == "rest":
        bodies = [{"signature_name": IMAGE_BYTES, "instances": [{"b64": base64.b64encode(png(one)).decode()}]}
                  for one in images]  # fmt: skip
        path = "v1/models/bench:predict"
        return server.rest, [load.post(json.dumps(body).encode(), server.rest, path) for body in bodies]
    found = []
    for pixels in images:
        request = messages_pb2.PredictRequest()
        request.model_spec.name = "bench"
        tensor_proto.fill(request.inputs["image"], pixels[None])
        found.append(load.call(request.SerializeToString(), server.grpc))
    return server.grpc, found


def compare(folder: Path, images, answers, api: str, clients: int, seconds: float) -> None:
    spawned = multiprocessing.get_context("spawn")
    records = images if api == "grpc" else np.array([png(one) for one in images], object)
    servers = {"": Server(f"bench={folder / 'model'}"), "one by one": Server(f"bench={folder / 'model'}", "--batch", 0),
               "empty": Server(f"bench={folder / 'empty'}")}  # fmt: skip
    results = {name: Result() for name in servers}
    batches: list[float] = []
    singles: list[float] = []
    with (
        ProcessPoolExecutor(1, spawned, start_in_process, (folder / "model" / "1",)) as runtime,
        ProcessPoolExecutor(1, spawned) as generator,
    ):
        try:
            for _ in range(TURNS):
                for found, rows, time_s in ((batches, BATCH, seconds / TURNS), (singles, 1, ALONE_S)):
                    found += runtime.submit(in_process, SIGNATURES[api], records[:rows], time_s).result()
                for name, server in servers.items():
                    where, asked = requests(api, server, images)
                    truth = np.zeros_like(answers) if name == "empty" else answers
                    result = results[name]
                    for turn, count, time_s in ((result.many, clients, seconds / TURNS), (result.alone, 1, ALONE_S)):
                        job = generator.submit(load.run, api, where, asked, truth, TOLERANCE, count, time_s)
                        turn.add(job.result())
                    result.rss.append(server.rss())
        finally:
            for server in servers.values():
                server.end()
    inside, picture, empty = BATCH * len(batches) / sum(batches), np.median(singles) * 1e3, results.pop("empty")
    for name, result in results.items():
        p50, p99, cpu, alone, *rest = result.cells()
        cells = [f"{api}, {name}".strip(", "), f"{result.rate:.0f}", f"{inside:.0f}", f"{result.rate / inside:.2f}",
                 f"{empty.rate:.0f}", p50, p99, cpu, alone, f"{picture:.2f}", *rest]  # fmt: skip
        print(f"| {' | '.join(cells)} |", flush=True)
        print(f"{cells[0]}: MiB after each turn {[size >> 20 for size in result.rss]}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="of load for each server")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--api", choices=[*SIGNATURES], action="append")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images, answers = export(folder / "model")
        export_empty(folder / "empty")
        print(f"| {' | '.join(ROW)} |\n|---{'|---:' * (len(ROW) - 1)}|")
        for api in given.api or SIGNATURES:
            compare(folder, images, answers, api, given.clients, given.seconds)


if __name__ == "__main__":
    main()
