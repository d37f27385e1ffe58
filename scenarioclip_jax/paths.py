"""Paths as users give them: on the command line, in a config, in a call."""

import os
import re
from pathlib import Path
from typing import NamedTuple

from scenarioclip_jax.errors import ReadableError

# A scheme of one letter is a Windows drive. A Path turns `gs://` into `gs:/`.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+")
SCHEMES = ("gs", "s3")
_SLASHLESS = re.compile(rf"(?:{'|'.join(SCHEMES)}):(?!/)", re.IGNORECASE)


class PathError(ReadableError, ValueError):
    """A path can't be used. The message says what it is and what to give instead."""


class Address(NamedTuple):
    """A place in a bucket: `gs://BUCKET/KEY` or `s3://BUCKET/KEY`. The key may be empty: the whole bucket."""

    scheme: str
    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}".rstrip("/")

    @property
    def name(self) -> str:
        """The last part of the key; the bucket if the key is empty."""
        return (self.key or self.bucket).rpartition("/")[2]


def address_of(path: str | Path) -> Address | None:
    """Returns the address that a path is; None for a local path.

    Raises:
      PathError: The address has another scheme than `gs` and `s3`, or no bucket.
    """
    text = os.fspath(path)
    found = _SCHEME.match(text)
    if found is None:
        if _SLASHLESS.match(text) and not os.path.exists(text.partition("/")[0]):
            raise PathError(
                f"{text!r}: if an address is meant, write {text.replace(':', '://', 1)}; if a local path, "
                f"./{text}"
            )
        return None
    scheme, rest = found[1].lower(), text[found.end() :]
    if scheme not in SCHEMES:
        raise PathError(
            f"{text!r}: addresses of {scheme} aren't supported, only gs://BUCKET/… and s3://BUCKET/…; mount "
            "it (gcsfuse, NFS) or copy it, and give the local path that it has then"
        )
    bucket, _, key = rest.partition("/")
    parts = [part for part in key.split("/") if part]
    if not bucket or {".", ".."} & set(parts):
        raise PathError(f"{text!r}: must be {scheme}://BUCKET/FOLDER, without . and .. as parts")
    return Address(scheme, bucket, "/".join(parts))


def require_local(path: str | Path) -> None:
    """Raises PathError if a path is an address."""
    if address := address_of(path):
        raise PathError(
            f"{os.fspath(path)!r} is an address ({address.scheme}), and only a local path can be given here"
        )


def as_given(path: str | Path) -> Address | Path:
    """The address or local path that a user gave, for commands and messages."""
    return address_of(path) or local_path(path)


def local_path(path: str | Path) -> Path:
    """Expands a local path: `~` is the user's home, and `~/.cache` is $XDG_CACHE_HOME if that is set.

    Raises:
      PathError: The path is an address with a scheme, such as `gs://bucket/folder`, or has a `~` but no home is
        known.
    """
    text = os.fspath(path)
    require_local(text)
    cache = os.environ.get("XDG_CACHE_HOME")
    if cache and (text == "~/.cache" or text.startswith("~/.cache/")):
        return Path(cache, text.removeprefix("~/.cache").lstrip("/"))
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise PathError(
            f"{text!r}: there is no home folder (HOME isn't set, and this user has none); give a path without ~"
        ) from None
