"""report.html of a model directory: one file without network access, of what lies there and of what was measured.

What was measured is kept in report.json beside it, so that exports can be added to the page without measuring again.
"""

from __future__ import annotations

import keras

from cnn_app.analysis.report import facts, page
from cnn_app.artifacts import ModelDir, read_json
from cnn_app.atomic import write_json, write_text
from cnn_app.data.dataset import Split
from cnn_app.errors import ArtifactError
from cnn_app.tasks import Report, Task


def leave(directory: ModelDir, task: Task, report: Report, split: Split, deployed: keras.Model) -> None:
    """Write both files. `report` is of the test records in `split`, by the model `deployed` that lies there."""
    found = facts.measured(task, report, split, deployed)
    write_json(directory.report_facts, {"model": directory.read_card().digests.get("model.keras", ""), **found})
    refresh(directory)


def refresh(directory: ModelDir) -> None:
    """Write the page again, of what lies there now."""
    write_text(directory.report, page.of_run(directory.name, directory, read(directory)))


def read(directory: ModelDir) -> dict:
    """What was measured of the model that is there; nothing where that was another."""
    if not directory.report_facts.is_file():
        return {}
    found = read_json(directory.report_facts)
    if not isinstance(found, dict):
        raise ArtifactError(f"{directory.report_facts} is damaged; remove it, and train or export again")
    return found if found.get("model") == directory.read_card().digests.get("model.keras", "") else {}
