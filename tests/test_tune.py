"""Searches over a recipe: ranges, who carries out which trial, what is given up, what is left in the end."""

import csv
import json
import signal
import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from cnn_app import recipe as recipes
from cnn_app.cli.main import cli
from cnn_app.errors import ArtifactError, DataError, RecipeError, TrainingError
from cnn_app.jobs import run as running
from cnn_app.jobs import tried, tune
from cnn_app.ranges import Choices, Span, Tune
from cnn_app.recipe import Data, Recipe, Schedule
from cnn_app.training import engine, trials

pytest.importorskip("optuna")
pytest.importorskip("tomli_w")
import searching

TEXT = """
name = "small"

[model]
name = "shufflenet_v1"
image = [32, 32, 1]

[data]
source = "digits"

[schedule]
epochs = 8

[tune]
trials = 6

[tune.schedule]
lr = {low = 0.001, high = 0.1, log = true}
batch = [32, 64]

[tune.model]
groups = [1, 2]
"""


def call(*arguments):
    return CliRunner().invoke(cli, ["tune", *map(str, arguments)], catch_exceptions=False)


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("lr = {", "lrr = {", "[tune.schedule] lrr = 0.001: no key of [schedule] named 'lrr'; did you mean lr"),
        ("groups =", "grups =", "[tune.model] grups = 1: no column of shufflenet_v1 named 'grups'"),
        ("[1, 2]", "[1, 5]", "[tune.model] groups = 5: shufflenet_v1"),
        ("[1, 2]", "[1, 2.5]", "[tune.model] groups = 2.5: shufflenet_v1: groups is a whole number"),
        ("[1, 2]", "[1]", "[tune.model] groups is a choice of two or more different values, received [1]"),
        ("[1, 2]", "[1, 1]", "two or more different values, received [1, 1]"),
        ("[1, 2]", "3", "[tune.model] groups is a list of values, or a table with low and high, received 3"),
        ("groups =", "name =", "[tune.model] has columns of one network's row"),
        ("[32, 64]", "[32, 0]", "[tune.schedule] batch = 0: batch lies between 1 and 65536, received 0"),
        ("[32, 64]", '[32, "64"]', "[tune.schedule] batch = \"64\": [batch] is a int, received '64'"),
        ("[32, 64]", "{low = 1.5, high = 2.5}", "[tune.schedule] batch = 1.5: [batch] is a int, received 1.5"),
        ("low = 0.001", "low = 1", "[tune.schedule] lr: low lies below high, received 1 and 0.1"),
        ("low = 0.001", "low = 0", "[tune.schedule] lr: low lies above 0 where log is true, received 0"),
        ("low = 0.001", "low = nan", "[tune.schedule] lr needs low and high, and low is a number, received nan"),
        ("low = 0.001, ", "", "[tune.schedule] lr needs low and high, and low is a number, received None"),
        ("log = true", "log = 1", "[tune.schedule] lr: log is true or false, received 1"),
        ("log = true", "step = 0.04", "[tune.schedule] lr: from low to high there are whole steps"),
        ("log = true", "step = 0", "[tune.schedule] lr: step lies above 0"),
        ("log = true", "steps = 1", "no key of [tune.schedule] lr named 'steps'; known: high, log, low, step"),
        ("trials = 6", "trials = 0", "[tune] trials lies between 1 and 100,000, received 0"),
        ("trials = 6", "seed = -1", "[tune] seed lies between 0 and 2147483647, received -1"),
        ("trials = 6", 'cost = "latency"', "no cost of [tune] named 'latency'; known: int8_latency, multiply_adds"),
        ("trials = 6", "trial = 6", "no key of [tune] named 'trial'"),
    ],
)  # fmt: skip
def test_ranges_that_make_no_sense(tmp_path, monkeypatch, old, new, words):
    monkeypatch.setattr(tune, "opened", lambda *arguments: pytest.fail("began"))
    assert TEXT.count(old) == 1
    file = tmp_path / "recipe.toml"
    file.write_text(TEXT.replace(old, new))
    refused = call(file, "--store", tmp_path / "store")
    assert refused.exit_code == 1 and words in refused.stderr and len(refused.stderr.splitlines()) == 1
    assert not (tmp_path / "store").exists()


def test_recipes_without_ranges(tmp_path):
    file = tmp_path / "recipe.toml"
    file.write_text(TEXT.partition("[tune]")[0])
    assert "small has no [tune], which says what to search" in call(file).stderr
    file.write_text(TEXT.partition("[tune.schedule]")[0])
    assert "[tune] needs ranges" in call(file).stderr
    with pytest.raises(RecipeError, match="a study of .transferability. has no .tune."):
        Recipe(name="n", kind="study", model={"name": "lenet5"}, data=Data(source="shapes"),
               transferability=recipes.Transferability(), tune=Tune(schedule={"lr": (0.1, 1.0)}))  # fmt: skip


