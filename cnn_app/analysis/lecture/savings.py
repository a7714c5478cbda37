"""What is saved by building a layer of smaller ones."""

from __future__ import annotations

import math
from pathlib import Path

import keras
from keras import layers

from cnn_app.analysis.complexity import multiply_adds
from cnn_app.analysis.inspection import rows as layer_rows
from cnn_app.analysis.inspection import stages, totals
from cnn_app.analysis.lecture import Topic
from cnn_app.analysis.unweighted import network
from cnn_app.layers import GroupedConv2D

SIDE = 14  # of the maps in examples
CARDINALITIES = {4: 24, 32: 4}  # the lecture's G and c at C = 64
SAVING = (32, 64, 128, 256, 512, 1024)  # channels


def small_filters() -> Topic:
    channels = 64
    rows = []
    for name, said, sizes in (("one 5x5", "25 C^2", [5]), ("two 3x3", "18 C^2", [3, 3]), ("one 7x7", "49 C^2", [7]),
                              ("three 3x3", "27 C^2", [3, 3, 3])):  # fmt: skip
        weights, macs = _costs(
            [layers.Conv2D(channels, size, padding="same", use_bias=False) for size in sizes], channels
        )
        rows.append((name, said, f"{weights / channels**2:g} C^2", f"{weights:,}", f"{macs:,}"))
    for row in stages(layer_rows(network("vgg16")))[2:7]:
        rows.append((f"VGG-16, {row.name}", "", "", f"{row.parameters:,}", f"{row.macs:,}"))
    return Topic(
        f"Small filters, {channels} channels on {SIDE}x{SIDE}",
        ("layers", "lecture", "here", ">weights", ">multiply-adds"), rows,
        ("Two 3x3 see 5x5 and three see 7x7, with a ReLU more in between.",
         "The lecture's 36 HWC^2 on both sides of a pool is one convolution on 2Hx2W maps of C channels, or on HxW of "
         "2C. Stages of VGG-16 differ by how many they have, and by the first of each, which sees half the channels."),
    )  # fmt: skip


def groups() -> Topic:
    channels, rows = 128, []
    for count in (1, 2, 4, 8, 32, channels):
        layer = (layers.Conv2D(channels, 3, padding="same", use_bias=False) if count == 1
                 else GroupedConv2D(channels, 3, padding="same", groups=count, use_bias=False))  # fmt: skip
        weights, macs = _costs([layer], channels)
        rows.append((f"{count}", f"1/{count}", f"{weights:,}", f"{macs:,}"))
    return Topic(f"Grouped convolution, 3x3, {channels} channels on {SIDE}x{SIDE}",
                 ("groups", "lecture", ">weights", ">multiply-adds"), rows)  # fmt: skip


def resnext() -> Topic:
    channels, wanted, rows = 64, 17 * 64**2, []
    for count, said in CARDINALITIES.items():
        root = (-8 * channels + math.sqrt((8 * channels) ** 2 + 4 * 9 * 17 * channels**2 / count)) / 18
        weights = _weights(count, said, channels)
        rows.append((f"{count}", f"{said}", f"{root:.3f}", f"{weights:,}", f"{weights - wanted:+,}",
                     f"{weights / wanted:.4f}"))  # fmt: skip
    return Topic(
        "ResNeXt: 9Gc^2 + 8GCc - 17C^2 = 0 at C = 64",
        (">paths G", ">lecture, c", ">root", ">weights of G paths", ">less those of ResNet", ">ratio"), rows,
        (f"A bottleneck of ResNet has 17C^2 = {wanted:,} weights (256 to 64 to 64 to 256 channels). The lecture's "
         "widths are the roots, rounded, so they are 0.4 % and 0.7 % dearer.",),
    )  # fmt: skip


def _weights(paths: int, width: int, channels: int) -> int:
    """Of the three convolutions of a unit with `paths` paths."""
    first = layers.Conv2D(paths * width, 1, use_bias=False)
    inner = GroupedConv2D(paths * width, 3, padding="same", groups=paths, use_bias=False)
    last = layers.Conv2D(4 * channels, 1, use_bias=False)
    return _costs([first, inner, last], 4 * channels)[0]


