"""The suites that there are: every module of this package that has `SUITES`."""

import dataclasses
import functools
import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

from scenarioclip_jax.evaluation.score.result import Result

# The suites of an evaluation that names none: those that ask of a data set what training asks of it.
DEFAULT = ("zero_shot", "retrieval", "hard_negatives", "linear_probe")


@dataclasses.dataclass(frozen=True)
class Suite:
    """A protocol that scores a model.

    Attributes:
      name: What `config.suites` and the reports call it.
      evaluate: (encoder, files, settings) -> Result for a suite that reads files of its own,
        `evaluation.files.Files`; (encoder, data, settings) -> Result for an in-domain suite,
        `evaluation.embed.in_domain.InDomain`.
      read: (files, result) -> records: reads and checks all its files without a model. None: it is in-domain.
      path: What `config.NAME.path` names: a file, a folder, or either.
      files: What lies there, for people.
    """

    name: str
    evaluate: Callable[..., Result]
    read: Callable[..., Any] | None = None
    path: str = "file"
    files: str = ""


@functools.cache
def registered() -> dict[str, Suite]:
    """All suites by name, in-domain ones first."""
    package = __package__
    found: list[Suite] = []
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        found += getattr(importlib.import_module(f"{package}.{module.name}"), "SUITES", ())
    found.sort(key=lambda suite: (suite.read is not None, suite.name))
    return {suite.name: suite for suite in found}
