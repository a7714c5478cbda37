import click

from cnn_app.cli.options import Place, Words, json_option
from cnn_app.cli.sources import data_options
from cnn_app.export.targets import TARGETS


@click.command()
@click.argument("directory", type=Place(exists=True), metavar="DIR")
@click.option(
    "--to", "targets", type=Words(TARGETS), required=True, help=f"Of {', '.join(TARGETS)}; several with commas."
)
@data_options(required=False)
@click.option("--max-drop", type=click.FloatRange(0, 100), default=1.0, show_default=True,
              help="Points of the main metric, of an error percent, that a file may lose.")  # fmt: skip
@click.option("--confidence", type=click.FloatRange(0.5, 0.9999), metavar="FLOAT",
              help="Ask that the upper end of such an interval keeps within --max-drop, such as 0.95.")  # fmt: skip
@click.option("--calibration", type=click.IntRange(1), default=200, show_default=True,
              help="Training records that set the int8 ranges.")  # fmt: skip
@click.option("--qat-epochs", type=click.IntRange(0), default=0, show_default=True,
              help="Train on with rounding where an int8 file loses too much.")  # fmt: skip
@click.option("--author", default="", help="Written into the files, as are the next two.")
@click.option("--license", default="", help="Such as Apache-2.0.")
@click.option("--version", default="", help="Of the model.")
@click.option("--force", is_flag=True, help="Replace files that exist.")
@json_option
def export(directory, targets, data, max_drop, confidence, calibration, qat_epochs, author, license, version, force,
           as_json):  # fmt: skip
    """Write the model in DIR for other runtimes, each proven against Keras on held-out records.

    Without --data the records it was trained on are used: train for calibration, val to choose how an integer file is
    made, test for the proof, once.

    \b
    cnn-app export saved_models/photos --to saved_model,tflite-int8,onnx
    """
    from cnn_app.artifacts import ModelDir
    from cnn_app.cli import view
    from cnn_app.jobs.export import export as write
    from cnn_app.recipe import Export

    options = Export(targets=targets, max_drop=max_drop, confidence=confidence, calibration=calibration,
                     qat_epochs=qat_epochs, author=author, license=license, version=version)  # fmt: skip
    with view.comparisons(as_json) as tell, view.reading() as progress, view.training(qat_epochs) as watch:
        write(directory, options, data, tell=tell, watch=watch, force=force, progress=progress)
    lines = ModelDir(directory).read_exports()
    if any(line.get("metadata") is False for line in lines):
        click.echo("phones' libraries find no labels in the TFLite files: pip install 'cnn-app[mobile]'", err=True)
    if any(line.get("warmup") is False for line in lines):
        click.echo("SavedModels are not warmed up: pip install 'cnn-app[serve]' and export again", err=True)
