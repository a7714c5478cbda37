import click

from cnn_app.analysis.ways import WAYS, WITHOUT_IMAGES
from cnn_app.cli.options import Place, json_option, trust_option


@click.command()
@click.argument("artifact", type=Place(exists=True))
@click.argument("images", nargs=-1, metavar="[IMAGE]...")
@click.option("--what", type=click.Choice([*WAYS, "all"]), multiple=True, default=["gradcam"], show_default=True,
              help="How to look; several times for several.")  # fmt: skip
@click.option("--class", "label", metavar="LABEL", help="Whose score; by default the best class of each image.")
@click.option("--layer", help="Whose maps, or a stage for its last; by default the last with the smallest maps.")
@click.option("--channel", "channels", type=click.IntRange(0), multiple=True,
              help="Of that layer, for strongest; by default those that answer most.")  # fmt: skip
@click.option("--out", type=Place(file_okay=False), required=True, help="The folder to draw into.")
@trust_option
@json_option
def visualize(artifact, images, what, label, layer, channels, out, trust, as_json):
    """Draw where a network looks in each IMAGE, and what it has learned.

    ARTIFACT is a model directory or .keras; for --what occlusion any file that answers.

    \b
    cnn-app visualize saved_models/photos holiday.jpg --what gradcam --what occlusion --out seen
    cnn-app visualize saved_models/photos photos/ --what strongest --layer stage3 --out seen
    """
    from cnn_app.cli import view
    from cnn_app.errors import DataError
    from cnn_app.jobs import visualize as job

    what = WAYS if "all" in what else what
    if not images and set(what) - {*WITHOUT_IMAGES}:
        raise DataError(f"there is no image to look at; give some, or --what {' or '.join(WITHOUT_IMAGES)}")
    found = job.visualize(artifact, images, out, what=what, label=label, layer=layer, channels=channels, trust=trust)
    if as_json:
        view.echo_json([
            {"name": one.name, "path": one.path and str(one.path), "label": one.label, "probability": one.probability,
             "error": one.error and str(one.error)} for one in found
        ])  # fmt: skip
    else:
        for one in found:
            told = f": {one.label} {one.probability:.3f}" if one.probability is not None else ""
            view.say(f"{one.name}{told} -> {one.path}" if one.error is None else f"{one.name}: {one.error}")
    if unread := sum(one.error is not None for one in found):
        raise DataError(f"{unread} of the images could not be read")
