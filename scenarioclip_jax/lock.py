"""Allows only one run at a time in a workdir."""

import contextlib
import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import jax

from scenarioclip_jax.command import ConfigError
from scenarioclip_jax.parallel.distributed import values_of_all

NAME = ".lock"
# The file system has no locks or can't be written to; whatever needs to write there reports that itself.
_WITHOUT = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EROFS, errno.EACCES, errno.EPERM)


def hold(workdir: Path) -> contextlib.AbstractContextManager:
    """Holds a workdir for a job. The first process does so for all; if it is taken, all processes end.

    Raises:
      ConfigError: Another run holds the workdir.
    """
    held, taken = contextlib.ExitStack(), None
    if jax.process_index() == 0:
        try:
            held.enter_context(own(workdir))
        except ConfigError as error:
            taken = error
    if any(values_of_all(taken is not None, "the workdir is held")):
        raise taken or ConfigError(f"--workdir={workdir}: another run writes there")
    return held


@contextlib.contextmanager
def own(workdir: Path, name: str = "") -> Iterator[None]:
    """Holds a folder for this process. The system releases it when the process ends, however it ends.

    Args:
      workdir: The folder.
      name: What the user calls it, if that is something else.

    Raises:
      ConfigError: Another process holds the folder. The message says which.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"--workdir={workdir}: can't be made ({error.strerror}); give a folder that this user can write"
        ) from error
    with contextlib.ExitStack() as at_end:
        try:
            file = at_end.enter_context((workdir / NAME).open("a+", encoding="utf-8"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ConfigError(
                f"--workdir={name or workdir}: another run writes there ({_who(file.read())}). Wait for its "
                "end or stop it, or give another --workdir"
            ) from None
        except OSError as error:
            if error.errno not in _WITHOUT:
                raise
        else:
            file.truncate(0)
            started = time.strftime("%Y-%m-%d %H:%M:%S")
            json.dump({"pid": os.getpid(), "host": socket.gethostname(), "started": started}, file)
            file.flush()
        yield


def _who(text: str) -> str:
    try:
        return "process {pid} on {host}, since {started}".format(**json.loads(text))
    except (ValueError, KeyError, TypeError):  # it is being written right now
        return "since a moment ago"
