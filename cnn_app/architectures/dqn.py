"""Deep Q-networks: what is seen -> the value of each action.

- `dqn`: Mnih et al., "Human-level control through deep reinforcement learning", Nature 518, 2015, Methods, "Model
  architecture": four frames of 84x84, 32 maps of 8x8 at stride 4, 64 of 4x4 at stride 2, 64 of 3x3, 512 units.
- `dqn_2013`: Mnih et al., "Playing Atari with deep reinforcement learning", arXiv:1312.5602, section 4.1: 16 maps of
  8x8 at stride 4, 32 of 4x4 at stride 2, 256 units.
- `dqn_mlp`: no convolutions, for vectors, with the units of Huang et al., "CleanRL", JMLR 23(274), 2022.

Bytes are divided by 255, which the papers do not say.
"""

from dataclasses import dataclass

import keras
from keras import layers

from cnn_app.registry import Variant


@dataclass(frozen=True, kw_only=True)
class DQN(Variant):
    task: str = "control"
    input: str = "observation"
    observation: tuple[int, ...] = (84, 84, 4)  # height, width and frames, or the numbers of a vector
    maps: tuple[int, ...] = ()  # of each convolution
    kernels: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    units: tuple[int, ...]  # of each fully connected layer

    def problem(self) -> str | None:
        if len({len(self.maps), len(self.kernels), len(self.strides)}) > 1 or len(self.observation) not in (1, 3):
            return (f"needs maps, kernels and strides for each convolution and observations of one or three sides, "
                    f"received {list(self.maps)}, {list(self.kernels)}, {list(self.strides)} and "
                    f"{list(self.observation)}")  # fmt: skip
        if min((*self.observation, *self.maps, *self.kernels, *self.strides, *self.units, 1)) < 1:
            return "needs sizes of one or more"
        if self.maps and len(self.observation) == 1:
            return f"convolves frames, received observations of {self.observation[0]} numbers; take dqn_mlp"
        side = min(self.observation[:2])
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            side = (side - kernel) // stride + 1
        return super().problem() if side >= 1 else f"has no map left of observations {list(self.observation)}"


VARIANTS = {
    "dqn": DQN(paper="Mnih et al. 2015", year=2015, maps=(32, 64, 64), kernels=(8, 4, 3), strides=(4, 2, 1),
               units=(512,), classes=18),
    "dqn_2013": DQN(paper="1312.5602", year=2013, maps=(16, 32), kernels=(8, 4), strides=(4, 2), units=(256,),
                    classes=18),
    "dqn_mlp": DQN(paper="Huang et al. 2022", year=2022, observation=(4,), units=(120, 84), classes=2),
}  # fmt: skip


def build(spec: DQN) -> keras.Model:
    """Observations (N, ...) -> values (N, classes) of the actions."""
    seen = keras.Input(spec.observation, name="observation")
    x = layers.Flatten(name="flatten")(list(features(spec, seen).values())[-1])
    for place, units in enumerate(spec.units, start=1):
        x = layers.Dense(units, activation="relu", name=f"dense{place}")(x)
    if spec.dropout:
        x = layers.Dropout(spec.dropout, name="dropout")(x)
    return keras.Model(seen, layers.Dense(spec.classes, name="logits")(x))


def features(spec: DQN, seen) -> dict:
    """`seen`, in [0, 1] where it is of bytes, then `conv1` (N, h, w, maps) and more."""
    x = layers.Rescaling(1 / 255, name="rescale")(seen) if len(spec.observation) == 3 else seen
    taps = {"seen": x}
    for place, (maps, kernel, stride) in enumerate(zip(spec.maps, spec.kernels, spec.strides, strict=True), start=1):
        x = taps[f"conv{place}"] = layers.Conv2D(maps, kernel, stride, activation="relu", name=f"conv{place}")(x)
    return taps
