import pytest

from tests.launch.stubs import Stubs


@pytest.fixture
def stubs(tmp_path):
    return Stubs(tmp_path)


@pytest.fixture
def workdir(tmp_path):
    return tmp_path / "work dir's"
