import click

from cnn_app.analysis.lecture import TOPICS
from cnn_app.cli.options import Place, json_option


@click.command()
@click.argument("topics", nargs=-1, type=click.Choice([*TOPICS]), metavar="[TOPIC]...")
@click.option("--out", type=Place(file_okay=False), help="A folder for pictures of topics that have one.")
@json_option
def lecture(topics, out, as_json):
    """Compute the figures of a lecture on convolutional networks, and say where and why they differ from it.

    Without a TOPIC all of them.

    \b
    cnn-app lecture totals googlenet
    cnn-app lecture convolution --out pictures
    """
    from pathlib import Path

    from cnn_app.analysis.lecture import topic
    from cnn_app.cli import view

    told = []
    for name in topics or TOPICS:
        found = topic(name)
        path = Path(out) / f"{name}.png" if out and found.draw else None
        if path:
            found.draw(path)
        told.append({"topic": name, "title": found.title, "columns": [one.lstrip(">") for one in found.columns],
                     "rows": found.rows, "reasons": found.reasons, "path": path and str(path)})  # fmt: skip
        if not as_json:
            view.table(found.columns, found.rows, found.title)
            for line in (*found.reasons, *([f"-> {path}"] if path else [])):
                view.say(line)
    if as_json:
        view.echo_json(told)
