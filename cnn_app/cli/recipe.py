"""What `run` and `quickstart` show of a recipe."""

from pathlib import Path

from cnn_app.artifacts import ModelDir
from cnn_app.cli import view


def carry_out(recipe, store, *, data_dir=None, resume=False, overwrite=False, devices=None, logs=(), as_json=False):
    """Run the recipe and show its parts as they are done."""
    directory = ModelDir(Path(store) / recipe.name)
    if recipe.kind != "study":
        directory.check_free(resume=resume, overwrite=overwrite)
    from cnn_app.quiet import quiet_tensorflow

    quiet_tensorflow()
    from cnn_app.cli.training import trained
    from cnn_app.jobs.run import Telling, run

    telling = Telling(
        view.reading, view.training,
        lambda place, card, task: view.echo(card.metrics, trained(place.path, card, task), as_json),
        lambda: view.comparisons(as_json),
    )  # fmt: skip
    found = run(recipe, store, data_dir=data_dir, resume=resume, overwrite=overwrite, telling=telling, devices=devices,
                logs=logs)  # fmt: skip
    if recipe.kind == "study":
        show_study(found, directory.path, as_json)


def show_study(rows, directory, as_json):
    """Means over seeds for every number of stages."""
    from cnn_app.transfer import transferability

    if as_json:
        return view.echo_json(rows)
    found = {kind: transferability.intervals(rows, kind) for kind in transferability.KINDS}
    places = {row["n"]: row["place"] for row in rows}
    lines = [(n, places[n], *(f"{mean:.4f} ± {half:.4f}" for _, mean, half in at)) for n, *at in
             zip(sorted(places), *found.values(), strict=True)]  # fmt: skip
    view.table([">n", "up to", *(f">top-1, {kind}" for kind in found)], lines)
    view.say(f"{directory}/transferability.png")
