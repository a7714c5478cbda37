from pathlib import Path

import click

from cnn_app.cli.options import json_option
from cnn_app.cli.view import echo

base_argument = click.argument("base", type=click.Path(file_okay=False, path_type=Path))


@click.command()
@click.argument("saved_model", type=click.Path(exists=True, file_okay=False, path_type=Path))
@base_argument
@json_option
def publish(saved_model, base, as_json):
    """Copy SAVED_MODEL to BASE under the next number, which a server that polls sees whole or not at all.

    \b
    cnn-app serving publish saved_models/photos/serving/1 models/photos
    """
    from cnn_app.serving import store

    version = store.publish(saved_model, base)
    echo({"version": version}, f"{base}: version {version}", as_json)


@click.command()
@base_argument
@click.option("--to", type=click.IntRange(0), help="The version to go back to; by default the one below the highest.")
@json_option
def rollback(base, to, as_json):
    """Publish an older version again, under a new highest number: numbers only go up, so logs stay true.

    A second rollback takes the first one back. Labels stay where they are.
    """
    from cnn_app.serving import store

    old, new = store.rollback(base, to)
    echo({"version": new, "copy_of": old}, f"{base}: version {new} is version {old} again", as_json)
