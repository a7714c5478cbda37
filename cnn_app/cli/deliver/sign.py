import click

from cnn_app.cli.deliver.options import catalogue_argument, echo_expiry, keys_option
from cnn_app.cli.options import json_option
from cnn_app.cli.view import echo

ROLES = click.Choice(["root", "targets", "snapshot", "timestamp"])


@click.command()
@catalogue_argument
@keys_option
@json_option
def init(catalogue, keys, as_json):
    """Make an empty CATALOGUE, and the keys that are not there yet.

    Apps ship its metadata/1.root.json; all their trust starts there.

    \b
    cnn-app deliver init models --keys keys
    """
    from pathlib import Path

    from cnn_app.delivery.catalogue import create

    root = create(Path(catalogue), keys)
    echo({"root": str(root)}, f"{catalogue} is ready; apps ship {root}", as_json)


@click.command()
@catalogue_argument
@keys_option
@json_option
def renew(catalogue, keys, as_json):
    """Sign CATALOGUE for another term, before its signatures expire.

    Snapshot and timestamp always; root and targets once half of their term is over and if their keys are here.
    """
    from pathlib import Path

    from cnn_app.delivery.catalogue import renew as run

    echo_expiry(run(Path(catalogue), keys), as_json)


@click.command()
@catalogue_argument
@click.argument("role", type=ROLES)
@keys_option
@json_option
def rotate(catalogue, role, keys, as_json):
    """Give ROLE a new key; apps that are out follow, those with the old root metadata too."""
    from pathlib import Path

    from cnn_app.delivery.catalogue import rotate as run

    place = run(Path(catalogue), role, keys)
    echo({"key": str(place)}, f"{place} is the new {role} key; the old one is void", as_json)
