import click

from cnn_app.cli.options import json_option, overwrite_option, resume_option, store_option


@click.command()
@store_option
@resume_option
@overwrite_option
@json_option
def quickstart(store, resume, overwrite, as_json):
    """The main job on real data that needs no network: train, quantize, export and verify a network for digits."""
    from cnn_app import recipe as recipes
    from cnn_app.cli.recipe import carry_out

    carry_out(recipes.find("quickstart"), store, resume=resume, overwrite=overwrite, as_json=as_json)
