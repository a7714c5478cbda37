"""Where else a run's numbers go: files that are read back, and services by stand-ins for their packages."""

import json
import sys
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from cnn_app.cli.main import cli
from cnn_app.errors import TrainingError
from cnn_app.training import engine, loggers

ROW = {"epoch": 1, "step": 9, "lr": 0.5, "loss": 1.0, "train_loss": 0.9, "val_loss": 0.8}
NAMED = {"epoch": 1, "running/lr": 0.5, "running/loss": 1.0, "train/loss": 0.9, "val/loss": 0.8}


def told(names, place, facts=None):
    """Two steps of an epoch of nine whose means were read once, and the epoch's end."""
    seen, logs = [], {"loss": 2.0}
    watch = engine.Watch(step=lambda *step: seen.append(step), epoch=seen.append)
    with loggers.logged(names, place, facts or {}, watch) as watched:
        watched.step(1, 1, 9, {})
        watched.step(1, 2, 9, logs)
        watched.step(1, 3, 9, logs)
        watched.epoch(ROW)
    assert seen == [(1, 1, 9, {}), (1, 2, 9, logs), (1, 3, 9, logs), ROW]


def test_lines_of_json_go_on_where_a_run_does(tmp_path):
    for _ in range(2):
        told(("jsonl",), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert all(line.pop("time") > 1e9 for line in lines)
    assert lines == [{"step": 11, "running/loss": 2.0}, {"step": 9, **NAMED}] * 2


def test_tensorboard_reads_its_scalars(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    told(("tensorboard", "jsonl"), tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    names = events.Tags()["tensors"]
    found = {name: [(event.step, tensor_of(event)) for event in events.Tensors(name)] for name in names}
    assert found.pop("running/loss") == [(11, 2.0), (9, 1.0)]
    assert found == {name: [(9, pytest.approx(value))] for name, value in NAMED.items() if name != "running/loss"}
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2


def tensor_of(event):
    from tensorboard.util.tensor_util import make_ndarray

    return float(make_ndarray(event.tensor_proto))


class Run:
    def __init__(self):
        self.calls, self.closed = [], False

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.closed = True

    def log(self, numbers, step):
        self.calls.append((step, numbers))


def test_mlflow_gets_a_run_with_its_settings(tmp_path, monkeypatch):
    run, calls = Run(), []
    module = SimpleNamespace(
        start_run=lambda run_name: calls.append(run_name) or run, log_params=calls.append,
        log_metrics=lambda numbers, step: calls.append((step, numbers)),
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "mlflow", module)
    told(("mlflow",), tmp_path, {"batch": 8})
    assert calls == [tmp_path.name, {"batch": 8}, (11, {"running/loss": 2.0}), (9, NAMED)] and run.closed


def test_weights_and_biases_get_a_run_with_its_settings(tmp_path, monkeypatch):
    run, given = Run(), {}
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=lambda **options: given.update(options) or run))
    told(("wandb",), tmp_path, {"batch": 8})
    assert given == {"name": tmp_path.name, "dir": str(tmp_path), "config": {"batch": 8}}
    assert run.calls == [(11, {"running/loss": 2.0}), (9, NAMED)] and run.closed


def test_a_package_that_is_not_there_is_told_before_any_work(monkeypatch, tmp_path):
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    with pytest.raises(TrainingError, match="^the log mlflow needs mlflow: pip install mlflow$"):
        loggers.check(("jsonl", "mlflow"))
    with pytest.raises(TrainingError, match="no log named 'tensorbord'; known: jsonl, mlflow, tensorboard, wandb"):
        loggers.check(("tensorbord",))
    command = ["train", "lenet5", "--data", "digits", "--out", str(tmp_path / "out"), "--log", "wandb"]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 1 and done.stderr.count("\n") == 1 and not (tmp_path / "out").exists()


def test_a_run_writes_them_into_its_model_directory(tmp_path):
    out = tmp_path / "digits"
    command = ["train", "lenet5", "--data", "digits", "--epochs", "1", "--batch", "128", "--log", "jsonl"]
    command += ["--out", str(out)]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0, done.output
    *_, last = (json.loads(line) for line in (out / "log.jsonl").read_text().splitlines())
    assert last["step"] == 9 and {"train/loss", "train/top1", "val/loss", "val/top1", "running/loss"} < set(last)
    header, row = (out / "history.csv").read_text().splitlines()
    assert header == "epoch,step,lr,loss,top1,train_loss,train_top1,val_loss,val_top1" and row.startswith("1,9,")
