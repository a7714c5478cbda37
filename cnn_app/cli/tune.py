from dataclasses import asdict

import click

from cnn_app.cli.options import Place, json_option


@click.command()
@click.argument("recipe")
@click.option("--store", default="searches", show_default=True, type=Place(file_okay=False), help="Where searches lie.")
@click.option("--data-dir", type=Place(file_okay=False), help="Where TFDS sets lie, if the recipe does not say.")
@json_option
def tune(recipe, store, data_dir, as_json):
    """Search what [tune] of RECIPE leaves open, and write the best as a recipe that `run` takes.

    The same command goes on with a search that was stopped; given elsewhere at the same time, it takes a part of it.

    \b
    cnn-app tune digits.toml
    cnn-app run searches/digits/best.toml
    """
    from cnn_app import recipe as recipes
    from cnn_app.cli import view
    from cnn_app.quiet import quiet_tensorflow

    wanted = recipes.find(recipe)
    quiet_tensorflow()
    from cnn_app.jobs.tune import Telling
    from cnn_app.jobs.tune import tune as search

    found = search(wanted, store, data_dir=data_dir,
                   telling=Telling(view.reading, view.training, lambda row: view.say(told(row), err=True)))  # fmt: skip
    if as_json:
        return view.echo_json(asdict(found) | {"recipe": found.recipe and str(found.recipe)})
    columns = [name for name in found.rows[0] if name not in ("state", "why")]
    rows = [[shown(found.rows[number][name]) for name in columns] for number in found.best]
    states = [row["state"] for row in found.rows]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    view.table([f">{name}" for name in columns], rows, f"the best of {len(states)} trials ({counts})")
    view.say(str(found.recipe) if found.recipe else "no trial is finished yet; others are at work on them")


def told(row):
    """A trial in a line."""
    values = "  ".join(f"{name} {shown(value)}" for name, value in row.items()
                       if name not in ("trial", "state", "why") and value is not None)  # fmt: skip
    return f"trial {row['trial']:>3}  {row['state']:<8}  {row['why'] or values}"


def shown(value):
    """A cell."""
    if isinstance(value, list | tuple):
        return ",".join(map(shown, value)) or "none"
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
