"""A working folder whose stages are done, and decisions in it."""

import json
import shutil
import time

import pytest

from scenarioclip_jax.annotate.review.decisions import Journal
from scenarioclip_jax.annotate.review.desk import Desk
from scenarioclip_jax.annotate.work import open_work
from tests.annotate.conftest import Folder

pytest.importorskip("fastapi", reason="the extra `annotate` isn't installed")


@pytest.fixture(scope="session")
def finished(drawn, tmp_path_factory):
    """The drawn photos after all stages; no test may change it."""
    folder = tmp_path_factory.mktemp("finished")
    found = Folder(drawn, drawn / "images", folder / "work", folder / "annotate.yaml")
    found.configure()
    found.run()
    return found


@pytest.fixture
def done(finished, tmp_path):
    """A copy of that, which a test may change. Times of files are copied, too, so nothing is stale."""
    for name in ("images", "work"):
        source = finished.images if name == "images" else finished.work
        shutil.copytree(source, tmp_path / name)
    file = tmp_path / "work/work.json"
    known = json.loads(file.read_text())
    file.write_text(json.dumps(known | {"images": str(tmp_path / "images")}))
    shutil.copy(finished.config, tmp_path / "annotate.yaml")
    return Folder(
        finished.truth, tmp_path / "images", tmp_path / "work", tmp_path / "annotate.yaml"
    )


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
