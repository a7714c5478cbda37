"""Whole networks, row by row and in sum."""

from __future__ import annotations

import math

from keras import layers

from cnn_app.analysis.complexity import multiply_adds
from cnn_app.analysis.inspection import rows as layer_rows
from cnn_app.analysis.inspection import totals as counted
from cnn_app.analysis.lecture import Topic
from cnn_app.analysis.unweighted import network
from cnn_app.architectures.alexnet import ONE_WEIRD_TRICK

MIB = 2**20
ALEXNET = {  # the lecture's layer table
    "conv1": "96 filters 11x11, stride 4", "pool1": "max 3x3, stride 2", "norm1": "normalization",
    "conv2": "256 filters 5x5, pad 2", "pool2": "max 3x3, stride 2", "norm2": "normalization",
    "conv3": "384 filters 3x3, pad 1", "conv4": "384 filters 3x3, pad 1", "conv5": "256 filters 3x3, pad 1",
    "pool5": "max 3x3, stride 2", "fc6": "4096", "fc7": "4096", "logits": "1000",
}  # fmt: skip
GOOGLENET = {  # the lecture's parameters in K = 1024, and multiply-adds in millions
    "conv1": (2.7, 34), "conv2": (112, 360), "inception3a": (159, 128), "inception3b": (380, 304),
    "inception4a": (364, 73), "inception4b": (437, 88), "inception4c": (463, 100), "inception4d": (580, 119),
    "inception4e": (840, 170), "inception5a": (1072, 54), "inception5b": (1388, 71), "logits": (1000, 1),
}  # fmt: skip


def alexnet() -> Topic:
    found = {row.name: row for row in layer_rows(network("alexnet"))}
    rows = [("input", "227x227x3", _shape(found["image"]), "", "")]
    rows += [(name, said, _shape(found[name]), f"{found[name].parameters:,}", f"{found[name].macs:,}")
             for name, said in ALEXNET.items()]  # fmt: skip
    whole = [sum(getattr(row, count) for row in found.values()) for count in ("parameters", "macs")]
    rows.append(("total", "", "", *(f"{count:,}" for count in whole)))
    return Topic(
        "AlexNet, layer by layer", ("layer", "lecture", ">output", ">parameters", ">multiply-adds"), rows,
        ("The paper prints 224 pixels; maps of 55x55 need 227.",
         "This is one tower that sees all channels. The paper's two halves on two GPUs have 60,965,224 parameters and "
         "724,406,816 multiply-adds: `groups=2`."),
    )  # fmt: skip


def googlenet() -> Topic:
    model = network("googlenet")
    found: dict[str, list[int]] = {}
    for layer in model.layers:
        row = next((name for name in GOOGLENET if layer.name == name or layer.name.startswith(f"{name}_")), None)
        if row is not None and layer.weights:
            kept = found.setdefault(row, [0, 0])
            kept[0] += math.prod(layer.kernel.shape)
            kept[1] += multiply_adds(layer)
    rows = []
    for name, (said_weights, said_macs) in GOOGLENET.items():
        weights, macs = found[name]
        ours = weights / 1024, macs / 1e6
        same = all(abs(one - said) <= max(1.0, 0.005 * said) for one, said in zip(ours, (said_weights, said_macs),
                                                                                strict=True))  # fmt: skip
        rows.append((name, f"{said_weights:g}", f"{ours[0]:,.2f}", f"{said_macs}", f"{macs:,}",
                     "as rounded" if same else "differs"))  # fmt: skip
    sums = [sum(one[place] for one in found.values()) for place in (0, 1)]
    said = [sum(one[place] for one in GOOGLENET.values()) for place in (0, 1)]
    rows.append(("total", f"{said[0]:,.1f}", f"{sums[0] / 1024:,.2f}", f"{said[1]:,}", f"{sums[1]:,}", "differs"))
    return Topic(
        "GoogLeNet, row by row",
        ("row", ">lecture, K weights", ">here, K", ">lecture, M multiply-adds", ">here", "verdict"), rows,
        ("K is 1024 and biases are left out: conv2 is then 112 K to the unit. With biases there are "
         f"{model.count_params():,} parameters.",
         "conv1: 64 filters of 7x7x3 are 9,408 weights. 2.7 K and 34 M fit a separable 7x7 of TF-slim's later "
         "network (1,176 + 1,536 weights); that this is where they come from is plausible, not proven.",
         "4c is 34.5 K too few, 5a 54 K and 2.9 M too many in the table; its two figures of 5a agree with each other. "
         "4a, 4d, 4e and 5b are less than 2 % off."),
    )  # fmt: skip


