import click

from cnn_app.cli.options import json_option


@click.command()
@click.argument("pattern", default="*")
@click.option("--task", help="Only networks for this task.")
@click.option("--max-parameters", type=float, metavar="MILLIONS", help="Only networks with no more parameters.")
@click.option("--max-macs", type=float, metavar="MILLIONS", help="Only networks with no more multiply-adds.")
@click.option("--markdown", is_flag=True, help="Print docs/networks.md: all networks with their columns.")
@json_option
def models(pattern, task, max_parameters, max_macs, markdown, as_json):
    """List the networks whose name matches PATTERN, such as 'resnet*'.

    Parameters and multiply-adds are those of the default row; top-1 in percent is what its source published.
    """
    from cnn_app.analysis.listing import listing
    from cnn_app.cli import view

    if markdown:
        from cnn_app.analysis.summary import markdown as page
        from cnn_app.quiet import quiet_tensorflow

        quiet_tensorflow()
        return click.echo(page())
    rows = listing(pattern, task, max_parameters, max_macs)
    if as_json:
        return view.echo_json(rows)
    columns = ["name", ">year", "paper", "task", "input", ">parameters", ">multiply-adds", ">top-1", "source"]
    view.table(columns, map(_cells, rows))


def _cells(row):
    top1 = "" if row["top1"] is None else f"{row['top1']:.1f}"
    costs = f"{row['parameters'] / 1e6:,.2f} M", f"{row['macs'] / 1e6:,.1f} M"
    return (
        row["name"],
        row["year"],
        row["paper"],
        row["task"],
        f"{row['input']}, {row['shape']}",
        *costs,
        top1,
        row["source"],
    )
