"""Options that several commands share, and what they become."""

import os
import tomllib

import click

from cnn_app.architectures.reference import REFERENCE
from cnn_app.artifacts import is_model
from cnn_app.augmentations import AUGMENTATIONS, KNOWN, PRESETS
from cnn_app.errors import ArtifactError, unknown
from cnn_app.training.loggers import LOGGERS


class Size(click.ParamType):
    """96, 96x128 or 96x96x1 -> (height, width, channels)."""

    name = "HxWxC"

    def convert(self, value, param, ctx):
        try:
            sides = tuple(int(side) for side in value.lower().split("x"))
        except (AttributeError, ValueError):
            sides = ()
        if not 1 <= len(sides) <= 3 or min(sides) < 1:
            self.fail(f"{value!r} is no size; write 96, 96x128 or 96x96x1", param, ctx)
        return (sides * 2 + (3,) if len(sides) == 1 else sides + (3,))[:3] if len(sides) < 3 else sides


class Column(click.ParamType):
    """width=0.5 -> ("width", 0.5); the value as in TOML, or a bare word."""

    name = "NAME=VALUE"

    def convert(self, value, param, ctx):
        name, found, text = value.partition("=")
        if not (name and found):
            self.fail(f"{value!r} is no column; write width=0.5", param, ctx)
        try:
            parsed = tomllib.loads(f"value = {text}")["value"]
        except ValueError:
            parsed = text
        return name, tuple(parsed) if isinstance(parsed, list) else parsed


class Place(click.Path):
    """A path in which ~ is a home, also behind an equals sign, where no shell replaces it."""

    def convert(self, value, param, ctx):
        return super().convert(os.path.expanduser(value) if isinstance(value, str) else value, param, ctx)


class Network(click.ParamType):
    """The name of a network, or what holds a model where that is allowed; told before anything heavy is imported."""

    name = "NAME"

    def __init__(self, or_model=False):
        self.or_model = or_model

    def convert(self, value, param, ctx):
        value = os.path.expanduser(value)
        if value in REFERENCE or (self.or_model and is_model(value)):
            return value
        if self.or_model and os.path.exists(value):
            raise ArtifactError(f"no model at {value}; a model directory or a .keras file is one")
        raise unknown("model", value, REFERENCE)


class Words(click.ParamType):
    """Comma-separated words of a known set; `none` is the empty one."""

    name = "A,B"

    def __init__(self, known):
        self.known = known

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        words = tuple(word.strip() for word in value.split(",") if word.strip() not in ("", "none"))
        for word in words:
            if word not in self.known:
                self.fail(f"{word!r} is unknown; known: {', '.join(self.known)}", param, ctx)
        return words


class Numbers(click.ParamType):
    """Comma-separated numbers; `none` is none."""

    name = "N,N"

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(number) for number in value.split(",") if number.strip() not in ("", "none"))
        except ValueError:
            self.fail(f"{value!r} is no list of numbers; write 80,120", param, ctx)


augment_option = click.option(
    "--augment", type=Words(KNOWN),
    help=f"{', '.join(PRESETS)}, or of {', '.join(AUGMENTATIONS)}; none for none.",
)  # fmt: skip


columns_option = click.option("-c", "--column", "columns", type=Column(), multiple=True,
                              help="Change a column of the network's row, such as width=0.5.")  # fmt: skip
task_option = click.option("-t", "--task", "task", type=Column(), multiple=True,
                           help="An option of the network's task, such as loss=dice, or name=multilabel.")  # fmt: skip
image_option = click.option(
    "--image", type=Size(), help="Input size of images, such as 96 or 28x28x1; by default the network's own."
)
trust_option = click.option("--trust", is_flag=True,
                            help="Run files of others without limits, as you know who made them.")  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
out_option = click.option("--out", required=True, type=Place(file_okay=False), help="The model directory to write.")
store_option = click.option("--store", default="saved_models", show_default=True, type=Place(file_okay=False),
                            help="Where model directories lie.")  # fmt: skip
resume_option = click.option("--resume", is_flag=True, is_eager=True, help="Go on with the run that was stopped.")
overwrite_option = click.option("--overwrite", is_flag=True, is_eager=True, help="Replace the model that is there.")
devices_option = click.option("--devices", metavar="all|N|0,2",
                              help="Share batches between all, the first N, or these devices.")  # fmt: skip
log_option = click.option("--log", "logs", type=click.Choice(LOGGERS), multiple=True,
                          help="Where else the numbers of the run are written.")  # fmt: skip


def api_key(path):
    """The key of an endpoint: from the environment, or else the file at `path`; None if there is neither."""
    from pathlib import Path

    from cnn_app.errors import ServingError

    key = os.environ.get("CNN_APP_API_KEY") or (Path(path).read_text("utf-8", "replace").strip() if path else None)
    if key == "" or (key and not (key.isascii() and key.isprintable())):
        raise ServingError(f"{path or 'CNN_APP_API_KEY'} holds no key; write one line of printable characters")
    return key


def with_image(columns, image):
    """Columns of a row, --image among them."""
    return dict(columns) | ({"image": image} if image else {})


def lines(path):
    """Of a text file, such as the names of classes."""
    from pathlib import Path

    from cnn_app.errors import DataError

    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8; save it as that") from error
