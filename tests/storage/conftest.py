"""A bucket of each protocol, on a server that runs as long as the tests of a file need it."""

import pytest

from scenarioclip_jax.paths import Address
from scenarioclip_jax.storage import bucket as buckets
from tests.storage.servers import Server, running


@pytest.fixture(scope="session")
def s3_server():
    with running("s3") as server:
        yield server


@pytest.fixture(scope="session")
def gs_server():
    with running("gs") as server:
        yield server


@pytest.fixture(params=["s3", "gs"])
def server(request) -> Server:
    """Each of the two in turn."""
    return request.getfixturevalue(f"{request.param}_server")


@pytest.fixture
def place(server, monkeypatch, tmp_path) -> Address:
    """An empty folder in a new bucket; clients use its server, and a cache of their own."""
    return new_place(server, monkeypatch, tmp_path)


def new_place(server: Server, monkeypatch, tmp_path) -> Address:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    buckets._file_system.cache_clear()
    return Address(server.scheme, server.new_bucket(), "some/folder")


@pytest.fixture(autouse=True)
def _new_clients():
    """Clients read the environment when they are made."""
    buckets._file_system.cache_clear()
    yield
    buckets._file_system.cache_clear()