def test_ranges_arrive(tmp_path):
    file = tmp_path / "recipe.toml"
    file.write_text(TEXT)
    found = recipes.read(file)
    assert tried.ranges_of(found) == {"schedule.lr": Span(0.001, 0.1, log=True), "schedule.batch": Choices((32, 64)),
                                      "model.groups": Choices((1, 2))}  # fmt: skip
    assert Span(1, 9, step=2).whole and not Span(1, 9.5).whole and not Span(1, 2, step=0.5).whole


def test_a_recipe_is_written_as_it_was_read(tmp_path):
    """Every shipped one, and with values of a trial in it."""
    for path in recipes.shipped().values():
        found = recipes.read(path)
        (tmp_path / "again.toml").write_text(tried.toml(found))
        assert recipes.read(tmp_path / "again.toml") == found
    (tmp_path / "recipe.toml").write_text(TEXT)
    values = {"schedule.lr": 0.02, "schedule.augment": ("flip", "crop"), "model.groups": 2}
    chosen = tried.with_values(recipes.read(tmp_path / "recipe.toml"), values)
    assert chosen.tune is None and chosen.model == {"name": "shufflenet_v1", "image": (32, 32, 1), "groups": 2}
    assert chosen.schedule == Schedule(epochs=8, lr=0.02, augment=("flip", "crop"))
    (tmp_path / "again.toml").write_text(tried.toml(chosen))
    assert recipes.read(tmp_path / "again.toml") == chosen


# --- a search by hand


def test_a_search_climbs_and_can_be_repeated(tmp_path):
    """Forty trials find what is right; the same seed draws the same, also where it goes on after a break."""
    done = searching.climb(tmp_path / "once", 40)
    assert list(done) == list(range(40))
    heights = [searching.height(found) for found in done.values()]
    assert np.mean(heights[20:]) > np.mean(heights[:10]) + 0.5 and max(heights) > 0.7
    for found in done.values():
        assert 1e-4 <= found["schedule.lr"] <= 1 and found["model.width"] in range(11)
        assert found["schedule.augment"] in ((), ("flip",))
    for most in (7, 14, 40):
        again = searching.climb(tmp_path / "again", most)
        assert again == {number: done[number] for number in again}
    other = searching.climb(tmp_path / "other", 7, seed=1)
    assert not {found["schedule.lr"] for found in other.values()} & {found["schedule.lr"] for found in done.values()}


def test_ranges_of_a_trial_are_drawn_apart(tmp_path):
    """Not by one number for all: two equal ranges differ."""
    ranges = {"schedule.lr": Span(0.0, 1.0), "schedule.momentum": Span(0.0, 1.0)}
    search = searching.opened(tmp_path / "s", ranges=ranges)
    with search.claimed(1) as trial:
        first, second = searching.values(trial).values()
    assert first != second


