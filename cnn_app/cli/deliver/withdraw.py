import click

from cnn_app.cli.deliver.options import catalogue_argument, channel_option, device_option, echo_entries, keys_option
from cnn_app.cli.options import json_option


@click.command()
@catalogue_argument
@click.argument("name")
@click.option("--version", required=True, metavar="X.Y.Z", help="That goes.")
@channel_option
@device_option
@keys_option
@json_option
def remove(catalogue, name, version, channel, device, keys, as_json):
    """Take a version of model NAME out, and delete its files. Its number stays taken."""
    from pathlib import Path

    from cnn_app.delivery.catalogue import remove as run

    echo_entries([run(Path(catalogue), name, version, channel, device, keys)], "removed", as_json)


@click.command()
@catalogue_argument
@click.argument("name")
@click.option("--to", metavar="X.Y.Z", help="The version to go back to; by default the second highest.")
@channel_option
@keys_option
@json_option
def rollback(catalogue, name, to, channel, keys, as_json):
    """Withdraw the newest version of model NAME: clients go back to an older one. Its files stay."""
    from pathlib import Path

    from cnn_app.cli import view
    from cnn_app.delivery.catalogue import rollback as run

    withdrawn = run(Path(catalogue), name, to, channel, keys)
    if withdrawn or as_json:
        echo_entries(withdrawn, "withdrew", as_json)
    else:
        view.say(f"nothing is above {name} {to}")
