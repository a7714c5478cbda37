"""Training with grouped convolutions on a CPU: GroupedConv2D against Keras's own Conv2D(groups=...).

Beside them its lowering to blocks, which it takes where TensorFlow has no native kernel, and PyTorch if installed.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from unittest import mock

import measure
import numpy as np

from cnn_app.cli.view import table

OURS, KERAS, BLOCKS = "GroupedConv2D", "Keras", "blocks"
TORCH = {"default": "torch", "channels_last": "torch NHWC"}
UNITS = {1: (56, 256), 2: (28, 512)}  # stage: side, channels; its 3x3 has half of them, in 32 groups
LAYERS = ((28, 1, 240, 60, 3), (14, 1, 480, 120, 3), (28, 1, 384, 96, 8), (56, 3, 128, 128, 32), (28, 3, 256, 256, 32),
          (14, 3, 512, 512, 32), (7, 3, 1024, 1024, 32))  # fmt: skip  # side, kernel, in, out, groups


def with_torch(competitors: dict, step) -> dict:
    """`competitors` and, where PyTorch is installed, its calls `step(torch_peers, layout)`."""
    try:
        import torch_peers
    except ImportError:
        return competitors
    return competitors | {name: step(torch_peers, layout) for layout, name in TORCH.items()}


def variants(ours) -> dict:
    """The model, and copies with the same weights: grouped layers lowered to blocks, and Keras's own."""
    return {OURS: ours, KERAS: _copy(ours, _keras), BLOCKS: _copy(ours, _blocks)}


def _copy(model, grouped):
    import keras

    from cnn_app.layers import GroupedConv2D

    def swap(layer):
        return grouped(layer) if isinstance(layer, GroupedConv2D) else layer.__class__.from_config(layer.get_config())

    copy = keras.models.clone_model(model, clone_function=swap)
    copy.set_weights(model.get_weights())
    x = np.random.default_rng(0).normal(size=(2, *model.input_shape[1:])).astype(np.float32)
    np.testing.assert_allclose(copy(x), model(x), rtol=1e-3, atol=1e-3)
    return copy


def _keras(layer):
    import keras

    return keras.layers.Conv2D(layer.filters, layer.kernel_size, layer.strides, padding=layer.padding,
                               groups=layer.groups, use_bias=layer.use_bias, name=layer.name)  # fmt: skip


def _blocks(layer):
    return layer.__class__.from_config(layer.get_config() | {"lowering": "blocks"})


def network(batch: int, rounds: int, keras_rounds: int) -> dict:
    """One optimizer step of ShuffleNet v1 g=3 1.0x at 96x96."""
    import keras

    import cnn_app
    from cnn_app import registry
    from cnn_app.data.dataset import Split, in_memory
    from cnn_app.jobs.opened import task_of
    from cnn_app.recipe import Schedule
    from cnn_app.training import engine

    random, image = np.random.default_rng(0), (96, 96, 3)
    images, labels = random.integers(0, 256, (batch, *image)).astype(np.uint8), random.integers(0, 1000, batch)
    split = Split(range(1000), {}, {"class": in_memory(np.arange(1000))})  # which has all classes
    inputs, targets = {"image": images}, {"class": keras.utils.to_categorical(labels, 1000)}
    ours, competitors = cnn_app.create_model("shufflenet_v1", image=image), {}
    task = replace(task_of(ours), labels=tuple(map(str, range(1000))))
    for name, model in variants(ours).items():
        step = engine.stepper(model, task, split, Schedule())
        competitors[name] = lambda step=step: (step.train(inputs, targets, 1e-4), step.read())
    spec = registry.spec("shufflenet_v1", image=image)
    competitors = with_torch(
        competitors, lambda peers, layout: peers.train_step(peers.shufflenet(spec), images, labels, layout)
    )
    return measure.alternately(competitors, rounds, {KERAS: keras_rounds})


