"""Whatever a request is, its answer is one of the protocol's, in its form, and the next request is answered."""

import attacker
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

APIS = pytest.mark.parametrize("api", [*attacker.APIS])
HEALTH = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]


@pytest.fixture
def asker(toy_server, api):
    address = toy_server.rest.removeprefix("http://") if api == "rest" else toy_server.grpc.removeprefix("grpc://")
    found = attacker.APIS[api](address)
    yield found
    found.close()


def attacked(asker, examples, caplog):
    @settings(max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=HEALTH)
    @given(random=st.randoms(use_true_random=False))
    def ask(random):
        found = asker(random)
        assert not found.wrong, found

    ask()
    assert not [record for record in caplog.records if record.exc_info]


@APIS
def test_every_answer_is_one_of_the_protocols(asker, caplog):
    attacked(asker, 300, caplog)


@pytest.mark.slow
@APIS
def test_every_answer_is_one_of_the_protocols_at_length(asker, caplog):
    attacked(asker, 20_000, caplog)
