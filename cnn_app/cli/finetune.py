from dataclasses import replace

import click

from cnn_app.augmentations import FINETUNE_AUGMENT
from cnn_app.cli.options import Network, with_image
from cnn_app.cli.sources import data_options
from cnn_app.cli.training_options import distillation_options, schedule_options, training_options, transfer_options


@click.command()
@click.argument("source", type=Network(or_model=True), metavar="NAME|DIR")
@data_options()
@transfer_options
@schedule_options(epochs=15, lr=2e-4, warmup=2.0, label_smoothing=0.1, augment=FINETUNE_AUGMENT)
@distillation_options
@training_options
def finetune(source, data, transfer, columns, image, task, schedule, distillation, out, resume, overwrite, devices,
             logs, dry_run, overfit_batch, as_json):  # fmt: skip
    """Train the network NAME, or that of the model directory DIR, further on other data.

    NAME starts from ImageNet's weights unless --from gives others; classes that are new get a new head.

    \b
    cnn-app finetune mobilenet_v2 --from mobilenet_v2.h5 --data ants-and-bees/ --out saved_models/insects
    cnn-app finetune saved_models/photos --data ants-and-bees/ --out saved_models/insects
    """
    from cnn_app.artifacts import ModelDir
    from cnn_app.cli import view
    from cnn_app.cli.training import carry_out
    from cnn_app.jobs import sources
    from cnn_app.jobs.distil import taught
    from cnn_app.jobs.finetune import prepare
    from cnn_app.training import loggers
    from cnn_app.training.step.devices import chosen
    from cnn_app.transfer import freezing

    devices = chosen(devices)
    loggers.check(logs)
    data = sources.resumed(data, ModelDir(out), resume)
    with view.reading() as progress:
        job = prepare(source, with_image(columns, image), data, schedule, transfer, dict(task), progress)
    for line in freezing.describe(job.model, job.freeze):
        view.say(line, err=True)
    job = taught(replace(job, devices=devices, logs=logs), distillation)
    carry_out(job, out, resume=resume, dry_run=dry_run, overfit_batch=overfit_batch, as_json=as_json)
