"""Networks whose logits PyTorch computed: weights, input and expected output, and where each weight belongs here."""

import json
import math
import re
import zlib
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "golden" / "parity"
RESNET = (
    (r"conv1|stem\.0", "stem_conv"),
    (r"bn1|stem\.1", "stem_bn"),
    (r"(?:layer|stage)(\d)\.(\d+)\.(?:conv|c)1", "stage{0}_unit{1+}_a_conv"),
    (r"(?:layer|stage)(\d)\.(\d+)\.(?:bn|b)1", "stage{0}_unit{1+}_a_bn"),
    (r"(?:layer|stage)(\d)\.(\d+)\.(?:conv|c)2", "stage{0}_unit{1+}_b_conv"),
    (r"(?:layer|stage)(\d)\.(\d+)\.(?:bn|b)2", "stage{0}_unit{1+}_b_bn"),
    (r"layer(\d)\.(\d+)\.downsample\.0", "stage{0}_unit{1+}_shortcut_conv"),
    (r"layer(\d)\.(\d+)\.downsample\.1", "stage{0}_unit{1+}_shortcut_bn"),
    (r"fc", "logits"),
)
SHUFFLENET_V2 = (
    (r"conv1\.0", "stem_conv"),
    (r"conv1\.1", "stem_bn"),
    (r"stage(\d)\.(\d+)\.branch1\.0", "stage{0}_unit{1+}_project_depthwise_conv"),
    (r"stage(\d)\.(\d+)\.branch1\.1", "stage{0}_unit{1+}_project_depthwise_bn"),
    (r"stage(\d)\.(\d+)\.branch1\.2", "stage{0}_unit{1+}_project_conv"),
    (r"stage(\d)\.(\d+)\.branch1\.3", "stage{0}_unit{1+}_project_bn"),
    (r"stage(\d)\.(\d+)\.branch2\.0", "stage{0}_unit{1+}_first_conv"),
    (r"stage(\d)\.(\d+)\.branch2\.1", "stage{0}_unit{1+}_first_bn"),
    (r"stage(\d)\.(\d+)\.branch2\.3", "stage{0}_unit{1+}_depthwise_conv"),
    (r"stage(\d)\.(\d+)\.branch2\.4", "stage{0}_unit{1+}_depthwise_bn"),
    (r"stage(\d)\.(\d+)\.branch2\.5", "stage{0}_unit{1+}_second_conv"),
    (r"stage(\d)\.(\d+)\.branch2\.6", "stage{0}_unit{1+}_second_bn"),
    (r"conv5\.0", "last_conv"),
    (r"conv5\.1", "last_bn"),
    (r"fc", "logits"),
)
LENET = tuple(zip("0 3 6 9 11".split(), "c1 c3 c5 f6 logits".split(), strict=True))
VGG11 = (
    *zip((rf"features\.{i}" for i in (0, 3, 6, 8, 11, 13, 16, 18)),
         (f"stage{unit}_conv" for unit in "1_unit1 2_unit1 3_unit1 3_unit2 4_unit1 4_unit2 5_unit1 5_unit2".split()),
         strict=True),
    *zip((rf"classifier\.{i}" for i in (0, 3, 6)), ("fc6", "fc7", "logits"), strict=True),
)  # fmt: skip
UNET_STAGES = (("d", "down1 down2 down3 down4 bottom"), ("c", "up4 up3 up2 up1"))
UNET = (
    *((rf"{path}\.{i}\.{2 * place}", f"{stage}_{'ab'[place]}_conv")
      for path, stages in UNET_STAGES for i, stage in enumerate(stages.split()) for place in (0, 1)),
    *((rf"u\.{i}", f"up{4 - i}_up") for i in range(4)),
    ("out", "logits"),
)  # fmt: skip
BATCH_NORM = ("weight", "bias", "running_mean", "running_var")


def case(name: str):
    """(state: torch name -> array, input (n, c, h, w), logits) of a parity file."""
    with np.load(FOLDER / f"{name}.npz") as stored:
        meta = json.loads(str(stored["meta"]))
        seed = meta["seed"]
        state = {}
        for key, shape in meta["state_order"]:
            if f"sd/{key}" in stored:
                state[key] = stored[f"sd/{key}"]
            else:
                transposed = key.startswith(tuple(meta.get("convtranspose", ())))
                fan_in = math.prod(shape) // shape[1 if transposed else 0]
                state[key] = uniform(key, seed, shape) * np.float64(math.sqrt(6 / fan_in))
        shape = meta["input_shape"]
        inputs = (
            stored["input"]
            if "input" in stored
            else uniform("input:" + "x".join(map(str, shape)), seed, shape) * 1.7320508
        )
        return state, inputs.astype(np.float32), stored["logits"]