def _sums(name: str, **columns) -> tuple[int, int, float, float]:
    """Parameters, multiply-adds, and MiB of the outputs of convolutions, and with fully connected layers."""
    model = network(name, **columns)
    found = counted(model)
    by_kind = [sum(4 * math.prod(layer.output.shape[1:]) for layer in model.layers if isinstance(layer, kinds)) / MIB
               for kinds in ((layers.Conv2D,), (layers.Conv2D, layers.Dense))]  # fmt: skip
    return found["trainable"], found["macs"], by_kind[0], by_kind[1]


def _compared() -> list[tuple[str, ...]]:
    trick = {**ONE_WEIRD_TRICK, "image": (227, 227, 3)}
    measured = {
        "AlexNet, one weird trick": _sums("alexnet", **trick),
        "AlexNet of the layer table": _sums("alexnet"),
        "VGG-16": _sums("vgg16"),
        "VGG-16 less one convolution of stage 3": _sums("vgg16", depths=(2, 2, 2, 3, 3)),
        "GoogLeNet": _sums("googlenet"),
    }
    said = {"AlexNet, one weird trick": ("61 M", "0.7 G", "1.9"),
            "VGG-16 less one convolution of stage 3": ("138 M", "13.6 G", "48.6"),
            "GoogLeNet": ("5 M", "", "")}  # fmt: skip
    return [(name, *_interleaved(said.get(name, ("", "", "")), (f"{one[0]:,}", f"{one[1]:,}", f"{one[2]:.2f}")))
            for name, one in measured.items()]  # fmt: skip


def totals() -> Topic:
    return Topic(
        "Memory, parameters and multiply-adds of AlexNet, VGG-16 and GoogLeNet",
        ("network", ">lecture, parameters", ">here", ">lecture, multiply-adds", ">here", ">lecture, MiB", ">here"),
        _compared(),
        ("MiB are the outputs of convolutions in float32 for one image; pools and fully connected layers are left out. "
         "One multiply-add is one FLOP.",
         "The lecture's AlexNet here is the narrower tower of \"one weird trick\" (64, 192, 384, 256, 256 maps, 227 "
         "pixels), not that of its own layer table.",
         "All three figures of VGG-16 fit a network with two convolutions in stage 3, which is what the lecture's "
         "design rule prints (\"conv-conv-pool\"), too. The paper's VGG-16 has three there.",
         "Hence 25 times the memory, 2.3 times the parameters and 19.4 times the work are 27.5, 2.26 and 21.6 for the "
         "paper's VGG-16.",
         "GoogLeNet has 8.7 times fewer parameters than AlexNet, not 12: 12 is 60 M by 5 M, and without its last "
         "layer it still has 5.97 M. Twice the work is right against AlexNet in two halves: 2.18 times."),
    )  # fmt: skip


def residual() -> Topic:
    rows = []
    for plain, shortcut in (("plain18", "resnet18"), ("plain34", "resnet34"), ("plain56", "resnet56")):
        counts = [counted(network(name)) for name in (plain, shortcut)]
        extra = counts[1]["trainable"] - counts[0]["trainable"]
        rows.append((f"{plain}, {shortcut}", *(f"{one['trainable']:,}" for one in counts), f"{extra:,}",
                     f"{counts[1]['macs'] / counts[0]['macs'] - 1:.2%}"))  # fmt: skip
    return Topic(
        "Plain against residual networks",
        ("networks", ">parameters, plain", ">residual", ">of the shortcuts", ">more multiply-adds"), rows,
        ("Shortcuts cost nothing where shapes stay; at three places of resnet18 and resnet34 a 1x1 convolution with "
         "batch normalization brings channels along, in resnet56 zeros do (option A).",
         "What they change is how well a deep network trains: He et al., arXiv:1512.03385, table 2: plain34 has 28.54 "
         "% errors on ImageNet's val where plain18 has 27.94 %, and resnet34 25.03 %."),
    )  # fmt: skip


def _shape(row) -> str:
    return "x".join(map(str, row.shape))


def _interleaved(said, ours) -> tuple[str, ...]:
    return tuple(one for pair in zip(said, ours, strict=True) for one in pair)
