"""A working folder whose stages are done, and decisions in it."""

import time

import pytest

from scenarioclip_jax.annotate.review.decisions import Journal
from scenarioclip_jax.annotate.review.desk import Desk
from scenarioclip_jax.annotate.work import open_work

pytest.importorskip("fastapi", reason="the extra `annotate` isn't installed")


@pytest.fixture
def done(photos):
    """The drawn photos after all stages."""
    photos.run()
    return photos


@pytest.fixture
def desk(done):
    """The desk of Ann."""
    desk = Desk(open_work(done.work), "ann")
    yield desk
    desk.close()


@pytest.fixture
def say(tmp_path):
    """Writes decisions of a reviewer: id, digest, action, and the scene of an edit."""

    def write(reviewer, *decisions, folder=tmp_path):
        journal = Journal(folder, reviewer)
        for decision in decisions:
            journal.write(*decision)
            time.sleep(0.002)  # times are in milliseconds
        journal.close()

    return write
