"""`python -m cnn_app`, where the folder of `cnn-app` is not on the PATH."""

from cnn_app.cli.main import cli

if __name__ == "__main__":
    cli()
