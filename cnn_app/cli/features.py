import click

from cnn_app.cli.options import columns_option, data_options, image_option, json_option


@click.command()
@click.argument("source", metavar="NAME|MODEL")
@data_options()
@click.option("--from", "weights", metavar="WEIGHTS", help="For a NAME: a file of published weights, or imagenet.")
@columns_option
@image_option
@click.option("--layer", help="Whose activations: a layer, or a stage for its last; by default what the head sees.")
@click.option("--out", type=click.Path(dir_okay=False), help="Write them into this .npz, with labels and names.")
@click.option(
    "--linear",
    "classifier",
    type=click.Choice(["logistic", "svm"]),
    help="Train a linear classifier on them and test it.",
)
@click.option("--project", type=click.Path(dir_okay=False), help="Draw all images as points of a plane into this PNG.")
@click.option("--projection", type=click.Choice(["tsne", "pca"]), default="tsne", show_default=True, help="How.")
@click.option("--nearest", type=click.Path(exists=True, dir_okay=False), help="An image to find neighbours of.")
@click.option("--sheet", type=click.Path(dir_okay=False), help="Draw the neighbours into this PNG.")
@json_option
def features(
    source, data, weights, columns, image, layer, out, classifier, project, projection, nearest, sheet, as_json
):
    """Deep features of images: the activations of a listed NAME, a model directory or a .keras file.

    \b
    cnn-app features mobilenet_v2 --from mobilenet_v2.h5 --data photos/ --linear logistic --project map.png
    """
    import cnn_app
    from cnn_app import data as sources
    from cnn_app import registry
    from cnn_app.analysis import embedding
    from cnn_app.cli import view
    from cnn_app.data import pipeline
    from cnn_app.transfer import features, linear

    columns = dict(columns) | ({"image": image} if image else {})
    known = registry.is_file(source)
    model = (
        cnn_app.load_model(source) if known else cnn_app.create_model(source, weights=weights or "imagenet", **columns)
    )
    tap = features.tapped(model, layer)
    dataset, shape = sources.load(data), model.input_shape[1:]
    with view.reading() as progress:
        dataset = pipeline.prepare(dataset, shape, skip_bad=data.on_bad_image == "skip", progress=progress)
        found = features.extract(tap, dataset, out, progress)
    figures = {"n": len(found.labels), "layer": tap.output.name, "shape": list(tap.output_shape[1:])}
    if classifier:
        figures["linear"] = linear.assess(found, len(dataset.classes), classifier)
    if project:
        title = f"{figures['n']:,} images as {model.name} sees them at {layer or 'its head'}"
        embedding.draw_map(found.vectors, found.labels, dataset.classes, projection, title, project)
    if nearest:
        figures["nearest"] = features.neighbours(tap, dataset, found, nearest)
        if sheet:
            embedding.draw_sheet(nearest, dataset, shape, figures["nearest"], sheet)
    if as_json:
        return view.echo_json(figures)
    click.echo(f"{figures['n']:,} images, {'x'.join(map(str, figures['shape']))} activations each")
    if classifier:
        result = figures["linear"]
        click.echo(f"{classifier} on {tap.output_shape[-1]} features: {result['split']} top-1 {result['top1']:.4f} of "
                   f"{result['n']:,}; C {result['C']:g}, cross-validated {result['validated']:.4f}")  # fmt: skip
    for row in figures.get("nearest", ()):
        click.echo(f"{row['cosine']:.3f}  {row['label']}  {row['image']}")
