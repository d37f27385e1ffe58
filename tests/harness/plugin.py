"""The suite ends and says why.

Every test has a time limit (pyproject.toml): past it, the stacks of all threads are printed and the test fails.
Where nothing can interrupt it, its worker process ends a little later, and the suite goes on with another. The
test that a worker crashed in is named and isn't run again.
"""

import os
import uuid
import warnings

import pytest

from tests.harness import leftovers

_tells = False  # whether this process speaks for all workers


def pytest_configure(config):
    global _tells
    if not hasattr(config, "workerinput"):
        os.environ[leftovers.SESSION] = uuid.uuid4().hex  # workers inherit it
        _tells = True


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    if config.getvalue("dist") == "loadfile":
        from tests.harness.scheduler import FileScheduler

        return FileScheduler(config, log)
    return None


def pytest_runtest_logreport(report):
    """Tells of a failure when it happens: a suite that is stopped from outside prints no summary."""
    if report.failed and _tells:
        print(
            f"\nfailed: {report.nodeid} ({report.when})\n{report.longreprtext[-3000:]}", flush=True
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item):
    result = yield
    if left := leftovers.end_of(os.environ[leftovers.SESSION], item.nodeid):
        warnings.warn(f"{item.nodeid} left running, and ended now: {'; '.join(left)}", stacklevel=1)
    return result


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    """Workers have ended by now; what one that crashed had started may not have."""
    if not hasattr(session.config, "workerinput"):
        leftovers.end_all(os.environ[leftovers.SESSION])
