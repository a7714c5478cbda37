import click

from cnn_app.cli.options import Place, json_option
from cnn_app.cli.sources import data_options


@click.command()
@click.argument("directory", type=Place(exists=True, file_okay=False), metavar="DIR")
@data_options(required=False)
@click.option("--out", required=True, type=Place(file_okay=False), help="The folder to write the sheets into.")
@click.option("--between", nargs=2, type=Place(exists=True, dir_okay=False), metavar="IMAGE IMAGE",
              help="Images to go from and to; by default two of the test split.")  # fmt: skip
@click.option("--n", type=click.IntRange(1, 50), default=10, show_default=True, help="Images in a row.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of what is drawn.")
@json_option
def reconstruct(directory, data, out, between, n, seed, as_json):
    """Draw what the autoencoder in DIR makes of its codes: reconstructions, what lies between images, samples.

    Without --data the records it was trained on are used. Samples are of codes from the prior, which a vae has.

    \b
    cnn-app reconstruct saved_models/fashion --out sheets
    """
    from cnn_app.cli import view
    from cnn_app.jobs.reconstruct import reconstruct as draw

    with view.reading() as progress:
        files = draw(directory, out, data, between=between or None, n=n, seed=seed, progress=progress)
    view.echo([str(file) for file in files], "\n".join(map(str, files)), as_json)
