"""A version that takes for ever to load keeps nobody waiting, one that was changed meanwhile is tried again, and what a
trial before the start says.
"""

import os
import shutil
import time
from contextlib import contextmanager

import pytest
import served
import urllib3

from cnn_app.errors import ArtifactError
from cnn_app.serving.server import loading
from cnn_app.serving.server.discovery import Servable, discover
from cnn_app.serving.server.loading import Loading, opened, suited
from cnn_app.serving.server.run import Settings

PATIENCE_S = 60
INDEX = "variables/variables.index"


@contextmanager
def never_there(file, pipe):
    """Who opens `file` waits until the block ends, or `let_in` is called: it is a pipe without a writer."""
    os.mkfifo(pipe)
    file.unlink(missing_ok=True)
    os.link(pipe, file)
    try:
        yield
    finally:
        let_in(pipe)


def let_in(pipe):
    """Whoever waits finds nothing in it."""
    os.close(os.open(pipe, os.O_RDWR))


def waited_for(pipe):
    """Whether somebody does."""
    try:
        os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def until(condition):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it does not come"


def version(http, rest, model, number):
    """The state of a version; "" where nobody knows it."""
    status, found = served.asked(http, "GET", f"{rest}/v1/models/{model}/versions/{number}")
    return found["model_version_status"][0]["state"] if status == 200 else ""


@pytest.fixture
def http():
    with urllib3.PoolManager() as pool:
        yield pool


@pytest.fixture
def staged(tmp_path):
    """Version 2, beside the base paths."""
    served.publish(tmp_path / "staged", 2)
    return tmp_path / "staged" / "2"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["saved_model.pb", INDEX, "model.tflite"])
def test_a_version_that_does_not_load_holds_up_no_other_model(tmp_path, staged, http, name):
    a, b = (served.model_dir(tmp_path / name, 1) / "serving" for name in "ab")
    if name == "model.tflite":
        (staged / "saved_model.pb").unlink()
    with served.running(a, b) as found, never_there(staged / name, tmp_path / "pipe"):
        staged.rename(a / "2")
        until(lambda: version(http, found.rest, "a", 2))
        served.publish(b, 2)
        until(lambda: version(http, found.rest, "b", 2) == "AVAILABLE")
        for model in "ab":
            body = {"instances": served.pixels(0).tolist()}
            assert served.asked(http, "POST", f"{found.rest}/v1/models/{model}:predict", body)[0] == 200


@pytest.mark.slow
def test_a_version_that_was_changed_while_it_was_loaded_is_tried_again(tmp_path, staged, http):
    a, pipe = served.model_dir(tmp_path / "a", 1) / "serving", tmp_path / "pipe"
    whole = shutil.copy(staged / INDEX, tmp_path / "whole")
    with served.running(a) as found, never_there(staged / INDEX, pipe):
        staged.rename(a / "2")
        until(lambda: version(http, found.rest, "a", 2) == "END" or waited_for(pipe))
        os.replace(whole, a / "2" / INDEX)  # the last file of a slow copy
        let_in(pipe)
        until(lambda: version(http, found.rest, "a", 2) == "AVAILABLE")


@pytest.mark.slow
def test_what_ends_a_trial_before_the_start_is_told_once(toy_store, tmp_path):
    """And does not keep short records from having a core each."""
    broken = tmp_path / "broken" / "1"
    shutil.copytree(toy_store / "pixels" / "1", broken)
    (broken / "saved_model.pb").write_bytes(b"\xff" * 100)
    found = suited(Loading(), discover([str(toy_store / "pixels"), str(broken.parent)]))
    assert found.threads == 1 and list(found.failed) == [broken]
    with pytest.raises(ArtifactError, match="saved_model.pb is damaged"):
        opened(broken, found)
    assert not found.failed
    shutil.copy(toy_store / "pixels" / "1" / "saved_model.pb", broken)
    assert opened(broken, found).kind == "TensorFlow"


def test_long_records_have_all_cores(toy_store, monkeypatch):
    monkeypatch.setattr(loading, "tried", lambda path, given: {"1": 0.03, "2": 0.002}[path.name])
    slow, fast = (Servable("pixels", toy_store / "pixels" / number, int(number)) for number in "12")
    assert suited(Loading(), [slow, fast]).threads == 0
    assert suited(Loading(), [fast]).threads == 1
    settings = Settings().suited(Loading(threads=1))
    assert settings.batching.workers >= 2 and settings.loading.threads == 1
    assert settings.suited(Loading()).batching.workers == 1
