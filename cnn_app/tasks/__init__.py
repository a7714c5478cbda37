"""What a network is for, one file each: layout of data, loss, metrics, deployed outputs, answers and their drawing.

A task is a module here with a frozen dataclass of the module's name in capitals, such as `Classification`; see `Task`
for what the chain asks of it. To add one: write the module and a head of its name, which `heads.HEADS` lists. A value
of it holds an input, the names of classes, the options of a recipe's [task], and what it learned, such as thresholds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from cnn_app import inputs
from cnn_app.artifacts import tuples
from cnn_app.errors import ArtifactError, RecipeError, first_line, unknown
from cnn_app.heads import HEADS
from cnn_app.inputs import Input

if TYPE_CHECKING:
    import keras
    import numpy as np

    from cnn_app.artifacts import Card
    from cnn_app.data.dataset import Dataset, Split
    from cnn_app.data.pipeline import Converters, Samplers
    from cnn_app.recipe import Data, Schedule
    from cnn_app.runtimes import Runtime
    from cnn_app.tasks.mistakes import Mistake
    from cnn_app.tensors import Arrays, Spec

TASKS = HEADS
SMALLEST = 1e-9  # error that others are compared with
NAME = "name"  # in [task]: what a network is for, where that is not what its row says


class Report(Protocol):
    """How well outputs fit targets."""

    n: int
    metrics: dict[str, float]  # by name, and "n"

    def tables(self) -> list[tuple[list[str], list[tuple]]]: ...  # columns and rows, beyond `metrics`
    def as_json(self) -> dict: ...
    def draw(self, path: Path) -> None: ...  # as PNG
    def mistakes(
        self, most: int
    ) -> list[Mistake]: ...  # the most confident wrong answers; ModelError where none is one


class Stream(Protocol):
    """What a network learns from, batch by batch."""

    steps: int  # of an epoch
    acts: bool  # whether a batch depends on what was learned from those before it

    def batches(self, epoch: int, skip: int = 0) -> Iterator[tuple[Arrays, Arrays]]: ...  # but for the first `skip`
    def first(self) -> tuple[Arrays, Arrays]: ...  # a batch that nothing was changed in
    def state(self) -> Arrays: ...  # what it takes, beside the weights, to go on where a run was stopped
    def restore(self, state: Arrays) -> None: ...


class Task(Protocol):
    name: ClassVar[str]  # its module
    monitor: ClassVar[tuple[str, ...]]  # metrics that rank epochs, "-" where less is better; max_drop is of the first
    batch_metrics: ClassVar[tuple[str, ...]]  # of `step_metrics`
    titles: ClassVar[dict[str, str]]  # of metrics, for people
    relative: ClassVar[bool]  # whether a drop is told as percent of the metric, which is no share
    labelled: ClassVar[bool]  # whether its networks tell classes, which `labels` names; else it may name other things
    probed: ClassVar[bool]  # whether a new head starts as a linear classifier on its features
    taught: ClassVar[bool]  # whether another network's scores of classes can be learned, by `imitated`
    familiar: bool  # whether features tell that a record is unlike the training data
    memorised: ClassVar[float]  # what the first of `batch_metrics` reaches when a batch is known
    tuning: ClassVar[Mapping[str, Any]]  # fields of a Schedule that fine-tuning starts from, where nothing is said
    tuning_steps: ClassVar[int]  # that fine-tuning takes at least
    is_map: ClassVar[bool]  # whether an answer is one for each place of an image, `places`, and can be made by tiles
    in_float: ClassVar[tuple[str, ...]]  # layers that a file of integers does not round
    learned: ClassVar[tuple[str, ...]]  # fields that `settled` sets, and nobody else
    input: Input
    labels: tuple[str, ...]
    augmentations: tuple[str, ...]  # that inputs and targets can be changed by
    views: tuple[str, ...]  # of an input that answers can be averaged over
    head: str  # that networks for it get: see heads.build
    key: dict[str, str]  # label -> its colour in what `shown` gives

    # --- data
    def load(self, data: Data) -> Dataset: ...  # raw, with its own checks
    def fitted(self, dataset: Dataset) -> Task: ...  # with its classes, and what is learned from its training split
    def in_order(
        self, dataset: Dataset, labels: tuple[str, ...]
    ) -> Dataset: ...  # the same for other places of classes
    def converters(self) -> Converters: ...
    def samplers(self, names: tuple[str, ...]) -> Samplers: ...  # as the input's, where targets do not follow
    def strata(self, split: Split) -> np.ndarray: ...  # (n,), what a sample is to hold evenly
    def augmented(self, inputs: dict, targets: dict, seed: tuple, names: tuple[str, ...]) -> tuple[dict, dict]: ...

    def shown(self, inputs: Arrays, targets: Arrays) -> tuple[np.ndarray, str]: ...  # of `augmented`: image, caption

    # --- training
    def columns(self) -> dict: ...  # of the network's row, which follow from input and labels
    def stream(self, model: keras.Model, split: Split, schedule: Schedule) -> Stream: ...
    def fed(self, inputs: dict, targets: dict) -> dict: ...  # what a network takes that trains, or is `measured`: the
    # inputs, and what it is told of the targets, such as the words that stand in front of the next
    def objective(self, schedule: Schedule, split: Split) -> Callable: ...  # (outputs, targets) -> losses (b,)
    def imitated(self, outputs, targets, wanted, temperature: float) -> Any: ...  # losses (b,) by a teacher's logits
    def step_metrics(self, outputs, targets) -> dict: ...  # name -> (b,), beside the loss
    def calibration(self, model: keras.Model, split: Split, count: int) -> Arrays: ...  # what sets ranges of integers
    def measured(self, runtime: Runtime) -> Runtime: ...  # with outputs that `measure` alone reads, where it gives such
    def measure(self, batches: Iterable[tuple[Arrays, Arrays]]) -> Any: ...  # (outputs, targets) -> Report
    def right(self, outputs: Arrays, targets: Arrays) -> np.ndarray | None: ...  # (n,) bool, where what is monitored
    # first is their share
    def settled(self, report: Any) -> Task: ...  # with what it learns from the report on val of a kept checkpoint

    # --- answers
    def deployed(self, model: keras.Model) -> keras.Model: ...  # named outputs, without auxiliary ones
    def parts(self, model: keras.Model) -> dict[str, keras.Model]: ...  # that have signatures of their own
    def served(self, outputs: dict, table, encoded) -> dict: ...  # by a SavedModel; labels by a lookup table; to
    # encoded records (n,), None where there are tensors alone
    def placed(self, outputs: Arrays, encoded: Iterable[bytes]) -> Arrays: ...  # with what follows from these records
    def named(self, outputs: Arrays) -> Arrays: ...  # the same to encoded records, for files without such a table
    def named_specs(self, outputs: dict[str, Spec]) -> dict[str, Spec]: ...
    def agreement(self, found: Arrays, wanted: Arrays) -> float: ...  # share of equal decisions
    def averaged(self, several: list[Arrays]) -> Arrays: ...  # of models, or of views
    def reordered(self, outputs: Arrays, places: list[int]) -> Arrays: ...  # classes from these places
    def answer(self, outputs: Arrays, top: int) -> dict: ...  # of one record, without a batch axis
    def text(self, answer: dict) -> str: ...
    def places(self, outputs: Arrays) -> np.ndarray: ...  # of classes, (..., h, w); only where `is_map`
    def of_places(self, places: np.ndarray, top: int) -> dict: ...  # an answer, without the map itself; likewise
    def draw(self, outputs: Arrays, record: Arrays, name: str, path: Path) -> None: ...  # as PNG


def named(name: str):
    """The class of a task."""
    if name not in TASKS:
        raise unknown("task", str(name), TASKS, ArtifactError)
    return getattr(import_module(f"cnn_app.tasks.{name}"), name.capitalize())


def of_row(row, options: Mapping, known: Mapping) -> Task:
    """The task of a network's row, with the options of [task]; `known` are facts of an input that learned before."""
    kind = kind_of(row, options)
    given = {name: value for name, value in options.items() if name != NAME}
    for option in given:
        if option not in options_of(kind):
            raise unknown(f"option of the task {kind.name}", option, {NAME, *options_of(kind)}, RecipeError)
    return kind(input=inputs.of_row(row, known), **given)


