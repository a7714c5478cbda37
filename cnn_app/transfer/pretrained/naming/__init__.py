"""Whose names the tensors of a file have, where each belongs here, and what the weights expect of the graph.

A naming scheme is a module here with `namings(network) -> list[Naming]`, one for each of its spellings of that
family; its name goes in SCHEMES. A table maps our layer's place in a unit to their module: `{stage}` and `{unit}`
count from one, `{stage0}` and `{unit0}` from zero, `{stage2}` from two, `{block}` and `{block0}` run through all
stages, `{module}` is an inception module's name. A row may be for one of them: "stage1:depthwise_conv", "block3:...",
"4e:...".
"""

import re
from dataclasses import dataclass, field, replace
from importlib import import_module

from cnn_app.registry import CROP_SHARE

SCHEMES = ("torchvision", "timm", "pytorchcv", "keras_applications", "cifar", "own")
PLACE = re.compile(r"(?:(?:stage(\d+)_)?unit(\d+)|inception(\d[a-z]))_(.+)")
TORCH = {"kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias", "moving_mean": "running_mean",
         "moving_variance": "running_var"}  # fmt: skip
SAVED_ORDER = ("kernel", "bias"), ("gamma", "beta", "moving_mean", "moving_variance")


@dataclass(frozen=True)
class Network:
    """What a scheme sees of a model."""

    family: str
    layers: tuple[str, ...]  # those with weights, in order
    names: tuple[str, ...]  # all of them
    grouped: frozenset[str]  # the grouped convolutions


@dataclass(frozen=True)
class Conventions:
    """How a graph must compute for weights that were learned elsewhere; None leaves what the model has."""

    mean: tuple[float, ...] | None = None  # of the channels (red, green, blue), for pixels in [0, 255]
    std: tuple[float, ...] | None = None
    crop_share: float | None = None  # of the middle that they were measured on; None: whole images
    bgr: bool = False  # the first convolution sees blue first
    epsilon: float | None = None  # of batch normalization
    padding: str | None = None  # of strided windows: "symmetric" or "same"
    pool_padding: str | None = None  # of strided pools, where it is not `padding`: "ceil" pads nothing and rounds up
    stride_on: int | None = None  # the kernel of a bottleneck that strides: 1 or 3
    shortcut: str | None = None  # zeros of a shortcut without parameters: "behind", or half "around" the old channels
    act: str | None = None  # of every activation layer
    act_before_se: str | None = None  # between a basic unit's last normalization and its gate; usually none
    lrn: tuple[float, float] | None = None  # alpha and k of local response normalization
    branch_first: bool | None = None  # a strided shuffle unit puts its branch in front of the pooled input


@dataclass(frozen=True)
class Naming:
    source: str
    modules: dict[str, str]  # our layer -> their module
    conventions: Conventions = field(default_factory=Conventions)
    style: str = "torch"  # or "keras": layer/kernel, or "keras order": conv2d_1/vars/0
    ignored: tuple[str, ...] = ()  # prefixes of tensors that are of no use without a part we were not built with
    unbiased: tuple[str, ...] = ()  # our layers whose bias they do not have: it is zero

    def key(self, layer: str, variable: str) -> str:
        """Their name of a variable of ours."""
        module = self.modules[layer]
        if self.style == "torch":
            return f"{module}.{TORCH[variable]}"
        if self.style == "keras":
            return f"{module}/{variable}"
        return f"{module}/vars/{next(order.index(variable) for order in SAVED_ORDER if variable in order)}"


IMAGENET = Conventions(mean=(0.485 * 255, 0.456 * 255, 0.406 * 255), std=(0.229 * 255, 0.224 * 255, 0.225 * 255),
                       crop_share=CROP_SHARE)  # fmt: skip
TORCH_IMAGENET = replace(IMAGENET, epsilon=1e-5, padding="symmetric")


def candidates(network: Network) -> list[Naming]:
    """Every known spelling of the network, the most usual first."""
    schemes = [import_module(f"cnn_app.transfer.pretrained.naming.{scheme}") for scheme in SCHEMES]
    return [naming for scheme in schemes for naming in scheme.namings(network)]


def spell(network: Network, table: dict[str, str]) -> dict[str, str] | None:
    """Their module of each layer by `table`; None if one has no place there."""
    modules, blocks = {}, {}
    for layer in network.layers:
        fields, place = {"stage": 0, "unit": 0, "module": None}, layer
        if found := PLACE.fullmatch(layer):
            stage, unit, module, place = found.groups()
            block = blocks.setdefault((stage, unit, module), len(blocks) + 1)
            fields = {"stage": int(stage or 0), "unit": int(unit or 0), "module": module, "block": block}
            fields |= {f"{name}0": fields[name] - 1 for name in ("stage", "unit", "block")}
            fields["stage2"] = fields["stage"] + 1
        ours = [f"stage{fields['stage']}:{place}", f"block{fields.get('block')}:{place}", f"{fields['module']}:{place}"]
        rows = [table[row] for row in (*ours, place) if row in table]
        if not rows:
            return None
        modules[layer] = rows[0].format(**fields)
    return modules


def spelled(network: Network, source: str, table: dict[str, str], conventions: Conventions) -> list[Naming]:
    """The one naming by `table`, if every layer has a place there."""
    modules = spell(network, table)
    return [] if modules is None else [Naming(source, modules, conventions)]
