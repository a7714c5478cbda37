import click

from cnn_app.cli.options import json_option


@click.command()
@json_option
def doctor(as_json):
    """Show versions and devices, say why there is no GPU, and try every export target on a small network.

    Exits 1 if an export target does not work here; a missing GPU is no failure.
    """
    from cnn_app import doctor as examination
    from cnn_app.cli import view
    from cnn_app.errors import ExportError

    report = examination.examine()
    if as_json:
        view.echo_json(report)
    else:
        _show(report, view.table)
    broken = [check["target"] for check in report["targets"] if not check["ok"]]
    if broken:
        raise ExportError(f"these export targets do not work here: {', '.join(broken)}")


def _show(report, table):
    packages = [(name, version or "not installed") for name, version in report["packages"].items()]
    table(["package", "version"], [("python", report["python"]), *packages])
    gpu, devices = report["gpu"], ", ".join(report["devices"])
    memory = f"{report['free_memory'] / 1e9:.1f} GB"
    table(["CPU cores", "free memory", "Keras backend", "devices"],
          [(report["cores"], memory, report["backend"], devices)])  # fmt: skip
    if not gpu["seen"]:  # below the table, where nothing is wrapped, so that it can be copied
        click.echo(f"No GPU: {gpu['reason']}\n  {gpu['advice']}\n")
    elif gpu["reason"]:
        click.echo(f"{gpu['reason']}\n  {gpu['advice']}\n")
    table(["export target", ">max |Δp|", "result"], map(_row, report["targets"]))
    for check in report["targets"]:
        if not check["ok"]:
            click.echo(f"{check['target']}: {check['reason']}")


def _row(check):
    difference = check["max_difference"]
    return check["target"], "" if difference is None else f"{difference:.1e}", "ok" if check["ok"] else "fails"
