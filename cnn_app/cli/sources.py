"""Options that say which data, and what they become."""

import functools
import os

import click

from cnn_app.cli.options import Place
from cnn_app.recipe import Data
from cnn_app.shares import BY_NAME, SHARES


def data_options(required=True, split="--split"):
    """`data=Data(...)`; None where --data may be left out and was. `split` is the name of the option for shares."""

    def decorate(command):
        @click.option(
            "--data",
            "spec",
            required=required,
            metavar="SPEC",
            help="digits, shapes, shapes:many, tfds:NAME, a folder, a table or a .pack; see docs/data.md.",
        )
        @click.option("--data-dir", type=Place(file_okay=False), help="Where TFDS sets lie, or the files of a table.")
        @click.option("--on-bad-image", type=click.Choice(["error", "skip"]), default="error", show_default=True,
                      help="What to do with a record that cannot be read.")  # fmt: skip
        @click.option("--encoding", default="utf-8", show_default=True, help="Of text files.")
        @split_options(split)
        @functools.wraps(command)
        def wrapped(spec, data_dir, on_bad_image, encoding, shares, split_seed, **rest):
            if spec is None:
                return command(data=None, **rest)
            data = Data(source=os.path.expanduser(spec), directory=data_dir, on_bad_image=on_bad_image,
                        encoding=encoding, split=shares, split_seed=split_seed)  # fmt: skip
            return command(data=data, **rest)

        return wrapped

    return decorate


def split_options(name="--split"):
    """`shares` and `split_seed`, for data that do not say what is for testing."""

    def decorate(command):
        command = click.option("--split-seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True,
                               help="Of the order that shares are cut from.")(command)  # fmt: skip
        return click.option(name, "shares", metavar="T/V/T", help="Percents of train, val and test of data without "
                            f"splits: by default {SHARES}, or those of the model; {BY_NAME} divides as 0.1.0 did."
                            )(command)  # fmt: skip

    return decorate
