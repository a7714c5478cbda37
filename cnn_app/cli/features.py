import click

from cnn_app.cli.options import Network, columns_option, image_option, json_option, with_image
from cnn_app.cli.sources import data_options


@click.command()
@click.argument("source", type=Network(or_model=True), metavar="NAME|MODEL")
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
    from cnn_app.analysis import embedding
    from cnn_app.artifacts import is_model
    from cnn_app.cli import view
    from cnn_app.errors import DataError
    from cnn_app.jobs import sources
    from cnn_app.jobs.opened import task_of
    from cnn_app.transfer import features, linear

    columns = with_image(columns, image)
    model = (
        cnn_app.load_model(source)
        if is_model(source)
        else cnn_app.create_model(source, weights=weights or "imagenet", **columns)
    )
    tap, task = features.tapped(model, layer), task_of(model)
    if classifier and not task.probed:
        raise DataError(f"{task.input.plural} for {task.name} have no one class each; --linear learns nothing of them")
    raw = task.load(sources.divided_as(data, getattr(model, "about", None)))
    task = task.fitted(raw)
    with view.reading() as progress:
        dataset = sources.prepared(task, raw, data, progress)
        found = features.extract(tap, task, dataset, out, progress)
    told = {"n": len(found.targets), "layer": tap.output.name, "shape": list(tap.output_shape[1:])}
    if classifier:
        told["linear"] = linear.assess(found, len(task.labels), classifier)
    if project:
        title = f"{told['n']:,} {task.input.plural} as {model.name} sees them at {layer or 'its head'}"
        labels = task.labels if task.labelled else ()
        embedding.draw_map(found.vectors, found.targets, labels, projection, title, project)
    if nearest:
        told["nearest"] = features.neighbours(tap, task, found, nearest)
        if sheet:
            embedding.draw_sheet(nearest, dataset, task, told["nearest"], sheet)
    if as_json:
        return view.echo_json(told)
    view.say(f"{told['n']:,} {task.input.plural}, {'x'.join(map(str, told['shape']))} activations each")
    if classifier:
        from cnn_app.data.dataset import called

        result = told["linear"]
        view.say(f"{classifier} on {tap.output_shape[-1]} features: {called(result)} top-1 {result['top1']:.4f} of "
                   f"{result['n']:,}; C {result['C']:g}, cross-validated {result['validated']:.4f}")  # fmt: skip
    for row in told.get("nearest", ()):
        view.say(f"{row['cosine']:.3f}  {row['label']}  {row[task.input.kind]}")
