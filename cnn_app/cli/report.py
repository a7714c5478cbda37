import click

from cnn_app.cli.options import Place


@click.command()
@click.argument("directories", nargs=-1, required=True, type=Place(exists=True, file_okay=False), metavar="DIR...")
@click.option("--out", type=Place(dir_okay=False), required=True, help="The HTML file to write.")
def report(directories, out):
    """Compare runs on one page that needs no network: results, curves, and settings that differ.

    Every model directory has a report.html of its own run; of one DIR that is written.

    \b
    cnn-app report saved_models/one saved_models/two --out runs.html
    """
    from pathlib import Path

    from cnn_app.atomic import check_place
    from cnn_app.cli import view
    from cnn_app.jobs.report import report as write

    check_place(Path(out))
    write(directories, out)
    view.say(str(out))
