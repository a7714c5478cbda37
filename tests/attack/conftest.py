import pytest
import served
import toys


@pytest.fixture(scope="session")
def toy_store(tmp_path_factory):
    return toys.store(tmp_path_factory.mktemp("toys"))


@pytest.fixture(scope="session")
def toy_server(toy_store):
    """Addresses of a server of `toys`."""
    with served.running(toy_store) as found:
        yield found
