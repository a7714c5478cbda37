import click

from cnn_app.cli.options import data_options, schedule_options, training_options


@click.command()
@click.argument("source", type=click.Path(exists=True, file_okay=False), metavar="DIR")
@data_options()
@click.option("--freeze", type=click.Choice(["backbone", "none"]), default="none", show_default=True,
              help="What keeps its weights.")  # fmt: skip
@click.option("--train-batch-norm", is_flag=True, help="Let batch normalization learn and follow the batch, too.")
@schedule_options(epochs=15, lr=3e-4, augment=("flip", "crop"))
@training_options
def finetune(
    source, data, freeze, train_batch_norm, schedule, image, out, resume, overwrite, dry_run, overfit_batch, as_json
):
    """Train the model directory DIR further on other pictures, with a new head for their classes.

    \b
    cnn-app finetune saved_models/photos --data ants-and-bees/ --out saved_models/insects
    """
    from dataclasses import replace

    from cnn_app.artifacts import ModelDir
    from cnn_app.cli import view
    from cnn_app.cli.training import carry_out
    from cnn_app.transfer import finetune as transfer

    with view.reading() as progress:
        job = transfer.prepare(
            ModelDir(source), replace(data, image=image), schedule, freeze_backbone=freeze == "backbone",
            freeze_batch_norm=not train_batch_norm, progress=progress,
        )  # fmt: skip
    carry_out(
        job, out, resume=resume, overwrite=overwrite, dry_run=dry_run, overfit_batch=overfit_batch, as_json=as_json
    )
