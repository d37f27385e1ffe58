"""What whole runs share."""

import pytest

from tests.train.shared_programs import Shared, draw_nothing


@pytest.fixture(scope="module")
def shared():
    """All runs of a file share their programs, and draw no figures unless asked."""
    with pytest.MonkeyPatch.context() as patch:
        shared = Shared()
        shared.share(patch)
        draw_nothing(patch)
        yield shared
