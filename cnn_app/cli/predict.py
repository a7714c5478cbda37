import sys

import click

from cnn_app.cli.options import json_option


@click.command()
@click.argument("places", nargs=-1, required=True, metavar="[ARTIFACT] IMAGE...")
@click.option(
    "--endpoint", metavar="URL", help="Ask a server instead of an ARTIFACT: http(s):// or grpc(s)://HOST:PORT/NAME."
)
@click.option("--api-key-file", type=click.Path(exists=True, dir_okay=False),
              help="Of the server; CNN_APP_API_KEY in the environment comes first.")  # fmt: skip
@click.option("--ca-file", type=click.Path(exists=True, dir_okay=False), help="Whom to trust for TLS, as PEM.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), default=30, show_default=True,
              help="Seconds for an answer of the server.")  # fmt: skip
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="Labels for each image.")
@json_option
@click.pass_context
def predict(ctx, places, endpoint, api_key_file, ca_file, timeout, top, as_json):
    """Label each IMAGE: a file, a folder, or - for one on standard input.

    ARTIFACT is a model directory, .keras, .tflite, .onnx or a SavedModel directory.

    \b
    cnn-app predict saved_models/photos/mobile/photos-int8.tflite holiday.jpg
    cnn-app predict --endpoint http://127.0.0.1:8501/photos holiday.jpg
    """
    from cnn_app.cli import options, view
    from cnn_app.data import files

    if endpoint:
        from cnn_app.serving.client import Client

        with Client(endpoint, options.api_key(api_key_file), timeout, ca_file) as client:
            names = list(files.names(places))
            images = (data for _, data in files.named_images(names, sys.stdin.buffer))
            with view.counting("asking", len(names)) as count:
                answers = [
                    {"image": name, "top": answer.top(top)}
                    for name, answer in zip(names, count(client.answers(images)), strict=True)
                ]
    else:
        from cnn_app.quiet import quiet_tensorflow

        artifact = click.Path(exists=True).convert(places[0], None, ctx)
        if len(places) == 1:
            raise click.UsageError("Missing argument 'IMAGE...'.", ctx)
        quiet_tensorflow()
        from cnn_app import evaluation

        answers = evaluation.predict(artifact, files.named_images(places[1:], sys.stdin.buffer), top)
    if as_json:
        return view.echo_json(list(answers))
    for answer in answers:
        best = "  ".join(f"{row['label']} {row['probability']:.3f}" for row in answer["top"])
        click.echo(f"{answer['image']}: {best}")
