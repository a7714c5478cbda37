"""Deep Q-learning (Mnih et al., Nature 518, 2015): an agent acts, and learns from what it has seen in any order.

Between two steps of the optimizer it acts once in each of some environments. Values are learned towards the reward and
the discounted value of the best action that follows, by weights that are a while old; double Q-learning
(arXiv:1509.06461) lets the newest choose that action. At an epoch's start all environments begin anew, with seeds that
follow from it; what was done in them since is kept, and done again where a run goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from cnn_app.data.environments import make, observed
from cnn_app.errors import DataError
from cnn_app.tasks.replay import NO_ACTION, Replay

if TYPE_CHECKING:
    import keras

    from cnn_app.recipe import Schedule
    from cnn_app.tasks.control import Control
    from cnn_app.tensors import Arrays

EXPLORING, SAMPLING, SEEDS = 0, 1, 2  # what random numbers are for
TARGET = "target"  # in front of the numbers of its weights
DONE = "done"  # the actions of this epoch


class Interaction:
    """Nothing is begun before the first batch is asked for."""

    acts = True

    def __init__(self, task: Control, model: keras.Model, schedule: Schedule):
        self.task, self.model, self.schedule, self.steps = task, model, schedule, task.steps
        self.replay = Replay(task.replay, task.envs, task.input.shape, task.input.dtype)
        self.done: list[np.ndarray] = []  # (envs,) actions of each time that it acted in this epoch
        self.environments: list = []
        self.seen: list[np.ndarray] = []
        self.ages = np.zeros(task.envs, np.int64)
        self.online = values(model)
        self.older: list[np.ndarray] | None = None
        self.target: Callable | None = None

    def batches(self, epoch: int, skip: int = 0) -> Iterator[tuple[Arrays, Arrays]]:
        acted = self.done if skip else []
        self._begin(epoch)
        for actions in acted:  # a stopped run's: the replay knows what came of it
            self._act(actions, remember=False)
        self.done = [*acted]
        while len(self.replay) < max(self.task.random, self.schedule.batch):
            self._act(self._explored(epoch, 1.0))
        for step in range(epoch * self.steps + skip, (epoch + 1) * self.steps):
            if step % self.task.target_every == 0:
                self._renew()
            self._act(self._explored(epoch, self._epsilon(step)))
            yield self._batch(step)
        for place in np.flatnonzero(self.ages):  # where an epoch ends, episodes are cut off
            self.replay.add(place, int(self.ages[place]), self.seen[place], NO_ACTION, 0.0, False)

    def first(self) -> tuple[Arrays, Arrays]:
        return next(self.batches(0))

    def state(self) -> Arrays:
        weights = {f"{TARGET}{i:05d}": array for i, array in enumerate(self.older or ())}
        done = np.array(self.done, np.int16).reshape(-1, self.task.envs)
        return self.replay.state() | weights | {DONE: done}

    def restore(self, state: Arrays) -> None:
        self.replay.restore(state)
        self.done = list(state[DONE].astype(np.int64))
        if weights := [state[name] for name in sorted(state) if name.startswith(TARGET)]:
            self._renew(weights)

    def _begin(self, epoch: int) -> None:
        if not self.environments:
            self.environments = [make(self.task.environment) for _ in range(self.task.envs)]
        seeds = np.random.default_rng([self.schedule.seed, SEEDS, epoch]).integers(2**31, size=self.task.envs)
        resets = (one.reset(seed=int(seed))[0] for one, seed in zip(self.environments, seeds, strict=True))
        self.seen, self.done = [observed(seen) for seen in resets], []
        self.ages[:] = 0

    def _epsilon(self, step: int) -> float:
        """Falls from 1 over the first part of the training."""
        falling = max(1.0, self.task.exploration * self.schedule.epochs * self.steps)
        return max(self.task.epsilon, 1 + (self.task.epsilon - 1) * step / falling)

    def _explored(self, epoch: int, epsilon: float) -> np.ndarray:
        """Actions (envs,), at random with probability epsilon."""
        random = np.random.default_rng([self.schedule.seed, EXPLORING, epoch, len(self.done)])
        actions = random.integers(len(self.task.labels), size=self.task.envs)
        greedy = random.random(self.task.envs) >= epsilon
        if greedy.any():
            actions = np.where(greedy, self.online(np.stack(self.seen)).argmax(-1), actions)
        return actions

    def _act(self, actions: np.ndarray, remember: bool = True) -> None:
        for place, (environment, action) in enumerate(zip(self.environments, actions, strict=True)):
            seen, age = self.seen[place], int(self.ages[place])
            after, reward, terminated, truncated, _ = environment.step(int(action))
            after, reward = observed(after), float(np.sign(reward) if self.task.clip_rewards else reward)
            if remember:
                self.replay.add(place, age, seen, int(action), reward, terminated)
            if terminated or truncated:
                if remember:
                    self.replay.add(place, age + 1, after, NO_ACTION, 0.0, False)
                after, self.ages[place] = observed(environment.reset()[0]), 0
            else:
                self.ages[place] += 1
            self.seen[place] = after
        self.done.append(actions)

    def _batch(self, step: int) -> tuple[Arrays, Arrays]:
        random = np.random.default_rng([self.schedule.seed, SAMPLING, step])
        batch = self.replay.sample(random, self.schedule.batch)
        assert self.target is not None
        following = self.target(batch.after)
        chosen = self.online(batch.after) if self.task.double else following
        best = np.take_along_axis(following, chosen.argmax(-1)[:, None], 1)[:, 0]
        value = batch.rewards + self.task.gamma * best * ~batch.terminated
        return {"observation": batch.seen}, {"action": batch.actions, "value": value.astype(np.float32)}

    def _renew(self, weights: list[np.ndarray] | None = None) -> None:
        """The older weights are those of now, or `weights`."""
        import keras

        self.older = self.model.get_weights() if weights is None else weights
        if self.target is None:
            self.copy = keras.models.clone_model(self.model)
            self.target = values(self.copy)
        if [array.shape for array in self.older] != [array.shape for array in self.copy.get_weights()]:
            raise DataError("what was kept of a run does not fit the network; start again")
        self.copy.set_weights(self.older)


def values(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """Observations (n, ...) -> values (n, actions), without a retracing for each n."""
    import keras

    if keras.backend.backend() != "tensorflow":
        return lambda seen: np.asarray(model.predict_on_batch(seen.astype(np.float32)))
    import tensorflow as tf

    spec = tf.TensorSpec(model.input_shape, tf.float32)
    run = tf.function(lambda seen: model(seen, training=False), input_signature=[spec], jit_compile=False)
    return lambda seen: run(seen.astype(np.float32)).numpy()
