"""Which action is best in what is seen: values (N, actions) against rewards and the value of what follows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from cnn_app import data as sources
from cnn_app.data import Records
from cnn_app.data.dataset import Dataset, Split
from cnn_app.data.division import divided
from cnn_app.errors import DataError, ModelError, RecipeError, TrainingError
from cnn_app.heads.control import VALUES
from cnn_app.inputs import Input
from cnn_app.names import TOP
from cnn_app.tasks.base import Base
from cnn_app.tasks.control_report import Report
from cnn_app.tensors import Spec

if TYPE_CHECKING:
    import keras

    from cnn_app.recipe import Data, Schedule
    from cnn_app.runtimes import Runtime
    from cnn_app.tasks.interaction import Interaction
    from cnn_app.tensors import Arrays

NEAR = 0.1  # of its target: a value that is known
ACTION = "best"  # beside the values, for clients


@dataclass(frozen=True, kw_only=True)
class Control(Base):
    """A state is seen, an action chosen; `environment` is where the network learned to."""

    gamma: float = 0.99  # what a reward one step later is worth
    envs: int = 4  # environments that are acted in, once for each step of the optimizer
    replay: int = 10_000  # steps that are remembered
    random: int = 1_000  # of them before the first step of the optimizer, at random
    steps: int = 1_000  # of the optimizer in an epoch
    target_every: int = 200  # of its steps the weights that targets are computed by are renewed
    epsilon: float = 0.05  # share of random actions at last
    exploration: float = 0.5  # of the training: over it epsilon falls from 1
    huber: float = 1.0  # error of a value beyond which it pulls no harder
    double: bool = False  # double Q-learning
    clip_rewards: bool = False  # to their sign
    environment: str = ""  # catch, or gym:NAME

    name: ClassVar = "control"
    monitor: ClassVar = ("return",)
    batch_metrics: ClassVar = ("known",)
    titles: ClassVar = {"return": "return", "length": "steps", "known": "known values", "loss": "loss"}
    relative: ClassVar = True
    memorised: ClassVar = 0.9  # the same may be seen twice with another future
    learned: ClassVar = ("environment",)
    in_float: ClassVar = ("logits",)  # values differ by little from action to action
    augmentations: ClassVar = ()

    def __post_init__(self):
        for name in ("envs", "replay", "random", "steps", "target_every"):
            if type(value := getattr(self, name)) is not int or value < 1:
                raise RecipeError(f"{name} of control is a whole number of one or more, received {value!r}")
        for name in ("gamma", "epsilon", "exploration"):
            if type(value := getattr(self, name)) not in (int, float) or not 0 <= value <= 1:
                raise RecipeError(f"{name} of control is a share from 0 to 1, received {value!r}")
        if type(self.huber) not in (int, float) or not self.huber > 0:
            raise RecipeError(f"huber of control is a number above 0, received {self.huber!r}")
        for name in ("double", "clip_rewards"):
            if type(value := getattr(self, name)) is not bool:
                raise RecipeError(f"{name} of control is true or false, received {value!r}")
        if self.random > self.replay:
            raise RecipeError(f"control remembers {self.replay:,} steps, fewer than the {self.random:,} at random "
                              "before it learns; give a larger replay or a smaller random")  # fmt: skip

    @classmethod
    def of_specs(cls, taken: Input, outputs: dict[str, Spec]) -> None:
        """A file that says nothing of itself does not say where it acts."""

    # --- data

    def load(self, data: Data | Records) -> Dataset:
        """An environment: what is seen at random, for ranges and comparisons; a record stands for an episode, too."""
        told = sources.told(data)
        records = sources.named(data)
        if records is None or any(set(split.inputs) != {"observation"} for split in records.splits.values()):
            raise DataError(f"{told.source} is no environment; an agent learns by acting: give catch or gym:NAME")
        if self.environment and self.environment != told.source:
            raise DataError(f"the model acts in {self.environment}, received {told.source}; train another for that")
        splits, how = divided(told.source, records.splits, told)
        return Dataset(told.source, splits, records.labels, division=how)

    def fitted(self, dataset: Dataset) -> Self:
        return replace(super().fitted(dataset), environment=dataset.source)

    def in_order(self, dataset: Dataset, labels: tuple[str, ...]) -> Dataset:
        if dataset.labels != labels:
            raise DataError(f"{dataset.source} has the actions {', '.join(dataset.labels[:5])}, the model has "
                            f"{', '.join(labels[:5])}")  # fmt: skip
        return dataset

    def converters(self) -> dict[str, tuple[Spec, Callable]]:
        return self.input.converters()

    def augmented(self, inputs: dict, targets: dict, seed: tuple, names: tuple[str, ...]) -> tuple[dict, dict]:
        return inputs, targets

    def shown(self, inputs: Arrays, targets: Arrays) -> tuple[np.ndarray, str]:
        (seen,) = inputs.values()
        if seen.ndim != 3:
            raise DataError("observations that are vectors cannot be drawn")
        return seen[..., -1:], ""

    # --- training

    def columns(self) -> dict:
        return self.input.columns() | {"classes": len(self.labels)}

    def stream(self, model: keras.Model, split: Split, schedule: Schedule) -> Interaction:
        from cnn_app.tasks.interaction import Interaction

        return Interaction(self, model, schedule)

    def objective(self, schedule: Schedule, split: Split) -> Callable:
        """The Huber loss of the value of what was done, by default with errors beyond 1 pulling no harder (Mnih et al.
        2015). Values that lie far apart need a larger `huber`, or the few steps that end an episode are outvoted.
        """
        from keras import ops

        if schedule.class_weights != "none" or schedule.label_smoothing:
            raise TrainingError("actions are no classes; leave out class_weights and label_smoothing")

        def loss(outputs, targets):
            error = ops.abs(_error(outputs, targets))
            return ops.where(error <= self.huber, 0.5 * error**2, self.huber * (error - 0.5 * self.huber))

        return loss

    def step_metrics(self, outputs, targets) -> dict:
        from keras import ops

        return {"known": ops.cast(ops.abs(_error(outputs, targets)) <= NEAR, "float32")}

    def calibration(self, model: keras.Model, split: Split, count: int) -> Arrays:
        """What the agent sees when it acts: a random one, which `split` is of, sees little of that."""
        from cnn_app.runtimes.keras_model import KerasRuntime
        from cnn_app.tasks.playing import act_by, visited

        act = act_by(KerasRuntime(self.deployed(model)), VALUES)
        random = super().calibration(model, split, count // 2)
        seen = visited(act, self.environment, count - count // 2, len(self.labels))
        return {name: np.concatenate([array, seen]) for name, array in random.items()}

    def measured(self, runtime: Runtime) -> Runtime:
        from cnn_app.tasks.playing import Playing

        return Playing(runtime, self.environment, VALUES)

    def measure(self, batches: Iterable[tuple[Arrays, Arrays]]) -> Report:
        from cnn_app.tasks.playing import of_batches

        return Report(*of_batches(iter(batches)))

    # --- answers

    def served(self, outputs: dict, table, encoded) -> dict:
        """Beside the values the best action's name, string (n,)."""
        import tensorflow as tf

        return outputs | {ACTION: table.lookup(tf.argmax(outputs[VALUES], -1))}

    def named(self, outputs: Arrays) -> Arrays:
        return outputs | {ACTION: np.array(self.labels, object)[outputs[VALUES].argmax(-1)]}

    def named_specs(self, outputs: dict[str, Spec]) -> dict[str, Spec]:
        return outputs | {ACTION: Spec("string", (None,))}

    def agreement(self, found: Arrays, wanted: Arrays) -> float:
        """The share of observations in which the same action is best."""
        return float((found[VALUES].argmax(-1) == wanted[VALUES].argmax(-1)).mean())

    def averaged(self, several: list[Arrays]) -> Arrays:
        raise ModelError("the mean of several agents is one that has played no episode; evaluate them apart")

    def reordered(self, outputs: Arrays, places: list[int]) -> Arrays:
        return outputs | {VALUES: outputs[VALUES][..., places]}

    def answer(self, outputs: Arrays, top: int = TOP) -> dict:
        """{"action": the best, "top": [{"label", "value"}]}."""
        values = outputs[VALUES]
        order = np.argsort(-values, kind="stable")
        rows = [{"label": self.labels[i], "value": float(values[i])} for i in order[:top]]
        return {"action": self.labels[order[0]], "top": rows}

    def text(self, answer: dict) -> str:
        return "  ".join(f"{row['label']} {row['value']:.3f}" for row in answer["top"])

    def draw(self, outputs: Arrays, record: Arrays, name: str, path: Path) -> None:
        from cnn_app.tasks.control_report import draw_values

        (seen,) = record.values()
        draw_values(self.labels, outputs[VALUES], seen[..., -1:] if seen.ndim == 3 else None, name, path)

    def tensor_metadata(self, schema, labels_file) -> list:
        """TFLite's TensorMetadata of the outputs."""
        values = schema.TensorMetadataT()
        values.name, values.associatedFiles = VALUES, [labels_file]
        values.description = (
            f"The sum of rewards that is expected behind each action, {self.gamma:g} of it a step later."
        )
        return [values]


def _error(outputs: Any, targets: dict):
    from keras import ops

    done = ops.one_hot(targets["action"], outputs.shape[-1])
    return ops.sum(outputs * done, -1) - targets["value"]
