"""Where an agent acts: `catch`, drawn here, or `gym:NAME` of Gymnasium, such as gym:CartPole-v1 or gym:ALE/Pong-v5.

Observations are float32 vectors, or frames, uint8 (height, width, frames); actions are numbers from 0 on.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from cnn_app.data import Records
from cnn_app.data.dataset import Split, in_memory
from cnn_app.errors import DataError, first_line
from cnn_app.recipe import Data

if TYPE_CHECKING:
    import gymnasium

CATCH, GYM, ATARI = "catch", "gym:", "ALE/"
NAME = re.compile(r"(ALE/)?[A-Za-z0-9_-]+")  # without a colon: Gymnasium would import what stands in front of it
SEEN = {"train": 1000, "val": 20, "test": 100}  # observations of a random agent, and episodes that measure one
ROOT = {"train": 0, "val": 1, "test": 2}  # of the seeds


def load(data: Data) -> Records:
    """What an agent sees that acts at random, and the names of the actions."""
    environment = make(data.source)
    try:
        splits = {name: _seen(environment, name) for name in SEEN}
        return Records(splits, actions(environment), data.source)
    finally:
        environment.close()


def make(source: str, drawn: bool = False) -> gymnasium.Env:
    """`drawn`: its `render()` gives pictures, uint8 (h, w, 3). Raises DataError for what is not there or is unknown."""
    try:
        import gymnasium

        from cnn_app.data import frames
    except ImportError as error:
        raise DataError(f"{source} needs Gymnasium; pip install 'cnn-app[rl]'") from error
    if source == CATCH:
        return frames.Stacked(frames.Catch())
    name = source.removeprefix(GYM)
    if not NAME.fullmatch(name):
        raise DataError(f"{name!r} is no name of an environment; give gym:CartPole-v1, gym:ALE/Pong-v5 or another")
    mode = "rgb_array" if drawn else None
    try:
        found = frames.atari(name, mode) if name.startswith(ATARI) else gymnasium.make(name, render_mode=mode)
    except (gymnasium.error.Error, ImportError) as error:
        raise DataError(f"cannot make {source}: {first_line(error)}") from error
    space, seen = found.action_space, found.observation_space
    if not isinstance(space, gymnasium.spaces.Discrete) or space.start != 0:
        raise DataError(f"{source} takes {space}; a network tells the value of each of a few actions, so Discrete(n)")
    if not isinstance(seen, gymnasium.spaces.Box) or len(seen.shape) not in (1, 3):
        raise DataError(f"{source} shows {seen}; a network takes a vector of numbers, or frames")
    return found


def observed(observation) -> np.ndarray:
    """As networks take it."""
    array = np.asarray(observation)
    return array if array.ndim == 3 else array.astype(np.float32)


def actions(environment: gymnasium.Env) -> tuple[str, ...]:
    """Their names, where the environment has some."""
    own = environment.unwrapped
    names = own.get_action_meanings() if hasattr(own, "get_action_meanings") else ()
    count = int(environment.action_space.n)
    return tuple(str(name).lower() for name in names) if len(names) == count else tuple(map(str, range(count)))


def _seen(environment: gymnasium.Env, split: str) -> Split:
    random, seen = np.random.default_rng([ROOT[split]]), []
    over = True
    while len(seen) < SEEN[split]:
        if over:
            observation, _ = environment.reset(seed=int(random.integers(2**31)))
        seen.append(observed(observation).copy())
        observation, _, terminated, truncated, _ = environment.step(int(random.integers(environment.action_space.n)))
        over = terminated or truncated
    return Split([f"{split}-{i:04d}" for i in range(len(seen))], {"observation": in_memory(np.stack(seen))})
