"""Several machines that train one model: who they are, that all are there, and that they do what one does."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import cnn_app
from cnn_app import cluster
from cnn_app.artifacts import ModelDir
from cnn_app.cli.main import cli
from cnn_app.cluster import Cluster
from cnn_app.errors import TrainingError
from cnn_app.training.step import devices

TWO = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}


def test_who_is_who():
    assert cluster.parse(json.dumps(TWO)) == Cluster(("a:1", "b:2"), 1) and not Cluster(("a:1", "b:2"), 1).is_chief
    chief = {"cluster": {"worker": ["a:1", "b:2"], "chief": ["[::1]:3"]}, "task": {"type": "worker", "index": 1}}
    assert cluster.parse(json.dumps(chief)) == Cluster(("[::1]:3", "a:1", "b:2"), 2)
    chief["task"] = {"type": "chief", "index": 0}
    assert cluster.parse(json.dumps(chief)).is_chief
    alone = {"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}
    assert cluster.parse(json.dumps(alone)) is None is cluster.parse("{}")


@pytest.mark.parametrize(
    "text, words",
    [
        ("{", "TF_CONFIG is no JSON: Expecting property name"),
        ("[" * 10_000, "TF_CONFIG is no JSON"),
        ("[]", "TF_CONFIG needs a cluster of lists of addresses"),
        ({**TWO, "cluster": ["a:1", "b:2"]}, "needs a cluster of lists of addresses, such as"),
        ({**TWO, "cluster": {"worker": "a:1"}}, "needs a cluster of lists of addresses"),
        ({**TWO, "cluster": {"worker": ["a", "b:2"]}}, "needs a cluster of lists of addresses"),
        ({**TWO, "cluster": {"worker": ["a:1", "b:70000"]}}, "needs a cluster of lists of addresses"),
        ({**TWO, "cluster": {"worker": ["a:1", "a:1"]}}, "TF_CONFIG has an address twice: a:1, a:1"),
        ({**TWO, "cluster": {"worker": ["a:1"], "ps": ["b:2"]}}, "no role in TF_CONFIG named 'ps'; known: chief, wo"),
        ({**TWO, "task": None}, 'needs a task of its cluster, such as {"type": "worker", "index": 0}; received None'),
        ({**TWO, "task": {"type": "worker", "index": 2}}, "needs a task of its cluster"),
        ({**TWO, "task": {"type": "worker", "index": "1"}}, "needs a task of its cluster"),
        ({**TWO, "task": {"type": "chief", "index": 0}}, "needs a task of its cluster"),
        ({**TWO, "task": {"type": [], "index": 0}}, "needs a task of its cluster"),
    ],
)
def test_what_makes_no_sense(tmp_path, monkeypatch, text, words):
    monkeypatch.setenv("TF_CONFIG", text if isinstance(text, str) else json.dumps(text))
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('name = "m"\nmodel = {name = "lenet5"}\ndata = {source = "digits"}')
    for command in (["train", "lenet5", "--data", "digits", "--out", tmp_path / "m"],
                    ["run", recipe, "--store", tmp_path]):  # fmt: skip
        refused = CliRunner().invoke(cli, list(map(str, command)), catch_exceptions=False)
        assert refused.exit_code == 1 and words in refused.stderr and len(refused.stderr.splitlines()) == 1
    assert not (tmp_path / "m").exists()


def free_ports(count):
    with ExitStack() as stack:
        found = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in found]


def addresses(count):
    return tuple(f"127.0.0.1:{port}" for port in free_ports(count))


def test_a_worker_that_never_appears_is_named():
    here, there, gone = addresses(3)
    with socket.create_server(("127.0.0.1", int(there.rpartition(":")[2]))):
        Cluster((here, there), 0).gather(0)
        with pytest.raises(TrainingError, match=f"worker 2 at {gone} did not appear within 0 s; start it, or leave it"):
            Cluster((here, there, gone), 0).gather(0)
        with pytest.raises(TrainingError, match=f"worker 0 at {there}, which is this process, cannot listen: "):
            Cluster((there, here), 0).gather(0)
        assert Cluster((here, there, gone), 0).lost() == f"worker 2 at {gone}"
        assert Cluster((here, there), 0).lost() == "another worker"


def test_machines_share_all_their_devices(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", json.dumps(TWO))
    with pytest.raises(TrainingError, match="machines of TF_CONFIG share all their devices; leave out --devices 2"):
        devices.chosen("2")
    machines = devices.Machines(Cluster(("a:1", "b:2", "c:3"), 0), 3)
    with pytest.raises(TrainingError, match="a batch of 8 cannot be divided over 3 devices"):
        devices.check_batch(8, machines)


def test_only_the_chief_writes(tmp_path, monkeypatch):
    out = tmp_path / "m"
    (out / "training").mkdir(parents=True)
    (out / "training" / "state.npz").write_text("state")
    (out / "mobile").mkdir()
    with cluster.place(out, resume=True) as place:
        assert place == out
    for index in (0, 1):
        monkeypatch.setenv("TF_CONFIG", json.dumps({**TWO, "task": {"type": "worker", "index": index}}))
        with cluster.place(out, resume=True) as place:
            assert (place == out) == (index == 0) and place.name == "m"
            assert (place / "training" / "state.npz").read_text() == "state"
            assert (place / "mobile").is_dir() == (index == 0)
        with cluster.place(out, resume=False) as fresh:
            assert fresh.exists() == (index == 0)
    assert not place.exists() and out.exists()


# --- the manifest for Kubeflow's Trainer

TRAINING = Path(__file__).parents[1] / "deploy" / "kubernetes" / "training" / "trainjob.yaml"


@pytest.fixture
def manifest():
    yaml = pytest.importorskip("yaml")
    return {document["kind"]: document for document in yaml.safe_load_all(TRAINING.read_text())}


def test_the_manifest_is_what_kubernetes_knows(manifest):
    """The job in it, strictly; the parts of it fit each other."""
    validate = pytest.importorskip("kubernetes_validate")
    runtime, job = manifest["TrainingRuntime"]["spec"], manifest["TrainJob"]
    (nodes,) = runtime["template"]["spec"]["replicatedJobs"]
    latest = validate.latest_version()
    whole = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job", **nodes["template"]["metadata"]}}
    validate.validate(whole | {"spec": nodes["template"]["spec"]}, latest, strict=True)
    validate.validate(manifest["PersistentVolumeClaim"], latest, strict=True)
    reference = job["spec"]["runtimeRef"]
    assert (reference["kind"], reference["name"]) == (
        "TrainingRuntime",
        manifest["TrainingRuntime"]["metadata"]["name"],
    )
    pod = nodes["template"]["spec"]["template"]["spec"]
    given = {one["name"]: one["value"] for one in pod["containers"][0]["env"]}
    assert given["JOB"] == job["metadata"]["name"] and nodes["name"] == "node"
    assert int(given["NODES"]) == job["spec"]["trainer"]["numNodes"] == runtime["mlPolicy"]["numNodes"]
    claims = [one["persistentVolumeClaim"]["claimName"] for one in pod["volumes"] if "persistentVolumeClaim" in one]
    assert claims == [manifest["PersistentVolumeClaim"]["metadata"]["name"]]


@pytest.mark.skipif(sys.platform == "win32", reason="a container's shell")
def test_the_manifest_says_who_is_who(manifest, tmp_path):
    (tmp_path / "cnn-app").write_text('#!/bin/sh\nprintf "%s\\n" "$TF_CONFIG" "$@"\n')
    (tmp_path / "cnn-app").chmod(0o755)
    (nodes,) = manifest["TrainingRuntime"]["spec"]["template"]["spec"]["replicatedJobs"]
    (container,) = nodes["template"]["spec"]["template"]["spec"]["containers"]
    given = {one["name"]: one["value"] for one in container["env"]} | {"JOB_COMPLETION_INDEX": "1"}
    given |= {"PATH": f"{tmp_path}:{os.environ['PATH']}", "NODES": "3"}

    def carried_out():
        done = subprocess.run(container["command"], env=given, cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    config, *arguments = carried_out()
    assert cluster.parse(config) == Cluster(tuple(f"photos-node-0-{i}.photos:2222" for i in range(3)), 1)
    assert arguments == ["run", "photos.toml"]
    (tmp_path / "saved_models" / "photos" / "training").mkdir(parents=True)
    assert carried_out()[1:] == ["run", "photos.toml", "--resume"]


# --- real processes on this machine


def environment(workers, index, **more):
    config = {"cluster": {"worker": list(workers)}, "task": {"type": "worker", "index": index}}
    return os.environ | {"TF_CONFIG": json.dumps(config)} | more


@pytest.mark.slow
@pytest.mark.parametrize("backend", ("tensorflow", "jax"))
def test_two_machines_lose_as_much_as_one(backend, tmp_path):
    """Of the same batches, for 20 steps, without batch normalization; with clipping and averages, too."""
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"needs {backend}")
    import stepping
    from test_steps import example

    stepping.write(tmp_path / "lenet5", *example("lenet5"))
    command = [sys.executable, str(Path(stepping.__file__).with_name("together.py")), str(tmp_path / "lenet5")]
    quick = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"  # to compile
    given = {"KERAS_BACKEND": backend, "XLA_FLAGS": quick}
    whole = subprocess.run(command, env=os.environ | given, capture_output=True, check=True).stdout
    workers = addresses(2)
    both = [
        subprocess.Popen(command, env=environment(workers, index, **given), stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
        for index in range(2)
    ]  # fmt: skip
    told = [one.communicate() for one in both]
    assert [one.returncode for one in both] == [0, 0], told
    for printed, _ in told:
        losses = json.loads(printed.splitlines()[-1])  # behind what JAX's collectives print
        np.testing.assert_allclose(losses, json.loads(whole), rtol=1e-5, atol=1e-5)
    assert json.loads(whole)[0][-1] < json.loads(whole)[0][0]


def started(workers, out, *options):
    """Both, the chief first, each with options of its own."""
    command = f"train lenet5 --data digits --epochs 5 --batch 128 --augment crop --out {out}".split()
    return [
        subprocess.Popen([sys.executable, "-m", "cnn_app", *command, *own], env=environment(workers, index),
                         stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for index, own in enumerate(options)
    ]  # fmt: skip


def ended(both, code=0):
    """What they told, and that they ended alike."""
    told = [one.communicate()[1] for one in both]
    assert [one.returncode for one in both] == [code, code], told
    return told


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The model directory of a run of both."""
    out = tmp_path_factory.mktemp("whole") / "m"
    ended(started(addresses(2), out, [], []))
    return out


