"""One run at a time in a bucket's folder."""

import json
import subprocess
import sys
import threading
import time

import pytest

from scenarioclip_jax.storage import lease as leases
from scenarioclip_jax.storage.bucket import Bucket
from scenarioclip_jax.storage.lease import Lease, LeaseError

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(leases, "_SETTLE", 0.01)


def lease(place, **more) -> Lease:
    return Lease(Bucket(place), **{"renew": 0.2, "seconds": 2.0} | more)


def elsewhere(place):
    """Makes the lease that is there that of another machine."""
    values = json.loads(Bucket(place).read(leases.NAME)) | {"host": "elsewhere"}
    Bucket(place).write(leases.NAME, json.dumps(values).encode())


@pytest.mark.usefixtures("quick")
def test_a_second_run_is_refused_and_told_who_is_there(place):
    first = lease(place)
    first.take()
    with pytest.raises(LeaseError, match=rf"^{place}: another run writes there \(process \d+ on "):
        lease(place).take()
    first.check()
    first.release()
    lease(place).take()


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_a_lease_that_nobody_renews_is_taken_over(place, capsys):
    first = lease(place, renew=1000)
    first.take()
    elsewhere(place)
    began = time.monotonic()
    second = lease(place)
    second.take()
    assert 1.5 < time.monotonic() - began < 20
    assert "may still write there; waiting up to 2 s" in capsys.readouterr().err
    assert second.previous == first.token
    with pytest.raises(LeaseError, match="another run writes there"):
        first.check()  # before it would write anything else
    first.release()
    second.check()  # which the first one's end leaves alone
    second.release()


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_a_run_that_was_killed_on_this_machine_is_not_waited_for(place):
    code = (
        "import sys, time\nfrom scenarioclip_jax.paths import address_of\n"
        "from scenarioclip_jax.storage.bucket import Bucket\n"
        "from scenarioclip_jax.storage.lease import Lease\n"
        "Lease(Bucket(address_of(sys.argv[1]))).take()\nprint('held', flush=True)\ntime.sleep(300)"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", code, str(place)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert run.stdout.readline() == "held\n"
    finally:
        run.kill()
        run.communicate()
    began = time.monotonic()
    second = lease(place, seconds=60)
    second.take()
    assert time.monotonic() - began < 10
    second.release()


@pytest.mark.usefixtures("quick")
def test_of_runs_that_come_at_once_one_stays(place):
    some, refused = [lease(place) for _ in range(4)], []

    def take(one: Lease):
        try:
            one.take()
        except LeaseError:
            refused.append(one)

    threads = [threading.Thread(target=take, args=(one,)) for one in some]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    left = 0
    for one in some:
        if one not in refused:
            try:
                one.check()
                left += 1
            except LeaseError:
                pass
        one.release()
    assert left <= 1
    assert len(refused) >= 2
