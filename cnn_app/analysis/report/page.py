"""The page itself: sections of HTML, with style and script inside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files

from cnn_app.analysis.report.charts import curves
from cnn_app.analysis.report.command import command
from cnn_app.artifacts import Card, ModelDir
from cnn_app.data.dataset import called
from cnn_app.training.records import alike, read_history

MATRIX = 40  # classes of a confusion matrix that is shown whole; of more, the largest entries
ENTRIES = 100
EXPORTED = {  # of a line of exports.json: the key -> the column, and how it is told
    "target": ("target", str), "strategy": ("strategy", str), "drop": (">drop", "{:+.2f}".format),
    "drop_interval": (">95%", lambda ends: "{:+.2f} to {:+.2f}".format(*ends)),
    "agreement": (">agreement", "{:.4f}".format), "max_difference": (">largest difference", "{:.1e}".format),
    "bytes": (">MB", lambda size: f"{size / 1e6:.2f}"), "latency_ms": (">ms", "{:.2f}".format),
    "delegates": (">delegates", str), "n": (">records", "{:,}".format), "path": ("file", str),
}  # fmt: skip
COSTS = {
    "trainable": "parameters", "moving_statistics": "moving statistics", "macs": "multiply-adds",
    "activation_bytes": "bytes of outputs", "peak_activation_bytes": "bytes at once",
}  # fmt: skip


def of_run(name: str, directory: ModelDir, measured: Mapping) -> str:
    """Of a model directory, and what was measured of its model."""
    card, history = directory.read_card(), read_history(directory)
    lines = directory.read_exports()
    parts = [
        _headline(name, card, measured), _curves(card, history), _tables(measured), _confusion(measured),
        _mistakes(measured), _exports(lines), _cost(measured), _settings(card),
    ]  # fmt: skip
    return document(name, parts)


def of_measurement(name: str, about: str, measured: Mapping) -> str:
    """Of what `evaluate` found."""
    head = f"<h1>{escape(name)}</h1><p>{escape(about)}</p>{_tiles(measured.get('metrics', ()))}"
    return document(name, [head, _tables(measured), _confusion(measured), _mistakes(measured), _cost(measured)])


def of_several(directories: Mapping[str, ModelDir]) -> str:
    """Runs side by side: results, curves of what ranks epochs on val, and settings in which they differ."""
    cards = {name: directory.read_card() for name, directory in directories.items()}
    found = {name: card.metrics.get("test", {}) for name, card in cards.items()}
    metrics = list(dict.fromkeys(key for one in found.values() for key, value in one.items()
                                 if isinstance(value, int | float)))  # fmt: skip
    rows = [[name, card.architecture, str(card.data.get("source", "")), str(card.metrics.get("epoch", "")),
             *(_number(found[name].get(key)) for key in metrics)] for name, card in cards.items()]  # fmt: skip
    table = sorted_table(["run", "network", "data", ">epoch kept", *(f">test {key}" for key in metrics)], rows)
    ranked = dict.fromkeys(next(iter(card.metrics.get("val", {})), "") for card in cards.values())
    charts = [
        curves({name: _points(read_history(directory), f"val_{key}") for name, directory in directories.items()},
               "epoch", f"{key} on val")
        for key in ranked if key
    ]  # fmt: skip
    settings = {name: _flat(card) for name, card in cards.items()}
    keys = [key for key in dict.fromkeys(key for one in settings.values() for key in one)
            if len({one.get(key) for one in settings.values()}) > 1]  # fmt: skip
    differ = sorted_table(
        ["setting", *cards], [[key, *(one.get(key, "") for one in settings.values())] for key in keys]
    )
    title = f"{len(cards)} runs"
    return document(title, [
        f"<h1>{title}</h1>{table}", _section("Curves", f"<div class=charts>{''.join(charts)}</div>"),
        _section("Settings that differ", differ if keys else "<p>none</p>"),
    ])  # fmt: skip


def document(title: str, parts: Iterable[str]) -> str:
    style, script = (files(__package__).joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{style}</style></head><body>\n"
        + "\n".join(part for part in parts if part)
        + f"\n<script>{script}</script></body></html>\n"
    )


def sorted_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A click on a column's name sorts by it; a name that starts with > is right-aligned."""
    sides = [' class="right"' if column.startswith(">") else "" for column in columns]
    heads = "".join(f"<th{side}>{escape(column.lstrip('>'))}</th>" for column, side in zip(columns, sides, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{side}>{escape(str(cell))}</td>" for cell, side in zip(row, sides, strict=True)) + "</tr>"
        for row in rows
    )
    table = f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody>"
    return f'<div class=wide><table class="sorted">{table}</table></div>'


def _section(title: str, inside: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{inside}</section>" if inside else ""


def _headline(name: str, card: Card, measured: Mapping) -> str:
    test = card.metrics.get("test", {})
    figures = measured.get("metrics") or [[key, value] for key, value in test.items()]
    counts = ", ".join(f"{count:,} {split}" for split, count in card.data.get("counts", {}).items())
    about = f"{card.architecture}, {card.task}, on {card.data.get('source', 'unknown data')}"
    about += f" ({counts})" if counts else ""
    what = f"Of {called(test)}, by the weights of epoch {card.metrics.get('epoch', '?')}:"
    return f"<h1>{escape(name)}</h1><p>{escape(about)}</p><p>{escape(what)}</p>{_tiles(figures)}"


def _tiles(figures: Iterable) -> str:
    tiles = "".join(f"<div><b>{_number(value)}</b>{escape(str(title))}</div>" for title, value in figures
                    if isinstance(value, int | float))  # fmt: skip
    return f"<div class=tiles>{tiles}</div>"


def _curves(card: Card, history: list[dict[str, str]]) -> str:
    ranked = next(iter(card.metrics.get("val", {})), "")
    panels = {"loss": alike(history, "loss"), ranked: alike(history, ranked), "learning rate": {"": "lr"}}
    charts = []
    for title, columns in panels.items():
        series = {name: _points(history, column) for name, column in columns.items() if title}
        charts.append(curves(series, "epoch", title, card.metrics.get("epoch")))
    kept = f"<p>The dotted line is the epoch whose weights were kept: {escape(str(card.metrics.get('epoch', '')))}.</p>"
    drawn = "".join(dict.fromkeys(charts))
    return _section("Training", drawn and f"<div class=charts>{drawn}</div>{kept}")


def _points(history: list[dict[str, str]], column: str) -> list[tuple[float, float]]:
    return [(float(row["epoch"]), float(row[column])) for row in history if row.get(column)]


def _tables(measured: Mapping) -> str:
    return _section("By class", "<br>".join(sorted_table(*table) for table in measured.get("tables", ()) if table[1]))


def _confusion(measured: Mapping) -> str:
    counts, labels = measured.get("confusion"), measured.get("labels", [])
    if not counts or len(counts) != len(labels) or any(len(row) != len(labels) for row in counts):
        return ""
    wrong = sorted(((count, true, found) for true, row in enumerate(counts) for found, count in enumerate(row)
                    if count and true != found), reverse=True)  # fmt: skip
    pairs = sorted_table(["true", "found", ">records", ">of the true class"], [
        [labels[true], labels[found], f"{count}", f"{count / sum(counts[true]):.1%}"]
        for count, true, found in wrong[:ENTRIES]
    ])  # fmt: skip
    if len(labels) > MATRIX:
        return _section("What is taken for what", pairs if wrong else "<p>nothing</p>")
    heads = "".join(f"<th class=right>{escape(label)}</th>" for label in labels)
    lines = []
    for label, row in zip(labels, counts, strict=True):
        shares = (count / max(1, sum(row)) for count in row)
        cells = "".join(f'<td data-value="{count}" style="background:rgba(var(--heat),{0.75 * share:.2f})">'
                        f"{count or ''}</td>" for count, share in zip(row, shares, strict=True))  # fmt: skip
        lines.append(f"<tr><th>{escape(label)}</th>{cells}</tr>")
    matrix = (f'<p>A row is what records are, a column what was found; a click on a column sorts by it.</p>'
              f'<div class=wide><table class="sorted confusion"><thead><tr><th>true</th>{heads}</tr></thead>'
              f"<tbody>{''.join(lines)}</tbody></table></div>")  # fmt: skip
    return _section("Confusion", matrix + (f"<br>{pairs}" if wrong else ""))


def _mistakes(measured: Mapping) -> str:
    found = measured.get("mistakes", ())
    parts = []
    for title, narrow in (("Wrong and most certain", False), ("Wrong and least certain", True)):
        cells = "".join(map(_mistake, (one for one in found if one["narrow"] is narrow)))
        parts.append(_section(title, cells and f"<div class=mistakes>{cells}</div>"))
    return "".join(parts)


def _mistake(one: Mapping) -> str:
    seen = f' <img src="{escape(one["seen"])}" alt="where the network looked">' if one["seen"] else ""
    told = f"{one['true']} taken for {one['found']}, {one['probability']:.1%}"
    return (f'<figure><img src="{escape(one["image"])}" alt="{escape(told)}">{seen}'
            f"<div>{escape(told)}</div><small>{escape(one['record'])}</small></figure>")  # fmt: skip


def _exports(lines: Sequence[Mapping]) -> str:
    shown = {key: told for key, told in EXPORTED.items() if any(line.get(key) not in (None, "") for line in lines)}
    rows = [["" if line.get(key) in (None, "") else form(line[key]) for key, (_, form) in shown.items()]
            for line in lines]  # fmt: skip
    return _section("Exported files", sorted_table([title for title, _ in shown.values()], rows) if rows else "")


def _cost(measured: Mapping) -> str:
    cost = measured.get("cost", {})
    rows = [[title, f"{cost[key]:,}"] for key, title in COSTS.items() if key in cost]
    return _section("Cost of a record", sorted_table(["what", ">count"], rows) if rows else "")


def _settings(card: Card) -> str:
    rows = [[key, value] for key, value in _flat(card).items()]
    versions = sorted_table(["package", "version"], list(card.versions.items())) if card.versions else ""
    told = command(card)
    again = f"<pre>{escape(told)}</pre>" if told else ""
    return _section("Settings", sorted_table(["setting", "value"], rows)) + _section(
        "Again", f"{again}{versions}"
    )  # fmt: skip


def _flat(card: Card) -> dict[str, str]:
    """Settings by name, in one level."""
    found = {"network": card.architecture, "data": str(card.data.get("source", ""))}
    for group in (card.columns, card.options, card.recipe):
        for key, value in group.items():
            if isinstance(value, Mapping):
                found |= {f"{key} {inner}": _told(one) for inner, one in value.items()}
            else:
                found[key] = _told(value)
    return found


def _told(value) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) < 200 else f"{text[:197]}..."


def _number(value) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
