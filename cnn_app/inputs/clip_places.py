"""Which frames of a video a network sees."""

from __future__ import annotations

import numpy as np

MOST = 10  # runs of a video whose answers are averaged, as many as in arXiv:1412.0767, section 3.3


def places(count: int, frames: int, step: int, share: float) -> np.ndarray:
    """Of `count` frames every `step`-th of a run, (frames,): at share 0 the first run, at 1 the last.

    Beyond the end it is the last frame.
    """
    over = max(count - reach(frames, step), 0)
    start = min(int(np.float32(over + 1) * np.float32(share)), over)
    return np.minimum(start + step * np.arange(frames), count - 1)


def reach(frames: int, step: int) -> int:
    """Frames of a video from the first to the last of a run."""
    return (frames - 1) * step + 1


def shares(count: int, frames: int, step: int) -> np.ndarray:
    """Of runs that see all of a video together, or of MOST that lie evenly in it."""
    needed = min(MOST, -(-count // reach(frames, step)))
    return np.linspace(0, 1, needed) if needed > 1 else np.array([0.5])
