import click

from cnn_app.cli.options import json_option, trust_option


class Counts(click.ParamType):
    """1,2,4 -> (1, 2, 4)."""

    name = "N,N"

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        parts = value.split(",")
        if not all(part.isdecimal() and 1 <= int(part) <= 1024 for part in parts):
            self.fail(f"{value!r} is no list of thread counts; write 1 or 1,2,4", param, ctx)
        return tuple(map(int, parts))


@click.command()
@click.argument("artifacts", nargs=-1, required=True, type=click.Path(exists=True), metavar="ARTIFACT...")
@click.option("--threads", type=Counts(), default="1", show_default=True, help="How many threads; several with commas.")
@trust_option
@json_option
def benchmark(artifacts, threads, trust, as_json):
    """Time one record in each ARTIFACT: a directory, .keras, .tflite, .onnx or SavedModel.

    All run in processes of their own that take turns, so that what else the machine does hits all alike.

    \b
    cnn-app benchmark saved_models/photos/mobile/*.tflite saved_models/photos/onnx/*.onnx --threads 1,2
    """
    from dataclasses import asdict
    from pathlib import Path

    from cnn_app.artifacts import size_bytes
    from cnn_app.cli import view
    from cnn_app.runtimes import latency

    found = latency.measure(artifacts, threads, trust=trust)
    if as_json:
        return view.echo_json([asdict(speed) | {"bytes": size_bytes(Path(speed.path))} for speed in found])
    rows = [
        (speed.path, speed.threads, f"{speed.median_ms:.2f}", f"{speed.p90_ms:.2f}",
         f"{speed.median_ms / found[0].median_ms:.2f}", f"{size_bytes(Path(speed.path)) / 1e6:.2f}",
         f"{speed.peak_mib:.0f}", *view.coverage(speed))
        for speed in found
    ]  # fmt: skip
    columns = [">threads", ">median ms", ">p90 ms", ">ratio", ">MB", ">peak MiB", ">delegates", "ops outside"]
    view.table(["artifact", *columns], rows)
