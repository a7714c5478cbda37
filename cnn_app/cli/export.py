import click


@click.command()
def export():
    """Soon."""
