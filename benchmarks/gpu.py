"""Everything that a GPU decides, on one that is at hand: training steps against PyTorch, and what feeds them.

python benchmarks/gpu.py [--out benchmarks/gpu.md] [--recipe RECIPE --data-dir DIR --runs 10] [--tiny]

Each figure is of a process of its own, as frameworks share no GPU's memory. --tiny is a rehearsal, on a CPU too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import mean, median

import numpy as np

from cnn_app.atomic import write_text

MARK = "figures: "  # in front of what a process has measured
STEPS = ("step-tensorflow", "step-jax", "step-timm")
FULL = {"network": "resnet50", "side": 224, "batches": (64, 256), "steps": 30, "warm": 5, "rounds": 5, "jpegs": 2000}
TINY = {"network": "resnet18", "side": 32, "batches": (4,), "steps": 1, "warm": 1, "rounds": 1, "jpegs": 24}
PRECISIONS = ("float32", "bfloat16")


def ours(size: dict, batch: int, precision: str) -> float:
    """Images a second of a training step on what lies on the device."""
    import keras

    import cnn_app
    from cnn_app import tasks
    from cnn_app.data.dataset import Split, in_memory
    from cnn_app.recipe import Schedule
    from cnn_app.training import engine

    side = (size["side"], size["side"], 3)
    model = cnn_app.create_model(size["network"], image=side)
    labels = [f"class{i}" for i in range(model.output_shape[-1])]
    task = tasks.of_facts({"input": {"image": list(side)}, "labels": labels})
    classes = np.arange(batch) % len(labels)
    images = np.random.default_rng(0).integers(0, 256, (batch, *side)).astype(np.uint8)
    split = Split([""] * len(labels), {}, {"class": in_memory(np.arange(len(labels)))})  # a record of each class
    run = engine.stepper(model, task, split, Schedule(batch=batch, optimizer="sgd", precision=precision))
    inputs = {"image": keras.ops.convert_to_tensor(images)}
    targets = {"class": keras.ops.one_hot(classes, len(labels))}
    return rate(lambda: run.train(inputs, targets, 1e-3), run.read, size, batch)


def timm(size: dict, batch: int, precision: str) -> float:
    """The same in PyTorch, channels last, compiled, with a fused optimizer."""
    import timm
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    model = timm.create_model(size["network"]).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3, momentum=0.9, nesterov=True, weight_decay=0.01)
    images = torch.randint(0, 256, (batch, 3, size["side"], size["side"]), dtype=torch.uint8, device=device)
    classes = torch.arange(batch, device=device) % 1000

    def forward(x):
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            return torch.nn.functional.cross_entropy(model(x.float() / 127.5 - 1).float(), classes)

    compiled = torch.compile(forward) if device == "cuda" else forward
    losses = []

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss = compiled(images.contiguous(memory_format=torch.channels_last))
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())

    return rate(step, lambda: losses.pop().item(), size, batch)


def rate(step, wait, size: dict, batch: int) -> float:
    """Images a second, the median of rounds, after some that compile; `wait` ends when the device has done all."""
    for _ in range(size["warm"]):
        step()
    wait()
    taken = []
    for _ in range(size["rounds"]):
        start = time.perf_counter()
        for _ in range(size["steps"]):
            step()
        wait()
        taken.append(time.perf_counter() - start)
    return batch * size["steps"] / median(taken)


def steps(size: dict, measured) -> list[dict]:
    return [{"batch": batch, "precision": precision, "images_per_s": measured(size, batch, precision)}
            for batch in size["batches"] for precision in PRECISIONS]  # fmt: skip


def pipeline(size: dict, cores: int) -> list[dict]:
    """Augmented images a second from JPEGs, on so many cores."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    from unittest import mock

    import input_pipeline

    from cnn_app.data import pipeline as pipelines
    from cnn_app.jobs import train
    from cnn_app.recipe import Schedule

    side = (size["side"], size["side"], 3)
    schedule = Schedule(batch=size["batches"][-1], augment=("flip", "resized-crop"))
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(pipelines, "MEMORY_SHARE", 0):
        input_pipeline.draw(Path(folder), size["jpegs"])
        job = train.read(train.build(size["network"], {"image": side}, folder, schedule))
        stream, start, count = job.stream, time.perf_counter(), 0
        for inputs, _ in stream.batches(epoch=0):
            count += len(inputs["image"])
    return [{"cores": cores, "images_per_s": count / (time.perf_counter() - start)}]


