import click

from cnn_app.cli.options import DEFAULTS, Network, Place, augment_option, image_option, json_option


@click.group()
def data():
    """Look at images before training on them."""


@data.command()
@click.argument("path", type=click.Path(exists=True, file_okay=False))
@json_option
def check(path, as_json):
    """Report counts, sizes, files that cannot be read or are left out, and equal images in the class folders in PATH.

    Exits with 1 if a file cannot be read or lies in two splits or classes, or if training would refuse the folder.
    """
    from dataclasses import asdict
    from pathlib import Path

    from cnn_app.cli import view
    from cnn_app.data.dataset import SPLITS
    from cnn_app.inputs.files import SUFFIXES
    from cnn_app.tasks.class_folders import check as look

    with view.reading() as progress:
        finding = look(Path(path), progress)
    if as_json:
        view.echo_json(asdict(finding))
    else:
        rows = [
            (label, *(count.get(name, 0) for name in SPLITS), sum(count.values()))
            for label, count in finding.counts.items()
        ]
        view.table(["class", *(f">{name}" for name in SPLITS), ">all"], rows)
        if sizes := finding.sizes:
            kinds = ", ".join(f"{count} {kind}" for kind, count in finding.formats.items())
            view.say(f"{kinds}; sides from {sizes['smallest']} to {sizes['largest']} pixels, median "
                       f"{sizes['width']}x{sizes['height']}")  # fmt: skip
        for file, reason in finding.unreadable.items():
            view.say(f"unreadable: {file}: {reason}")
        for group in finding.duplicates:
            view.say(f"in more than one split: {', '.join(group)}")
        for group in finding.conflicts:
            view.say(f"in more than one class: {', '.join(group)}")
        for group in finding.repeated:
            view.say(f"the same image again: {', '.join(group)}")
        for split, labels in finding.absent.items():
            view.say(f"{split} has no image of {', '.join(labels)}")
        if finding.left_out:
            kinds = ", ".join(f"{count} {suffix or 'without a suffix'}" for suffix, count in finding.left_out.items())
            view.say(f"left out: {kinds}; images end in {', '.join(SUFFIXES)}")
        if finding.refusal:
            view.say(f"training would refuse this: {finding.refusal}")
    if not finding.sound:
        raise SystemExit(1)


@data.command()
@click.argument("spec")
@augment_option
@click.option("--out", required=True, type=Place(dir_okay=False), help="The PNG to write.")
@click.option("--model", "name", type=Network(), default="resnet18", show_default=True,
              help="The network that is to see them; it has size and task, such as unet for masks.")  # fmt: skip
@image_option
@click.option("--n", type=click.IntRange(1, 400), default=24, show_default=True,
              help="Augmented images, four of each record.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=DEFAULTS.seed, show_default=True,
              help="Of records and augmentation.")  # fmt: skip
@click.option("--data-dir", type=Place(file_okay=False), help="Where TFDS sets lie.")
def show(spec, augment, out, name, image, n, seed, data_dir):
    """Draw training records as a network will see them: decoded, resized, augmented.

    SPEC is digits, shapes, tfds:NAME or a folder. A row is a record: unchanged, then four times augmented.

    \b
    cnn-app data show photos --augment strong --out sheet.png
    """
    import os
    from pathlib import Path

    from cnn_app.atomic import check_place
    from cnn_app.cli import view
    from cnn_app.cli.options import with_image
    from cnn_app.jobs.show import show as draw
    from cnn_app.recipe import Data, Schedule

    check_place(Path(out))
    source = Data(source=os.path.expanduser(spec), directory=data_dir, on_bad_image="skip")
    schedule = Schedule(augment=DEFAULTS.augment if augment is None else augment, seed=seed)
    with view.reading() as progress:
        drawn = draw(name, source, out, columns=with_image({}, image), schedule=schedule, n=n, progress=progress)
    view.say(f"{out}: {', '.join(drawn.augment) or 'no augmentation'}")
