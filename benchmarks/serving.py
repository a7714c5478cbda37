"""A server under many clients, with and without batching in turns: throughput, latency, memory; answers are checked.

python benchmarks/serving.py --seconds 60 --clients 64
"""

import argparse
import asyncio
import base64
import io
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
import psutil
from PIL import Image

from cnn_app.names import IMAGE_BYTES
from cnn_app.serving.client import messages_pb2, tensors
from cnn_app.serving.client.grpc import SERVICE

IMAGE, CLASSES, IMAGES = (96, 96, 3), 10, 64
RUN = "from cnn_app.cli.main import cli; cli()"
TURNS = 6  # of each server
TOLERANCE = 1e-3  # of a probability; images differ by far more


@dataclass
class Result:
    seconds: list[float] = field(default_factory=list)  # of each answer
    wrong: int = 0
    errors: list[str] = field(default_factory=list)
    busy_s: float = 0  # the turns together
    rss: list[int] = field(default_factory=list)  # bytes, after each turn

    def row(self, name: str, other: "Result") -> str:
        p50, p99 = np.percentile(self.seconds, [50, 99]) * 1e3
        count, errors = len(self.seconds), len(self.errors)
        rate, ratio = self.rate, self.rate / other.rate
        warm, end = self.rss[1], self.rss[-1]  # the first two turns warm up
        return (f"| {name} | {rate:.0f} | {ratio:.2f}x | {p50:.0f} | {p99:.0f} | {p99 / p50:.1f} | {errors} "
                f"| {self.wrong} | {count:,} | {end / warm - 1:+.1%} of {warm / 2**20:.0f} MiB |")  # fmt: skip

    @property
    def rate(self) -> float:
        return len(self.seconds) / self.busy_s


def export(base: Path):
    """A SavedModel whose answers to the images are far apart; images and answers."""
    import cnn_app
    from cnn_app.export import graph
    from cnn_app.jobs.evaluate import task_of
    from cnn_app.runtimes import open_model

    model = cnn_app.create_model("mobilenet_v2", classes=CLASSES, image=IMAGE, width=0.35)
    kernel, bias = model.layers[-1].get_weights()
    random = np.random.default_rng(0)
    images = np.stack([image(random) for _ in range(IMAGES)])
    model.layers[-1].set_weights([kernel * 30, bias])
    logits = np.asarray(model.predict_on_batch(images))
    model.layers[-1].set_weights([kernel * 30 * 2 / logits.std(0), bias - logits.mean(0) * 2 / logits.std(0)])
    base.mkdir(parents=True)
    graph.save(task_of(model), graph.deployable(model), base / "1", batch=None)
    answers = open_model(base / "1").run({"image": images})["probabilities"]
    apart = np.abs(answers[:, None] - answers[None]).max(-1) + np.eye(IMAGES)
    assert apart.min() > 4 * TOLERANCE, "two images have the same answer"
    return images, answers


def image(random) -> np.ndarray:
    """A few coloured rectangles."""
    found = np.full(IMAGE, random.integers(0, 256, 3), np.uint8)
    for _ in range(6):
        y, x = random.integers(0, 80, 2)
        found[y : y + random.integers(10, 60), x : x + random.integers(10, 60)] = random.integers(0, 256, 3)
    return found


class Server:
    def __init__(self, base: Path, *options: str):
        command = [sys.executable, "-c", RUN, "serve", f"bench={base}", "--port", "0", "--grpc-port", "0", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.rest = self.process.stdout.readline().split()[1].removeprefix("http://")
        self.grpc = self.process.stdout.readline().split("grpc://")[1].strip()

    def rss(self) -> int:
        return psutil.Process(self.process.pid).memory_info().rss

    def end(self) -> None:
        self.process.terminate()
        self.process.wait()


async def by_grpc(server: Server, images, count: int):
    """`count` functions that ask for an image by its number, each with its own connection, and those that close it."""
    requests = []
    for pixels in images:
        request = messages_pb2.PredictRequest()
        request.model_spec.name = "bench"
        tensors.fill(request.inputs["image"], pixels[None])
        requests.append(request.SerializeToString())

    def asker(i: int):
        channel = grpc.aio.insecure_channel(server.grpc, [("grpc.use_local_subchannel_pool", 1)])
        call = channel.unary_unary(f"{SERVICE}/Predict", None, messages_pb2.PredictResponse.FromString)

        async def ask(number: int) -> np.ndarray:
            return tensors.array((await call(requests[number])).outputs["probabilities"])[0]

        return ask, channel.close

    return [asker(i) for i in range(count)]


async def by_rest(server: Server, images, count: int):
    """The same by HTTP, with PNGs that the server decodes."""
    address, _, path = server.rest.partition("/")
    host, _, port = address.partition(":")
    requests = []
    for pixels in images:
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "PNG")
        value = {"b64": base64.b64encode(out.getvalue()).decode()}
        body = json.dumps({"signature_name": IMAGE_BYTES, "instances": [value]}).encode()
        head = f"POST /{path}:predict HTTP/1.1\r\nHost: {address}\r\nContent-Length: {len(body)}\r\n\r\n"
        requests.append(head.encode() + body)

    async def asker():
        reader, writer = await asyncio.open_connection(host, int(port))

        async def ask(number: int) -> np.ndarray:
            writer.write(requests[number])
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            found = json.loads(await reader.readexactly(length))
            row = found["predictions"][0]
            return np.array(row["probabilities"] if isinstance(row, dict) else row)

        async def close() -> None:
            writer.close()
            await writer.wait_closed()

        return ask, close

    return [await asker() for _ in range(count)]


APIS = {"grpc": by_grpc, "rest": by_rest}


async def turn(askers, answers, seconds: float, result: Result) -> None:
    end = time.perf_counter() + seconds

    async def client(ask, number: int) -> None:
        while time.perf_counter() < end:
            start = time.perf_counter()
            try:
                found = await ask(number)
            except Exception as error:
                result.errors.append(repr(error)[:200])
                continue
            result.seconds.append(time.perf_counter() - start)
            result.wrong += bool(np.abs(found - answers[number]).max() > TOLERANCE)
            number = (number + 7) % IMAGES

    start = time.perf_counter()
    await asyncio.gather(*(client(ask, i % IMAGES) for i, ask in enumerate(askers)))
    result.busy_s += time.perf_counter() - start


async def compare(base: Path, images, answers, api: str, clients: int, seconds: float) -> None:
    servers = {"batching": Server(base), "one by one": Server(base, "--batch", "0")}
    results = {name: Result() for name in servers}
    try:
        for _ in range(TURNS):
            for name, server in servers.items():
                askers = await APIS[api](server, images, clients)  # a server closes what is idle for a turn
                await turn([ask for ask, _ in askers], answers, seconds / TURNS, results[name])
                await asyncio.gather(*(close() for _, close in askers))
                results[name].rss.append(server.rss())
    finally:
        for server in servers.values():
            server.end()
    for name, result in results.items():
        print(result.row(f"{api}, {name}", results["one by one"]), flush=True)
        print(f"{name}: MiB after each turn {[size >> 20 for size in result.rss]}", file=sys.stderr)
        for error in sorted(set(result.errors))[:3]:
            print(error, file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="of load for each server")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--api", choices=[*APIS], action="append")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder, "serving")
        images, answers = export(base)
        print("| API | answers/s | ratio | p50 ms | p99 ms | p99/p50 | errors | wrong | answers | memory |")
        print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
        for api in given.api or APIS:
            asyncio.run(compare(base, images, answers, api, given.clients, given.seconds))


if __name__ == "__main__":
    main()
