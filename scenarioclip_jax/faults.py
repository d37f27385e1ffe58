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
_WORDS += ["out of memory", "bad_alloc", "timed out", "can't start new thread"]
_CODES = ["PERMISSION_DENIED", "UNAUTHENTICATED", "UNAVAILABLE", "DEADLINE_EXCEEDED"]
_CODES += ["RESOURCE_EXHAUSTED", "ABORTED", "CANCELLED"]
_SAID = re.compile(
    rf"\b(?:(?i:{'|'.join(map(re.escape, _WORDS))})|{'|'.join(map(re.escape, _CODES))})\b"
)
# Paths, and what stands in quotes: names and labels, which may consist of the same words. An apostrophe within
# a word opens no quotation, the words after an error's number (in a repr) are none, and the slash of
# "Input/output error" makes no path.
_PATH = r"(?<![^\s:;,()\[\]])(?!input/output\b)[^\s:;,()\[\]]*/[^\s:;,()\[\]]*"
_NAMES = re.compile(rf"(?<!\w)(?<!\d, )(['\"]).*?\1(?!\w)|{_PATH}", re.IGNORECASE | re.DOTALL)


PAUSES = (0.2, 1.0, 3.0)  # seconds between attempts to read what the system refuses
Result = TypeVar("Result")


class InputUnavailableError(ReadableError, RuntimeError):
    """The system refuses to read data that may be intact, or ended the reader. The message says what to do."""


def passes(error: BaseException) -> bool:
    """Whether an error, or one of its causes, is a temporary refusal by the system rather than damage.

    An operating system error is judged by its number, whatever it says; any other by its words, but not by
    those of paths and quotations in them.
    """
    return any(_passes(each) for each in _chain(error))


def refuse(error: BaseException, path: object) -> None:
    """Raises InputUnavailableError that names `path` if an error, raised while it was read, `passes`.

    For handlers that would go on to call the file damaged.
    """
    if passes(error):
        said = str(error).strip().split("\n")[0][:300] or type(error).__name__
        raise InputUnavailableError(
            f"{path}: can't be read now, though it may be whole ({said}); {remedy(error)}, and start again"
        ) from error


def _passes(error: BaseException) -> bool:
    if isinstance(error, MemoryError | TimeoutError | ConnectionError | InputUnavailableError):
        return True
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno not in _DAMAGE
    return bool(_SAID.search(_words(error)))


def _words(error: BaseException) -> str:
    """What an error says, without the paths and quotations in it."""
    return _NAMES.sub(" ", str(error))


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
    said = " ".join(map(_words, _chain(error)))
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
        refuse(error, what)
        raise


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
