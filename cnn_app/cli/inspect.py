import click

from cnn_app.cli.options import Network, columns_option, image_option, json_option, with_image


@click.command()
@click.argument("model", type=Network(or_model=True), metavar="NAME|MODEL")
@columns_option
@image_option
@click.option("--layers", "by_layer", is_flag=True, help="A row for each layer instead of each stage.")
@json_option
def inspect(model, columns, image, by_layer, as_json):
    """Show what a network costs and sees: a listed NAME, a model directory or a .keras file.

    Multiply-adds are those of convolutions and fully connected layers for one record; memory is of float32 outputs.
    The field is what an output sees, in pixels along a side, and of clips also in frames.
    Totals are of the deployed network; auxiliary classifiers, which only training needs, are in a line of their own.

    \b
    cnn-app inspect resnet50
    cnn-app inspect mobilenet_v2 -c width=0.5 --image 96 --layers
    """
    from dataclasses import asdict

    import cnn_app
    from cnn_app.analysis import inspection
    from cnn_app.artifacts import is_model
    from cnn_app.cli import view

    columns = with_image(columns, image)
    network = cnn_app.load_model(model) if is_model(model) else cnn_app.create_model(model, **columns)
    layers, costs = inspection.rows(network), inspection.costs(network)
    stages = inspection.stages(layers)
    if as_json:
        return view.echo_json({"layers": [asdict(r) for r in layers], "stages": [asdict(r) for r in stages]} | costs)
    clips = len(network.inputs[0].shape) == 5
    cells = (_cells(row, clips) for row in (layers if by_layer else stages))
    columns = ["layer", "kind", ">output", ">parameters", ">multiply-adds", ">MiB", ">field", ">stride"]
    view.table(columns + [">frames"] * clips, cells)
    click.echo(_totals(costs["total"]))
    if "training" in costs:
        click.echo(f"in training, with auxiliary classifiers: {_totals(costs['training'])}")


def _totals(costs):
    return (
        f"{costs['trainable']:,} trainable parameters, {costs['moving_statistics']:,} moving statistics, "
        f"{costs['macs']:,} multiply-adds; activations {costs['activation_bytes'] / 2**20:.2f} MiB, "
        f"{costs['peak_activation_bytes'] / 2**20:.2f} MiB at once"
    )


def _cells(row, clips):
    shape, memory = "x".join(map(str, row.shape)), f"{row.activation_bytes / 2**20:.2f}"
    counts = f"{row.parameters:,}", f"{row.macs:,}", memory
    time = (row.receptive_frames or "all",) if clips else ()
    return row.name, row.kind, shape, *counts, row.receptive_field or "all", row.stride or "", *time
