"""What is in data, and what a network will see of it."""

import click

from cnn_app.cli.data import check, pack, show


@click.group()
def data():
    """Look at records before training on them, or pack them."""


for _command in (check.check, show.show, pack.pack):
    data.add_command(_command)
