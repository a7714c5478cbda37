"""Which devices share a batch."""

from __future__ import annotations

import keras

from cnn_app.errors import TrainingError

ALL = "all"


def chosen(asked: str | None) -> tuple[str, ...]:
    """The names of `all` devices, of the first so many, such as `2`, or of those at some places, such as `0,2`.

    None, and the first alone, are no choice. Raises TrainingError where there are fewer.
    """
    if asked is None:
        return ()
    there = _there()
    try:
        places = [int(place) for place in asked.split(",") if place] if asked != ALL else range(len(there))
    except ValueError:
        places = [-1]
    if "," not in asked and asked != ALL:
        places = range(places[0])
    if not places or min(places) < 0 or len(set(places)) != len(places):
        raise TrainingError(f"devices are {ALL}, a number of them, or places such as 0,2; received {asked!r}")
    if max(places) >= len(there):
        raise TrainingError(f"devices {asked} were asked for, and there are {len(there)}: {', '.join(there)}")
    return tuple(there[place] for place in places) if list(places) != [0] else ()


def check_batch(batch: int, devices: tuple[str, ...]) -> None:
    if devices and batch % len(devices):
        raise TrainingError(
            f"a batch of {batch} cannot be divided over {len(devices)} devices; give --batch a multiple of that, and "
            "no more than there are records"
        )


def _there() -> list[str]:
    """Those that a backend computes on: its GPUs or, where it has none, its CPUs."""
    names = keras.distribution.list_devices()
    return [name for name in names if not name.startswith("cpu")] or names
