"""TF Serving's configuration files, as text protos: which models, how requests are batched, where metrics are.

They are written as text, which needs none of TF Serving's packages; tests parse them as the server does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from cnn_app.atomic import write_text
from cnn_app.errors import ServingError
from cnn_app.serving import store

ROOT = "/models"  # in the container
BATCHING = """\
# Requests for one signature wait for each other, at most so long, and run together.
max_batch_size { value: 32 }
batch_timeout_micros { value: 2000 }
# More wait nowhere: who comes then is told to come again (UNAVAILABLE, 503).
max_enqueued_batches { value: 64 }
# num_batch_threads is as many as there are cores.
"""
MONITORING = """\
prometheus_config {
  enable: true
  path: "/monitoring/prometheus/metrics"
}
"""


def write(places: Iterable[Path], out: Path, root: str = ROOT) -> list[Path]:
    """models.config, batching.config and monitoring.config for the stores or model directories at `places`."""
    bases: dict[str, Path] = {}
    for name, base in map(located, places):
        if name in bases:
            raise ServingError(f"{bases[name]} and {base} are both named {name}; rename the folder of one")
        bases[name] = base
    texts = {"models.config": models(bases, root), "batching.config": BATCHING, "monitoring.config": MONITORING}
    for file, text in texts.items():
        write_text(out / file, text)
    return [out / file for file in texts]


def located(place: Path) -> tuple[str, Path]:
    """A model's name and base path: of a store, or of a model directory, whose store is its `serving` folder."""
    base = place / "serving" if (place / "card.json").is_file() else place
    folder = base.resolve()
    name = (folder.parent if folder.name == "serving" else folder).name
    if not store.NAME.fullmatch(name):
        raise ServingError(f"{name!r} is no name for a model; up to 64 letters, digits, dots, dashes and underscores")
    if not store.versions(base):
        raise ServingError(f"{base} has no versions; serving publish or export --to saved_model puts one there")
    return name, base


def models(bases: Mapping[str, Path], root: str) -> str:
    """A ModelServerConfig; `root` is the folder, or bucket, that holds the stores where the server runs."""
    return _block("model_config_list", [line for name, base in bases.items() for line in _model(name, base, root)])


def _model(name: str, base: Path, root: str) -> list[str]:
    found, labels = store.versions(base), store.labels(base)
    for label, version in labels.items():
        if version not in found:
            raise ServingError(f"label {label} of {base} names version {version}, which is not there; "
                               f"serving label {base} {label}= takes it away")  # fmt: skip
    lines = [f'name: "{name}"', f'base_path: "{root.rstrip("/")}/{name}"', 'model_platform: "tensorflow"']
    # The server gives no label to a version before it is loaded, so the highest is loaded, too.
    wanted = [f"versions: {version}" for version in sorted({found[-1], *labels.values()})]
    choice = _block("specific", wanted) if labels else _block("latest", ["num_versions: 1"])
    lines += _block("model_version_policy", choice.splitlines()).splitlines()
    for label, version in labels.items():
        lines += _block("version_labels", [f'key: "{label}"', f"value: {version}"]).splitlines()
    return _block("config", lines).splitlines()


def _block(name: str, lines: Iterable[str]) -> str:
    return "\n".join([f"{name} {{", *(f"  {line}" for line in lines), "}"]) + "\n"
