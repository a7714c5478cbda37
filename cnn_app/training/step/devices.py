"""Which devices share a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from cnn_app import cluster
from cnn_app.cluster import Cluster
from cnn_app.errors import TrainingError

ALL = "all"


@dataclass(frozen=True)
class Machines:
    """All devices of several machines, each of which makes the same batches and takes its part of them."""

    cluster: Cluster
    devices: int  # of all machines together
    strategy: Any = None  # TensorFlow's

    def __len__(self) -> int:
        return self.devices


Devices = tuple[str, ...] | Machines  # by name, or all of several machines; none: the backend's own


def chosen(asked: str | None) -> Devices:
    """The names of `all` devices, of the first so many, such as `2`, or of those at some places, such as `0,2`.

    None, and the first alone, are no choice. Raises TrainingError where there are fewer. Where TF_CONFIG names several
    machines, all of theirs, once they are there: nothing may have been computed before.
    """
    if found := cluster.here():
        if asked not in (None, ALL):
            raise TrainingError(f"machines of {cluster.VARIABLE} share all their devices; leave out --devices {asked}")
        return _joined(found)
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


def _joined(found: Cluster) -> Machines:
    found.gather()
    if keras.backend.backend() == "jax":
        import jax

        jax.distributed.initialize(found.workers[0], len(found.workers), found.index)
        return Machines(found, len(jax.devices()))
    import tensorflow as tf

    spec = tf.train.ClusterSpec({"worker": list(found.workers)})
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        spec, task_type="worker", task_id=found.index, rpc_layer="grpc"
    )
    strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver)
    return Machines(found, strategy.num_replicas_in_sync, strategy)


def check_batch(batch: int, devices: Devices) -> None:
    if devices and batch % len(devices):
        raise TrainingError(
            f"a batch of {batch} cannot be divided over {len(devices)} devices; give --batch a multiple of that, and "
            "no more than there are records"
        )


def _there() -> list[str]:
    """Those that a backend computes on: its GPUs or, where it has none, its CPUs."""
    names = keras.distribution.list_devices()
    return [name for name in names if not name.startswith("cpu")] or names
