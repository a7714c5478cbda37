import click

from cnn_app.cli.options import data_options, json_option


@click.command()
@click.argument("artifacts", nargs=-1, required=True, type=click.Path(exists=True), metavar="MODEL...")
@data_options()
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="test", show_default=True,
              help="Which pictures; a folder without test/ has val/ stand in for it.")  # fmt: skip
@click.option("--confusion", type=click.Path(dir_okay=False), help="Draw the confusion matrix into this PNG.")
@json_option
def evaluate(artifacts, data, split, confusion, as_json):
    """Measure each MODEL (a directory, .keras, .tflite, .onnx or SavedModel) on labelled pictures.

    \b
    cnn-app evaluate saved_models/photos --data photos/ --confusion confusion.png
    """
    from pathlib import Path

    from cnn_app.cli import view
    from cnn_app.evaluation import evaluate as measure
    from cnn_app.tasks import classification

    results = {}
    with view.reading() as progress:
        for artifact in artifacts:
            results[artifact] = measure(artifact, data, split, progress)
    for artifact, (report, labels) in results.items():
        if confusion:
            name = Path(confusion)
            path = name if len(results) == 1 else name.with_stem(f"{name.stem}-{Path(artifact).name}")
            classification.draw_confusion(report, labels, path)
    if as_json:
        values = [{"model": artifact, **report.as_json()} for artifact, (report, _) in results.items()]
        view.echo_json(values[0] if len(values) == 1 else values)
        return
    rows = [
        (artifact, f"{r.top1:.4f}", f"{r.top5:.4f}", f"{r.loss:.4f}", f"{r.n:,}")
        for artifact, (r, _) in results.items()
    ]
    view.table(["model", ">top-1", ">top-5", ">loss", ">pictures"], rows)
    if len(results) == 1:
        report, _ = next(iter(results.values()))
        counts = report.confusion.sum(1)
        classes = zip(report.per_class.items(), counts[counts > 0], strict=True)
        view.table(["class", ">recall", ">pictures"], [(name, f"{recall:.4f}", n) for (name, recall), n in classes])
