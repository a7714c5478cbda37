import click

from cnn_app.cli.options import Place, Size, json_option, lines, out_option
from cnn_app.registry import RESIZES, STRETCH
from cnn_app.transfer import RANGES, SCORES


@click.command()
@click.argument("file", type=Place(exists=True, dir_okay=False))
@click.option("--labels", required=True, type=Place(exists=True, dir_okay=False),
              help="Names of the classes, a line each in the order of the scores.")  # fmt: skip
@out_option
@click.option("--image", type=Size(), help="Of a network that takes any size.")
@click.option("--pixels", type=click.Choice(RANGES), help="What it was trained on, if no layer of it scales pixels: "
              "imagenet is [0, 1] by ImageNet's mean and deviation, caffe blue first without a mean.")  # fmt: skip
@click.option("--scores", type=click.Choice(SCORES), help="If the last layer does not tell.")
@click.option("--resize", type=click.Choice(RESIZES), default=STRETCH, show_default=True,
              help="How images are brought to its size.")  # fmt: skip
@click.option("--trust", is_flag=True, help="Read the file without the limits of files from elsewhere, but for code.")
@json_option
def adopt(file, labels, out, image, pixels, scores, resize, trust, as_json):
    """Make a model directory of the Keras classifier in FILE, which others made; every other command takes it then.

    \b
    cnn-app adopt efficientnet.keras --labels classes.txt --out saved_models/photos
    cnn-app export saved_models/photos --to tflite-int8 --data photos/
    """
    from cnn_app.cli import view
    from cnn_app.jobs.adopt import adopt as make

    card = make(file, lines(labels), out, image=image and image[:2], pixels=pixels, scores=scores, resize=resize,
                trust=trust)  # fmt: skip
    told = {"out": str(out), "input": card.input, "classes": len(card.labels)}
    height, width, channels = card.input["image"]
    view.echo(told, f"{out}: {len(card.labels)} classes from images of {height}x{width}x{channels}", as_json)
