import click

from cnn_app.cli.deliver.options import catalogue_argument, echo_expiry
from cnn_app.cli.options import json_option


@click.command("list")
@catalogue_argument
@json_option
def list_models(catalogue, as_json):
    """Show what CATALOGUE offers, and until when it is signed."""
    from dataclasses import asdict
    from pathlib import Path

    from cnn_app.cli import view
    from cnn_app.delivery.catalogue import listing

    found = listing(Path(catalogue))
    if as_json:
        expires = {role: when.isoformat() for role, when in found.expires.items()}
        view.echo_json({"models": [asdict(entry) for entry in found.entries], "expires": expires})
        return
    rows = [
        (entry.name, entry.version, entry.channel, entry.device, entry.kind, f"{entry.bytes / 1e6:.2f}", entry.min_app,
         entry.min_runtime, "withdrawn" if entry.withdrawn else "offered")
        for entry in found.entries
    ]  # fmt: skip
    view.table(["name", ">version", "channel", "device", "kind", ">MB", ">min app", ">min runtime", "state"], rows)
    echo_expiry(found.expires, as_json=False)


@click.command()
@catalogue_argument
@click.option("--port", type=click.IntRange(0, 65535), default=8400, show_default=True, help="0 takes any free one.")
def serve(catalogue, port):
    """Serve CATALOGUE on 127.0.0.1 until Ctrl-C, for trying it out."""
    from pathlib import Path

    from cnn_app.cli import view
    from cnn_app.delivery.server import serve as run

    run(Path(catalogue), port, lambda address: view.say(f"{catalogue} at {address}; Ctrl-C ends it"))
