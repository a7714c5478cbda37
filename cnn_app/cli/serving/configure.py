from pathlib import Path

import click

from cnn_app.cli.options import json_option
from cnn_app.cli.view import echo
from cnn_app.serving.store.config import ROOT


@click.command()
@click.argument("places", nargs=-1, required=True, metavar="STORE_OR_MODEL_DIR...",
                type=click.Path(exists=True, file_okay=False, path_type=Path))  # fmt: skip
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for the files.")
@click.option("--root", default=ROOT, show_default=True,
              help="What holds a folder for each model where the server runs, or s3://BUCKET.")  # fmt: skip
@json_option
def config(places, out, root, as_json):
    """Write models.config, batching.config and monitoring.config for TF Serving.

    A model with labels is served in the versions they name and the highest; any other in its highest.

    \b
    cnn-app serving config models/photos models/digits --out config
    """
    from cnn_app.serving.store import config as configuration

    paths = [str(path) for path in configuration.write(places, out, root)]
    echo(paths, "\n".join(paths), as_json)
