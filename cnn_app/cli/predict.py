import click


@click.command()
def predict():
    """Soon."""
