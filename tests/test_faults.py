"""What passes by itself, whatever type a library wraps it in, and what is damage."""

import errno
import os

import pytest

from scenarioclip_jax import faults

NUMBERS = (
    "EACCES",
    "ESTALE",
    "EMFILE",
    "ENFILE",
    "ENOMEM",
    "EIO",
    "ETIMEDOUT",
    "ENOTCONN",
    "ENOSPC",
)


@pytest.mark.parametrize("name", NUMBERS)
def test_a_refusal_passes_as_a_number_in_words_and_as_a_cause(name):
    number = getattr(errno, name)
    said = OSError(number, os.strerror(number))
    assert faults.passes(said)
    assert faults.passes(ValueError(f"UNKNOWN: Error reading 'd/1' [{os.strerror(number)}]"))
    wrapped = RuntimeError("record 4 can't be read")
    wrapped.__cause__ = said
    assert faults.passes(wrapped)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        TimeoutError("30 s"),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate"),
        ValueError("UNAVAILABLE: connection"),
        RuntimeError("can't start new thread"),
    ],
    ids=str,
)
def test_what_passes(error):
    assert faults.passes(error)
    assert faults.remedy(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("DATA_LOSS: CRC mismatch"),
        OSError("image file is truncated (3 bytes not processed)"),
        FileNotFoundError(errno.ENOENT, "No such file or directory"),
        KeyError("photo"),
        ValueError("buffer size must be a multiple of element size"),
    ],
    ids=str,
)
def test_what_is_damage(error):
    assert not faults.passes(error)


def test_remedies_name_what_to_do():
    assert "ulimit -n" in faults.remedy(ValueError("open() failed: Too many open files"))
    assert "permission" in faults.remedy(PermissionError(errno.EACCES, "Permission denied"))
