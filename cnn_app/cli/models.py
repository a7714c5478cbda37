import click

from cnn_app.cli.options import json_option


@click.command()
@click.argument("pattern", default="*")
@click.option("--task", help="Only networks for this task.")
@json_option
def models(pattern, task, as_json):
    """List the networks whose name matches PATTERN, such as 'resnet*'."""
    from cnn_app import registry
    from cnn_app.cli import view
    from cnn_app.errors import unknown

    names = registry.names(pattern, task)
    if not names:
        raise unknown("model", pattern, registry.names())
    rows = [{"name": name, "year": (row := registry.spec(name)).year, "paper": row.paper, "task": row.task,
             "image": list(row.image), "classes": row.classes} for name in names]  # fmt: skip
    if as_json:
        view.echo_json(rows)
    else:
        cells = [
            (r["name"], r["year"], r["paper"], r["task"], "x".join(map(str, r["image"])), r["classes"]) for r in rows
        ]
        view.table(["name", ">year", "paper", "task", ">image", ">classes"], cells)