def kind_of(row, options: Mapping):
    """The class of the task of a network's row, if [task] names no other."""
    return named(options.get(NAME, row.task))


def inherited(task: Task, options: Mapping) -> dict:
    """Options for a model that goes on from one of `task`, with `options` of [task] for the new one."""
    if options.get(NAME, task.name) != task.name:
        return dict(options)
    return {NAME: task.name, **{name: getattr(task, name) for name in options_of(type(task))}, **options}


def of_facts(facts: Mapping) -> Task:
    """The task that a card or a file tells of. Raises ArtifactError where that makes no sense."""
    kind = named(facts.get("task", "classification"))
    try:
        labels = tuple(facts["labels"])
        if "" in labels or not all(isinstance(label, str) for label in labels):
            raise ValueError("a label is empty or no text")
        options = {name: tuples(value) for name, value in facts.get("options", {}).items() if name in fields_of(kind)}
        return kind(input=inputs.of_facts(facts["input"]), labels=labels, **options)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, RecipeError) as error:
        raise ArtifactError(
            f"what a model says of itself makes no sense: {first_line(error)}; export it again"
        ) from error


def of_card(card: Card) -> Task:
    task = of_facts(asdict(card))
    if task.labelled and not task.labels:
        raise ArtifactError(f"what a model says of itself makes no sense: a card for {task.name} names no classes")
    return task


