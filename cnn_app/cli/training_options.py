"""Options of the commands that train, and what they become."""

import functools
from contextlib import nullcontext

import click
from click.core import ParameterSource

from cnn_app.artifacts import ModelDir, training_directory
from cnn_app.cli.options import (
    Numbers,
    Place,
    augment_option,
    columns_option,
    devices_option,
    image_option,
    json_option,
    log_option,
    overwrite_option,
    resume_option,
    task_option,
)
from cnn_app.recipe import CLASS_WEIGHTS, OPTIMIZERS, PRECISIONS, RATES, STARTS, Distillation, Schedule, Transfer

DEFAULTS = Schedule()


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
    default = Distillation(teacher="")

    @click.option("--teacher", type=Place(file_okay=False), metavar="DIR",
                  help="A model directory whose answers are learned, too.")  # fmt: skip
    @click.option("--teacher-share", type=click.FloatRange(0, 1), default=default.share, show_default=True,
                  help="Of the loss that is of its answers.")  # fmt: skip
    @click.option("--temperature", type=click.FloatRange(0.01, 1000), default=default.temperature, show_default=True,
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


def training_options(command):
    """What `train` and `finetune` share beside data and schedule."""

    @functools.wraps(command)
    def wrapped(**given):
        run = {name: given[name] for name in ("resume", "overwrite")}
        written = not given["dry_run"] and not given["overfit_batch"]
        with training_directory(given["out"], **run) if written else nullcontext(ModelDir(given["out"])) as directory:
            return command(**given | {"out": str(directory.path)})

    for option in reversed((columns_option, image_option, task_option, *run_options, json_option)):
        wrapped = option(wrapped)
    return wrapped
