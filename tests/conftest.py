import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import pytest


@pytest.fixture(autouse=True)
def same_random_state():
    """Every test starts from the same seeds."""
    keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True, scope="module")
def fresh_keras():
    """No module leaves its graphs behind."""
    yield
    keras.backend.clear_session()
