import os

import click

from cnn_app.cli.options import Network, Place, augment_option, image_option, task_option
from cnn_app.cli.sources import split_options
from cnn_app.cli.training_options import DEFAULTS


@click.command()
@click.argument("spec")
@augment_option
@click.option("--out", required=True, type=Place(dir_okay=False), help="The PNG to write.")
@click.option("--model", "name", type=Network(), default="resnet18", show_default=True,
              help="The network that is to see them; it has size and task, such as unet for masks.")  # fmt: skip
@image_option
@task_option
@click.option("--n", type=click.IntRange(1, 400), default=24, show_default=True,
              help="Augmented images, four of each record.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=DEFAULTS.seed, show_default=True,
              help="Of records and augmentation.")  # fmt: skip
@click.option("--data-dir", type=Place(file_okay=False), help="Where TFDS sets lie.")
@split_options()
def show(spec, augment, out, name, image, task, n, seed, data_dir, shares, split_seed):
    """Draw training records as a network will see them: decoded, resized, augmented.

    SPEC is digits, shapes, shapes:many, tfds:NAME or a folder. A row is a record: unchanged, then four times augmented.

    \b
    cnn-app data show photos --augment strong --out sheet.png
    """
    from pathlib import Path

    from cnn_app.atomic import check_place
    from cnn_app.cli import view
    from cnn_app.cli.options import with_image
    from cnn_app.jobs.show import show as draw
    from cnn_app.recipe import Data, Schedule

    check_place(Path(out))
    source = Data(source=os.path.expanduser(spec), directory=data_dir, on_bad_image="skip", split=shares,
                  split_seed=split_seed)  # fmt: skip
    schedule = Schedule(augment=DEFAULTS.augment if augment is None else augment, seed=seed)
    with view.reading() as progress:
        drawn = draw(name, source, out, columns=with_image({}, image), options=dict(task), schedule=schedule, n=n,
                     progress=progress)  # fmt: skip
    view.say(f"{out}: {', '.join(drawn.augment) or 'no augmentation'}")
