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
@click.option(
    "--android",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="Time .tflite files on a phone, over adb, by TFLite's benchmark_model for its processor in FILE.",
)
@click.option("--serial", help="Of the phone, where adb sees several.")
@trust_option
@json_option
def benchmark(artifacts, threads, android, serial, trust, as_json):
    """Time one record in each ARTIFACT: a directory, .keras, .tflite, .onnx or SavedModel.

    All run in processes of their own that take turns, so that what else the machine does hits all alike.

    \b
    cnn-app benchmark saved_models/photos/mobile/*.tflite saved_models/photos/onnx/*.onnx --threads 1,2
    cnn-app benchmark saved_models/photos/mobile/*.tflite --android benchmark_model
    """
    from cnn_app.cli import view

    if android:
        from cnn_app.runtimes.android import measure

        found, shown = measure(artifacts, android, threads, serial), view.phone_speeds
    elif serial:
        raise click.UsageError("--serial names a phone for --android")
    else:
        from cnn_app.runtimes.latency import measure

        found, shown = measure(artifacts, threads, trust=trust), view.speeds
    shown(found, as_json)
