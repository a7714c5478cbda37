"""What `run` and `quickstart` do with a recipe."""

from dataclasses import replace
from pathlib import Path

from cnn_app.artifacts import ModelDir
from cnn_app.cli import view
from cnn_app.cli.training import carry_out as train
from cnn_app.errors import TrainingError


def carry_out(recipe, store, *, data_dir=None, resume=False, overwrite=False, as_json=False):
    """Train, export and verify `recipe` into `store`/name; raise where the acceptance is not reached."""
    from cnn_app.export import run as exporting
    from cnn_app.export.targets import target
    from cnn_app.training.run import plan

    for name in recipe.export.targets if recipe.export else ():
        target(name)  # a misspelt one must not cost a training run
    directory = ModelDir(Path(store) / recipe.name)
    columns = {name: value for name, value in recipe.model.items() if name != "name"}
    data = replace(recipe.data, directory=recipe.data.directory or data_dir)
    with view.reading() as progress:
        job = plan(recipe.model["name"], columns, data, recipe.schedule, progress=progress)
    train(job, directory.path, resume=resume, overwrite=overwrite, as_json=as_json)
    if recipe.export:
        with view.comparisons(as_json) as tell:
            exporting.export(directory, recipe.export, job.dataset, tell)
    top1 = directory.read_card().metrics["test"]["top1"]
    if top1 < recipe.acceptance.top1:
        raise TrainingError(
            f"{recipe.name} reached test top-1 {top1:.4f}; its recipe asks for {recipe.acceptance.top1}"
        )
