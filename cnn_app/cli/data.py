import click


@click.command()
def data():
    """Soon."""
