import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.pop("COLUMNS", None)  # tables are as wide as where nobody says

import keras
import pytest


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """What tests read is not remembered among the user's files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNN_APP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def same_random_state():
    """Every test starts from the same seeds."""
    keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True, scope="module")
def fresh_keras():
    """No module leaves its graphs behind."""
    yield
    keras.backend.clear_session()


@pytest.fixture(scope="session")
def colours(tmp_path_factory):
    """A model directory with two versions of a tiny classifier."""
    import served

    return served.model_dir(tmp_path_factory.mktemp("store") / "colours", 1, 2)


@pytest.fixture(scope="session")
def addresses(colours):
    """A server of `colours`, with both versions by labels."""
    import served

    (colours / "serving" / "labels.json").write_text('{"stable": 1, "canary": 2}')
    with served.running(colours) as found:
        yield found


@pytest.fixture(scope="module")
def browser():
    pytest.importorskip("selenium")
    import browsing

    driver = browsing.chromium()
    yield driver
    driver.quit()


@pytest.fixture(scope="session")
def letters(tmp_path_factory):
    """A model directory of a network that tells how a letter lies."""
    import photos

    return photos.network(tmp_path_factory.mktemp("orientation") / "letters")


@pytest.fixture(params=["http", "grpc"])
def endpoint(addresses, request):
    """`colours` there, by either way."""
    return f"{addresses.rest if request.param == 'http' else addresses.grpc}/colours"
