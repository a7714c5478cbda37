"""Options that several commands share, and what they become."""

import functools
import os
import tomllib
from contextlib import ExitStack

import click
from click.core import ParameterSource

from cnn_app import cluster
from cnn_app.architectures.reference import REFERENCE
from cnn_app.artifacts import ModelDir, is_model
from cnn_app.augmentations import AUGMENTATIONS, KNOWN, PRESETS
from cnn_app.errors import ArtifactError, unknown
from cnn_app.recipe import CLASS_WEIGHTS, OPTIMIZERS, PRECISIONS, RATES, STARTS, Distillation, Schedule, Transfer
from cnn_app.training.loggers import LOGGERS

DEFAULTS = Schedule()


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


def schedule_options(**defaults):
    """`schedule`, the fields of one that were given; what others are is the command's default, as `--help` shows."""
    default = {name: getattr(DEFAULTS, name) for name in Schedule.__dataclass_fields__} | defaults
    options = [
        click.option("--epochs", type=click.IntRange(1), help="Passes over the training images."),
        click.option("--batch", type=click.IntRange(1), help="Images in a step."),
        click.option("--optimizer", type=click.Choice(OPTIMIZERS), help="docs/training.md says what each is."),
        click.option("--lr", type=click.FloatRange(0), help="The highest learning rate."),
        click.option("--rate", type=click.Choice(RATES), help="How the learning rate falls."),
        click.option("--rate-decay", type=click.FloatRange(0, 1), help="What an epoch leaves of it: exponential."),
        click.option("--milestones", type=Numbers(), help="Epochs at which it falls to a tenth: steps."),
        click.option("--warmup", type=click.FloatRange(0), help="Epochs of rising learning rate."),
        click.option("--momentum", type=click.FloatRange(0, 1), help="Of SGD and RMSprop."),
        click.option("--weight-decay", type=click.FloatRange(0), help="Not on biases and normalization."),
        click.option("--label-smoothing", type=click.FloatRange(0, 1), help="Share given to the other classes."),
        augment_option,
        click.option("--class-weights", type=click.Choice(CLASS_WEIGHTS), help="Let rare classes count more."),
        click.option(
            "--patience", type=click.IntRange(0), help="End after so many epochs without a better one; 0: never."
        ),
        click.option("--seed", type=click.IntRange(0), help="Of weights, order and augmentation."),
        click.option(
            "--ema",
            type=click.FloatRange(0, 1, max_open=True),
            help="What averages of the weights, which are kept, keep of themselves at a step; 0: none.",
        ),
        click.option("--clip", type=click.FloatRange(0), help="The norm that all gradients are kept within; 0: any."),
        click.option("--accumulate", type=click.IntRange(1), help="Batches whose mean gradient is one step."),
        click.option("--precision", type=click.Choice(PRECISIONS), help="Of products; weights stay in float32."),
    ]

    def decorate(command):
        @functools.wraps(command)
        def wrapped(**given):
            source = click.get_current_context().get_parameter_source
            values = {name: given.pop(name) for name in default}
            said = {name: value for name, value in values.items() if source(name) is not ParameterSource.DEFAULT}
            return command(schedule=said, **given)

        for option in reversed(options):
            wrapped = option(wrapped)
        for parameter in wrapped.__click_params__:
            if parameter.name in default:
                value = default[parameter.name]
                parameter.default = ",".join(value) or "none" if isinstance(value, tuple) else value
                parameter.show_default = True
        return wrapped

    return decorate


def transfer_options(command):
    """`transfer=Transfer(...)`."""
    default = Transfer()

    @click.option("--from", "weights", metavar="WEIGHTS",
                  help="A model directory, a file of published weights, or imagenet (downloaded).")  # fmt: skip
    @click.option("--recipe", type=click.Choice(STARTS), default=default.recipe, show_default=True,
                  help="Start a new head as the logistic regression on the features, or at random.")  # fmt: skip
    @click.option("--freeze", default=default.freeze, show_default=True, metavar="backbone|LAYER|none",
                  help="What keeps its weights: all but the head, or all up to a layer or stage.")  # fmt: skip
    @click.option("--unfreeze-at", multiple=True, metavar="EPOCH[:LAYER]",
                  help="From that epoch on, only what is up to LAYER is kept, or nothing.")  # fmt: skip
    @click.option("--layer-decay", type=click.FloatRange(0, 1), default=default.layer_decay, show_default=True,
                  help="Of the learning rate, from each stage to the one in front of it.")  # fmt: skip
    @click.option("--train-batch-norm", is_flag=True, help="Let batch normalization learn and follow the batch, too.")
    @functools.wraps(command)
    def wrapped(weights, recipe, freeze, unfreeze_at, layer_decay, train_batch_norm, **rest):
        transfer = Transfer(weights=weights, recipe=recipe, freeze=freeze, unfreeze_at=unfreeze_at,
                            layer_decay=layer_decay, train_batch_norm=train_batch_norm)  # fmt: skip
        return command(transfer=transfer, **rest)

    return wrapped


def distillation_options(command):
    """`distillation`, a Distillation or None."""

    @click.option("--teacher", type=Place(file_okay=False), metavar="DIR",
                  help="A model directory whose answers are learned, too.")  # fmt: skip
    @click.option("--teacher-share", type=click.FloatRange(0, 1), default=0.5, show_default=True,
                  help="Of the loss that is of its answers.")  # fmt: skip
    @click.option("--temperature", type=click.FloatRange(0.01, 1000), default=4.0, show_default=True,
                  help="That its logits are divided by.")  # fmt: skip
    @functools.wraps(command)
    def wrapped(teacher, teacher_share, temperature, **rest):
        given = Distillation(teacher=teacher, share=teacher_share, temperature=temperature) if teacher else None
        return command(distillation=given, **rest)

    return wrapped


def free_place(ctx, param, value):
    """--out, once it is known that a model may be written there."""
    ModelDir(value).check_free(resume=ctx.params.get("resume", False), overwrite=ctx.params.get("overwrite", False))
    return value


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
run_options = (
    click.option("--out", required=True, type=Place(file_okay=False), callback=free_place,
                 help="The model directory to write."),
    resume_option,
    overwrite_option,
    devices_option,
    log_option,
    click.option("--dry-run", is_flag=True, help="Take one step, show what a run would be, write nothing."),
    click.option("--overfit-batch", is_flag=True, help="See whether one batch can be memorised; write nothing."),
)  # fmt: skip


def api_key(path):
    """The key of an endpoint: from the environment, or else the file at `path`; None if there is neither."""
    from pathlib import Path

    from cnn_app.errors import ServingError

    key = os.environ.get("CNN_APP_API_KEY") or (Path(path).read_text("utf-8", "replace").strip() if path else None)
    if key == "" or (key and not (key.isascii() and key.isprintable())):
        raise ServingError(f"{path or 'CNN_APP_API_KEY'} holds no key; write one line of printable characters")
    return key


def training_options(command):
    """What `train` and `finetune` share beside data and schedule."""

    @functools.wraps(command)
    def wrapped(**given):
        run = {name: given[name] for name in ("resume", "overwrite")}
        written = not given["dry_run"] and not given["overfit_batch"]
        with ExitStack() as stack:
            if written:
                given["out"] = str(stack.enter_context(cluster.place(given["out"], resume=given["resume"])))
                stack.enter_context(ModelDir(given["out"]).training_run(**run))
            return command(**given)

    for option in reversed((columns_option, image_option, task_option, *run_options, json_option)):
        wrapped = option(wrapped)
    return wrapped


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
