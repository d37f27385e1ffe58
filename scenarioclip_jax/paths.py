"""Paths as users give them: on the command line, in a config, in a call."""

import os
import re
from pathlib import Path

from scenarioclip_jax.errors import ReadableError

# A scheme of one letter is a Windows drive. A Path turns `gs://` into `gs:/`.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


class PathError(ReadableError, ValueError):
    """A path can't be used. The message says what it is and what to give instead."""


def local_path(path: str | Path) -> Path:
    """Expands a local path: `~` is the user's home, and `~/.cache` is $XDG_CACHE_HOME if that is set.

    Raises:
      PathError: The path is an address with a scheme, such as `gs://bucket/folder`, or has a `~` but no home is
        known.
    """
    text = os.fspath(path)
    if found := _SCHEME.match(text):
        raise PathError(
            f"{text!r} is an address ({found[0].split(':')[0]}), not a local path; mount it (gcsfuse, "
            "s3fs, NFS) or copy it, and give the path that it has then"
        )
    cache = os.environ.get("XDG_CACHE_HOME")
    if cache and (text == "~/.cache" or text.startswith("~/.cache/")):
        return Path(cache, text.removeprefix("~/.cache").lstrip("/"))
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise PathError(
            f"{text!r}: there is no home folder (HOME isn't set, and this user has none); give a path without ~"
        ) from None
