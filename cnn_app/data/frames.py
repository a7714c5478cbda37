"""Environments that are seen: four frames of 84x84 greys, as in Mnih et al., Nature 518, 2015, and a drawn game."""

from __future__ import annotations

from collections import deque

import gymnasium
import numpy as np
from gymnasium import spaces
from PIL import Image

SIDE, STACK = 84, 4  # pixels, and frames that are seen together
SKIPPED = 4  # frames for which an action of Atari's is held
CELLS = SIDE // 4  # of a side of Catch
PADDLE = 1  # cells on either side of its middle


class Stacked(gymnasium.Wrapper):
    """Frames (h, w) -> the last STACK of them, (h, w, STACK); an episode begins with as many of its first."""

    def __init__(self, env: gymnasium.Env):
        super().__init__(env)
        self.frames: deque[np.ndarray] = deque(maxlen=STACK)
        self.observation_space = spaces.Box(0, 255, (SIDE, SIDE, STACK), np.uint8)

    def reset(self, **options):
        frame, told = self.env.reset(**options)
        self.frames.extend([frame] * STACK)
        return np.stack(self.frames, -1), told

    def step(self, action):
        frame, *rest = self.env.step(action)
        self.frames.append(frame)
        return np.stack(self.frames, -1), *rest


class Skipping(gymnasium.Wrapper):
    """An action is held for SKIPPED frames of grey; the larger of the last two of each pixel is seen, at SIDE."""

    def reset(self, **options):
        frame, told = self.env.reset(**options)
        return shrunk(frame), told

    def step(self, action):
        total, seen = 0.0, []
        for _ in range(SKIPPED):
            frame, reward, terminated, truncated, told = self.env.step(action)
            seen.append(frame)
            total += float(reward)
            if terminated or truncated:
                break
        return shrunk(np.max(seen[-2:], 0)), total, terminated, truncated, told


class Catch(gymnasium.Env):
    """A ball falls from anywhere, a paddle at the bottom goes left or right: 1 for a ball that is caught, -1 for one
    that is not. An episode has as many steps as the board has rows below the first.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    observation_space = spaces.Box(0, 255, (SIDE, SIDE), np.uint8)
    action_space = spaces.Discrete(3)
    render_mode = "rgb_array"

    def get_action_meanings(self) -> list[str]:
        return ["left", "stay", "right"]

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        super().reset(seed=seed)
        self.row, self.column, self.paddle = 0, int(self.np_random.integers(CELLS)), CELLS // 2
        return self._frame(), {}

    def step(self, action: int):
        self.row += 1
        self.paddle = min(max(self.paddle + int(action) - 1, PADDLE), CELLS - 1 - PADDLE)
        over = self.row == CELLS - 1
        reward = (1.0 if abs(self.column - self.paddle) <= PADDLE else -1.0) if over else 0.0
        return self._frame(), reward, over, False, {}

    def render(self) -> np.ndarray:
        return np.repeat(self._frame()[..., None], 3, -1)

    def _frame(self) -> np.ndarray:
        board = np.zeros((CELLS, CELLS), np.uint8)
        board[-1, self.paddle - PADDLE : self.paddle + PADDLE + 1] = 128
        board[self.row, self.column] = 255
        return board.repeat(SIDE // CELLS, 0).repeat(SIDE // CELLS, 1)


def atari(name: str, mode: str | None) -> gymnasium.Env:
    """A game of the Arcade Learning Environment; ImportError where that is not installed."""
    import ale_py

    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    gymnasium.register_envs(ale_py)
    return Stacked(Skipping(gymnasium.make(name, obs_type="grayscale", frameskip=1, render_mode=mode)))


def shrunk(frame: np.ndarray) -> np.ndarray:
    """Means of areas, uint8 (SIDE, SIDE)."""
    return np.asarray(Image.fromarray(frame).resize((SIDE, SIDE), Image.Resampling.BOX))
