import click

from cnn_app.cli.deliver.options import catalogue_argument, channel_option, device_option, echo_entries, keys_option
from cnn_app.cli.options import json_option


@click.command()
@catalogue_argument
@click.argument("artifact", type=click.Path(exists=True, dir_okay=False))
@click.option("--version", required=True, metavar="X.Y.Z", help="Above every one that was ever published.")
@click.option("--name", default="", help="By default that of the model directory.")
@channel_option
@device_option
@click.option("--min-app", default="", metavar="VERSION", help="The lowest version of the app that knows the model.")
@click.option("--min-runtime", default="", metavar="VERSION", help="Of TFLite; by default as exports.json has it.")
@keys_option
@json_option
def add(catalogue, artifact, version, name, channel, device, min_app, min_runtime, keys, as_json):
    """Publish ARTIFACT, a .tflite file, with the golden answers beside it.

    \b
    cnn-app deliver add models saved_models/photos/mobile/photos-int8.tflite --version 1.0.0 --keys keys
    """
    from pathlib import Path

    from cnn_app.delivery import catalogue as publisher
    from cnn_app.delivery import exported
    from cnn_app.delivery.entry import Entry
    from cnn_app.errors import DeliveryError

    model = exported.read(Path(artifact))
    if not (name or model.name):
        raise DeliveryError(f"{artifact} lies in no model directory that could name it; give --name")
    entry = Entry(
        name=name or model.name, version=version, channel=channel, device=device, kind=model.kind, min_app=min_app,
        min_runtime=min_runtime or model.min_runtime,
    )  # fmt: skip
    echo_entries([publisher.add(Path(catalogue), model, entry, keys)], "published", as_json)
