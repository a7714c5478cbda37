"""pytorchcv's names.

Bottlenecks keep the stride where the model has it: their `resnet50` strides on the 1x1, `resnet50b`, of the same
names, on the 3x3. MobileNet has ReLU for ReLU6, and MobileNetV2 (`mobilenetv2b_*`) no bias in the classifier.
The pools in front of the units of ShuffleNetV2 and BN-Inception round up.
"""

from dataclasses import replace

from cnn_app.transfer.pretrained.naming import IMAGENET, TORCH_IMAGENET, Naming, Network, spelled
from cnn_app.transfer.pretrained.naming.cifar import CIFAR
from cnn_app.transfer.pretrained.naming.timm import V1_STAGES

UNIT = "features.stage{stage}.unit{unit}."
HEAD = {"fc6": "output.fc1.fc", "fc7": "output.fc2.fc", "logits": "output.fc3"}
KINDS = ("conv", "bn")
INCEPTION_STAGES = {"3a": (1, 1), "3b": (1, 2), "3c": (2, 1), "4a": (2, 2), "4b": (2, 3), "4c": (2, 4), "4d": (2, 5),
                    "4e": (3, 1), "5a": (3, 2), "5b": (3, 3)}  # fmt: skip


def blocks(places: dict[str, str]) -> dict[str, str]:
    """A row for the convolution and one for the normalization of each of `places`."""
    return {f"{ours}_{kind}": f"{theirs}.{kind}" for ours, theirs in places.items() for kind in KINDS}


RESIDUAL = blocks({"a": UNIT + "body.conv1", "b": UNIT + "body.conv2", "c": UNIT + "body.conv3",
                   "shortcut": UNIT + "identity_conv"})  # fmt: skip
RESIDUAL |= {"se_reduce": UNIT + "se.conv1", "se_expand": UNIT + "se.conv2", "logits": "output"}
SHUFFLE = {
    f"{ours}_{kind}": f"features.stage{{stage0}}.unit{{unit}}.{theirs}{kind}{number}"
    for ours, theirs, number in (("reduce", "compress_", 1), ("depthwise", "dw_", 2), ("expand", "expand_", 3))
    for kind in KINDS
}
SHUFFLE |= blocks({"stem": "features.init_block"}) | {"logits": "output"}
SHUFFLE_V2 = {
    f"{ours}_{kind}": f"features.stage{{stage0}}.unit{{unit}}.{theirs}{kind}{number}"
    for ours, theirs, number in (("first", "compress_", 1), ("depthwise", "dw_", 2), ("second", "expand_", 3),
                                 ("project_depthwise", "dw_", 4), ("project", "expand_", 5))
    for kind in KINDS
}  # fmt: skip
SHUFFLE_V2 |= blocks({"stem": "features.init_block.conv", "last": "features.final_block"}) | {"logits": "output"}
VGG = HEAD | {"conv": UNIT + "conv", "bn": UNIT + "bn"}
ALEXNET = HEAD | {f"conv{i}": f"features.stage{i}.unit1.conv" for i in (1, 2)} | {
    f"conv{i}": f"features.stage3.unit{i - 2}.conv" for i in (3, 4, 5)
}  # fmt: skip


def namings(network: Network) -> list[Naming]:
    match network.family:
        case "resnet" if "stem_pool" in network.names:
            stem = blocks({"stem": "features.init_block.conv"})
            return spelled(network, "pytorchcv resnet", RESIDUAL | stem, TORCH_IMAGENET)
        case "resnet":
            return spelled(network, "pytorchcv CIFAR resnet", RESIDUAL | blocks({"stem": "features.init_block"}), CIFAR)
        case "mobilenet_v2":
            found = spelled(network, "pytorchcv mobilenetv2b", mobilenet_v2(), TORCH_IMAGENET)
            return [replace(naming, unbiased=("logits",)) for naming in found]
        case "mobilenet_v1":
            return spelled(network, "pytorchcv mobilenet", mobilenet_v1(), replace(TORCH_IMAGENET, act="relu"))
        case "shufflenet_v1":
            return spelled(network, "pytorchcv shufflenet", SHUFFLE, replace(TORCH_IMAGENET, branch_first=True))
        case "shufflenet_v2":
            return spelled(network, "pytorchcv shufflenetv2", SHUFFLE_V2, replace(TORCH_IMAGENET, pool_padding="ceil"))
        case "vgg":
            return spelled(network, "pytorchcv vgg", VGG, replace(IMAGENET, epsilon=1e-5))
        case "alexnet" if _normalizes_first(network.names):
            return spelled(network, "pytorchcv alexnet", ALEXNET, replace(IMAGENET, lrn=(1e-4 / 5, 2.0)))
        case "googlenet" if "inception3c_b3_conv" in network.layers:
            conventions = replace(IMAGENET, epsilon=1e-5, pool_padding="ceil")
            return spelled(network, "pytorchcv bninception", inception(), conventions)
    return []


def units(stages: tuple[int, ...]) -> list[tuple[int, str]]:
    """The running number and the module of every unit in stages of so many units."""
    places = [(stage, unit) for stage, units in enumerate(stages, start=1) for unit in range(1, units + 1)]
    return [(n, f"features.stage{stage}.unit{unit}.") for n, (stage, unit) in enumerate(places, start=1)]


def mobilenet_v2() -> dict[str, str]:
    """A stage begins at each stride."""
    table = blocks({"stem": "features.init_block", "last": "features.final_block"}) | {"logits": "output"}
    for number, theirs in units((1, 2, 3, 7, 4)):
        for i, ours in enumerate(("expand", "depthwise", "project"), start=1):
            table |= blocks({f"block{number}:{ours}": f"{theirs}conv{i}"})
    return table


def mobilenet_v1() -> dict[str, str]:
    table = blocks({"stem": "features.init_block"}) | {"logits": "output"}
    for number, theirs in units(V1_STAGES):
        table |= blocks(
            {f"block{number}:depthwise": theirs + "dw_conv", f"block{number}:pointwise": theirs + "pw_conv"}
        )
    return table


def inception() -> dict[str, str]:
    """BN-Inception: the modules of stride 2, which begin a stage, have two branches, the others four."""
    stem = "features.init_block."
    table = {"conv1": stem + "conv1", "conv2_reduce": stem + "conv2.conv1", "conv2": stem + "conv2.conv2"}
    for module, (stage, unit) in INCEPTION_STAGES.items():
        branch = f"features.stage{stage}.unit{unit}.branches.branch"
        first = 1 if module in ("3c", "4e") else 2
        three, five = f"{branch}{first}", f"{branch}{first + 1}"
        table |= {f"{module}:b1": f"{branch}1", f"{module}:project": f"{branch}4.conv"}
        table |= {f"{module}:b3_reduce": f"{three}.conv1", f"{module}:b3": f"{three}.conv2"}
        table |= {f"{module}:b5_reduce": f"{five}.conv1", f"{module}:b5_first": f"{five}.conv2"}
        table |= {f"{module}:b5": f"{five}.conv3"}
    return blocks(table) | {"logits": "output"}


def _normalizes_first(names: tuple[str, ...]) -> bool:
    """Without local response normalization, or with it in front of the pools."""
    return "norm1" not in names or names.index("norm1") < names.index("pool1")
