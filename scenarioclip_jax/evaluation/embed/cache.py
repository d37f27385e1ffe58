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

    Attributes:
      found: Number of arrays that were read.
      computed: Number of arrays that were computed.
    """

    def __init__(self, folder: Path):
        self._folder = folder
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
        write_whole(path, lambda stream: np.save(stream, array, allow_pickle=False))
        return array


class NoCache:
    """A cache that keeps nothing."""

    found = computed = 0

    def get(self, key: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
        return compute()
