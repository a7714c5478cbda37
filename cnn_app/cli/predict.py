import sys

import click

from cnn_app.cli.options import json_option


@click.command()
@click.argument("artifact", type=click.Path(exists=True))
@click.argument("pictures", nargs=-1, required=True, metavar="PICTURE...")
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="Labels for each picture.")
@json_option
def predict(artifact, pictures, top, as_json):
    """Label each PICTURE: a file, a folder, or - for one on standard input.

    ARTIFACT is a model directory, .keras, .tflite, .onnx or a SavedModel directory.

    \b
    cnn-app predict saved_models/photos/mobile/photos-int8.tflite holiday.jpg
    """
    from cnn_app import evaluation
    from cnn_app.cli import view

    answers = evaluation.predict(artifact, evaluation.named_pictures(pictures, sys.stdin.buffer), top)
    if as_json:
        return view.echo_json(list(answers))
    for answer in answers:
        best = "  ".join(f"{row['label']} {row['probability']:.3f}" for row in answer["top"])
        click.echo(f"{answer['picture']}: {best}")
