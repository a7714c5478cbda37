"""TF Serving's store and configuration; the commands come by what they do."""

import click

from cnn_app.cli.serving import configure, keep, publish


@click.group()
def serving():
    """Keep the versions of a model that TF Serving serves, and write its configuration."""


for _command in (publish.publish, publish.rollback, keep.prune, keep.label, configure.config):
    serving.add_command(_command)
