"""Tells what the system refuses at the moment from what is damaged."""

import errno
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from scenarioclip_jax.errors import ReadableError

# The file is missing or has changed. Any other error may be temporary, and the file intact.
_DAMAGE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.EBADMSG, errno.EILSEQ)
_DAMAGE += (errno.ELOOP, errno.ENAMETOOLONG, errno.ENOEXEC)
# Permission, memory, descriptors, network file systems, time.
_PASSING = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOMEM, errno.EMFILE, errno.ENFILE),
    *(errno.EIO, errno.ENXIO, errno.ENODEV, errno.EBUSY, errno.EAGAIN, errno.ENOLCK, errno.EDEADLK),
    *(errno.ENOSPC, errno.EDQUOT, errno.ESTALE, errno.EREMOTEIO, errno.ETIMEDOUT, errno.ECANCELED),
    *(errno.ENOTCONN, errno.ECONNRESET, errno.ECONNREFUSED, errno.ECONNABORTED, errno.ESHUTDOWN),
    *(errno.EPIPE, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH),
)
# C++ libraries don't keep the number, but the system's own words or the name of an absl status code.
_WORDS = [os.strerror(number) for number in _PASSING]
_WORDS += ["PERMISSION_DENIED", "UNAUTHENTICATED", "UNAVAILABLE", "DEADLINE_EXCEEDED"]
_WORDS += ["RESOURCE_EXHAUSTED", "ABORTED", "CANCELLED"]
_WORDS += ["out of memory", "bad_alloc", "timed out", "can't start new thread"]
_SAID = re.compile("|".join(rf"\b{re.escape(words)}\b" for words in _WORDS), re.IGNORECASE)


PAUSES = (0.2, 1.0, 3.0)  # seconds between attempts to read what the system refuses
Result = TypeVar("Result")


class InputUnavailableError(ReadableError, RuntimeError):
    """The system refuses to read data that may be intact, or ended the reader. The message says what to do."""


def passes(error: BaseException) -> bool:
    """Whether an error, or one of its causes, is a temporary refusal by the system rather than damage.

    An operating system error is judged by its number, whatever it says; any other by its words.
    """
    return any(_passes(each) for each in _chain(error))


def _passes(error: BaseException) -> bool:
    if isinstance(error, MemoryError | TimeoutError | ConnectionError):
        return True
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno not in _DAMAGE
    return bool(_SAID.search(str(error)))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


# What to do about the most common ones.
_REMEDIES = {
    os.strerror(errno.EMFILE): "raise the limit of open files (ulimit -n)",
    os.strerror(errno.ENFILE): "the system has too many files open",
    os.strerror(errno.EACCES): "give this user the permission to read it",
    os.strerror(errno.EPERM): "give this user the permission to read it",
    os.strerror(
        errno.ENOMEM
    ): "free memory, or use fewer of config.data.num_workers and num_threads",
    os.strerror(errno.ESTALE): "mount the file system again",
    os.strerror(errno.ENOTCONN): "mount the file system again",
}


def remedy(error: BaseException) -> str:
    """Says what to do about a temporary error."""
    said = " ".join(str(each) for each in _chain(error))
    for words, advice in _REMEDIES.items():
        if words.lower() in said.lower():
            return advice
    return "see to the disk, the mount or the network that it lies on"


def patiently(read: Callable[[], Result], what: object) -> Result:
    """Reads something for a command that goes on where it stopped; if the system refuses, again after a while.

    Args:
      read: The function that reads; other errors than refusals are its caller's.
      what: What it reads, for the message.

    Raises:
      InputUnavailableError: The system still refuses.
    """
    for pause in PAUSES:
        try:
            return read()
        except Exception as error:
            if not passes(error):
                raise
        time.sleep(pause)
    try:
        return read()
    except Exception as error:
        raise_if_refused(error, what)
        raise


def raise_if_refused(error: BaseException, what: object) -> None:
    """Raises InputUnavailableError if an error is a temporary refusal, and returns otherwise."""
    if passes(error):
        raise InputUnavailableError(
            f"{what} can't be read now: {error} ({remedy(error)}). It may be intact, so it isn't left "
            "out; once that is mended, start the same command again: it goes on with what is done"
        ) from error


def is_file(path: Path) -> bool:
    """Like `Path.is_file`, but raises OSError if the system refuses to answer, on any Python."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError as error:
        if passes(error):
            raise
        return False
    except ValueError:  # a NUL byte
        return False
