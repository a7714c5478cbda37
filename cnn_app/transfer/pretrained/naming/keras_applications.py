"""keras.applications: by the names of its layers, or by their order, which is all that `.weights.h5` files have.

ResNet and VGG see blue first, less ImageNet's mean; ResNet has a bias in front of each normalization and strides on
the first 1x1 (v1). MobileNets see [-1, 1] and pad as TensorFlow does.
"""

from dataclasses import replace

from cnn_app.registry import CROP_SHARE
from cnn_app.transfer.pretrained.naming import Conventions, Naming, Network, spell

CAFFE = Conventions(mean=(123.68, 116.779, 103.939), std=(1.0, 1.0, 1.0), crop_share=CROP_SHARE, bgr=True)
UNIT_RANGE = Conventions(mean=(127.5,) * 3, std=(127.5,) * 3, crop_share=CROP_SHARE, epsilon=1e-3,
                         padding="same")  # fmt: skip
HEADS = ("predictions", "probs", "Logits")  # what the last layer has been called
RESNET = {"stem_conv": "conv1_conv", "stem_bn": "conv1_bn"} | {
    f"{ours}_{kind}": f"conv{{stage2}}_block{{unit}}_{number}_{kind}"
    for ours, number in (("a", 1), ("b", 2), ("c", 3), ("shortcut", 0))
    for kind in ("conv", "bn")
}
MOBILENET_V2 = {"stem_conv": "Conv1", "stem_bn": "bn_Conv1", "last_conv": "Conv_1", "last_bn": "Conv_1_bn"} | {
    f"{stage}{ours}": theirs + part + end
    for stage, theirs in (("stage1:", "expanded_conv_"), ("", "block_{block0}_"))
    for part in ("expand", "depthwise", "project")
    for ours, end in ((f"{part}_conv", ""), (f"{part}_bn", "_BN"))
}
MOBILENET_V1 = {"stem_conv": "conv1", "stem_bn": "conv1_bn", "depthwise_conv": "conv_dw_{unit}",
                "depthwise_bn": "conv_dw_{unit}_bn", "pointwise_conv": "conv_pw_{unit}",
                "pointwise_bn": "conv_pw_{unit}_bn", "logits": "conv_preds"}  # fmt: skip
VGG = {"conv": "block{stage}_conv{unit}", "fc6": "fc1", "fc7": "fc2"}
FAMILIES = {
    "resnet": (RESNET, replace(CAFFE, epsilon=1.001e-5, padding="symmetric", stride_on=1)),
    "mobilenet_v1": (MOBILENET_V1, UNIT_RANGE),
    "mobilenet_v2": (MOBILENET_V2, UNIT_RANGE),
    "vgg": (VGG, CAFFE),
}


def namings(network: Network) -> list[Naming]:
    if network.family not in FAMILIES:
        return []
    table, conventions = FAMILIES[network.family]
    by_name = [
        Naming(f"keras.applications {network.family}", modules, conventions, style="keras")
        for head in (HEADS if "logits" not in table else (table["logits"],))
        if (modules := spell(network, table | {"logits": head}))
    ]
    in_order = [Naming(first.source, saved_order(network), conventions, style="keras order") for first in by_name[:1]]
    return by_name + in_order


def saved_order(network: Network) -> dict[str, str]:
    """`conv2d`, `conv2d_1`, ... in the order of keras.applications: a shortcut stands in front of the last 1x1."""
    modules, counts = {}, {}
    for layer in sorted(network.layers, key=lambda layer: _rank(network.layers, layer)):
        if layer.endswith("_bn"):
            kind = "batch_normalization"
        elif layer.endswith("depthwise_conv"):
            kind = "depthwise_conv2d"
        elif layer in ("logits", "fc6", "fc7") and not (network.family == "mobilenet_v1" and layer == "logits"):
            kind = "dense"
        else:
            kind = "conv2d"
        number = counts[kind] = counts.get(kind, -1) + 1
        modules[layer] = f"{kind}_{number}" if number else kind
    return modules


def _rank(layers: tuple[str, ...], layer: str) -> tuple[int, float]:
    """Units in our order; within one of them a, b, shortcut, c."""
    unit, _, place = layer.rpartition("_")[0].rpartition("_")
    if not unit.startswith("stage") or place not in ("a", "b", "c", "shortcut"):
        return layers.index(layer), 0
    first = min(position for position, name in enumerate(layers) if name.startswith(f"{unit}_"))
    return first, ("a", "b", "shortcut", "c").index(place) + (0.5 if layer.endswith("_bn") else 0)
