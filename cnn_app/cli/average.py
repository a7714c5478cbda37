import click

from cnn_app.cli.options import data_options, json_option, out_option


@click.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False), metavar="DIR DIR...")
@out_option
@data_options(required=False)
@json_option
def average(models, out, data, as_json):
    """Average the weights of models of one network, such as runs that went on from the same weights, into one.

    All are measured on the test images of --data, or of those that the first was trained on.

    \b
    cnn-app average saved_models/seed0 saved_models/seed1 --out saved_models/photos
    """
    from dataclasses import replace

    from cnn_app import evaluation
    from cnn_app.artifacts import ModelDir
    from cnn_app.cli import view
    from cnn_app.errors import ModelError
    from cnn_app.transfer import averaging

    sources, target = [ModelDir(model) for model in models], ModelDir(out)
    if len(sources) < 2:
        raise ModelError(f"an average needs two models or more, received {len(sources)}")
    data = data or evaluation.trained_on(sources[0])
    card = averaging.average(sources, target)
    with view.reading() as progress:
        measured = evaluation.evaluate((*models, out), data, progress=progress)
    target.write_card(replace(card, metrics={"test": measured.reports[out].figures}))
    if as_json:
        return view.echo_json(
            {name: {"top1": r.top1, "loss": r.loss, "n": r.n} for name, r in measured.reports.items()}
        )
    view.reports(measured.reports)
