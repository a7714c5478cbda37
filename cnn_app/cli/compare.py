import click

from cnn_app.cli.options import Network, Place, json_option


@click.command()
@click.argument("models", nargs=-1, required=True, type=Network(or_model=True), metavar="NAME|MODEL...")
@click.option("--out", type=Place(file_okay=False), help="A folder for charts, as PNG and SVG.")
@click.option("--measure", "timed", is_flag=True, help="Time one record in Keras, TFLite float32 and int8, and ONNX.")
@click.option("--threads", type=click.IntRange(1, 1024), default=1, show_default=True, help="Of each of them.")
@json_option
def compare(models, out, timed, threads, as_json):
    """Compare what networks cost and reach: listed NAMEs, model directories and .keras files.

    Accuracies are of the models' own test splits, or what was published of a listed NAME.

    \b
    cnn-app compare alexnet vgg16 --out charts
    cnn-app compare mobilenet_v2 shufflenet_v2 saved_models/photos --measure
    """
    from dataclasses import asdict

    from cnn_app.cli import view
    from cnn_app.jobs.compare import compare as job

    found = job(models, out=out, timed=timed, threads=threads, tell=lambda line: view.say(line, err=True))
    if as_json:
        return view.echo_json({
            "networks": [asdict(one) for one in found.networks],
            "speeds": {name: {kind: asdict(speed) for kind, speed in kinds.items()}
                       for name, kinds in found.speeds.items()},
            "charts": list(map(str, found.charts)),
        })  # fmt: skip
    columns = ["network", ">parameters", ">multiply-adds", ">outputs MiB", ">at once MiB", ">top-1 %", "of"]
    view.table(columns, map(_cells, found.networks))
    if found.speeds:
        kinds = list(next(iter(found.speeds.values())))
        view.table(
            ["network", *(f">{kind} ms" for kind in kinds), ">delegates of int8"],
            [(name, *(f"{speeds[kind].median_ms:.2f}" for kind in kinds), speeds["tflite-int8"].delegates)
             for name, speeds in found.speeds.items()],
            f"one record on {threads} thread{'s' * (threads > 1)}, median",
        )  # fmt: skip
    for path in found.charts:
        view.say(str(path))


def _cells(one):
    told = (f"{one.accuracy.top1:.2f}", f"{one.accuracy.data}, {one.accuracy.source}") if one.accuracy else ("", "")
    memory = one.activation_bytes / 2**20, one.peak_activation_bytes / 2**20
    return one.name, f"{one.parameters:,}", f"{one.macs:,}", *(f"{size:.2f}" for size in memory), *told
