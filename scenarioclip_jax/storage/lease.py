"""One run at a time in a bucket's folder: a small object says who writes there, and is renewed meanwhile.

A bucket has no locks that the system releases when a process dies. So a run renews its lease every RENEW
seconds, and one that isn't renewed for LEASE seconds counts as that of a dead run. Nobody's clock is trusted:
who finds a lease watches whether it changes.
"""

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable

from scenarioclip_jax.console import say
from scenarioclip_jax.errors import ReadableError
from scenarioclip_jax.storage.bucket import Bucket, StorageError

NAME = ".lease.json"
RENEW, LEASE = 10.0, 45.0  # seconds
_SETTLE = 1.0  # seconds after which a lease that was taken is read again


class LeaseError(ReadableError, RuntimeError):
    """Another run writes to the same place. The message says which."""


class Lease:
    """The right to write to a bucket's folder, for one process at a time.

    Args:
      bucket: The folder.
      renew: Seconds between two renewals.
      seconds: Seconds without renewal after which a lease counts as left behind.

    Attributes:
      token: Text that no other lease has.
      previous: Token of the run that wrote there before, as far as known.
    """

    def __init__(self, bucket: Bucket, *, renew: float = RENEW, seconds: float = LEASE):
        self._bucket, self._renew, self._seconds = bucket, renew, seconds
        self.token = secrets.token_hex(8)
        self.previous = ""
        self._count = 0
        self._lost = ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True, name="renews a lease")

    def take(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Takes the lease; waits for one that a dead run may have left behind.

        Args:
          stop: Returns True to stop waiting.

        Raises:
          LeaseError: Another run writes there.
          StorageError: The bucket can't be used.
        """
        there = self._bucket.read(NAME) is not None
        if there or not self._bucket.write(NAME, self._content(), new=True):
            self._wait_for_end(stop)
            self._bucket.write(NAME, self._content())
        # Another run may have taken it over in the same moment; nor do all servers know what `new` means.
        time.sleep(_SETTLE)
        if (who := self._owner()).get("token") != self.token:
            raise LeaseError(_taken(self._bucket, who))
        self._thread.start()

    def _wait_for_end(self, stop: Callable[[], bool]) -> None:
        """Returns when the lease that is there isn't renewed any more."""
        found = self._bucket.read(NAME)
        who, since, said = _parsed(found), time.monotonic(), False
        if who.get("token") == self.token:
            return  # it was written, but the answer got lost
        self.previous = who.get("token", "")
        while not (who.get("released") or _died_here(who)):
            left = float(who.get("seconds", self._seconds)) - (time.monotonic() - since)
            if left <= 0:
                return
            if not said:
                said = True
                say(
                    f"{self._bucket.address}: {_describe(who)} may still write there; waiting up to "
                    f"{left:.0f} s to see whether it does",
                    error=True,
                )
            if stop():
                raise LeaseError(
                    f"{self._bucket.address}: stopped while waiting for {_describe(who)}"
                )
            time.sleep(min(left, self._renew / 4))
            if (now := self._bucket.read(NAME)) != found:
                if now is None or _parsed(now).get("released"):
                    return
                raise LeaseError(_taken(self._bucket, _parsed(now)))

    def check(self) -> None:
        """Raises LeaseError if the lease isn't this run's any more, and StorageError if that can't be told."""
        if not self._lost and (who := self._owner()).get("token") != self.token:
            self._lost = _taken(self._bucket, who) if who else _removed(self._bucket)
        if self._lost:
            raise LeaseError(self._lost)

    def _keep(self) -> None:
        while not self._ended.wait(self._renew):
            try:
                self.check()
                self._count += 1
                self._bucket.write(NAME, self._content())
            except LeaseError:
                return  # the next `check` says so
            except StorageError:
                continue  # whatever the run saves next finds the same trouble

    def release(self) -> None:
        """Gives the lease back. Its object stays: it says who wrote there last."""
        if not self._thread.is_alive():
            return
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(StorageError):  # it then ends by itself
            if not self._lost and self._owner().get("token") == self.token:
                self._bucket.write(NAME, self._content(released=True))

    def _owner(self) -> dict:
        return _parsed(self._bucket.read(NAME))

    def _content(self, **more: object) -> bytes:
        values = {
            "token": self.token,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "boot": _boot(),
            "renewals": self._count,
            "seconds": self._seconds,
            "renewed": time.strftime("%Y-%m-%d %H:%M:%S %Z"),
        }
        return json.dumps(values | more).encode()


def _parsed(content: bytes | None) -> dict:
    try:
        values = json.loads(content or b"{}")
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _taken(bucket: Bucket, who: dict) -> str:
    return (
        f"{bucket.address}: another run writes there ({_describe(who)}). Wait for its end or stop it, or "
        "name another place"
    )


def _removed(bucket: Bucket) -> str:
    return (
        f"{bucket.address}: the object {NAME} of this run isn't there any more; somebody has removed it, the "
        "folder or the bucket while the run was writing there"
    )


def _describe(who: dict) -> str:
    known = {"pid": "?", "host": "an unknown machine", "renewed": "an unknown time"} | who
    return "process {pid} on {host}, last heard of at {renewed}".format(**known)


def _boot() -> str:
    """Tells this start of this machine, and this container, from others, where the system says so."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _died_here(who: dict) -> bool:
    """Whether a lease is that of a process of this machine that has ended."""
    if not who.get("boot") or who["boot"] != _boot() or who.get("host") != socket.gethostname():
        return False
    try:
        os.kill(int(who["pid"]), 0)
    except (ProcessLookupError, KeyError, ValueError):
        return True
    except PermissionError:
        return False
    return False
