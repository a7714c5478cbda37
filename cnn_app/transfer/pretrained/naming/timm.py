"""timm's names, where they are not torchvision's.

`legacy_seresnet` are the weights of the authors of squeeze-and-excitation: the first 1x1 strides, but not in ResNeXt,
the first pool rounds up, and basic units have a ReLU in front of the gate.
"""

from dataclasses import replace

from cnn_app.registry import CROP_SHARE
from cnn_app.transfer.pretrained.naming import (
    IMAGENET,
    TORCH_IMAGENET,
    Conventions,
    Naming,
    Network,
    spelled,
    torchvision,
)

UNIT = "layer{stage}.{unit0}."
SERESNET = torchvision.RESNET | {"se_reduce": UNIT + "se.fc1", "se_expand": UNIT + "se.fc2"}
LEGACY_SERESNET = torchvision.RESNET | {
    "stem_conv": "layer0.conv1", "stem_bn": "layer0.bn1", "logits": "last_linear",
    "se_reduce": UNIT + "se_module.fc1", "se_expand": UNIT + "se_module.fc2",
}  # fmt: skip
BLOCK = "blocks.{stage0}.{unit0}."
MOBILENET_V2 = {
    "stem_conv": "conv_stem", "stem_bn": "bn1", "last_conv": "conv_head", "last_bn": "bn2", "logits": "classifier",
    "stage1:depthwise_conv": BLOCK + "conv_dw", "stage1:depthwise_bn": BLOCK + "bn1",
    "stage1:project_conv": BLOCK + "conv_pw", "stage1:project_bn": BLOCK + "bn2",
    "expand_conv": BLOCK + "conv_pw", "expand_bn": BLOCK + "bn1",
    "depthwise_conv": BLOCK + "conv_dw", "depthwise_bn": BLOCK + "bn2",
    "project_conv": BLOCK + "conv_pwl", "project_bn": BLOCK + "bn3",
}  # fmt: skip
V1_STAGES = (1, 2, 2, 6, 2)  # MobileNetV1's units, a stage from each stride on
HALF = Conventions(mean=(127.5,) * 3, std=(127.5,) * 3, crop_share=CROP_SHARE, epsilon=1e-5, padding="symmetric")


def namings(network: Network) -> list[Naming]:
    match network.family:
        case "resnet" if "stage1_unit1_se_reduce" in network.layers:
            grouped = "stage1_unit1_b_conv" in network.grouped
            legacy = replace(TORCH_IMAGENET, stride_on=3 if grouped else 1, pool_padding="ceil", act_before_se="relu")
            return [*spelled(network, "timm seresnet", SERESNET, replace(TORCH_IMAGENET, stride_on=3)),
                    *spelled(network, "timm legacy_seresnet", LEGACY_SERESNET, legacy)]  # fmt: skip
        case "mobilenet_v2":
            return spelled(network, "timm mobilenetv2", MOBILENET_V2, TORCH_IMAGENET)
        case "mobilenet_v1":
            return spelled(network, "timm mobilenetv1", mobilenet_v1(), HALF)
        case "vgg":
            places = {"fc6": "pre_logits.fc1", "fc7": "pre_logits.fc2", "logits": "head.fc"}
            conventions = replace(IMAGENET, epsilon=1e-5)
            return [Naming("timm vgg", torchvision.feature_places(network) | places, conventions)]
    return []


def mobilenet_v1() -> dict[str, str]:
    """A row for each of the units, which timm counts within stages."""
    table = {"stem_conv": "conv_stem", "stem_bn": "bn1", "logits": "classifier"}
    places = [(stage, unit) for stage, units in enumerate(V1_STAGES) for unit in range(units)]
    for number, (stage, unit) in enumerate(places, start=1):
        for ours, theirs in (("depthwise_conv", "conv_dw"), ("depthwise_bn", "bn1"), ("pointwise_conv", "conv_pw"),
                             ("pointwise_bn", "bn2")):  # fmt: skip
            table[f"block{number}:{ours}"] = f"blocks.{stage}.{unit}.{theirs}"
    return table
