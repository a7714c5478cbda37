"""What `cnn-app doctor` finds out: versions, the machine, why there is no GPU, and which export targets work here."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from importlib import import_module, metadata
from pathlib import Path

import keras
import numpy as np
import psutil

from cnn_app import registry, tasks
from cnn_app.artifacts import ModelDir
from cnn_app.data import memory
from cnn_app.errors import CnnAppError, ExportError
from cnn_app.export.golden import max_difference
from cnn_app.export.graph import deployable
from cnn_app.export.targets import TARGETS, place
from cnn_app.runtimes import open_model
from cnn_app.runtimes.keras_model import KerasRuntime
from cnn_app.tasks import Task
from cnn_app.tensors import Arrays

TRAINING = 'extra == "train"'
DRIVER = "libcuda.so.1"
CUDA = {  # by the major version that TensorFlow was built for
    "12": ("libcudart.so.12", "libcublas.so.12", "libcublasLt.so.12", "libcufft.so.11", "libcusolver.so.11",
           "libcusparse.so.12"),
}  # fmt: skip
OTHER_BACKEND = "take a later TensorFlow, or train with KERAS_BACKEND=jax and pip install 'jax[cuda12]'"
KEEP_TRANSLATIONS = "set CUDA_CACHE_MAXSIZE=4294967296, so that the driver keeps what it translated"
INSTALL = {"tensorflow": "pip install 'cnn-app[gpu]'", "jax": "pip install 'jax[cuda12]'"}
# Of any probability. Wide, for GPUs compute in TF32; wrong answers are off by half and more.
TOLERANCE = {"float32": 0.01, "float16": 0.02, "int8": 0.1}  # by weights


def examine() -> dict:
    """Everything, ready for JSON."""
    backend, devices = keras.backend.backend(), []
    with suppress(Exception):  # a backend that is not ours, or that cannot start: the checks below say why
        devices = keras.distribution.list_devices()
    return {
        "python": platform.python_version(),
        "packages": {name: version(name) for name in ("cnn-app", *dependencies())},
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count(),
        "free_memory": memory.available(),  # bytes
        "backend": backend,
        "devices": devices,
        "gpu": gpu(backend, devices),
        "targets": check_targets(),
    }


def dependencies() -> list[str]:
    """The packages that ours requires, those for training among them."""
    lines = [line for line in metadata.requires("cnn-app") or () if "extra ==" not in line or TRAINING in line]
    return [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in lines]


def version(package: str) -> str | None:
    """None where it is not installed."""
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def gpu(backend: str, devices: Iterable[str]) -> dict:
    """Whether the backend sees a GPU; if not, why, what to do, and the libraries that cannot be loaded."""
    import tensorflow as tf

    if any(device.startswith("gpu") for device in devices):
        reason, advice = (
            built_for(tf.sysconfig.get_build_info(), _capabilities()) if backend == "tensorflow" else (None, None)
        )
        return {"seen": True, "reason": reason, "advice": advice, "missing": {}}
    if backend not in INSTALL:
        reason, advice = f"cnn-app does not run on Keras's {backend} backend", "set KERAS_BACKEND=tensorflow"
        return {"seen": False, "reason": reason, "advice": advice, "missing": {}}
    names = libraries(tf.sysconfig.get_build_info()) if backend == "tensorflow" else (DRIVER,)
    return {"seen": False} | why_none(backend, names, partial(load, packages=Path(tf.__file__).parents[1] / "nvidia"))


def _capabilities() -> list[tuple[int, int]]:
    """The compute capabilities of the GPUs that TensorFlow sees."""
    import tensorflow as tf

    details = map(tf.config.experimental.get_device_details, tf.config.list_physical_devices("GPU"))
    return [found["compute_capability"] for found in details if "compute_capability" in found]


def built_for(build: dict, capabilities: Iterable[tuple[int, int]]) -> tuple[str | None, str | None]:
    """What a TensorFlow of this build lacks for GPUs of these compute capabilities, and what to do; None for nothing.

    Code for sm_89 runs on later ones of 8; code for compute_90 is translated by the driver on all later ones.
    """
    kinds = {kind: [divmod(int(name.partition("_")[2]), 10) for name in build.get("cuda_compute_capabilities", ())
                    if name.startswith(f"{kind}_")] for kind in ("sm", "compute")}  # fmt: skip
    for major, minor in sorted(capabilities, reverse=True):
        if any(own == major and least <= minor for own, least in kinds["sm"]):
            continue
        told = f"TensorFlow has no code for compute capability {major}.{minor}"
        ahead = [major - own for own, least in kinds["compute"] if (own, least) <= (major, minor)]
        if not ahead or min(ahead) > 1:  # of what is two generations older translations fail
            return f"{told}, built for {', '.join(build['cuda_compute_capabilities'])}", OTHER_BACKEND
        return f"{told}: the driver translates it at the first start, which takes minutes", KEEP_TRANSLATIONS
    return None, None


def libraries(build: dict) -> tuple[str, ...]:
    """What a TensorFlow of this build opens before it takes a GPU; nothing if it was built for none."""
    if not build["is_cuda_build"]:
        return ()
    cuda, cudnn = (build[name].partition(".")[0] for name in ("cuda_version", "cudnn_version"))
    return DRIVER, *CUDA.get(cuda, ()), f"libcudnn.so.{cudnn}"


def load(name: str, packages: Path) -> ctypes.CDLL:
    """Open a library of the system, or else the one that pip put into `packages`. Raises OSError."""
    *others, last = [name, *map(str, sorted(packages.glob(f"*/lib/{name}")))]
    for path in others:
        with suppress(OSError):
            return ctypes.CDLL(path)
    return ctypes.CDLL(last)


def missing_libraries(names: Iterable[str], load: Callable[[str], object]) -> dict[str, str]:
    """Those of `names` that cannot be loaded, and what the loader says."""
    missing = {}
    for name in names:
        try:
            load(name)
        except OSError as error:
            missing[name] = str(error)
    return missing


def why_none(backend: str, names: tuple[str, ...], load: Callable[[str], ctypes.CDLL]) -> dict:
    """Reason, advice and missing libraries: the driver comes first, then the libraries, then what the driver says."""
    missing = missing_libraries(names, load)
    others = [culprit(name, message) for name, message in missing.items() if name != DRIVER]
    install = INSTALL[backend]
    if not names:
        reason, advice = "this TensorFlow was built without CUDA", "use Linux on x86-64, on Windows in WSL2"
    elif DRIVER in missing:
        reason = f"no NVIDIA driver: cannot load {DRIVER}"
        advice = "if there is an NVIDIA GPU, install its driver, or start the container with GPUs"
        advice += f"; then {install}" if others or backend != "tensorflow" else ""
    elif others:
        reason, advice = f"cannot load {', '.join(others)}", install
    else:
        reason = f"every library loads; the driver says: {driver_says(load(DRIVER))}"
        advice = f"look at nvidia-smi and CUDA_VISIBLE_DEVICES, and {install} if that was never done"
    return {"reason": reason, "advice": advice, "missing": missing}


def culprit(name: str, message: str) -> str:
    """`name`, and with it the library that it needs in turn if the loader stumbled over that one."""
    stumbled = Path(message.partition(":")[0]).name
    return f"{name} (it needs {stumbled})" if ".so" in stumbled and stumbled != name else name


def driver_says(driver: ctypes.CDLL) -> str:
    words = ctypes.c_char_p()
    driver.cuGetErrorString(driver.cuInit(0), ctypes.byref(words))
    return (words.value or b"unknown error").decode()


def check_targets() -> list[dict]:
    """Every export target, with a small network of random weights, far from even answers, and random images."""
    random = np.random.default_rng(0)
    try:
        task = tasks.of_row(registry.spec("lenet5"), {}, {})
        model = registry.build("lenet5")
        model.set_weights([random.normal(0, 0.2, weight.shape) for weight in model.get_weights()])
        records = {"image": random.integers(0, 256, (8, *model.input_shape[1:])).astype(np.uint8)}
        expected, copy = KerasRuntime(task.deployed(model)).run(records), deployable(model)
    except Exception as error:  # Keras itself does not run here, so nothing can be exported
        return [{"target": name, "ok": False, "max_difference": None, "reason": one_line(error)} for name in TARGETS]
    return [check_target(name, task, copy, records, expected) for name in TARGETS]


def check_target(name: str, task: Task, model: keras.Model, records: Arrays, expected: Arrays) -> dict:
    """Write a file, open it, and compare its answers with Keras's."""
    target, difference, reason = TARGETS[name], None, None
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = place(ModelDir(folder), name)
            path.parent.mkdir(parents=True)
            import_module(f"cnn_app.export.{target.module}").write(task, model, path, target, records)
            difference = max_difference(open_model(path).run(records), expected)
        if not difference <= TOLERANCE[target.weights]:  # NaN is refused too
            raise ExportError(f"it differs from Keras by {difference:.2g}")
    except Exception as error:  # whatever the packages or the disk do here is what is asked for
        reason = one_line(error)
    return {"target": name, "ok": reason is None, "max_difference": difference, "reason": reason}


def one_line(error: Exception) -> str:
    """The message's first line, or the one after the stack that TensorFlow's tracing puts in front of it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    if lines[0].startswith("in user code"):
        return next((line for line in lines if re.match(r"\w+Error: ", line)), lines[-1])[:200]
    kind = "" if isinstance(error, CnnAppError) else f"{type(error).__name__}: "
    return (kind + lines[0][:200]).removesuffix(": ")
