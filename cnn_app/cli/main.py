"""`cnn-app`: the group and its error handling."""

import functools
import sys
from importlib import import_module

import click

from cnn_app.errors import CnnAppError, printable
from cnn_app.quiet import quiet_tensorflow
from cnn_app.systems import write_utf8

# To add a command: a module here with a function of its name, and its name in this list.
COMMANDS = (
    "models",
    "inspect",
    "compare",
    "lecture",
    "data",
    "train",
    "finetune",
    "adopt",
    "evaluate",
    "predict",
    "features",
    "visualize",
    "reconstruct",
    "play",
    "average",
    "report",
    "export",
    "verify",
    "benchmark",
    "serving",
    "deliver",
    "fetch",
    "serve",
    "run",
    "tune",
    "quickstart",
    "doctor",
)
BROUGHT = {  # extra -> what it brings, by the names that are imported
    "train": ("h5py", "jax", "keras", "matplotlib", "onnx", "sacrebleu", "safetensors", "scipy", "sklearn",
              "tensorflow", "tensorflow_datasets", "tf2onnx"),
    "serve": ("google", "grpc", "httptools", "prometheus_client", "starlette", "uvicorn"),
}  # fmt: skip
LIGHT = (
    "deliver",
    "fetch",
    "models",
    "predict",
    "quickstart",
    "run",
    "serve",
    "serving",
    "tune",
)  # they do without TensorFlow, or import it when they need it


class Cli(click.Group):
    """Turns our own errors into one line; anything else is a bug and keeps its traceback."""

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except CnnAppError as error:
            told = click.ClickException(printable(str(error)))
            told.exit_code = getattr(error, "exit_code", 1)  # 130 or 143 for a run that a signal stopped
            raise told from error
        except ModuleNotFoundError as error:
            name = (error.name or "").partition(".")[0]
            extra = next((extra for extra, names in BROUGHT.items() if name in names), None)
            if extra is None:
                raise
            raise click.ClickException(f"{name} is not installed; pip install 'cnn-app[{extra}]'") from error


@click.group(cls=Cli, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cnn-app")
def cli():
    """Train, fine-tune, quantize and verify convolutional networks for phones, endpoints and other runtimes."""
    write_utf8(sys.stdout, sys.stderr)


def quietly(command: click.Command) -> click.Command:
    """Import TensorFlow once the command really runs, and without its notes."""
    if isinstance(command, click.Group):
        for child in command.commands.values():
            quietly(child)
        return command
    callback = command.callback
    assert callback is not None

    @functools.wraps(callback)
    def run(**options):
        quiet_tensorflow()
        return callback(**options)

    command.callback = run
    return command


for _name in COMMANDS:
    _command = getattr(import_module(f"cnn_app.cli.{_name}"), _name)
    cli.add_command(_command if _name in LIGHT else quietly(_command))