def uniform(key: str, seed: int, shape) -> np.ndarray:
    """Values in [-1, 1) that follow from a tensor's name alone."""
    return np.random.RandomState((zlib.crc32(key.encode()) ^ seed) & 0xFFFFFFFF).random_sample(shape) * 2 - 1


def regenerated(key: str, seed: int, shape) -> np.ndarray:
    """A tensor of a case that stores none: vectors are around zero, or one where a fresh network has ones."""
    values = uniform(key, seed, shape)
    if len(shape) > 1:
        return values * np.float64(math.sqrt(6 / math.prod(shape[1:])))
    return values / 4 + key.endswith(("weight", "running_var"))


def image(seed: int, *shape) -> np.ndarray:
    """What a case reads, (n, h, w, c); the shape is PyTorch's (n, c, h, w)."""
    values = uniform("input:" + "x".join(map(str, shape)), seed, shape) * 1.7320508
    return values.astype(np.float32).transpose(0, 2, 3, 1)


def fill(model, state: dict, place) -> None:
    """Set the weights of `model`; `place(torch module name) -> layer name`. Every tensor must be used."""
    modules: dict[str, dict] = {}
    for key, value in state.items():
        module, _, part = key.rpartition(".")
        modules.setdefault(module, {})[part] = value.astype(np.float32)
    filled = set()
    for module, parts in modules.items():
        layer = model.get_layer(place(module))
        weight = parts.pop("weight")
        if "running_mean" in parts:
            layer.set_weights([weight, parts["bias"], parts["running_mean"], parts["running_var"]])
        else:
            layer.set_weights([kernel(behind_flatten(weight, model, layer), layer), *parts.values()])
        filled.add(layer.name)
    assert filled == {layer.name for layer in model.layers if layer.weights}


def behind_flatten(weight: np.ndarray, model, layer) -> np.ndarray:
    """A matrix that reads PyTorch's flat (c, h, w) as one that reads (h, w, c)."""
    before = model.layers[model.layers.index(layer) - 1]
    if before.__class__.__name__ != "Flatten":
        return weight
    height, width, channels = before.input.shape[1:]
    return weight.reshape(-1, channels, height, width).transpose(0, 2, 3, 1).reshape(weight.shape)


def kernel(weight: np.ndarray, layer) -> np.ndarray:
    """PyTorch's (out, in, kh, kw) or (out, in) as the layer's own order of axes."""
    if weight.ndim == 2:
        return weight.T
    turned = weight.transpose(2, 3, 1, 0)
    return turned.transpose(0, 1, 3, 2) if layer.__class__.__name__ == "DepthwiseConv2D" else turned


def by_table(table):
    """A `place` function from (pattern, layer name) rows; {1+} counts from one."""

    def place(module: str) -> str:
        for pattern, name in table:
            if found := re.fullmatch(pattern, module):
                for i, group in enumerate(found.groups()):
                    name = name.replace(f"{{{i}}}", group)
                    name = name.replace(f"{{{i}+}}", str(int(group) + 1))
                return name
        raise KeyError(module)

    return place


def mobilenet_v2(module: str) -> str:
    """features.N.conv.* in torchvision's counting -> stage and unit."""
    if module == "classifier.1":
        return "logits"
    block, *rest = module.split(".")[1:]
    block, part = int(block), ".".join(rest)
    if block in (0, 18):
        return f"{'stem' if block == 0 else 'last'}_{'conv' if part == '0' else 'bn'}"
    units = [(stage, unit) for stage, n in enumerate((1, 2, 3, 4, 3, 3, 1), start=1) for unit in range(1, n + 1)]
    stage, unit = units[block - 1]
    names = {"0.0": "expand_conv", "0.1": "expand_bn", "1.0": "depthwise_conv", "1.1": "depthwise_bn",
             "2": "project_conv", "3": "project_bn"}  # fmt: skip
    if stage == 1:
        names = {"0.0": "depthwise_conv", "0.1": "depthwise_bn", "1": "project_conv", "2": "project_bn"}
    return f"stage{stage}_unit{unit}_{names[part.removeprefix('conv.')]}"
