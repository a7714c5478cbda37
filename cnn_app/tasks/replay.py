"""What an agent has seen and done lately, each frame once, to learn from in any order (Lin 1992)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cnn_app.data import memory
from cnn_app.errors import TrainingError
from cnn_app.tensors import Arrays

NO_ACTION = -1  # of what was seen when an episode was over
SHARE = 0.5  # of the free memory


@dataclass(frozen=True)
class Batch:
    seen: np.ndarray  # (b, ...)
    actions: np.ndarray  # (b,)
    rewards: np.ndarray
    after: np.ndarray  # (b, ...): what was seen next
    terminated: np.ndarray  # (b,) bool: nothing is to be had behind it; what was cut off by a limit of time is not


class Replay:
    """A ring of `capacity` steps for all of some environments together.

    Of frames (h, w, stack) the newest is kept; those in front of it are found again, the first of an episode again
    and again, as they were seen.
    """

    def __init__(self, capacity: int, environments: int, shape: tuple[int, ...], dtype: str):
        self.stack = shape[-1] if len(shape) == 3 else 1
        frame = shape[:-1] if len(shape) == 3 else shape
        sides = environments, max(self.stack + 2, -(-capacity // environments))
        size = int(np.prod((*sides, *frame))) * np.dtype(dtype).itemsize
        if size > (most := SHARE * memory.available()):
            raise TrainingError(f"a replay of {capacity:,} steps takes {size / 2**30:.1f} GiB, {most / 2**30:.1f} are "
                                "to be had; give a smaller replay=")  # fmt: skip
        self.frames = np.zeros((*sides, *frame), dtype)
        self.actions = np.full(sides, NO_ACTION, np.int16)
        self.rewards = np.zeros(sides, np.float32)
        self.terminated = np.zeros(sides, bool)
        self.ages = np.zeros(sides, np.int32)  # steps since the episode began
        self.written = np.zeros(environments, np.int64)  # ever

    def __len__(self) -> int:
        return int(np.minimum(self.written, self.frames.shape[1]).sum())

    def add(self, place: int, age: int, seen: np.ndarray, action: int, reward: float, terminated: bool) -> None:
        """A step in the environment at `place`; NO_ACTION for what was seen at the end."""
        at = int(self.written[place] % self.frames.shape[1])
        self.frames[place, at] = seen[..., -1] if seen.ndim == 3 else seen
        self.actions[place, at], self.rewards[place, at] = action, reward
        self.terminated[place, at], self.ages[place, at] = terminated, age
        self.written[place] += 1

    def sample(self, random: np.random.Generator, count: int) -> Batch:
        """Drawn evenly from the steps whose frames are all there, and whose next frame is."""
        capacity = self.frames.shape[1]
        first = np.maximum(0, self.written - capacity)
        places, steps = np.empty(0, np.int64), np.empty(0, np.int64)
        while len(places) < count:
            place = random.integers(len(self.written), size=2 * count)
            step = first[place] + np.floor(random.random(2 * count) * (self.written - first)[place]).astype(np.int64)
            at = step % capacity
            reach = np.minimum(self.ages[place, at], self.stack - 1)
            good = (self.actions[place, at] != NO_ACTION) & (step + 1 < self.written[place])
            good &= step - reach >= first[place]
            places, steps = np.concatenate([places, place[good]]), np.concatenate([steps, step[good]])
        places, steps = places[:count], steps[:count]
        at = steps % capacity
        return Batch(self._seen(places, steps), self.actions[places, at].astype(np.int64), self.rewards[places, at],
                     self._seen(places, steps + 1), self.terminated[places, at])  # fmt: skip

    def _seen(self, places: np.ndarray, steps: np.ndarray) -> np.ndarray:
        capacity = self.frames.shape[1]
        ages = self.ages[places, steps % capacity]
        if self.stack == 1:
            return self.frames[places, steps % capacity]
        back = (np.minimum(ages, ago) for ago in range(self.stack - 1, -1, -1))
        return np.stack([self.frames[places, (steps - ago) % capacity] for ago in back], -1)

    def state(self) -> Arrays:
        used = int(min(self.written.max(), self.frames.shape[1]))
        rings = {name: getattr(self, name)[:, :used] for name in RINGS}
        return rings | {"written": self.written.copy()}

    def restore(self, state: Arrays) -> None:
        for name in RINGS:
            getattr(self, name)[:, : state[name].shape[1]] = state[name]
        self.written[:] = state["written"]


RINGS = ("frames", "actions", "rewards", "terminated", "ages")
