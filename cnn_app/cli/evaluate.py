from pathlib import Path

import click

from cnn_app.augmentations import TTA
from cnn_app.cli.options import Place, Words, json_option, lines, trust_option
from cnn_app.cli.sources import data_options
from cnn_app.registry import RESIZES


@click.command()
@click.argument("artifacts", nargs=-1, required=True, type=Place(exists=True), metavar="MODEL...")
@data_options(split="--split-shares")
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="test", show_default=True,
              help="Which records; a folder without test/ has val/ stand in for it.")  # fmt: skip
@click.option("--tta", type=Words(TTA), default="none", show_default=True,
              help=f"Average over views of each record: {', '.join(TTA)}.")  # fmt: skip
@click.option("--resize", type=click.Choice(RESIZES),
              help="How images are brought to the network's size, in the place of the model's own way.")  # fmt: skip
@click.option("--labels", type=Place(exists=True, dir_okay=False),
              help="Names of classes, a line each in the order of the outputs, for a file without labels.")  # fmt: skip
@click.option("--confusion", type=Place(dir_okay=False), help="Draw the confusion matrix into this PNG.")
@click.option("--mistakes", type=Place(dir_okay=False), help="Draw the most confident wrong answers into this PNG.")
@click.option("--report", "page", type=Place(dir_okay=False), help="Write what was found as a page into this HTML.")
@trust_option
@json_option
def evaluate(artifacts, data, split, tta, resize, labels, confusion, mistakes, page, trust, as_json):
    """Measure each MODEL (a directory, .keras, .tflite, .onnx or SavedModel) on records whose targets are known.

    Several are also measured together, as the mean of their answers.

    \b
    cnn-app evaluate saved_models/photos --data photos/ --confusion confusion.png
    cnn-app evaluate saved_models/one saved_models/two --data photos/ --tta flip,crop
    """
    from cnn_app.atomic import check_place
    from cnn_app.cli import view
    from cnn_app.jobs.evaluate import evaluate as measure

    for place in filter(None, (confusion, mistakes, page)):
        check_place(Path(place))
    known = lines(labels) if labels else None
    with view.reading() as progress:
        found = measure(artifacts, data, split, tta=tta, resize=resize, labels=known, progress=progress, trust=trust)
    report = found.report
    told = {"resize": resize} if found.resized else {}
    if as_json and found.ensemble is None:
        view.echo_json({"model": artifacts[0], **report.as_json(), **found.figures, **told})
    elif as_json:
        models = [{"model": name, **result.as_json()} for name, result in found.reports.items()]
        view.echo_json({**report.as_json(), **found.figures, **told, "models": models})
    else:
        view.measured(found)
    if confusion:
        report.draw(Path(confusion))
    if mistakes:
        found.draw_mistakes(mistakes)
    if page:
        found.write_report(page)
