"""Reading files of weights: name -> array, nothing executed, sizes bounded.

Names are as in the file, but Keras's h5 files give `layer/variable` (or `conv2d_1/vars/0`, which is all they know),
and PyTorch's are freed from the wrappings of training scripts.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cnn_app.errors import ModelError
from cnn_app.runtimes.keras_archive import FREE_BYTES, MAX_RATIO

MAX_BYTES = 8 * 2**30
MAX_TENSORS = 100_000
WRAPPINGS = ("state_dict", "model_state_dict", "model")
UNUSED = "num_batches_tracked"
KERAS_VARIABLES = {"kernel": "kernel", "depthwise_kernel": "kernel", "bias": "bias", "gamma": "gamma", "beta": "beta",
                   "moving_mean": "moving_mean", "moving_variance": "moving_variance"}  # fmt: skip


def read(path: Path) -> dict[str, np.ndarray]:
    """Every tensor of the file but PyTorch's counters of batches."""
    kind = path.suffix.lower()
    if kind not in READERS:
        raise ModelError(f"{path} has no known type of weights; known: .keras, {', '.join(READERS)}, a model directory")
    if not path.is_file():
        raise ModelError(f"no weights at {path}; give a file, or 'imagenet'")
    _bounded(path, path.stat().st_size)
    try:
        tensors = READERS[kind](path)
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
        reason = str(error).strip().split("\n")[0][:160]
        raise ModelError(f"cannot read {path}: {reason}; is it cut off? copy it again") from error
    tensors = {name: value for name, value in tensors.items() if not name.endswith(UNUSED)}
    if not tensors or len(tensors) > MAX_TENSORS:
        raise ModelError(f"{path} holds {len(tensors)} tensors; a file of weights is needed")
    return tensors


def _safetensors(path: Path) -> dict[str, np.ndarray]:
    import ml_dtypes  # noqa: F401  gives NumPy bfloat16
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as stored:
            return {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, TypeError) as error:
        raise ValueError(error) from error


def _npz(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        _bounded(path, sum(entry.file_size for entry in archive.infolist()))
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def _torch(path: Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError as error:
        raise ModelError(
            f"{path} needs PyTorch to be read: pip install torch, or save it as .safetensors or .npz"
        ) from error
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            _bounded(path, sum(entry.file_size for entry in archive.infolist()))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of how the file was pickled
            stored = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(f"{path} holds code or is no PyTorch file; save its state_dict alone") from error
    for wrapping in WRAPPINGS:
        if isinstance(stored, dict) and isinstance(stored.get(wrapping), dict):
            stored = stored[wrapping]
    tensors = {k: v for k, v in stored.items() if torch.is_tensor(v)} if isinstance(stored, dict) else {}
    if tensors and all(str(name).startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    _bounded(path, 4 * sum(value.numel() for value in tensors.values()))  # strides may repeat a small storage
    return {str(name): value.float().numpy() for name, value in tensors.items()}


def _h5(path: Path) -> dict[str, np.ndarray]:
    import h5py

    tensors: dict[str, np.ndarray] = {}
    with h5py.File(path) as stored:
        root = stored["model_weights"] if "model_weights" in stored else stored
        if "layers/rescaling" in root:
            raise ModelError(f"{path} holds weights of ours without their graph; give the .keras file")
        datasets: list[tuple[str, h5py.Dataset]] = []
        root.visititems(lambda name, item: datasets.append((name, item)) if isinstance(item, h5py.Dataset) else None)
        if any(item.external or item.is_virtual for _, item in datasets):
            raise ValueError("its tensors lie in other files")
        _bounded(path, sum(item.nbytes for _, item in datasets))
        for name, item in datasets:
            first, *_, last = parts = name.split("/")
            if first.startswith("optimizer"):
                continue
            if len(parts) > 2 and parts[-2] == "vars":
                tensors["/".join(parts[-3:])] = item[()]
            else:
                variable = KERAS_VARIABLES.get(last.split(":")[0], "kernel" if item.ndim > 1 else "bias")
                tensors[f"{first}/{variable}"] = item[()]
    return tensors


READERS: dict[str, Callable[[Path], dict[str, np.ndarray]]] = {
    ".safetensors": _safetensors, ".npz": _npz, ".pth": _torch, ".pt": _torch, ".th": _torch, ".h5": _h5
}  # fmt: skip


def _bounded(path: Path, unpacked: int) -> None:
    if unpacked > MAX_BYTES:
        raise ModelError(f"{path} unpacks to {unpacked / 2**30:.0f} GiB; more than {MAX_BYTES >> 30} are refused")
    if unpacked > max(FREE_BYTES, MAX_RATIO * path.stat().st_size):
        raise ModelError(f"{path} unpacks to {unpacked / 2**20:,.0f} MiB, more than {FREE_BYTES >> 20} MiB and "
                         f"{MAX_RATIO} times the file; save it without compression")  # fmt: skip