def facts(task: Task) -> dict:
    """JSON that `of_facts` makes an equal value of."""
    options = {name: getattr(task, name) for name in fields_of(type(task))}
    return {"task": task.name, "input": task.input.facts(), "labels": list(task.labels), "options": options}


def fields_of(kind) -> set[str]:
    """What a value of this task holds beside its input and labels: options, and what it learned."""
    return {item.name for item in fields(kind)} - {"input", "labels"}


def options_of(kind) -> set[str]:
    """What [task] may say beside the name."""
    return fields_of(kind) - set(kind.learned)


def of(runtime) -> Task:
    """The task of what a runtime has open: as the file says, or else as its tensors look."""
    if runtime.about is not None:
        return of_facts(runtime.about.facts())
    taken = inputs.of_specs(runtime.inputs)
    if taken is None:
        told = ", ".join(f"{name} {spec}" for name, spec in runtime.inputs.items())
        raise ArtifactError(f"{runtime.path} says nothing of itself, and takes {told}, which may mean anything; "
                            f"{_advice(runtime)}")  # fmt: skip
    found = (named(name).of_specs(taken, runtime.outputs) for name in TASKS)
    task = next((one for one in found if one is not None), None)
    if task is None:
        told = ", ".join(f"{name} {spec}" for name, spec in runtime.outputs.items())
        raise ArtifactError(f"{runtime.path} says nothing of itself, and gives {told}, which is the answer to no task; "
                            f"known: {', '.join(TASKS)}")  # fmt: skip
    return task


def _advice(runtime: Runtime) -> str:
    if runtime.path.suffix == ".keras":
        return "cnn-app adopt makes a model directory of a Keras classifier of images, which every command takes"
    return "images are uint8 (n, H, W, 1 or 3)"


def opened(runtime: Runtime) -> tuple[Runtime, Task]:
    """What a runtime has open is for; its tensors under the names that the task has for them, where others made it."""
    from cnn_app import heads
    from cnn_app.runtimes.renamed import Renamed

    task = of(runtime)
    if runtime.about is None:
        runtime = Renamed(runtime, next(iter(task.input.specs())), heads.named(task.name).OUTPUTS[0])
    return runtime, task


def answers(task: Task, runtime: Runtime, inputs: Arrays, targets: Arrays) -> Arrays:
    """What a runtime gives; one that is `measured` may take of the targets, too."""
    given = task.fed(inputs, targets)
    return runtime.run({name: given[name] for name in runtime.inputs})


def score(task: Task, metrics: Mapping[str, float]) -> tuple[float, ...]:
    """What ranks epochs: the higher the better."""
    return tuple(-metrics[name[1:]] if name.startswith("-") else metrics[name] for name in task.monitor)


def main_metric(task: Task) -> str:
    """What drop and budget speak of."""
    return task.monitor[0].removeprefix("-")


def drop(task: Task, reference: Mapping[str, float], found: Mapping[str, float]) -> float:
    """Points of the first monitored metric that `found` lost; of one that is no share percent that it got worse by."""
    name, sign = main_metric(task), -1 if task.monitor[0].startswith("-") else 1
    lost = 100 * sign * (reference[name] - found[name])
    return lost / max(abs(reference[name]), SMALLEST) if task.relative else lost


def told_drop(task: Task, points: float) -> str:
    """For people: loses 0.12 points of top-1, or has 0.12 % more of an error, or loses 0.12 % of what is no share."""
    more = task.monitor[0].startswith("-")
    how = f"{'has' if more else 'loses'} {points:.2f} {'%' if task.relative else 'points'}{' more' * more}"
    return f"{how} of {task.titles[main_metric(task)]}"
