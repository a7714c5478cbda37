import click

from cnn_app.cli.options import json_option
from cnn_app.cli.serving.publish import base_argument
from cnn_app.cli.view import echo


class Label(click.ParamType):
    """stable=3 -> ("stable", 3); `stable=` takes the label away."""

    name = "NAME=VERSION"

    def convert(self, value, param, ctx):
        name, found, version = value.partition("=")
        if not found or (version and not (version.isascii() and version.isdecimal())):
            self.fail(f"{value!r} gives no version a label; write stable=3, or stable= to take it away", param, ctx)
        return name, int(version) if version else None


@click.command()
@base_argument
@click.option("--keep", type=click.IntRange(1), required=True, help="How many of the highest versions stay.")
@json_option
def prune(base, keep, as_json):
    """Remove old versions; one that a label names always stays."""
    from cnn_app.serving import store

    gone = store.prune(base, keep)
    echo({"removed": gone}, f"{base}: removed {', '.join(map(str, gone)) or 'nothing'}", as_json)


@click.command()
@base_argument
@click.argument("changes", nargs=-1, required=True, type=Label())
@json_option
def label(base, changes, as_json):
    """Give versions names that clients ask for: stable=3 canary=4; `canary=` takes one away.

    Run `serving config` again to let TF Serving know.
    """
    from cnn_app.serving import store

    found = store.label(base, dict(changes))
    names = ", ".join(f"{name} {version}" for name, version in found.items())
    echo(found, f"{base}: {names or 'no labels'}", as_json)