def unit(stage: int, batch: int, rounds: int, keras_rounds: int) -> dict:
    """Forward and backward through one unit of ResNeXt-50 (32x4d)."""
    import keras

    from cnn_app import registry
    from cnn_app.architectures.resnet import residual_unit

    side, width = UNITS[stage]
    x = keras.Input((side, side, width))
    ours = keras.Model(x, residual_unit(x, registry.spec("resnext50_32x4d"), stage, 1, name="unit"))
    competitors = {name: measure.gradient_step(model, batch) for name, model in variants(ours).items()}
    competitors = with_torch(
        competitors, lambda peers, layout: peers.gradient_step(peers.Bottleneck(width, 32), x.shape[1:], batch, layout)
    )
    return measure.alternately(competitors, rounds, {KERAS: keras_rounds})


def layer(side, kernel, before, after, groups, batch: int, rounds: int, keras_rounds: int) -> dict:
    """Forward and backward through one layer, also for every number of blocks that its groups can be merged into."""
    import keras

    from cnn_app.layers import GroupedConv2D

    def step(lowering, of=lambda made: made):
        x, made = keras.Input((side, side, before)), GroupedConv2D(after, kernel, groups=groups, lowering=lowering)
        return measure.gradient_step(keras.Model(x, of(made)(x)), batch)

    competitors = {OURS: step("auto"), KERAS: step("auto", _keras)}
    for blocks in (n for n in range(1, groups + 1) if groups % n == 0):
        with mock.patch(f"{GroupedConv2D.__module__}.merged_blocks", return_value=blocks) as rule:
            competitors[blocks] = step("blocks")
            competitors[blocks]()  # traced with this number of blocks
        assert rule.called
    competitors = with_torch(
        competitors, lambda peers, layout: peers.layer_step(kernel, before, after, groups, side, batch, layout)
    )
    return measure.alternately(competitors, rounds, {KERAS: keras_rounds})


def show_steps(rows: dict[str, dict]) -> None:
    names = [OURS, KERAS, BLOCKS, *TORCH.values()]
    lines = [(what, *(_cell(times, name, times[OURS]) for name in names)) for what, times in rows.items()]
    table(["step", *(f">{name}" for name in names)], lines, "whole steps: ms, median (times GroupedConv2D's)")


def show_layers(rows: dict[tuple, dict]) -> None:
    from cnn_app.layers import merged_blocks

    lines, names = [], [OURS, KERAS, *TORCH.values()]
    for (side, kernel, before, after, groups), times in rows.items():
        chosen, blocks = merged_blocks(groups, before), {name: t for name, t in times.items() if isinstance(name, int)}
        texts = [
            f"({n}: {measure.digits(t)})" if n == chosen else f"{n}: {measure.digits(t)}" for n, t in blocks.items()
        ]
        lines.append((
            f"{side}x{side} {kernel}x{kernel} {before}-{after} g={groups}",
            *(_cell(times, name, times[OURS]) for name in names), "  ".join(texts),
            f"{times[chosen] / min(blocks.values()):.2f}",
        ))  # fmt: skip
    columns = ["layer", *(f">{name}" for name in names), "blocks: ms (chosen)", ">to best"]
    table(columns, lines, "single layers: ms, median (times GroupedConv2D's)")


def _cell(times: dict, name: str, unit: float) -> str:
    if name not in times:
        return "not installed" if name in TORCH.values() else "-"
    text = measure.digits(times[name])
    return text if name == OURS else f"{text} ({measure.digits(times[name] / unit)}x)"


def main() -> None:
    parts = ("network", "units", "layers")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--keras-rounds", type=int, default=3, help="of Keras's own layer, which is slow")
    options = parser.parse_args()
    measure.quiet_tensorflow()
    limits, steps = (options.batch, options.rounds, options.keras_rounds), {}
    if "network" in options.parts:
        steps["ShuffleNet v1 g=3, 96x96, with AdamW"] = measure.medians(network(*limits))
    for stage, (side, width) in UNITS.items() if "units" in options.parts else ():
        steps[f"ResNeXt unit, {width // 2} channels g=32, {side}x{side}"] = measure.medians(unit(stage, *limits))
    if steps:
        show_steps(steps)
    if "layers" in options.parts:
        show_layers({row: measure.medians(layer(*row, *limits)) for row in LAYERS})


if __name__ == "__main__":
    main()
