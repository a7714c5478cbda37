import _ctypes
import json
import shutil
import subprocess
import sys
from functools import partial
from importlib import metadata

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

import cnn_app
from cnn_app import doctor
from cnn_app.cli.main import cli
from cnn_app.errors import ExportError
from cnn_app.export import onnx
from cnn_app.export.targets import TARGETS
from cnn_app.jobs.opened import task_of

NAMES = ("libcuda.so.1", "libcublas.so.12", "libcudnn.so.9")


def loader(driver=None, **broken):
    """A loader that knows NAMES but for those in `broken`, whose dots are underscores."""
    messages = {name.replace("_", "."): message for name, message in broken.items()}

    def load(name):
        if name in messages:
            raise OSError(messages[name])
        return driver

    return load


def gone(name):
    return f"{name}: cannot open shared object file: No such file or directory"


class Driver:
    """libcuda with an answer of its own."""

    def __init__(self, answer):
        self.answer = answer

    def cuInit(self, flags):
        return 100

    def cuGetErrorString(self, code, pointer):
        assert code == 100
        pointer._obj.value = self.answer


def report(*options):
    result = CliRunner().invoke(cli, ["doctor", *options])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_every_target_works_here():
    result = report("--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [check["target"] for check in found["targets"]] == list(TARGETS)
    assert all(check["ok"] and check["reason"] is None for check in found["targets"]), found["targets"]
    difference = {check["target"]: check["max_difference"] for check in found["targets"]}
    assert difference["tflite-float32"] < difference["tflite-int8"] < 0.1
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["packages"]["keras"] == metadata.version("keras")
    assert None not in found["packages"].values() and "pytest" not in found["packages"]
    assert found["cores"] >= 1 and found["free_memory"] > 2**20
    assert found["backend"] == "tensorflow" and found["devices"]
    assert found["gpu"]["seen"] == bool(tf.config.list_physical_devices("GPU"))
    assert found["gpu"]["seen"] or (found["gpu"]["reason"] and found["gpu"]["advice"])


@pytest.mark.slow
def test_a_target_that_cannot_be_written(monkeypatch):
    def write(task, model, path, target, calibration):
        raise RuntimeError("[/opset] 17 is not there\nand more")

    monkeypatch.setattr(onnx, "write", write)
    result = report("--json")
    assert result.exit_code == 1
    checks = {check["target"]: check for check in json.loads(result.stdout)["targets"]}
    for name in ("onnx", "onnx-int8"):
        assert checks.pop(name) == {
            "target": name, "ok": False, "max_difference": None, "reason": "RuntimeError: [/opset] 17 is not there",
        }  # fmt: skip
    assert all(check["ok"] for check in checks.values())
    assert result.stderr == "Error: these export targets do not work here: onnx, onnx-int8\n"


def test_tables(monkeypatch):
    checks = [
        {"target": "onnx", "ok": True, "max_difference": 6e-8, "reason": None},
        {"target": "tflite-int8", "ok": False, "max_difference": None, "reason": "no [/such] thing"},
    ]
    monkeypatch.setattr(doctor, "check_targets", lambda: checks)
    monkeypatch.setattr(doctor, "gpu", lambda *_: {"seen": False} | doctor.why_none("tensorflow", (), loader()))
    monkeypatch.setattr(doctor, "dependencies", lambda: ["keras", "no-such-package"])
    result = report()
    assert result.exit_code == 1
    lines = [" ".join(line.strip("│ ").replace("│", "").split()) for line in result.stdout.splitlines()]
    assert {"onnx 6.0e-08 ok", "tflite-int8 fails", "tflite-int8: no [/such] thing"} <= set(lines)
    assert {f"keras {metadata.version('keras')}", "no-such-package not installed"} <= set(lines)
    assert "No GPU: this TensorFlow was built without CUDA" in lines


def test_wrong_answers_are_refused():
    model = cnn_app.create_model("lenet5")
    records = {"image": np.zeros((1, *model.input_shape[1:]), np.uint8)}
    for expected, words in ((1.0, "it differs from Keras by 0.9"), (np.nan, "it differs from Keras by nan")):
        wanted = {"probabilities": np.full((1, 10), expected, np.float32)}
        check = doctor.check_target("onnx", task_of(model), model, records, wanted)
        assert not check["ok"] and check["reason"].startswith(words)


def test_a_keras_that_does_not_run(monkeypatch):
    def broken(self, records):
        raise RuntimeError("DNN library initialization failed")

    monkeypatch.setattr(doctor.KerasRuntime, "run", broken)
    checks = doctor.check_targets()
    assert [check["target"] for check in checks] == list(TARGETS)
    assert {check["reason"] for check in checks} == {"RuntimeError: DNN library initialization failed"}


def test_missing_libraries(tmp_path):
    folder = tmp_path / "some" / "lib"
    folder.mkdir(parents=True)
    shutil.copy(_ctypes.__file__, folder / "libreal.so.1")
    (folder / "libdamaged.so.1").write_text("no library")
    names = ("libreal.so.1", "libdamaged.so.1", "libbogus.so.1")
    missing = doctor.missing_libraries(names, partial(doctor.load, packages=tmp_path))
    assert list(missing) == ["libdamaged.so.1", "libbogus.so.1"]
    assert str(folder / "libdamaged.so.1") in missing["libdamaged.so.1"]
    assert "libbogus.so.1" in missing["libbogus.so.1"]


def test_libraries_of_this_tensorflow():
    build = tf.sysconfig.get_build_info()
    if not build["is_cuda_build"]:
        pytest.skip("this TensorFlow was built without CUDA")
    assert build["cuda_version"].partition(".")[0] in doctor.CUDA
    assert len(doctor.libraries(build)) == 8
    assert doctor.libraries({"is_cuda_build": False}) == ()


@pytest.mark.parametrize(
    "load, reason, advice",
    [
        (loader(libcuda_so_1=gone("libcuda.so.1")), "no NVIDIA driver: cannot load libcuda.so.1", "install its driver"),
        (loader(libcudnn_so_9=gone("libcudnn.so.9")), "cannot load libcudnn.so.9", "pip install 'cnn-app[gpu]'"),
        (
            loader(libcublas_so_12=gone("libcublasLt.so.12")),
            "cannot load libcublas.so.12 (it needs libcublasLt.so.12)",
            "pip install 'cnn-app[gpu]'",
        ),
        (
            loader(Driver(b"no CUDA-capable device is detected")),
            "every library loads; the driver says: no CUDA-capable device is detected",
            "CUDA_VISIBLE_DEVICES",
        ),
        (loader(Driver(None)), "every library loads; the driver says: unknown error", "nvidia-smi"),
    ],
)
def test_why_there_is_no_gpu(load, reason, advice):
    found = doctor.why_none("tensorflow", NAMES, load)
    assert found["reason"] == reason and advice in found["advice"]


def test_installs_only_what_is_missing():
    driver = loader(libcuda_so_1=gone("libcuda.so.1"))
    both = loader(libcuda_so_1=gone("libcuda.so.1"), libcudnn_so_9=gone("libcudnn.so.9"))
    assert "pip" not in doctor.why_none("tensorflow", NAMES, driver)["advice"]
    found = doctor.why_none("tensorflow", NAMES, both)
    assert found["advice"].endswith("then pip install 'cnn-app[gpu]'")
    assert set(found["missing"]) == {"libcuda.so.1", "libcudnn.so.9"}


BUILD = {"cuda_compute_capabilities": ["sm_60", "sm_70", "sm_80", "sm_89", "compute_90"]}  # TensorFlow 2.21's


@pytest.mark.parametrize("capability", ((6, 1), (7, 5), (8, 0), (8, 6), (8, 9)))
def test_a_gpu_that_tensorflow_has_code_for(capability):
    assert doctor.built_for(BUILD, [capability]) == (None, None)


@pytest.mark.parametrize(
    ("capability", "reason", "advice"),
    (
        ((9, 0), "no code for compute capability 9.0: the driver translates it", "CUDA_CACHE_MAXSIZE"),
        ((10, 0), "no code for compute capability 10.0: the driver translates it", "CUDA_CACHE_MAXSIZE"),
        ((12, 0), "no code for compute capability 12.0, built for sm_60, sm_70, ", "KERAS_BACKEND=jax"),
        ((5, 2), "no code for compute capability 5.2, built for sm_60, sm_70, ", "KERAS_BACKEND=jax"),
    ),
)
def test_a_gpu_that_tensorflow_was_not_built_for(capability, reason, advice):
    found = doctor.built_for(BUILD, [(8, 0), capability])
    assert reason in found[0] and advice in found[1]


def test_a_gpu_that_is_seen(monkeypatch):
    monkeypatch.setattr(doctor, "_capabilities", lambda: [(8, 0)])
    assert doctor.gpu("tensorflow", ["gpu:0"]) == {"seen": True, "reason": None, "advice": None, "missing": {}}


def test_advice_for_jax():
    found = doctor.why_none("jax", ("libcuda.so.1",), loader(libcuda_so_1=gone("libcuda.so.1")))
    assert found["advice"].endswith("pip install 'jax[cuda12]'")


def test_a_backend_that_is_not_ours():
    found = doctor.gpu("torch", [])
    assert "torch" in found["reason"] and found["advice"] == "set KERAS_BACKEND=tensorflow"


def test_one_line():
    assert doctor.one_line(ExportError("all is lost\nhere")) == "all is lost"
    assert doctor.one_line(ValueError()) == "ValueError"


def test_one_line_of_an_error_in_a_traced_function():
    @tf.function
    def traced(x):
        raise NotImplementedError("no such kernel\nsee the manual")

    with pytest.raises(NotImplementedError) as caught:
        traced(1)
    assert doctor.one_line(caught.value) == "NotImplementedError: no such kernel"


def test_help_imports_no_tensorflow():
    code = (
        "import sys; from cnn_app.cli.main import cli; cli(['doctor', '--help'], standalone_mode=False); "
        "assert not {'tensorflow', 'keras', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--json" in done.stdout
