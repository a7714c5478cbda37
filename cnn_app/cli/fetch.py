import click

from cnn_app.cli.deliver.options import channel_option, device_option
from cnn_app.cli.options import json_option


@click.command()
@click.argument("catalogue", metavar="URL|DIR")
@click.argument("name")
@click.option("--root", required=True, type=click.Path(dir_okay=False), help="The root metadata that the app ships.")
@click.option("--out", required=True, type=click.Path(dir_okay=False), metavar="FILE", help="A .tflite file.")
@channel_option
@device_option
@click.option("--app", default="", metavar="VERSION", help="Of the app; without it every model fits.")
@click.option("--runtime", metavar="VERSION", help="Of TFLite; by default that of tflite-runtime, if it is installed.")
@json_option
def fetch(catalogue, name, root, out, channel, device, app, runtime, as_json):
    """Bring the newest model NAME that fits to FILE, verified. What fails leaves the old file.

    \b
    cnn-app fetch https://example.org/models photos --root root.json --out photos.tflite --app 1.4
    """
    from dataclasses import asdict

    from cnn_app.cli import view
    from cnn_app.delivery import client
    from cnn_app.delivery.entry import Wanted

    runtime = client.installed_runtime() if runtime is None else runtime
    wanted = Wanted(name=name, channel=channel, device=device, app=app, runtime=runtime)
    fetched = client.fetch(catalogue, wanted, root=root, out=out)
    entry, checked = fetched.entry, f"{fetched.checked or 'no'} golden answers checked"
    if as_json:
        path = {"path": fetched.path, "changed": fetched.changed, "checked": fetched.checked}
        view.echo_json(asdict(entry) | path)
    else:
        state = f"new, {checked}" if fetched.changed else "unchanged"
        view.say(f"{fetched.path}: {entry.name} {entry.version}, {entry.bytes:,} bytes, {state}")
