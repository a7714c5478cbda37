"""The publisher's side of signed delivery; its commands come by what they do."""

import click

from cnn_app.cli.deliver import look, publish, sign, withdraw


@click.group()
def deliver():
    """Keep a signed catalogue of mobile models, which any web server or bucket can host."""


for _command in (sign.init, publish.add, look.list_models, withdraw.remove, withdraw.rollback, sign.renew,
                 sign.rotate, look.serve):  # fmt: skip
    deliver.add_command(_command)
