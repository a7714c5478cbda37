"""Options that the commands of `deliver` share, and how they show what they did."""

import functools
import os
from dataclasses import asdict

import click

from cnn_app.cli.view import echo

CHANNELS = click.Choice(["stable", "beta"])

catalogue_argument = click.argument("catalogue", type=click.Path(file_okay=False))
channel_option = click.option("--channel", type=CHANNELS, default="stable", show_default=True,
                              help="Clients on beta get what is newer, beta or stable.")  # fmt: skip
device_option = click.option("--device", default="any", show_default=True, metavar="CLASS",
                             help="Device class, in your own words, such as npu.")  # fmt: skip


def keys_option(command):
    """`keys=Keys(...)`; keys in the environment come first."""

    @click.option("--keys", "folder", type=click.Path(file_okay=False), metavar="DIR",
                  help="Folder of ROLE.pem; CNN_APP_KEY_ROLE in the environment comes first.")  # fmt: skip
    @functools.wraps(command)
    def wrapped(folder, **rest):
        from pathlib import Path

        from cnn_app.delivery.keys import Keys

        return command(keys=Keys(folder and Path(folder), os.environ), **rest)

    return wrapped


def echo_expiry(expires, as_json):
    """Until when each role's signature is good."""
    terms = ", ".join(f"{role} {when:%Y-%m-%d}" for role, when in expires.items())
    echo({role: when.isoformat() for role, when in expires.items()}, f"signed until: {terms}", as_json)


def echo_entries(entries, what, as_json):
    """A line for each of `entries`: what was done, and to which."""
    lines = [f"{what} {entry.name} {entry.version}, channel {entry.channel}, device class {entry.device}"
             for entry in entries]  # fmt: skip
    echo([asdict(entry) for entry in entries], "\n".join(lines), as_json)
