import click

from cnn_app.cli.options import (
    Place,
    devices_option,
    json_option,
    log_option,
    overwrite_option,
    resume_option,
    store_option,
)


@click.command()
@click.argument("recipe", required=False)
@click.option("--list", "listing", is_flag=True, help="Name the recipes that come with cnn-app.")
@store_option
@click.option("--data-dir", type=Place(file_okay=False), help="Where TFDS sets lie, if the recipe does not say.")
@resume_option
@overwrite_option
@devices_option
@log_option
@json_option
def run(recipe, listing, store, data_dir, resume, overwrite, devices, logs, as_json):
    """Carry out RECIPE, a TOML file or the name of one of ours: train, export, verify, hold against its acceptance.

    \b
    cnn-app run --list
    cnn-app run mobilenet_v2_mobile --data-dir tfds/
    """
    from cnn_app import recipe as recipes
    from cnn_app.cli import view
    from cnn_app.cli.recipe import carry_out

    if listing:
        rows = [(name, recipes.read(path).about, str(path)) for name, path in recipes.shipped().items()]
        names = ("recipe", "about", "file")
        return (
            view.echo_json([dict(zip(names, row, strict=True)) for row in rows]) if as_json else view.table(names, rows)
        )
    if not recipe:
        raise click.UsageError("Missing argument 'RECIPE'; --list names those that come with cnn-app.")
    found = recipes.find(recipe)
    return carry_out(found, store, data_dir=data_dir, resume=resume, overwrite=overwrite, devices=devices, logs=logs,
                     as_json=as_json)  # fmt: skip
