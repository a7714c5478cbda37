"""Any artifact against records whose targets are known."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, count

import keras
import numpy as np

from cnn_app import heads, tasks
from cnn_app.analysis.report import facts, page
from cnn_app.artifacts import ModelDir
from cnn_app.atomic import write_text
from cnn_app.data import Records, pipeline
from cnn_app.data.dataset import Dataset, Split
from cnn_app.errors import DataError, ModelError
from cnn_app.inputs.frame import Frame
from cnn_app.jobs import sources
from cnn_app.jobs.opened import Artifact, opened_as
from cnn_app.recipe import Data
from cnn_app.registry import resize_problem
from cnn_app.runtimes import Runtime
from cnn_app.tasks import Report, Task, mistakes
from cnn_app.tensors import Arrays

BATCH = 64
MISTAKES = 24  # on a sheet


@dataclass(frozen=True)
class Measured:
    """Reports by artifact, and that of the mean of their answers where there are several."""

    task: Task  # of the first, whose order of classes the reports have
    records: Split  # that were measured, as the first takes them
    reports: dict[str, Report]
    ensemble: Report | None
    figures: dict = field(default_factory=dict)  # {"split": "val"} of a test that val stands in for
    resized: str = ""  # how images were brought to the network's size, where the model would have it otherwise
    deployed: keras.Model | None = None  # what answered, where it was one Keras model

    @property
    def report(self) -> Report:
        """That of all together."""
        return self.ensemble or next(iter(self.reports.values()))

    def draw_mistakes(self, path: str | os.PathLike[str]) -> None:
        """A contact sheet of the most confident wrong answers, as a PNG.

        Raises DataError for records that are no images, ModelError for tasks without wrong answers.
        """
        taken, columns = self.task.input, self.records.inputs
        if not taken.pictured:
            raise DataError(f"{taken.plural} cannot be drawn; a sheet of mistakes is of images")
        found = self.report.mistakes(MISTAKES)
        title = f"The {len(found)} most confident mistakes" if found else "No mistakes"
        title += f" among {self.report.n:,} {self.task.input.plural}"

        def picture(place: int) -> np.ndarray:
            return taken.picture({name: column.one(place) for name, column in columns.items()})

        mistakes.draw(((mistake, picture(mistake.place)) for mistake in found), title, path)

    def write_report(self, path: str | os.PathLike[str]) -> None:
        """A page of what was found, in one HTML file: figures, classes, confusion, wrong answers as pictures."""
        names = ", ".join(self.reports)
        told = f"{self.task.name} of {self.report.n:,} {self.task.input.plural}"
        found = facts.measured(self.task, self.report, self.records, self.deployed)
        write_text(path, page.of_measurement(names, told, found))


def evaluate(
    artifacts: Artifact | Iterable[Artifact], data: str | Data | Records, split: str = "test", *,
    tta: tuple[str, ...] = (), resize: str | None = None, labels: Sequence[str] | None = None,
    progress: pipeline.Progress | None = None, trust: bool = False,
) -> Measured:  # fmt: skip
    """Measure artifacts on records whose targets are known; several also together, as the mean of their answers.

    artifacts: one or several of: model directories, .keras, .tflite, .onnx, SavedModel directories, Keras models.
    data: as in `train`; divided as the models' own data were, where it does not say how.
    split: "train", "val" or "test"; a folder without test/ has val/ stand in for it.
    tta: views of each record that are averaged over: "flip" and "crop" of images, "clips" of videos.
    resize: "stretch", "crop" or "pad" in the place of the models' own way.
    labels: names of classes in the order of the outputs, for artifacts that have none inside.
    progress: told of records that are read.
    trust: run artifacts without the limits of files from elsewhere; docs/security.md names them.

    Raises DataError for data that do not fit, ModelError for models that do not say what their outputs are, or that
    are for different classes. DataError, too, for models that learned from different splits, where it is not said how
    to divide.
    """
    data = sources.data_of(data)
    if isinstance(artifacts, str | os.PathLike | keras.Model):
        artifacts = [artifacts]
    opened = [opened_with(artifact, labels, trust) for artifact in artifacts]
    resized = ""
    if resize:
        changed = [(runtime, resized_by(task, resize)) for runtime, task in opened]
        resized, opened = resize if changed != opened else "", changed
    first = opened[0][1]
    for runtime, task in opened:
        check_alike(runtime, task, first)
    if unknown := set(tta) - set(first.views):
        raise DataError(f"{first.input.plural} for {first.name} have no views by {', '.join(sorted(unknown))}")
    data, raw = _divided([runtime for runtime, _ in opened], first, data)
    raw, figures = first.in_order(raw, first.labels), raw.figures(split, {})
    read: dict = {}  # models that see alike share one reading
    reports, kept = {}, []
    for runtime, task in opened:
        places = [task.labels.index(label) for label in first.labels]
        key = str(task.input.facts())
        if key not in read:
            read[key] = prepared(replace(task, labels=first.labels), raw, data, tta, progress)
        found = answers(task.measured(runtime), task, read[key].splits[split], tta, places)
        if len(opened) > 1:  # the mean needs them again
            kept.append(found := list(found))
        reports[unused(str(runtime.path), reports)] = replace(task, labels=first.labels).measure(found)
    records = read[str(first.input.facts())].splits[split]
    if not kept:
        model = getattr(opened[0][0], "model", None)
        return Measured(first, records, reports, None, figures, resized, model)
    means = ((first.averaged([outputs for outputs, _ in parts]), parts[0][1]) for parts in zip(*kept, strict=True))
    return Measured(first, records, reports, first.measure(means), figures, resized)


def resized_by(task: Task, resize: str) -> Task:
    if not isinstance(task.input, Frame):
        raise DataError(f"{task.input.plural} have no size to be brought to; leave out the resize {resize!r}")
    if problem := resize_problem(resize, task.input.crop_share):
        raise DataError(f"a network {problem}")
    return replace(task, input=replace(task.input, resize=resize))


def _divided(
    runtimes: Sequence[Runtime], task: Task, data: Data | Records
) -> tuple[Data | Records, Dataset]:  # fmt: skip
    """The records, raw, divided as those that the models learned from; raises DataError where they do not agree."""
    given = sources.divided_as(data, *(runtime.about for runtime in runtimes))
    dataset = task.load(given)
    by_rule = given is not data and dataset.division["rule"] in ("class", "name")
    for runtime in runtimes:
        if by_rule and (rule := sources.rule_of(runtime.about)) and replace(data, **rule) != given:
            raise DataError(f"{runtimes[0].path} and {runtime.path} learned from other splits, so one may have learned "
                            "what is to test it; evaluate them apart, or say how to divide")  # fmt: skip
        if ModelDir(runtime.path).card.is_file():
            sources.check_table(ModelDir(runtime.path), data, dataset)
    return given, dataset


def opened_with(artifact: Artifact, labels: Sequence[str] | None = None, trust: bool = False) -> tuple[Runtime, Task]:
    """A runtime and what it is for, with names for all classes."""
    runtime, task = opened_as(artifact, trust)
    if labels is not None and not task.labels:
        task = replace(task, labels=tuple(labels))
        check_distinct(labels)
    if not task.labelled:
        return runtime, task
    if not task.labels:
        raise ModelError(f"{runtime.path} has no labels inside, so its outputs are numbers alone; --labels FILE names "
                         "them, a line each, in their order")  # fmt: skip
    given = runtime.outputs[heads.named(task.name).OUTPUTS[0]].shape[-1]
    if given is not None and given != len(task.labels):
        raise ModelError(f"{runtime.path} has {given} outputs and {len(task.labels)} labels; give the labels of these "
                         "outputs")  # fmt: skip
    return runtime, task


def check_distinct(labels: Sequence[str]) -> None:
    """Raise ModelError for a name that two classes have."""
    if twice := [label for place, label in enumerate(labels) if label in labels[:place]]:
        raise ModelError(f"{twice[0]!r} stands twice among the labels; give each class a name of its own")


def unused(name: str, others: Container[str]) -> str:
    """`name`, or it with a number: networks that were never saved may share one."""
    numbered = (f"{name} ({number})" for number in count(2))
    return next(one for one in chain([name], numbered) if one not in others)


def check_alike(runtime: Runtime, task: Task, first: Task) -> None:
    if (task.name, task.input.kind) != (first.name, first.input.kind):
        raise ModelError(f"{runtime.path} is for {task.name} of {task.input.plural}, the first for {first.name} of "
                         f"{first.input.plural}; evaluate them apart")  # fmt: skip
    if set(task.labels) != set(first.labels):
        raise ModelError(f"{runtime.path} has other classes than the first: {', '.join(task.labels[:5])}; evaluate "
                         "them apart")  # fmt: skip


def prepared(task: Task, raw: Dataset, data: Data | Records, tta: tuple[str, ...], progress) -> Dataset:
    """Records as the network takes them, or large enough for its views."""
    task = replace(task, input=task.input.widened(tta)) if tta else task
    return sources.prepared(task, raw, data, progress)


def answers(
    runtime: Runtime, task: Task, split: Split, tta: tuple[str, ...], places: list[int]
) -> Iterator[tuple[Arrays, Arrays]]:
    """Outputs, with the classes in the order of `places`, and targets of a prepared split, batch by batch."""
    for inputs, targets in pipeline.arrays(split, BATCH):
        found = seen(runtime, task, inputs, tta) if tta else tasks.answers(task, runtime, inputs, targets)
        yield task.reordered(found, places), targets


def seen(runtime: Runtime, task: Task, inputs: Arrays, tta: tuple[str, ...]) -> Arrays:
    """The mean of what is said of views of the inputs."""
    return task.averaged([runtime.run(window) for window in task.input.windows(inputs, tta)])