def mobilenet() -> Topic:
    rows = []
    for channels in SAVING:
        plain = _costs([layers.Conv2D(channels, 3, padding="same", use_bias=False)], channels)[1]
        apart = _costs([layers.DepthwiseConv2D(3, padding="same", use_bias=False),
                        layers.Conv2D(channels, 1, use_bias=False)], channels)[1]  # fmt: skip
        rows.append((f"{channels}", f"{9 * channels / (9 + channels):.2f}", f"{plain / apart:.2f}"))
    found = totals(network("mobilenet_v1"))
    return Topic(
        "MobileNet: depthwise separable convolutions save 9C / (9 + C)",
        (">channels", ">formula", ">layers here"), rows,
        (f"The most that can be saved is 9 times. MobileNet v1 has {found['macs']:,} multiply-adds and "
         f"{found['trainable']:,} parameters.",), _draw_saving,
    )  # fmt: skip


def squeeze() -> Topic:
    rows = []
    for plain, name in (("resnet18", "seresnet18"), ("resnet34", "seresnet34"), ("resnet50", "seresnet50")):
        counts = [totals(network(one)) for one in (plain, name)]
        rows.append((name, *(f"{one['trainable']:,}" for one in counts),
                     *(f"{counts[1][what] / counts[0][what] - 1:.2%}" for what in ("trainable", "macs"))))  # fmt: skip
    return Topic("Squeeze and excitation, reduction 16",
                 ("network", ">parameters without", ">with", ">more parameters", ">more multiply-adds"), rows,
                 ("A gate on C channels has 2C^2/16 weights, so bottlenecks, which end in four times the channels, pay "
                  "more.",))  # fmt: skip


def low_rank() -> Topic:
    channels, rows = 64, []
    for name, made in (
        ("3x3", [layers.Conv2D(channels, 3, padding="same", use_bias=False)]),
        ("1x3, then 3x1", [layers.Conv2D(channels, (1, 3), padding="same", use_bias=False),
                           layers.Conv2D(channels, (3, 1), padding="same", use_bias=False)]),
        ("3x3 in 4 groups, then 1x1", [GroupedConv2D(channels, 3, padding="same", groups=4, use_bias=False),
                                       layers.Conv2D(channels, 1, use_bias=False)]),
        ("3x3 depthwise, then 1x1", [layers.DepthwiseConv2D(3, padding="same", use_bias=False),
                                     layers.Conv2D(channels, 1, use_bias=False)]),
    ):  # fmt: skip
        weights, macs = _costs(made, channels)
        rows.append((name, f"{weights:,}", f"{macs:,}", f"{weights / (9 * channels**2):.1%}"))
    return Topic(f"Low-rank decompositions, {channels} channels on {SIDE}x{SIDE}",
                 ("layers", ">weights", ">multiply-adds", ">of 3x3"), rows,
                 ("Groups alone never mix what they see; the 1x1 behind them does.",))  # fmt: skip


def _costs(made: list[keras.Layer], channels: int) -> tuple[int, int]:
    """Weights and multiply-adds of layers in a row."""
    x = keras.Input((SIDE, SIDE, channels))
    for layer in made:
        x = layer(x)
    return sum(layer.count_params() for layer in made), sum(map(multiply_adds, made))


def _draw_saving(path: Path) -> None:
    from matplotlib.figure import Figure

    from cnn_app.tasks.drawing import save

    figure = Figure((7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    channels = [2 ** (n / 4) for n in range(45)]
    axes.plot(channels, [9 * c / (9 + c) for c in channels], color="#0072B2", label="9C / (9 + C)")
    rows = mobilenet().rows
    axes.plot([int(row[0]) for row in rows], [float(row[2]) for row in rows], "o", color="#D55E00", label="layers here")
    axes.axhline(9, color="0.5", linestyle="--", linewidth=1)
    axes.set(xscale="log", xlabel="channels C", ylabel="times fewer multiply-adds", ylim=(0, 10),
             title="Depthwise separable against plain 3x3 convolutions")  # fmt: skip
    axes.set_xticks([1, 8, 32, 128, 512, 1024], ["1", "8", "32", "128", "512", "1024"])
    axes.legend()
    save(figure, path)
