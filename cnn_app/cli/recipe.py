"""What `run` and `quickstart` do with a recipe."""

import shutil
from dataclasses import replace
from pathlib import Path

import click

from cnn_app.artifacts import ModelDir
from cnn_app.cli import view
from cnn_app.cli.training import carry_out as train
from cnn_app.errors import TrainingError


def carry_out(recipe, store, *, data_dir=None, resume=False, overwrite=False, as_json=False):
    """Train, export and verify `recipe` into `store`/name; raise where the acceptance is not reached."""
    from cnn_app.export import run as exporting
    from cnn_app.export.targets import target
    from cnn_app.training.run import plan
    from cnn_app.transfer import finetune

    if recipe.transferability:
        return study(recipe, Path(store) / recipe.name, data_dir=data_dir, overwrite=overwrite, as_json=as_json)
    for name in recipe.export.targets if recipe.export else ():
        target(name)  # a misspelt one must not cost a training run
    directory = ModelDir(Path(store) / recipe.name)
    name, columns = recipe.model["name"], {name: value for name, value in recipe.model.items() if name != "name"}
    data = replace(recipe.data, directory=recipe.data.directory or data_dir)
    with view.reading() as progress:
        if recipe.transfer:
            job = finetune.prepare(name, columns, data, recipe.schedule, recipe.transfer, progress)
        else:
            job = plan(name, columns, data, recipe.schedule, progress=progress)
    train(job, directory.path, resume=resume, overwrite=overwrite, as_json=as_json)
    if recipe.export:
        with view.comparisons(as_json) as tell, view.training(recipe.export.qat_epochs) as watch:
            exporting.export(directory, recipe.export, job.dataset, tell, watch, force=True)  # of a former model
    top1 = directory.read_card().metrics["test"]["top1"]
    if top1 < recipe.acceptance.top1:
        raise TrainingError(
            f"{recipe.name} reached test top-1 {top1:.4f}; its recipe asks for {recipe.acceptance.top1}"
        )
    return None


def study(recipe, directory, *, data_dir, overwrite, as_json):
    """Run the cells of a transferability study that are not there yet, and show all."""
    from cnn_app.transfer import transferability

    if overwrite and (directory / "study.json").is_file():
        shutil.rmtree(directory)
    with view.reading() as progress:
        rows = transferability.run(recipe, directory, data_dir, progress)
    if as_json:
        return view.echo_json(rows)
    found = {kind: transferability.intervals(rows, kind) for kind in transferability.KINDS}
    places = {row["n"]: row["place"] for row in rows}
    lines = [(n, places[n], *(f"{mean:.4f} ± {half:.4f}" for _, mean, half in at)) for n, *at in
             zip(sorted(places), *found.values(), strict=True)]  # fmt: skip
    view.table([">n", "up to", *(f">top-1, {kind}" for kind in found)], lines)
    click.echo(f"{directory}/transferability.png")
    return None
