import os

import click

from cnn_app.cli.options import Place, json_option
from cnn_app.cli.sources import split_options

SHOWN = 5  # classes with few records


@click.command()
@click.argument("spec", metavar="SPEC")
@click.option("--data-dir", type=Place(file_okay=False), help="Where TFDS sets lie.")
@split_options()
@json_option
def check(spec, data_dir, shares, split_seed, as_json):
    """Report counts, sizes, files that cannot be read or are left out, and equal images of SPEC.

    SPEC is a folder of class folders or with labels.csv; of digits, shapes, shapes:many and tfds:NAME records are
    counted. It tells also what a figure on the test split will be worth.
    Exits with 1 if a file cannot be read or lies in two splits or classes, or if training would refuse the folder.
    """
    from dataclasses import asdict

    from cnn_app.cli import view
    from cnn_app.recipe import Data
    from cnn_app.tasks.image_folders import check as look

    source = Data(source=os.path.expanduser(spec), directory=data_dir, split=shares, split_seed=split_seed)
    with view.reading() as progress:
        finding = look(source, progress)
    if as_json:
        view.echo_json(asdict(finding) | {"tested": finding.tested, "few": finding.few})
    else:
        _show(finding)
    if not finding.sound:
        raise SystemExit(1)


def _show(finding):
    from cnn_app.cli import view
    from cnn_app.data.dataset import SPLITS
    from cnn_app.inputs.files import SUFFIXES

    rows = [
        (label, *(count.get(name, 0) for name in SPLITS), sum(count.values()))
        for label, count in finding.counts.items()
    ]
    several = finding.unlabelled is not None
    view.table(["label" if several else "class", *(f">{name}" for name in SPLITS), ">all"], rows)
    if sizes := finding.sizes:
        kinds = ", ".join(f"{count} {kind}" for kind, count in finding.formats.items())
        view.say(f"{kinds}; sides from {sizes['smallest']} to {sizes['largest']} pixels, median "
                 f"{sizes['width']}x{sizes['height']}")  # fmt: skip
    for file, reason in finding.unreadable.items():
        view.say(f"unreadable: {file}: {reason}")
    differ = "with different labels" if several else "in more than one class"
    for what, groups in (("in more than one split", finding.duplicates), (differ, finding.conflicts),
                         ("the same image again", finding.repeated)):  # fmt: skip
        for group in groups:
            view.say(f"{what}: {', '.join(group)}")
    for split, labels in finding.absent.items():
        view.say(f"{split} has no image of {', '.join(labels)}")
    if finding.left_out:
        kinds = ", ".join(f"{count} {suffix or 'without a suffix'}" for suffix, count in finding.left_out.items())
        view.say(f"not listed: {kinds}" if several else f"left out: {kinds}; images end in {', '.join(SUFFIXES)}")
    if finding.unlabelled:
        view.say(f"without a label: {finding.unlabelled}")
    if finding.tested == "val":
        view.say("no test split: val stands in for it, and its figures are optimistic, as the checkpoint is chosen "
                 "on it")  # fmt: skip
    for label, n in [*finding.few.items()][:SHOWN]:
        worth = "is 0 or 1" if n == 1 else f"goes in steps of {1 / n:.2f}"
        view.say(f"{finding.tested} has {n} record{'s' * (n > 1)} of {label}: the recall of that class {worth}")
    if (more := len(finding.few) - SHOWN) > 0:
        view.say(f"{finding.tested} has few records of {more} more classes")
    if finding.refusal:
        view.say(f"training would refuse this: {finding.refusal}")
