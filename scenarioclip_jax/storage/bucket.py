"""Objects in a bucket, through fsspec: listed, read, written and removed, with retries and clear errors."""

import contextlib
import functools
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from scenarioclip_jax.errors import ReadableError
from scenarioclip_jax.paths import Address, address_of

CONNECT_SECONDS, READ_SECONDS = 20, 30  # without an answer
PAUSES = (1.0, 4.0, 15.0)  # seconds between attempts, besides those of the libraries
_MODULES = {"gs": "gcsfs", "s3": "s3fs"}
# Errors that no repetition mends.
_FINAL = (FileNotFoundError, FileExistsError, PermissionError, NotImplementedError)
_FINAL += (ImportError, TypeError, ValueError)
_CREDENTIALS = {
    "gs": "give valid ones: `gcloud auth application-default login`, or "
    "GOOGLE_APPLICATION_CREDENTIALS=FILE.json",
    "s3": "give valid ones: `aws configure`, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment",
}
_ENDPOINTS = {"gs": "STORAGE_EMULATOR_HOST", "s3": "AWS_ENDPOINT_URL"}
_NAMES_OF_CREDENTIAL_ERRORS = ("credential", "token", "refresherror", "defaultcredentialserror")
# Of S3's error codes and of what they come with: keys that aren't known, or don't belong together.
_SAID_OF_CREDENTIALS = (
    "unable to locate credentials",
    "invalidaccesskeyid",
    "access key id you provided",
)
_SAID_OF_CREDENTIALS += ("signaturedoesnotmatch", "signature we calculated", "expiredtoken")
_SAID_OF_CREDENTIALS += ("token has expired", "invalidtoken", "token provided is invalid")

T = TypeVar("T")


class StorageError(ReadableError, OSError):
    """A bucket can't be used. The message names the address, the cause and what to do."""


class Entry(NamedTuple):
    """An object.

    Attributes:
      size: Size in bytes.
      tag: Text that differs if the content was replaced: the ETag (S3) or the generation (GCS).
    """

    size: int
    tag: str


class Bucket:
    """The objects below an address. Their names are relative to it.

    Args:
      address: The place. Nothing is asked of the server yet.

    Raises:
      StorageError: The library that the scheme needs isn't installed.
    """

    def __init__(self, address: Address):
        self.address = address
        self._files = _file_system(address.scheme, os.getpid())
        self._root = f"{address.bucket}/{address.key}".rstrip("/")

    def list(self, below: str = "") -> dict[str, Entry]:
        """Returns all objects below a name, in order; if the address is itself an object, that one as ''."""
        found: Any = self._try(
            "can't be listed",
            lambda: self._files.find(self._path(below), detail=True),
            missing=None,
        )
        if found is None:
            raise self._error(f"there is no bucket {self.address.bucket}; make it or name another")
        entries = {}
        for path, info in found.items():
            name = path[len(self._root) + 1 :]
            if path.endswith("/") or info.get("type") == "directory":
                continue  # what consoles write to show an empty folder
            if {"", ".", ".."} & set(name.split("/")) and path != self._root:
                raise self._error(f"the object {path!r} can't be a file; rename or remove it")
            tag = info.get("generation") or info.get("ETag") or info.get("etag") or ""
            entries[name] = Entry(int(info["size"]), str(tag))
        return dict(sorted(entries.items()))

    def read(self, name: str) -> bytes | None:
        """Returns the content of an object; None if there is none."""
        return self._try(
            f"{name} can't be read", lambda: self._files.cat_file(self._path(name)), None
        )

    def get(self, name: str, path: Path, size: int) -> None:
        """Copies an object of `size` bytes to a file, which appears only when complete."""
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}-{secrets.token_hex(4)}")

        def fetch() -> bool:
            self._files.get_file(self._path(name), str(unfinished))
            if unfinished.stat().st_size != size:
                raise OSError(f"{unfinished.stat().st_size} bytes came of {size}")
            return True

        try:
            if self._try(f"{name} can't be read", fetch, missing=None) is None:
                raise self._error(f"{name} isn't there any more; start the same command again")
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)

    def put(self, path: Path, name: str) -> None:
        """Copies a file to an object, which is replaced as a whole."""
        self._write(name, lambda: self._files.put_file(str(path), self._path(name)))

    def write(self, name: str, content: bytes, *, new: bool = False) -> bool:
        """Writes a small object.

        Args:
          new: Whether to write only if there is none. Not every server of these protocols keeps to that.

        Returns:
          Whether it was written.
        """
        mode = {"mode": "create"} if new else {}
        try:
            self._write(name, lambda: self._files.pipe_file(self._path(name), content, **mode))
        except FileExistsError:
            return False
        return True

    def remove(self, names: Iterable[str]) -> None:
        """Removes objects one after the other, in this order; one that isn't there is no error."""
        for name in names:
            self._try(
                f"{name} can't be removed", lambda n=name: self._files.rm_file(self._path(n)), None
            )

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _write(self, name: str, write: Callable[[], Any]) -> None:
        def done() -> bool:
            write()
            return True

        if self._try(f"{name} can't be written", done, missing=None) is None:
            raise self._error(f"there is no bucket {self.address.bucket}; make it or name another")

    def _try(self, failed: str, call: Callable[[], T], missing: Any) -> T | Any:
        """Calls until it works or can't; returns `missing` if there is no such object or bucket."""
        for pause in (*PAUSES, None):
            try:
                return call()
            except FileNotFoundError:
                return missing
            except FileExistsError:
                raise
            except Exception as error:
                if pause is None or _is_final(error):
                    raise self._explained(failed, error) from error
            time.sleep(pause)
        raise AssertionError

    def _explained(self, failed: str, error: Exception) -> StorageError:
        said = " ".join(str(error).split())[:300] or type(error).__name__
        if _asks_for_credentials(error):
            remedy = _CREDENTIALS[self.address.scheme]
        elif _is_forbidden(error):
            remedy = "give this user the permission to read and write there"
        else:
            endpoint = os.environ.get(_ENDPOINTS[self.address.scheme])
            remedy = "see to the network" + (
                f" and to the server {endpoint} ({_ENDPOINTS[self.address.scheme]})"
                if endpoint
                else ""
            )
            remedy += ", then start the same command again"
        tried = "" if _is_final(error) else f" after {1 + len(PAUSES)} attempts"
        return self._error(f"{failed}{tried} ({type(error).__name__}: {said}); {remedy}")

    def _error(self, text: str) -> StorageError:
        return StorageError(f"{self.address}: {text}")


