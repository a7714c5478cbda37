import click


@click.command()
def evaluate():
    """Soon."""
