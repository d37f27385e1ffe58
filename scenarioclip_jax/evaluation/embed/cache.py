"""Embeddings on disk: computed once, then found by what they were computed from.

A file's name is the digest of everything that determines its content: the model's weights and settings, the
code and libraries that prepare and embed, and the inputs themselves. So nothing ever has to be invalidated:
after a change, the name is different.
"""

import hashlib
import importlib.metadata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from scenarioclip_jax.console import say
from scenarioclip_jax.files import write_whole

PACKAGE = Path(__file__).parents[2]
# The code that turns files into the towers' inputs, and those into embeddings.
CODE = ("data", "models", "inference.py", "evaluation/embed")
LIBRARIES = ("jax", "jaxlib", "flax", "numpy", "pillow", "tokenizers")


def digest(*parts: Any) -> str:
    """SHA-256 of strings, bytes, arrays and other values (by their `repr`), in hexadecimal digits.

    Lengths of the parts are included, so ("ab", "c") and ("a", "bc") differ.
    """
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            part = f"{part.dtype}{part.shape}".encode() + np.ascontiguousarray(part).tobytes()
        elif not isinstance(part, bytes):
            part = repr(part).encode()
        total.update(len(part).to_bytes(8, "big"))
        total.update(part)
    return total.hexdigest()


def params_digest(params: Mapping[str, np.ndarray]) -> str:
    """Digest of parameters by path."""
    parts = [x for path in sorted(params) for x in (path, digest(np.asarray(params[path])))]
    return digest(*parts)


def code_digest() -> str:
    """Digest of the code and libraries that are involved in computing an embedding."""
    files = []
    for name in CODE:
        path = PACKAGE / name
        files += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    versions = [importlib.metadata.version(name) for name in LIBRARIES]
    return digest(versions, *(part for file in files for part in (file.name, file.read_bytes())))


class Cache:
    """Arrays below a folder, by key. Files appear only when complete.

    Once one can't be written, as on a full disk, this is said, and no more are kept: all can be recomputed.

    Attributes:
      found: Number of arrays that were read.
      computed: Number of arrays that were computed.
    """

    def __init__(self, folder: Path):
        self._folder, self._keeps = folder, True
        self.found = self.computed = 0

    def get(self, key: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """Returns the array of a key; computes and stores it if it is missing or unreadable."""
        path = self._folder / f"{key}.npy"
        try:
            array = np.load(path, allow_pickle=False)
        except FileNotFoundError:
            array = None
        except (OSError, ValueError, EOFError):  # truncated
            array = None
        if array is not None:
            self.found += 1
            return array
        array = compute()
        self.computed += 1
        if self._keeps:
            try:
                write_whole(path, lambda stream: np.save(stream, array, allow_pickle=False))
            except OSError as error:
                self._keeps = False
                say(not_kept(error))
        return array


def not_kept(error: Exception) -> str:
    """Says why embeddings aren't kept, and what to do about it."""
    return f"embeddings aren't kept: {error}. Set config.cache to a folder that can be written, or to ''"


class NoCache:
    """A cache that keeps nothing."""

    found = computed = 0

    def get(self, key: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
        return compute()
