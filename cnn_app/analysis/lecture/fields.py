"""What a position sees."""

from __future__ import annotations

from pathlib import Path

import keras
from keras import layers

from cnn_app.analysis.lecture import Topic
from cnn_app.analysis.receptive_field import views
from cnn_app.analysis.unweighted import network

NETWORKS = ("alexnet", "vgg16", "googlenet", "resnet50", "mobilenet_v1")


def receptive_field() -> Topic:
    rows = [(f"{count} of {side}x{side}", f"1 + {count} x ({side} - 1)", f"{_chain(side, [1] * count)[-1]}")
            for count, side in ((1, 5), (2, 3), (3, 3), (10, 3))]  # fmt: skip
    for name in NETWORKS:
        model = network(name)
        seen = [view.size for view in views(model).values() if view.size is not None]
        rows.append((f"{name}, the last map", "", f"{seen[-1]}"))
    return Topic(
        "Receptive field: 1 + L (K - 1), more behind strides", ("layers", "lecture", ">pixels along a side"), rows,
        ("The formula is of stride 1. Behind a stride each step counts as many pixels as the strides in front of it "
         "multiply to, which is how 13 convolutions of VGG-16 with four pools among them see 212 pixels and not 27.",
         "AlexNet's 195, VGG-16's 212, ResNet-50's 483 and MobileNet's 315 equal those of google-research's table."),
    )  # fmt: skip


def dilation() -> Topic:
    said, found = (3, 7, 15), _chain(3, (1, 2, 4))
    rows = [(f"{rate}", f"{one}", f"{seen}", f"{seen**2}", f"{9 * (place + 1)}")
            for place, (rate, one, seen) in enumerate(zip((1, 2, 4), said, found, strict=True))]  # fmt: skip
    return Topic(
        "Dilation: fields that grow exponentially", ("dilation", ">lecture", ">pixels along a side", ">pixels seen",
                                                     ">weights so far"), rows,
        ("Two layers, of dilation 1 and 2, see 7x7 = 49 pixels by 2 x 9 = 18 weights: the lecture's 49 coefficients "
         "with 18 degrees of freedom.",), _draw_growth,
    )  # fmt: skip


def _chain(side: int, rates) -> list[int]:
    """What each of a row of convolutions sees."""
    taken = x = keras.Input((64, 64, 1))
    for rate in rates:
        x = layers.Conv2D(1, side, dilation_rate=rate, padding="same")(x)
    found = views(keras.Model(taken, x))
    return [view.size for view in list(found.values())[1:] if view.size is not None]


def _draw_growth(path: Path) -> None:
    from matplotlib.figure import Figure

    from cnn_app.tasks.drawing import save

    count = range(1, 8)
    figure = Figure((7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(count, [1 + 2 * n for n in count], "o-", color="#0072B2", label="3x3, dilation 1")
    axes.plot(count, [2 ** (n + 1) - 1 for n in count], "s-", color="#D55E00", label="3x3, dilation 1, 2, 4, ...")
    axes.set(xlabel="layers", ylabel="receptive field (pixels along a side)", yscale="log",
             title="Dilation doubles what a position sees with each layer")  # fmt: skip
    axes.legend()
    save(figure, path)
