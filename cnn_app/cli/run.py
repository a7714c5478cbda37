import click


@click.command()
def run():
    """Soon."""
