import click

from cnn_app.cli.options import json_option, store_option


@click.command()
@click.argument("recipe", type=click.Path(exists=True, dir_okay=False))
@store_option
@click.option("--data-dir", type=click.Path(file_okay=False), help="Where TFDS sets lie, if the recipe does not say.")
@click.option("--resume", is_flag=True, help="Go on with the run that was stopped.")
@click.option("--overwrite", is_flag=True, help="Replace the model of that name in the store.")
@json_option
def run(recipe, store, data_dir, resume, overwrite, as_json):
    """Carry out RECIPE, a TOML file: train, export, verify, and hold the result against its acceptance.

    \b
    cnn-app run pipelines/mobilenet_v2_mobile.toml --data-dir tfds/
    """
    from cnn_app import recipe as recipes
    from cnn_app.cli.recipe import carry_out

    carry_out(recipes.read(recipe), store, data_dir=data_dir, resume=resume, overwrite=overwrite, as_json=as_json)
