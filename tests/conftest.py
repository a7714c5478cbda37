import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import pytest


@pytest.fixture(autouse=True)
def fresh_keras():
    """Every test starts from the same random state, and leaves no graph behind."""
    keras.utils.set_random_seed(0)
    yield
    keras.backend.clear_session()
