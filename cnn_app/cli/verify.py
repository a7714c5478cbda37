import click

from cnn_app.cli.options import json_option, trust_option


@click.command()
@click.argument("artifacts", nargs=-1, required=True, type=click.Path(exists=True), metavar="ARTIFACT...")
@trust_option
@json_option
def verify(artifacts, trust, as_json):
    """Repeat on this machine what each exported ARTIFACT answered where it was exported.

    The golden answers lie beside a .tflite or .onnx file, and inside a SavedModel.

    \b
    cnn-app verify saved_models/photos/mobile/photos-int8.tflite saved_models/photos/serving/1
    """
    from dataclasses import asdict

    from cnn_app.cli import view
    from cnn_app.errors import ExportError
    from cnn_app.export import golden

    checks = [golden.check(artifact, trust=trust) for artifact in artifacts]
    if as_json:
        view.echo_json([asdict(check) | {"passed": check.passed} for check in checks])
    else:
        rows = [
            (check.artifact, check.n, f"{check.agreement:.4f}", f"{check.max_difference:.1e}", f"{check.tolerance:.0e}",
             "stale" if check.stale else "yes" if check.untouched else "no", "passed" if check.passed else "FAILED")
            for check in checks
        ]  # fmt: skip
        view.table(["artifact", ">records", ">agreement", ">max |Δ|", ">allowed", "as exported", "result"], rows)
    failed = [check.artifact for check in checks if not check.passed]
    if stale := [check.artifact for check in checks if check.stale]:
        raise ExportError(f"{', '.join(stale)} was exported of a model that was replaced since; export it again")
    if failed:
        raise ExportError(f"{', '.join(failed)} does not answer as it was exported; copy it again, or export it here")
