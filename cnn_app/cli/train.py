from dataclasses import replace

import click

from cnn_app.cli.options import Network, with_image
from cnn_app.cli.sources import data_options
from cnn_app.cli.training_options import distillation_options, schedule_options, training_options
from cnn_app.recipe import Schedule


@click.command()
@click.argument("name", type=Network())
@data_options()
@schedule_options()
@distillation_options
@training_options
def train(name, data, columns, image, task, schedule, distillation, out, resume, overwrite, devices, logs, dry_run,
          overfit_batch, as_json):  # fmt: skip
    """Train the network NAME from random weights into a model directory.

    \b
    cnn-app train lenet5 --data digits --out saved_models/digits
    cnn-app train mobilenet_v2 -c width=0.5 --image 96 --data photos/ --out saved_models/photos
    """
    from cnn_app.artifacts import ModelDir
    from cnn_app.cli import view
    from cnn_app.cli.training import carry_out
    from cnn_app.jobs import sources
    from cnn_app.jobs.distil import taught
    from cnn_app.jobs.train import plan
    from cnn_app.training import loggers
    from cnn_app.training.step.devices import chosen

    devices = chosen(devices)
    loggers.check(logs)
    data = sources.resumed(data, ModelDir(out), resume)
    with view.reading() as progress:
        job = plan(name, with_image(columns, image), data, Schedule(**schedule), dict(task), progress)
    job = taught(replace(job, devices=devices, logs=logs), distillation)
    carry_out(job, out, resume=resume, dry_run=dry_run, overfit_batch=overfit_batch, as_json=as_json)
