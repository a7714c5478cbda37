import click

from cnn_app.cli.options import Words, data_options, json_option
from cnn_app.recipe import TTA


@click.command()
@click.argument("artifacts", nargs=-1, required=True, type=click.Path(exists=True), metavar="MODEL...")
@data_options()
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="test", show_default=True,
              help="Which images; a folder without test/ has val/ stand in for it.")  # fmt: skip
@click.option("--tta", type=Words(TTA), default="none", show_default=True,
              help=f"Average over views of each image: {', '.join(TTA)}.")  # fmt: skip
@click.option("--confusion", type=click.Path(dir_okay=False), help="Draw the confusion matrix into this PNG.")
@json_option
def evaluate(artifacts, data, split, tta, confusion, as_json):
    """Measure each MODEL (a directory, .keras, .tflite, .onnx or SavedModel) on labelled images.

    Several are also measured together, as the mean of their probabilities.

    \b
    cnn-app evaluate saved_models/photos --data photos/ --confusion confusion.png
    cnn-app evaluate saved_models/one saved_models/two --data photos/ --tta flip,crop
    """
    from cnn_app.cli import view
    from cnn_app.evaluation import evaluate as measure
    from cnn_app.tasks import classification

    with view.reading() as progress:
        measured = measure(artifacts, data, split, tta, progress)
    report = measured.ensemble or next(iter(measured.reports.values()))
    if confusion:
        classification.draw_confusion(report, measured.labels, confusion)
    if as_json:
        if measured.ensemble is None:
            return view.echo_json({"model": artifacts[0], **report.as_json()})
        models = [{"model": name, **result.as_json()} for name, result in measured.reports.items()]
        return view.echo_json({**report.as_json(), "models": models})
    view.reports(measured.reports | ({"ensemble": report} if measured.ensemble else {}))
    counts = report.confusion.sum(1)
    classes = zip(report.per_class.items(), counts[counts > 0], strict=True)
    view.table(["class", ">recall", ">images"], [(name, f"{recall:.4f}", n) for (name, recall), n in classes])
