"""Recipes: what `run` reads from TOML, and what the commands' options become. Strict: nothing unknown passes."""

from __future__ import annotations

import math
import os
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from cnn_app.augmentations import AUGMENT, KNOWN
from cnn_app.errors import RecipeError, unknown
from cnn_app.ranges import Tune
from cnn_app.shares import BY_NAME, shares_of
from cnn_app.toml_tables import parse

RECIPE_LIMIT_BYTES = 2**20
OPTIMIZERS = ("adamw", "sgd", "sgd-l2", "rmsprop", "lamb", "muon")
RATES = ("cosine", "linear", "exponential", "steps", "plateau", "constant")
STARTS = ("probe-then-tune", "tune")
PRECISIONS = ("float32", "bfloat16", "float16")
CLASS_WEIGHTS = ("none", "balanced")
ON_BAD_IMAGE = ("error", "skip")
KINDS = ("model", "study")


@dataclass(frozen=True, kw_only=True)
class Data:
    """Which data: `digits`, `shapes`, `shapes:many`, `tfds:NAME`, a folder, a table or a pack."""

    source: str
    directory: str | None = None  # where prepared TFDS sets lie, or the files that a table names
    on_bad_image: str = "error"  # what to do with a record that cannot be read; or "skip"
    encoding: str = "utf-8"  # of text files
    split: str | None = None  # shares of train, val and test, such as "80/10/10"; None: 70/15/15, or as a model's card
    split_seed: int = 0  # of the order that they are cut from

    def __post_init__(self):
        if self.split not in (None, BY_NAME):
            shares_of(self.split)
        _between("split_seed", 0, self.split_seed, 2**31 - 1)
        if self.on_bad_image not in ON_BAD_IMAGE:
            raise unknown("on_bad_image", self.on_bad_image, ON_BAD_IMAGE, RecipeError)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How a network is trained."""

    epochs: int = 10
    batch: int = 32
    optimizer: str = "adamw"
    lr: float = 1e-3  # the highest learning rate
    rate: str = "cosine"  # how it falls after the warm-up
    warmup: float = 1.0  # epochs, linear from zero
    rate_decay: float = 0.98  # of exponential: what is left of it after an epoch
    milestones: tuple[float, ...] = ()  # of steps: epochs at which it falls to a tenth
    momentum: float = 0.9  # of sgd, in Nesterov's form, sgd-l2 and rmsprop
    weight_decay: float = 0.01  # decoupled, but in the gradient of sgd-l2 and rmsprop; not of biases and normalization
    label_smoothing: float = 0.0
    augment: tuple[str, ...] = AUGMENT  # names and presets; a card has the names alone
    class_weights: str = "none"  # of the loss; "balanced": inverse to the number of training images
    patience: int = 0  # epochs without a better one on val after which a run ends; 0: never
    seed: int = 0
    ema: float = 0.0  # what averages of weights and batch statistics keep of themselves at a step; 0: none
    clip: float = 0.0  # the norm of all gradients that none may exceed; 0: any
    accumulate: int = 1  # batches whose mean gradient is one step of the optimizer
    precision: str = "float32"  # of products and maps; weights, normalization and logits are always in float32

    def __post_init__(self):
        for name, low, high in (("epochs", 1, 10**6), ("batch", 1, 2**16), ("lr", 0, 10**3), ("warmup", 0, 10**6),
                                ("momentum", 0, 1), ("weight_decay", 0, 10**3), ("label_smoothing", 0, 1),
                                ("patience", 0, 10**6), ("seed", 0, 2**31 - 1), ("ema", 0, 1), ("rate_decay", 0, 1),
                                ("clip", 0, 10**9), ("accumulate", 1, 10**6)):  # fmt: skip
            _between(name, low, getattr(self, name), high)
        for kind, known in (("optimizer", OPTIMIZERS), ("rate", RATES), ("class_weights", CLASS_WEIGHTS),
                            ("precision", PRECISIONS)):  # fmt: skip
            if getattr(self, kind) not in known:
                raise unknown(kind, getattr(self, kind), known, RecipeError)
        if (self.rate == "steps") != bool(self.milestones) or sorted(self.milestones) != list(self.milestones):
            raise RecipeError("the rate steps, and no other, has milestones, the epochs at which it falls, in their "
                              f"order; received {self.rate} and {list(self.milestones)}")  # fmt: skip
        if strange := [name for name in self.augment if name not in KNOWN]:
            raise unknown("augmentation", strange[0], KNOWN, RecipeError)


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """How a network goes on from weights that were learned elsewhere."""

    weights: str | None = None  # a file, a model directory or "imagenet"; None: the model directory's own
    recipe: str = "probe-then-tune"  # a new head starts as logistic regression on the features; "tune": at random
    freeze: str = "none"  # what keeps its weights: "none", "backbone", or all up to a layer or stage
    unfreeze_at: tuple[str, ...] = ()  # "EPOCH" or "EPOCH:LAYER": from that epoch on only what is up to LAYER does
    layer_decay: float = 0.85  # of the learning rate, from each stage to the one in front of it
    train_batch_norm: bool = False  # let it follow the batches and learn; else it keeps its statistics and weights

    def __post_init__(self):
        _between("layer_decay", 0, self.layer_decay, 1)
        if self.recipe not in STARTS:
            raise unknown("recipe", self.recipe, STARTS, RecipeError)


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """How a network learns what another answers, beside what is true (arXiv:1503.02531)."""

    teacher: str  # a model directory of the same task, classes and inputs
    share: float = 0.5  # of the loss that is of its answers
    temperature: float = 4.0  # that its logits, and the network's, are divided by

    def __post_init__(self):
        _between("share", 0, self.share, 1)
        _between("temperature", 0.01, self.temperature, 1000)


@dataclass(frozen=True, kw_only=True)
class Export:
    """What is shipped, and how much accuracy it may cost."""

    targets: tuple[str, ...]
    max_drop: float = 1.0  # points of the task's main metric on held-out records; of an error percent
    confidence: float | None = None  # with which a file keeps within max_drop; none: its drop on these records does
    calibration: int = 200  # training records that set the int8 ranges
    qat_epochs: int = 0  # of training with rounding, where calibration does not keep an int8 file within max_drop
    author: str = ""  # these three are written into the files
    license: str = ""
    version: str = ""

    def __post_init__(self):
        _between("max_drop", 0, self.max_drop, 100)
        _between("calibration", 1, self.calibration, 10**6)
        if self.confidence is not None:
            _between("confidence", 0.5, self.confidence, 0.9999)
        _between("qat_epochs", 0, self.qat_epochs, 10**6)


@dataclass(frozen=True, kw_only=True)
class Transferability:
    """A study of how well the first n stages of a network that learned classes A serve one that learns classes B."""

    first: tuple[str, ...] = ()  # A's classes; none: every other one
    pictures: int = 3000  # for training, of A as of B
    held_out: int = 2000
    seeds: int = 3

    def __post_init__(self):
        for name, low, high in (("pictures", 2, 10**9), ("held_out", 2, 10**9), ("seeds", 1, 1000)):
            _between(name, low, getattr(self, name), high)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One model, from data to delivered files."""

    name: str  # of the model directory
    about: str = ""
    kind: str = "model"  # or "study"
    model: dict  # name, and columns of its row
    task: dict = field(default_factory=dict)  # its options
    data: Data
    schedule: Schedule = field(default_factory=Schedule)
    transfer: Transfer | None = None  # None: from random weights
    distillation: Distillation | None = None  # None: what is true is all that is learned
    export: Export | None = None
    acceptance: dict = field(default_factory=dict)  # metric -> what the model must reach on the test split
    transferability: Transferability | None = None  # of a study
    tune: Tune | None = None  # what `tune` searches; `run` takes the recipe as it stands

    def __post_init__(self):
        if not self.name.isprintable() or Path(self.name).name != self.name or self.name[:1] in ("", "."):
            raise RecipeError(
                f"name becomes a directory in the model store: without slashes or a leading dot; received {self.name!r}"
            )
        if not isinstance(self.model.get("name"), str):
            raise RecipeError("[model] needs a name; `cnn-app models` lists them")
        if self.kind not in KINDS:
            raise unknown("kind of recipe", self.kind, KINDS, RecipeError)
        if (self.kind == "study") != (self.transferability is not None):
            raise RecipeError('a recipe of kind = "study" has [transferability], and no other has')
        if self.transferability and (self.export or self.transfer or self.distillation or self.acceptance):
            raise RecipeError(
                "a study of [transferability] has no [transfer], [distillation], [export] or [acceptance]"
            )
        if self.transferability and self.tune:
            raise RecipeError("a study of [transferability] has no [tune]")
        for name, value in self.acceptance.items():
            if type(value) not in (int, float) or math.isnan(value):
                raise RecipeError(f"[acceptance] {name} is a number, received {value!r}")


