"""Episodes played by anything that tells the values of actions."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from cnn_app.data.environments import make, observed
from cnn_app.runtimes import Runtime
from cnn_app.tensors import Arrays

MOST_STEPS = 27_000  # of an episode: half an hour of Atari's frames, by fours
RETURN, LENGTH = "return", "length"
STRAYING, APART = 0.1, 5  # of what ranges are set by: share of random actions, and steps from one to the next


@dataclass
class Episode:
    seed: int
    total: float = 0.0  # of its rewards
    length: int = 0
    over: bool = False
    pictures: list[np.ndarray] = field(default_factory=list)


class Playing:
    """A runtime that gives, for each record, `return` (n,) and `length` (n,) of an episode as well.

    Its seed is a function of the record's bytes, so that the same records are the same episodes for every runtime.
    """

    def __init__(self, runtime: Runtime, environment: str, values: str):
        self.runtime, self.path, self.about = runtime, runtime.path, runtime.about
        self.inputs, self.outputs, self.environment, self.values = runtime.inputs, runtime.outputs, environment, values

    def run(self, arrays: Arrays) -> Arrays:
        (records,) = arrays.values()
        seeds = [zlib.crc32(np.ascontiguousarray(record)) for record in records]
        played = play(act_by(self.runtime, self.values), self.environment, seeds)
        told = {RETURN: np.array([one.total for one in played], np.float32),
                LENGTH: np.array([one.length for one in played], np.int64)}  # fmt: skip
        return self.runtime.run(arrays) | told


def act_by(runtime: Runtime, values: str) -> Callable[[np.ndarray], np.ndarray]:
    """Observations (n, ...) -> the best actions (n,)."""
    (name,) = runtime.inputs
    return lambda seen: runtime.run({name: seen})[values].argmax(-1)


def play(act: Callable[[np.ndarray], np.ndarray], environment: str, seeds: list[int]) -> list[Episode]:
    """An episode for each seed, side by side."""
    episodes = [Episode(seed) for seed in seeds]
    environments = [make(environment) for _ in seeds]
    try:
        seen = [observed(one.reset(seed=seed)[0]) for one, seed in zip(environments, seeds, strict=True)]
        while running := [place for place, episode in enumerate(episodes) if not episode.over]:
            for place, action in zip(running, act(np.stack([seen[place] for place in running])), strict=True):
                seen[place] = _step(environments[place], int(action), episodes[place])
        return episodes
    finally:
        for one in environments:
            one.close()


def filmed(act: Callable[[np.ndarray], np.ndarray], environment: str, seed: int) -> Episode:
    """An episode with a picture of each step."""
    made, episode = make(environment, drawn=True), Episode(seed)
    try:
        seen = observed(made.reset(seed=seed)[0])
        while not episode.over:
            episode.pictures.append(np.asarray(made.render()))
            seen = _step(made, int(act(seen[None])[0]), episode)
        episode.pictures.append(np.asarray(made.render()))
        return episode
    finally:
        made.close()


def visited(act: Callable[[np.ndarray], np.ndarray], environment: str, count: int, actions: int) -> np.ndarray:
    """Observations (count, ...) of episodes in which a share of the actions is at random."""
    made, random, found = make(environment), np.random.default_rng(0), []
    try:
        while len(found) < count * APART:
            seen, over = observed(made.reset(seed=int(random.integers(2**31)))[0]), False
            while not over and len(found) < count * APART:
                found.append(seen.copy())
                action = random.integers(actions) if random.random() < STRAYING else act(seen[None])[0]
                after, _, terminated, truncated, _ = made.step(int(action))
                seen, over = observed(after), terminated or truncated
        return np.stack(found[::APART])
    finally:
        made.close()


def _step(environment, action: int, episode: Episode) -> np.ndarray:
    seen, reward, terminated, truncated, _ = environment.step(action)
    episode.total, episode.length = episode.total + float(reward), episode.length + 1
    episode.over = bool(terminated or truncated or episode.length >= MOST_STEPS)
    return observed(seen)


def of_batches(batches: Iterator[tuple[Arrays, Arrays]]) -> tuple[np.ndarray, np.ndarray]:
    """Returns and lengths of all of them."""
    found = [(outputs[RETURN], outputs[LENGTH]) for outputs, _ in batches]
    returns, lengths = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return returns, lengths
