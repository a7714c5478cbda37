import click

from cnn_app.cli.options import json_option, out_option
from cnn_app.cli.sources import data_options


@click.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False), metavar="DIR DIR...")
@out_option
@data_options(required=False)
@json_option
def average(models, out, data, as_json):
    """Average the weights of models of one network, such as runs that went on from the same weights, into one.

    All are measured on the test images of --data, or of those that the first was trained on.

    \b
    cnn-app average saved_models/seed0 saved_models/seed1 --out saved_models/photos
    """
    from cnn_app.cli import view
    from cnn_app.jobs.average import average as write

    with view.reading() as progress:
        found = write(models, out, data, progress=progress)
    if as_json:
        return view.echo_json({name: report.metrics | found.figures for name, report in found.reports.items()})
    view.measured(found)
