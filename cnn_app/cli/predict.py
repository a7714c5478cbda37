import os
import sys
from pathlib import Path

import click

from cnn_app.cli.options import Place, json_option, trust_option


@click.command()
@click.argument("places", nargs=-1, required=True, metavar="[ARTIFACT] RECORD...")
@click.option(
    "--data",
    "spec",
    metavar="FOLDER|TABLE",
    help="In the place of RECORDs any number of them: a folder, or a .csv or .parquet with the column path.",
)
@click.option("--data-dir", type=Place(file_okay=False), help="Where the paths of that table start.")
@click.option(
    "--endpoint", metavar="URL", help="Ask a server instead of an ARTIFACT: http(s):// or grpc(s)://HOST:PORT/NAME."
)
@click.option("--api-key-file", type=Place(exists=True, dir_okay=False),
              help="Of the server; CNN_APP_API_KEY in the environment comes first.")  # fmt: skip
@click.option("--ca-file", type=Place(exists=True, dir_okay=False), help="Whom to trust for TLS, as PEM.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), default=30, show_default=True,
              help="Seconds for an answer of the server.")  # fmt: skip
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="Labels for each record.")
@click.option("--draw", type=Place(file_okay=False), help="Draw each answer into this folder, where it can be drawn.")
@click.option("--masks", type=Place(file_okay=False), metavar="FOLDER",
              help="Of segmentation: write masks into this folder, PNGs of places as large as the image.")  # fmt: skip
@click.option("--overlays", type=Place(file_okay=False), metavar="FOLDER",
              help="Of segmentation: write each image under its mask, as large as it is.")  # fmt: skip
@click.option("--tile", is_flag=True,
              help="Of segmentation: by tiles of the network's size, at the scale of the image.")  # fmt: skip
@click.option("--overlap", type=click.IntRange(0), help="Pixels that tiles share; a quarter by default.")
@click.option("--labels", type=Place(exists=True, dir_okay=False),
              help="Names of classes, a line each up to an empty one, for a file without labels.")  # fmt: skip
@click.option(
    "--out",
    type=Place(dir_okay=False),
    help="Write the answers into this .csv, .jsonl or .parquet, too; with --data there alone.",
)
@trust_option
@json_option
@click.pass_context
def predict(ctx, places, spec, data_dir, endpoint, api_key_file, ca_file, timeout, top, draw, masks, overlays, tile,
            overlap, labels, out, trust, as_json):  # fmt: skip
    """Answer each RECORD: an image or text file, a folder, a sentence, or - for standard input.

    ARTIFACT is a model directory, .keras, .tflite, .onnx or a SavedModel directory. What cannot be read is named, the
    rest is answered all the same, and the command exits with 1. With --data it has a row in the table, and the same
    command goes on where a killed one stood.

    \b
    cnn-app predict photos-int8.tflite --data photos --out answers.csv
    cnn-app predict saved_models/photos/mobile/photos-int8.tflite holiday.jpg
    cnn-app predict saved_models/membrane slide.png --tile --masks masks --overlays overlays
    cnn-app predict --endpoint http://127.0.0.1:8501/photos holiday.jpg
    """
    from cnn_app.atomic import check_place
    from cnn_app.cli import answers, options
    from cnn_app.recipe import Data

    if out and Path(out).suffix not in answers.FORMATS:
        raise click.UsageError(f"--out ends in {' or '.join(answers.FORMATS)}, received {out}", ctx)
    given = {"--draw": draw, "--masks": masks, "--overlays": overlays, "--tile": tile, "--labels": labels}
    if endpoint and (needy := [name for name, value in given.items() if value]):
        raise click.UsageError(f"{needy[0]} needs an ARTIFACT: a server does not send what was drawn upon", ctx)
    if spec:
        others = {"--endpoint": endpoint, **{name: value for name, value in given.items() if name != "--labels"}}
        if not out or len(places) != 1 or any(others.values()):
            raise click.UsageError("--data goes with an ARTIFACT and --out, and without RECORDs, --endpoint, --draw, "
                                   "--masks, --overlays and --tile", ctx)  # fmt: skip
    if overlap is not None and not tile:
        raise click.UsageError("--overlap is of tiles, which --tile makes", ctx)
    if out:
        check_place(Path(out))
    if endpoint:
        found = answers.asked(endpoint, options.api_key(api_key_file), timeout, ca_file, places, sys.stdin.buffer, top)
    else:
        artifact = Place(exists=True).convert(places[0], None, ctx)
        if len(places) == 1 and not spec:
            raise click.UsageError("Missing argument 'RECORD...'.", ctx)
        opened = answers.opened(artifact, labels, trust)
        if spec:
            source = Data(source=os.path.expanduser(spec), directory=data_dir)
            return answers.scored(*opened, source, out, top, as_json)
        if masks or overlays or tile:
            kept = answers.Folders(draw, masks, overlays)
            found = answers.mapped(*opened, places[1:], sys.stdin.buffer, top, kept, tile, overlap)
        else:
            found = answers.computed(*opened, places[1:], sys.stdin.buffer, top, draw)
    answers.show(found, out, as_json)
