"""Requests go together, wait within bounds, and none is lost when the batcher stops."""

import threading
from concurrent.futures import wait

import pytest

from scenarioclip_jax.demo.batcher import Batcher, QueueFullError

pytestmark = pytest.mark.timeout(60)


class Held:
    """A function of lists that waits until it may go on, and keeps what it was given."""

    def __init__(self):
        self.started, self.go, self.calls = threading.Event(), threading.Event(), []

    def run(self, items):
        self.started.set()
        self.go.wait(30)
        self.calls.append(list(items))
        if any(item < 0 for item in items):
            raise ValueError("negative")
        return [10 * item for item in items]


@pytest.fixture
def held():
    held = Held()
    yield held
    held.go.set()


def test_a_group_that_fails_is_tried_one_by_one(held):
    """Even where it fails as a whole with an error that none of its items has."""

    def run(items):
        held.started.set()
        held.go.wait(30)
        if len(items) > 1:
            raise MemoryError("too many at once")
        if items[0] < 0:
            raise ValueError("negative")
        return [10 * items[0]]

    batcher = Batcher(8)
    first = batcher.submit(run, 0)
    held.started.wait(30)
    asked = [batcher.submit(run, item) for item in (1, -1, 2)]
    held.go.set()
    assert not wait([first, *asked], timeout=5).not_done, "requests are never answered"
    assert [each.result() for each in (first, asked[0], asked[2])] == [0, 10, 20]
    with pytest.raises(ValueError, match="negative"):
        asked[1].result()
    assert batcher.submit(run, 3).result(5) == 30  # the thread goes on
    batcher.close()


def test_what_waits_goes_together_and_a_bad_item_spoils_no_other(held):
    batcher = Batcher(8)
    first = batcher.submit(held.run, 0)
    held.started.wait(30)
    others = [batcher.submit(held.run, item) for item in (1, -1, 2)]
    held.go.set()
    assert [first.result(5), others[0].result(5), others[2].result(5)] == [0, 10, 20]
    with pytest.raises(ValueError, match="negative"):
        others[1].result(5)
    batcher.close()
    assert held.calls[:2] == [[0], [1, -1, 2]]


def test_a_full_queue_refuses_and_a_closed_one_finishes(held):
    batcher = Batcher(2)
    running = batcher.submit(held.run, 0)
    held.started.wait(30)
    waiting = [batcher.submit(held.run, item) for item in (1, 2)]
    with pytest.raises(QueueFullError, match="2 requests wait already"):
        batcher.submit(held.run, 3)
    closing = threading.Thread(target=batcher.close)
    closing.start()
    held.go.set()
    closing.join(30)
    assert [each.result(0) for each in (running, *waiting)] == [0, 10, 20]
    with pytest.raises(QueueFullError, match="stopping"):
        batcher.submit(held.run, 4)
