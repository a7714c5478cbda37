"""What `predict` shows: answers one by one, what went wrong at the end."""

import re
from pathlib import Path
from typing import NamedTuple

from cnn_app.cli import view

FORMATS = (".csv", ".jsonl", ".parquet")
UNLIKE = "  (unlike the training data)"


class Folders(NamedTuple):
    """Where what is drawn goes, if anywhere: answers, masks, and images under them."""

    draw: str | None
    masks: str | None
    overlays: str | None


def kind_of(taken):
    """What a record is called in an answer: image, text, audio."""
    return taken.encoded.removesuffix("_bytes")


def opened(artifact, labels, trust):
    """A runtime and its task; labels: a file of names for classes that have none."""
    from cnn_app.quiet import quiet_tensorflow

    quiet_tensorflow()
    from cnn_app.jobs.opened import opened_as
    from cnn_app.jobs.predict import labelled

    runtime, task = opened_as(artifact, trust)
    return runtime, labelled(runtime, task, Path(labels)) if labels else task


def computed(runtime, task, places, stdin, top, draw):
    """(kind of record, name, answer, text or error) by an artifact."""
    from cnn_app.jobs.predict import predictions

    for found in predictions(runtime, task, places, top, stdin):
        if found.error is not None:
            yield kind_of(task.input), found.name, None, found.error
            continue
        if draw:
            task.draw(found.outputs, found.record, found.name, Path(draw) / f"{file_name(found.name)}.png")
        yield (
            kind_of(task.input),
            found.name,
            found.answer,
            task.text(found.answer) + (UNLIKE if found.answer.get("unlike") else ""),
        )


def mapped(runtime, task, places, stdin, top, folders, tile, overlap):
    """The same, with masks as large as their images."""
    from cnn_app.jobs.maps import Tiles, maps

    used = {}
    for found in maps(runtime, task, places, top, stdin, Tiles(overlap) if tile else None):
        if found.error is not None:
            yield kind_of(task.input), found.name, None, found.error
            continue
        file = file_name(found.name)
        used[file] = used.get(file, 0) + 1
        found.keep(task, f"{file}-{used[file]}.png" if used[file] > 1 else f"{file}.png", **folders._asdict())
        yield kind_of(task.input), found.name, found.answer, task.text(found.answer)


def file_name(name):
    """A record's name as that of a file."""
    return re.sub(r"[^\w.-]+", "-", Path(name).stem)[:80] or "record"


def asked(endpoint, key, timeout, ca_file, places, stdin, top):
    """The same by a server."""
    from cnn_app import inputs
    from cnn_app.errors import CnnAppError
    from cnn_app.serving.client import Client

    with Client(endpoint, key, timeout, ca_file) as client:
        taken = inputs.by_encoded(client.encoded)
        records = list(taken.records(places, stdin))
        good = [data for _, data in records if not isinstance(data, CnnAppError)]
        with view.counting("asking", len(good)) as count:
            found = iter(count(client.each(good, client.encoded)))
            for name, data in records:
                result = data if isinstance(data, CnnAppError) else next(found)
                if result is data:
                    yield kind_of(taken), name, None, data
                elif isinstance(result, CnnAppError):
                    yield kind_of(taken), name, None, f"{name}: {result}"
                else:
                    yield kind_of(taken), name, result.told(top), result.text(top)


def show(found, out, as_json):
    """Print, write, and exit with 1 if something could not be answered."""
    answers, bad = [], 0
    for kind, name, answer, told in found:
        if answer is None:
            bad += 1
            view.say(f"Error: {told}", err=True)
            continue
        answers.append({kind: name, **answer})
        if not as_json:
            view.say(f"{name}: {told}")
    if as_json:
        view.echo_json(answers)
    if out:
        from cnn_app.jobs.answer_tables import write

        write(Path(out), lambda: answers)
    if bad:
        raise SystemExit(1)


def scored(runtime, task, data, out, top, as_json):
    """A table of the records of a folder or a table, which holds what went wrong with each, too."""
    from dataclasses import asdict

    from cnn_app.jobs.score import score

    with view.rated("scoring", task.input.plural) as progress:
        found = score(runtime, task, data.source, out, top, directory=data.directory, encoding=data.encoding,
                      progress=progress)  # fmt: skip
    told = f", {found.taken:,} of them before" if found.taken else ""
    bad = f", {found.errors:,} could not be read" if found.errors else ""
    line = f"{out}: {found.records:,} {task.input.plural}{told}{bad}; {found.per_second:,.1f} a second"
    view.echo(asdict(found), line, as_json)