def check_address(path: str | Path) -> Address | None:
    """Returns the address that a path is, if it can be used here; None for a local path.

    Raises:
      PathError: The address has a scheme that isn't supported.
      StorageError: The library that the scheme needs isn't installed.
    """
    address = address_of(path)
    if address is not None:
        Bucket(address)
    return address


@functools.cache
def _file_system(scheme: str, process: int) -> Any:
    """The file system of fsspec for a scheme; one for each process, since its threads don't survive a fork."""
    del process
    try:
        return _gcs() if scheme == "gs" else _s3()
    except ImportError as error:
        raise StorageError(
            f"{scheme}:// needs {_MODULES[scheme]} ({error}); install it: "
            f"pip install 'scenarioclip_jax[{scheme}]'"
        ) from error


def _gcs():
    import aiohttp
    from gcsfs.core import (
        GCSFileSystem,
    )  # gcsfs's own first choice asks another service at every call

    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it logs what it then raises
    timeout = aiohttp.ClientTimeout(
        total=None, sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS
    )
    return GCSFileSystem(
        requests_timeout=timeout, use_listings_cache=False, skip_instance_cache=True
    )


def _s3():
    from s3fs import S3FileSystem

    config = {"connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS}
    config |= {"retries": {"mode": "standard", "total_max_attempts": 3}}
    files = S3FileSystem(config_kwargs=config, use_listings_cache=False, skip_instance_cache=True)
    files.retries = 1  # the retries of s3fs would multiply those of botocore
    return files


def _is_final(error: BaseException) -> bool:
    return isinstance(error, _FINAL) or _is_forbidden(error) or _asks_for_credentials(error)


def _is_forbidden(error: BaseException) -> bool:
    # gcsfs raises an OSError for it.
    return isinstance(error, PermissionError) or str(error).startswith("Forbidden")


def _asks_for_credentials(error: BaseException) -> bool:
    with contextlib.suppress(AttributeError, TypeError):
        if int(getattr(error, "code", 0)) == 401:  # of gcsfs
            return True
    name, said = type(error).__name__.lower(), str(error).lower()
    return any(each in name for each in _NAMES_OF_CREDENTIAL_ERRORS) or any(
        each in said for each in _SAID_OF_CREDENTIALS
    )