def recipe(path: str, data_dir: str | None, run: int) -> list[dict]:
    """A recipe's training with a seed of its own: its metric on test, and the seconds it took, compilation apart."""
    from cnn_app import recipe as recipes
    from cnn_app import tasks
    from cnn_app.artifacts import ModelDir
    from cnn_app.jobs import run as jobs
    from cnn_app.jobs import train
    from cnn_app.training.engine import Watch

    found = recipes.find(path)
    data = replace(found.data, directory=found.data.directory or data_dir)
    job = jobs.planned(
        replace(found, data=data, schedule=replace(found.schedule, seed=run), export=None, acceptance={})
    )
    ends = [time.perf_counter()]
    with tempfile.TemporaryDirectory() as folder:
        card = train.run(job, ModelDir(folder), watch=Watch(epoch=lambda row: ends.append(time.perf_counter())))
    epochs = np.diff(ends)  # the first compiles: it counts as the median of the others
    seconds = float(np.median(epochs[1:]) * len(epochs) if len(epochs) > 1 else epochs[0])
    metric = tasks.main_metric(job.task)
    return [{"run": run, metric: card.metrics["test"][metric], "seconds": seconds, "compilation": float(epochs[0])}]


def machine() -> list[dict]:
    """Its devices and versions."""
    import platform
    from importlib import metadata

    import tensorflow as tf

    names = [tf.config.experimental.get_device_details(one).get("device_name", one.name)
             for one in tf.config.list_physical_devices("GPU")]  # fmt: skip
    packages = ("tensorflow", "keras", "jax", "torch", "timm")
    there = {one.metadata["Name"].lower(): one.version for one in metadata.distributions()}
    versions = {name: there.get(name, "not installed") for name in packages}
    told = ", ".join(names) or "no GPU"
    return [{"devices": told, "cores": os.cpu_count(), "python": platform.python_version(), **versions}]


def measured(case: list[str], size: dict) -> list[dict]:
    """What a process is asked for."""
    kind, *rest = case
    if kind == "machine":
        return machine()
    if kind == "pipeline":
        return pipeline(size, int(rest[0]))
    if kind == "recipe":
        return recipe(rest[0], rest[1] or None, int(rest[2]))
    return steps(size, timm if kind == "step-timm" else ours)


def asked(case: list[str], tiny: bool) -> list[dict]:
    """The figures of a process of its own, or why there are none."""
    backend = {"step-jax": "jax"}.get(case[0], "tensorflow")
    command = [sys.executable, __file__, *["--tiny"] * tiny, "--case", json.dumps(case)]
    quick = {"XLA_FLAGS": "--xla_backend_optimization_level=0"} if tiny else {}  # to compile
    environment = os.environ | quick | {"KERAS_BACKEND": backend}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if done.returncode or not lines:
        why = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
        return [{"not measured": why[:120]}]
    return json.loads(lines[-1].removeprefix(MARK))


def table(title: str, rows: list[dict]) -> str:
    """In Markdown; a cell that a row lacks is empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[shown(row.get(name, "")) for name in names] for row in rows]
    lines = [names, ["---"] * len(names), *cells]
    return f"## {title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def shown(value) -> str:
    return f"{value:,.4g}" if isinstance(value, float) and value < 1000 else f"{value:,.0f}" if isinstance(
        value, float) else str(value).replace("|", "/")  # fmt: skip


def report(given: argparse.Namespace, size: dict) -> str:
    cores = sorted({1, *(2**i for i in range((os.cpu_count() or 1).bit_length())), os.cpu_count() or 1})
    cores = cores[-1:] if given.tiny else [count for count in cores if count <= (os.cpu_count() or 1)]
    stepped = [{"by": kind.removeprefix("step-"), **row} for kind in STEPS for row in asked([kind], given.tiny)]
    fed = [row for count in cores for row in asked(["pipeline", str(count)], given.tiny)]
    what = f"{size['network']}, {size['side']} px"
    parts = [
        "# On a GPU\n\nWritten by `python benchmarks/gpu.py`.",
        table("Machine", asked(["machine"], given.tiny)),
        table(f"Training step of {what}, images on the device", stepped),
        table(f"Input: JPEGs of 500x375 to {size['side']} px, cropped and flipped", fed),
    ]
    if given.recipe:
        rows = [row for run in range(given.runs)
                for row in asked(["recipe", given.recipe, given.data_dir or "", str(run)], given.tiny)]  # fmt: skip
        means = {name: mean(row[name] for row in rows if name in row) for name in rows[0] if name not in (
            "run", "not measured")}  # fmt: skip
        parts.append(table(f"Recipe {Path(given.recipe).name}", [*rows, {"run": "mean", **means}]))
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("gpu.md"))
    parser.add_argument("--recipe", help="to be trained several times, such as one for CIFAR-10")
    parser.add_argument("--data-dir", help="where its TFDS sets lie")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--tiny", action="store_true", help="small networks and few steps: whether it runs")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    given = parser.parse_args()
    size = TINY if given.tiny else FULL
    if given.case:
        print(MARK + json.dumps(measured(json.loads(given.case), size)))
        return
    write_text(given.out, report(given, size))
    print(given.out)


if __name__ == "__main__":
    main()
