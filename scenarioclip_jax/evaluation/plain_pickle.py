"""Reads pickles that hold nothing but plain values, in which some benchmarks are published.

A pickle may name any function and have it called when it's read. Numbers, texts, lists and dicts need none, so
one that names anything is refused before anything of it runs.
"""

import io
import pickle
from pathlib import Path
from typing import Any, Never

from scenarioclip_jax.evaluation.files import SuiteError
from scenarioclip_jax.evaluation.records import read_bytes


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Never:
        raise _NamedError(f"{module}.{name}")


class _NamedError(Exception):
    """A pickle names a class or function."""


def read_plain_pickle(path: Path, digests: dict[str, str] | None = None) -> Any:
    """Returns the content of a pickle of plain values, also one that Python 2 wrote.

    Args:
      digests: Mapping that gets the file's SHA-256.

    Raises:
      SuiteError: The file doesn't exist, is damaged, or names a class or function.
    """
    data = read_bytes(path, digests)
    try:
        # A byte that is no text spoils its own text only, which `Row.text` refuses where it is used.
        return _Plain(io.BytesIO(data), encoding="utf-8", errors="surrogateescape").load()
    except _NamedError as error:
        raise SuiteError(
            f"{path} was refused: it names {error!s:.80}, and reading that could run any program",
            "get the file from its authors; theirs holds numbers, texts, lists and dicts only",
        ) from None
    except Exception as error:  # damaged ones may raise anything
        raise SuiteError(
            f"{path} isn't a readable pickle: {error or repr(error)!s:.200}", "copy it again"
        ) from None
