import os

import click

from cnn_app.cli.options import Network, Place, columns_option, image_option, json_option, task_option
from cnn_app.cli.sources import split_options


@click.command()
@click.argument("spec", metavar="SPEC")
@click.option("--out", required=True, type=Place(file_okay=False), help="The pack to write, a folder NAME.pack.")
@click.option("--model", "name", type=Network(), default="resnet18", show_default=True,
              help="A network that takes such records, such as unet for masks.")  # fmt: skip
@image_option
@columns_option
@task_option
@click.option("--data-dir", type=Place(file_okay=False), help="Where TFDS sets lie, or the files of a table.")
@click.option("--on-bad-image", type=click.Choice(["error", "skip"]), default="error", show_default=True,
              help="What to do with a record that cannot be read.")  # fmt: skip
@click.option("--encoding", default="utf-8", show_default=True, help="Of text files.")
@split_options()
@json_option
def pack(spec, out, name, image, columns, task, data_dir, on_bad_image, encoding, shares, split_seed, as_json):
    """Decode the images of SPEC once, at the size of a network, into a pack that trains as SPEC does, only faster.

    It is divided as it is packed. The same command goes on where a stopped one stood.

    \b
    cnn-app data pack photos --image 224 --out photos.pack
    cnn-app train resnet18 --image 224 --data photos.pack --out saved_models/photos
    """
    from cnn_app.cli import view
    from cnn_app.cli.options import with_image
    from cnn_app.jobs.pack import pack as write
    from cnn_app.recipe import Data

    source = Data(source=os.path.expanduser(spec), directory=data_dir, on_bad_image=on_bad_image, encoding=encoding,
                  split=shares, split_seed=split_seed)  # fmt: skip
    with view.reading() as progress:
        found = write(source, out, name=name, columns=with_image(columns, image), options=dict(task), progress=progress)
    if found["skipped"] and not as_json:
        view.say(f"left out {len(found['skipped'])}: " + "; ".join(found["skipped"][:5]), err=True)
    told = ", ".join(f"{n:,} of {split}" for split, n in found["records"].items())
    view.echo(found, f"{out}: {told}; {found['bytes'] / 2**20:,.1f} MiB", as_json)