def read(path: str | os.PathLike[str]) -> Recipe:
    """The recipe in the TOML file `path`."""
    path = Path(path)
    try:
        if path.stat().st_size > RECIPE_LIMIT_BYTES:
            raise RecipeError(f"{path} is larger than 1 MiB; that is no recipe")
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{path} is no TOML: {error}") from error
    try:
        return parse(Recipe, _of_today(values), "the recipe")
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error


def _of_today(values: dict) -> dict:
    """A recipe of 0.1.0, which had the image's size in [data] and no kind, as one of today."""
    values = dict(values)
    data, model = values.get("data"), values.get("model")
    if isinstance(data, dict) and isinstance(model, dict) and "image" in data and "image" not in model:
        values["data"] = {name: value for name, value in data.items() if name != "image"}
        values["model"] = model | {"image": data["image"]}
    if "transferability" in values:
        values.setdefault("kind", "study")
    return values


def find(recipe: str | os.PathLike[str]) -> Recipe:
    """The recipe in a TOML file, or one that comes with cnn-app by its name."""
    path = Path(recipe)
    if path.is_file():
        return read(path)
    known = shipped()
    if path.suffix == ".toml" and path.stem not in known:
        raise RecipeError(f"no recipe at {path}; `cnn-app run --list` names those that come with cnn-app")
    if path.stem not in known:
        raise unknown("recipe", str(recipe), known, RecipeError)
    return read(known[path.stem])


def shipped() -> dict[str, Path]:
    """Recipes that come with cnn-app, by name: those of pipelines/, in a checkout or where the wheel put them."""
    places = (Path(sys.prefix) / "share" / "cnn-app" / "pipelines", Path(__file__).parents[1] / "pipelines")
    return {file.stem: file for place in places for file in sorted(place.glob("*.toml"))}


def _between(name: str, low: float, value: float, high: float) -> None:
    if not low <= value <= high:
        raise RecipeError(f"{name} lies between {low} and {high}, received {value}")