@pytest.mark.slow
@pytest.mark.parametrize("lost", (0, 1))
def test_a_worker_that_is_killed_costs_an_epoch_at_most(tmp_path, undisturbed, lost):
    """The other ends in one line; started again, both end with the weights of a run that nothing happened to."""
    workers = addresses(2)
    chief, _ = both = started(workers, tmp_path / "killed", [], [])
    assert any(line.startswith("epoch   3") for line in chief.stderr)
    both[lost].kill()
    message = both[1 - lost].communicate()[1].splitlines()[-1]
    both[lost].communicate()
    assert f"worker {lost} at {workers[lost]} is gone; start all workers again with --resume" in message
    assert both[1 - lost].returncode == 1
    if lost == 1:
        told = ended(started(workers, tmp_path / "killed", ["--resume"], ["--overwrite"]), 1)
        assert all("the machines stand at different steps, this one at" in one.splitlines()[-1] for one in told)
    told = ended(started(workers, tmp_path / "killed", ["--resume"], ["--resume"]))
    assert "epoch   2" not in told[0] and "epoch   5" in told[0]
    places = tmp_path / "killed", undisturbed
    found = [cnn_app.load_model(place).get_weights() for place in places]
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    ours, theirs = (ModelDir(place).read_card().metrics for place in places)
    assert ours == theirs


RAY = Path(__file__).parents[1] / "deploy" / "ray" / "train.py"


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray[train]")
def test_a_recipe_on_two_workers_of_ray(tmp_path):
    (tmp_path / "recipe.toml").write_text(
        'name = "m"\nmodel = {name = "lenet5"}\ndata = {source = "digits"}\nschedule = {epochs = 2, batch = 128}\n'
    )
    command = [sys.executable, str(RAY), "recipe.toml", "--workers", "2", "--store", "models"]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}, capture_output=True)
    assert done.returncode == 0, done.stderr
    found = ModelDir(tmp_path / "models" / "m")
    assert found.read_card().metrics["test"]["top1"] > 0.7 and not found.training.exists()
