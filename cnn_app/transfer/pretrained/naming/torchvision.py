"""torchvision's names; timm's are the same for residual networks without squeeze-and-excitation.

Bottlenecks stride on the 3x3 (v1.5). GoogLeNet's pools round up; its published weights are of a network that brings
ImageNet's scaling back to [-1, 1] at its entrance.
"""

from dataclasses import replace

from cnn_app.registry import CROP_SHARE
from cnn_app.transfer.pretrained.naming import IMAGENET, TORCH_IMAGENET, Conventions, Naming, Network, spelled

UNIT = "layer{stage}.{unit0}."
RESNET = {"stem_conv": "conv1", "stem_bn": "bn1", "logits": "fc"} | {
    f"{letter}_{kind}": f"{UNIT}{kind}{number}"
    for number, letter in enumerate("abc", start=1)
    for kind in ("conv", "bn")
}
RESNET |= {"shortcut_conv": UNIT + "downsample.0", "shortcut_bn": UNIT + "downsample.1"}
MOBILENET_V2 = {
    "stem_conv": "features.0.0", "stem_bn": "features.0.1",
    "stage1:depthwise_conv": "features.{block}.conv.0.0", "stage1:depthwise_bn": "features.{block}.conv.0.1",
    "stage1:project_conv": "features.{block}.conv.1", "stage1:project_bn": "features.{block}.conv.2",
    "expand_conv": "features.{block}.conv.0.0", "expand_bn": "features.{block}.conv.0.1",
    "depthwise_conv": "features.{block}.conv.1.0", "depthwise_bn": "features.{block}.conv.1.1",
    "project_conv": "features.{block}.conv.2", "project_bn": "features.{block}.conv.3",
    "last_conv": "features.18.0", "last_bn": "features.18.1", "logits": "classifier.1",
}  # fmt: skip
BRANCHES = "stage{stage}.{unit0}.branch"
SHUFFLENET_V2 = {
    "stem_conv": "conv1.0", "stem_bn": "conv1.1", "last_conv": "conv5.0", "last_bn": "conv5.1", "logits": "fc",
    "project_depthwise_conv": BRANCHES + "1.0", "project_depthwise_bn": BRANCHES + "1.1",
    "project_conv": BRANCHES + "1.2", "project_bn": BRANCHES + "1.3",
    "first_conv": BRANCHES + "2.0", "first_bn": BRANCHES + "2.1",
    "depthwise_conv": BRANCHES + "2.3", "depthwise_bn": BRANCHES + "2.4",
    "second_conv": BRANCHES + "2.5", "second_bn": BRANCHES + "2.6",
}  # fmt: skip
ALEXNET = {"conv1": "features.0", "conv2": "features.3", "conv3": "features.6", "conv4": "features.8",
           "conv5": "features.10", "fc6": "classifier.1", "fc7": "classifier.4", "logits": "classifier.6"}  # fmt: skip
INCEPTION = {"b1": "branch1", "b3_reduce": "branch2.0", "b3": "branch2.1", "b5_reduce": "branch3.0", "b5": "branch3.1",
             "project": "branch4.1"}  # fmt: skip
UNITS = {"conv1": "conv1", "conv2_reduce": "conv2", "conv2": "conv3", "aux1": "aux1.conv", "aux2": "aux2.conv"}
UNITS |= {ours: f"inception{{module}}.{theirs}" for ours, theirs in INCEPTION.items()}
GOOGLENET = {f"{ours}_{kind}": f"{theirs}.{kind}" for ours, theirs in UNITS.items() for kind in ("conv", "bn")} | {
    "logits": "fc", "aux1_fc": "aux1.fc1", "aux1_logits": "aux1.fc2", "aux2_fc": "aux2.fc1", "aux2_logits": "aux2.fc2"
}  # fmt: skip


def namings(network: Network) -> list[Naming]:
    match network.family:
        case "resnet" if "stem_pool" in network.names:
            return spelled(network, "torchvision resnet", RESNET, replace(TORCH_IMAGENET, stride_on=3))
        case "mobilenet_v2":
            return spelled(network, "torchvision mobilenet_v2", MOBILENET_V2, TORCH_IMAGENET)
        case "shufflenet_v2":
            return spelled(network, "torchvision shufflenet_v2", SHUFFLENET_V2, TORCH_IMAGENET)
        case "vgg":
            places = feature_places(network) | {"fc6": "classifier.0", "fc7": "classifier.3", "logits": "classifier.6"}
            return [Naming("torchvision vgg", places, replace(IMAGENET, epsilon=1e-5))]
        case "alexnet" if "conv1_pad" in network.names and not {"norm1", "pool1_pad"} & set(network.names):
            return spelled(network, "torchvision alexnet", ALEXNET, IMAGENET)
        case "googlenet":
            scaled = Conventions(mean=(127.5,) * 3, std=(127.5,) * 3, crop_share=CROP_SHARE, epsilon=1e-3,
                                 pool_padding="ceil")  # fmt: skip
            ignored = () if "aux1_fc" in network.layers else ("aux1.", "aux2.")
            return [replace(naming, ignored=ignored)
                    for naming in spelled(network, "torchvision googlenet", GOOGLENET, scaled)]  # fmt: skip
    return []


def feature_places(network: Network) -> dict[str, str]:
    """VGG's layers by their position in one sequence: convolution, normalization, ReLU; a pool behind each stage."""
    modules, position, stage = {}, 0, "stage1"
    for layer in network.layers:
        if layer.startswith("stage") and layer.endswith(("_conv", "_bn")):
            if layer.endswith("_conv"):
                position += layer.partition("_")[0] != stage
                stage = layer.partition("_")[0]
            modules[layer] = f"features.{position}"
            followed_by_norm = layer.endswith("_conv") and layer.replace("_conv", "_bn") in network.layers
            position += 1 if followed_by_norm else 2
    return modules