def test_processes_share_trials_and_none_is_lost(tmp_path):
    """One holds a trial and is killed, two others do the rest, this one takes up what the first left."""
    folder = tmp_path / "shared"
    command = [sys.executable, searching.__file__, str(folder), "12"]
    with subprocess.Popen([*command, "hold"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert int(holder.stdout.readline()) == 0
        drawn = searching.values(searching.opened(folder).trials[0])
        with searching.opened(folder).claimed(2) as mine:
            assert mine.number == 1  # the first is held
            with searching.opened(folder).claimed(2) as none:
                assert none is None
            searching.opened(folder).study.tell(mine, 0.0)
        both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        numbers = [list(map(int, one.communicate()[0].split())) for one in both]
        assert [one.returncode for one in both] == [0, 0] and sorted(sum(numbers, [])) == list(range(2, 12))
        holder.kill()
        holder.wait()
    assert [trial.state.name for trial in searching.opened(folder).trials].count("RUNNING") == 1
    assert searching.climb(folder, 12) == {0: drawn}
    assert {trial.state.name for trial in searching.opened(folder).trials} == {"COMPLETE"}


def test_a_torn_line_of_the_journal_is_cut_off(tmp_path):
    before = searching.climb(tmp_path / "s", 3)
    journal = tmp_path / "s" / "search.journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code": 4, "work')
    assert list(searching.climb(tmp_path / "s", 4)) == [3]
    assert journal.read_bytes().startswith(whole + b"{") and list(before) == [0, 1, 2]
    journal.write_bytes(b"no journal\n" + whole)
    with pytest.raises(ArtifactError, match="search.journal is damaged .*; remove ") as caught:
        searching.opened(tmp_path / "s")
    assert "\n" not in str(caught.value)


# --- the whole loop, where training is a formula


def space(**options):
    return Recipe(
        name="hill", model={"name": "lenet5"}, data=Data(source="digits"), schedule=Schedule(epochs=4, lr=0.5),
        tune=Tune(schedule={"lr": {"low": 0.0, "high": 1.0}, "batch": (8, 16)}, **options),
    )  # fmt: skip


@pytest.fixture
def formula(monkeypatch):
    """What a trial reaches in each epoch is its rate; `ends(lr)` may raise. The epochs that were trained, by trial."""
    told, told_of = {}, SimpleNamespace(ends=lambda lr: None, data="same")

    def planned(recipe, progress):
        task = SimpleNamespace(monitor=("top1", "-loss"), input=SimpleNamespace(plural="images"))
        dataset = SimpleNamespace(fingerprint=lambda: told_of.data)
        return SimpleNamespace(
            teacher=None,
            schedule=recipe.schedule,
            task=task,
            dataset=dataset,
            model=None,
            settings={},
            freeze=None,
            learned=False,
        )

    def train(model, task, dataset, schedule, directory, settings, keep, *, freeze, learned, resume, watch, teacher):
        history = []
        for epoch in range(1, schedule.epochs + 1):
            told_of.ends(schedule.lr)
            history.append({"epoch": epoch, "val_top1": schedule.lr * epoch / schedule.epochs, "val_loss": 1.0})
            told[directory.name] = epoch
            watch.epoch(history[-1])
        return SimpleNamespace(history=history, best_epoch=schedule.epochs)

    monkeypatch.setattr(running, "planned", planned)
    monkeypatch.setattr(tune.engine, "train", train)
    monkeypatch.setattr(tune.keras.backend, "clear_session", lambda: None)
    monkeypatch.setattr(tune, "_cost", lambda job, cost: cost and (1 + 50 * job.schedule.lr))
    draw = trials.draw
    monkeypatch.setattr(trials, "draw", lambda *arguments: told_of.drawn.append(arguments))
    told_of.epochs, told_of.drawn, told_of.draw = told, [], draw
    return told_of


def test_hopeless_trials_are_given_up(tmp_path, formula):
    """After five that are finished, one below their median ends with the second epoch, the first being too early."""
    found = tune.tune(space(trials=16), tmp_path)
    rows = found.rows
    states = [row["state"] for row in rows]
    assert states[:5] == ["complete"] * 5 and set(states) == {"complete", "pruned"}
    for row in rows:
        assert formula.epochs[f"{row['trial']:04}"] == row["epoch"] == (4 if row["state"] == "complete" else 2)
    reached = [row["lr"] for row in rows if row["state"] == "complete"]
    assert all(row["lr"] < np.median(reached) for row in rows if row["state"] == "pruned")
    assert found.best == [int(np.argmax([row["lr"] for row in rows]))] and found.metric == "top1"


def test_what_a_search_leaves(tmp_path, formula):
    found = tune.tune(space(trials=5), tmp_path)
    folder, (best,) = tmp_path / "hill", found.best
    with (folder / "trials.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [int(row["trial"]) for row in table] == list(range(5))
    assert [float(row["top1"]) for row in table] == [row["lr"] for row in found.rows]
    assert found.recipe == folder / "best.toml" and best == max(range(5), key=lambda i: found.rows[i]["lr"])
    kept = recipes.read(found.recipe)
    assert kept.name == "hill" and kept.tune is None and kept.schedule.lr == found.rows[best]["lr"]
    assert kept.schedule.batch == found.rows[best]["batch"] and kept.schedule.epochs == 4
    assert recipes.read(folder / "trials" / "0003" / "recipe.toml").name == "hill-0003"
    formula.draw(*formula.drawn[-1])
    with Image.open(folder / "search.png") as picture:
        assert picture.size == (900, 552)
    assert tune.tune(space(trials=5), tmp_path).rows == found.rows  # nothing is left to do
    assert tune.tune(space(trials=7), tmp_path).rows[:5] == found.rows


def test_two_objectives_have_a_front(tmp_path, formula):
    """A higher rate is better and costs more: none is better than another, unless as cheap."""
    found = tune.tune(space(trials=8, cost="multiply_adds"), tmp_path)
    assert [row["state"] for row in found.rows] == ["complete"] * 8
    assert found.best == sorted(range(8), key=lambda i: found.rows[i]["lr"]) and found.cost == "multiply_adds"
    assert [row["multiply_adds"] for row in found.rows] == [1 + 50 * row["lr"] for row in found.rows]
    assert recipes.read(found.recipe).schedule.lr == max(row["lr"] for row in found.rows)
    formula.draw(*formula.drawn[-1])
    assert (tmp_path / "hill" / "search.png").stat().st_size > 10_000


def test_a_trial_that_cannot_be_trained_is_none_of_the_others(tmp_path, formula):
    def ends(lr):
        if lr > 0.5:
            raise TrainingError("the loss is nan")

    formula.ends = ends
    found = tune.tune(space(trials=6), tmp_path)
    failed = [row for row in found.rows if row["lr"] > 0.5]
    assert failed and all(
        (row["state"], row["why"], row["top1"]) == ("failed", "the loss is nan", None) for row in failed
    )
    assert found.rows[found.best[0]]["lr"] <= 0.5
    formula.ends = lambda lr: (_ for _ in ()).throw(TrainingError("the loss is nan"))
    with pytest.raises(TrainingError, match="none of 2 trials could be finished; the last one: the loss is nan"):
        tune.tune(space(trials=2, seed=3), tmp_path / "other")


def test_data_that_are_gone_end_a_search_and_cost_no_trial(tmp_path, formula):
    formula.ends = lambda lr: (_ for _ in ()).throw(DataError("no data"))
    with pytest.raises(DataError):
        tune.tune(space(trials=2), tmp_path)
    formula.ends = lambda lr: None
    assert [row["state"] for row in tune.tune(space(trials=2), tmp_path).rows] == ["complete"] * 2


def test_another_search_is_not_gone_on_with(tmp_path, formula):
    tune.tune(space(trials=1), tmp_path)
    with pytest.raises(
        TrainingError, match=r"hill is a search with another recipe \(tune\); give the recipe another na"
    ):
        tune.tune(space(trials=2, seed=1), tmp_path)
    formula.data = "other"
    with pytest.raises(TrainingError, match="hill is a search with another data; "):
        tune.tune(space(trials=2), tmp_path)


# --- with real training


REAL = """
name = "digits"
[model]
name = "lenet5"
[data]
source = "digits"
[schedule]
epochs = 2
batch = 256
[tune]
trials = 3
[tune.schedule]
lr = {low = 0.001, high = 0.1, log = true}
augment = [[], ["crop"]]
"""


@pytest.mark.slow
def test_a_real_search_and_its_best_recipe(tmp_path):
    """What the best trial reached on val, `run` reaches again."""
    file = tmp_path / "digits.toml"
    file.write_text(REAL)
    done = call(file, "--store", tmp_path / "searches", "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert [row["state"] for row in found["rows"]] == ["complete"] * 3 and "trial   2  complete  top1 0." in done.stderr
    best = found["rows"][found["best"][0]]
    assert best["top1"] == max(row["top1"] for row in found["rows"]) > 0.5
    assert not list((tmp_path / "searches").rglob("*.npz"))
    card = running.run(found["recipe"], tmp_path / "models")
    assert card.metrics["val"]["top1"] == best["top1"] and card.metrics["epoch"] == best["epoch"]


KILLED = """
import os, signal, sys
from contextlib import contextmanager
from cnn_app.jobs.tune import Telling, tune
from cnn_app.training.engine import Watch

begun = []

def step(epoch, done, steps, logs):
    if (len(begun), epoch, done) == (2, 1, 2):  # the second trial has saved its first epoch
        os.kill(os.getpid(), signal.SIGKILL)

@contextmanager
def training(epochs):
    begun.append(epochs)
    yield Watch(step)

tune(sys.argv[1], sys.argv[2], telling=Telling(training=training))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_search_that_was_killed_ends_as_if_it_was_not(tmp_path):
    """The trial goes on from its checkpoint, and what is drawn after it is the same."""
    file = tmp_path / "digits.toml"
    file.write_text(REAL)
    done = subprocess.run([sys.executable, "-c", KILLED, file, tmp_path / "killed"], capture_output=True)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "killed" / "digits" / "trials" / "0001" / "training" / "state.npz").is_file()
    steps = []

    @contextmanager
    def training(epochs):
        steps.append([])
        yield engine.Watch(lambda epoch, done, *rest: steps[-1].append((epoch, done)))

    killed = tune.tune(file, tmp_path / "killed", telling=tune.Telling(training=training))
    assert [len(found) for found in steps] == [4, 8] and steps[0][0] == (1, 1)
    assert killed.rows == tune.tune(file, tmp_path / "whole").rows


@pytest.mark.slow
def test_a_front_of_accuracy_and_measured_latency(tmp_path):
    (tmp_path / "digits.toml").write_text(REAL.replace("trials = 3", 'trials = 2\ncost = "int8_latency"').replace(
        "[tune.schedule]", "[tune.model]\nmaps = [[2, 4, 16], [6, 16, 120]]\n[tune.schedule]"))  # fmt: skip
    found = tune.tune(tmp_path / "digits.toml", tmp_path / "searches")
    assert all(0 < row["int8_latency"] < 100 and row["state"] == "complete" for row in found.rows) and found.best
