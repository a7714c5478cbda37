import click


@click.command()
def quickstart():
    """Soon."""
