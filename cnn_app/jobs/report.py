"""Pages of what runs have left."""

from __future__ import annotations

import os
from collections.abc import Sequence

from cnn_app.analysis.report import page, read
from cnn_app.artifacts import ModelDir
from cnn_app.atomic import write_text
from cnn_app.errors import ArtifactError


def report(directories: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str]) -> None:
    """Write one HTML file without network access: of one model directory all, of several what differs.

    Raises ArtifactError for what is no model directory, and for one that is given twice.
    """
    names = [os.fspath(directory) for directory in directories]
    if twice := [name for place, name in enumerate(names) if name in names[:place]]:
        raise ArtifactError(f"{twice[0]} is given twice; give each run once")
    found = {name: ModelDir(name) for name in names}
    for directory in found.values():
        directory.read_card()
    if len(found) == 1:
        (directory,) = found.values()
        return write_text(out, page.of_run(directory.name, directory, read(directory)))
    write_text(out, page.of_several(found))
