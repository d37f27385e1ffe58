"""Shared by the commands that take a config: startup, and errors that name the config's key."""

import contextlib
import difflib
import itertools
import os
import re
import runpy
import signal
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from absl import app, flags, logging
from ml_collections import ConfigDict, FrozenConfigDict
from ml_collections.config_flags import tuple_parser

from scenarioclip_jax.console import say
from scenarioclip_jax.errors import ReadableError
from scenarioclip_jax.renamed import new_name

# A config, whether resolved and frozen or not. Keys are known only at run time, so a type checker accepts any.
if TYPE_CHECKING:
    Config: TypeAlias = Any
else:
    Config = ConfigDict | FrozenConfigDict

OVERRIDE = re.compile(r"--(?:no)?config\.([\w.]+)(?:=.*)?")


class ConfigError(ReadableError, ValueError):
    """A config can't be run. The message names the key and what is allowed."""


def run(main: Callable[[list[str]], None]) -> None:
    """Parses the command line's flags and calls `main`; explains invalid flags first."""
    logging.set_verbosity(logging.WARNING)
    # XLA's C++ logs would drown the progress lines; errors still show.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    wants_help = any(arg.lstrip("-").startswith("help") for arg in sys.argv[1:])
    if not wants_help and (message := explain_flags(sys.argv[1:])):
        sys.exit(f"error: {message}")
    try:
        app.run(main)
    except KeyboardInterrupt:  # outside the code that saves first
        say("interrupted", error=True)
        sys.exit(128 + signal.SIGINT)


def explain_flags(argv: list[str]) -> str | None:
    """Says what is wrong with the config's flags: no such file or preset, or a key that the config lacks.

    ml_collections also stops at such a flag, but names neither the full key nor the alternatives.
    """
    files = []
    for arg, following in itertools.pairwise([*argv, ""]):
        name, equals, value = arg.partition("=")
        if name in ("--config", "-config"):  # absl also accepts the value as a separate argument
            files.append(value if equals else following)
    if not files:
        return "--config is missing; try --config=configs/pretrain.py"
    path, _, preset = files[-1].partition(":")
    try:
        config = runpy.run_path(path)["get_config"](*([preset] if preset else []))
    except FileNotFoundError:
        return (
            f"--config={files[-1]}: there is no file {path} in {os.getcwd()}; the configs lie in the "
            "repository's folder configs, so start there or give the whole path"
        )
    except (OSError, KeyError, ValueError, TypeError) as error:
        return f"--config={files[-1]}: {error}"
    for arg, following in itertools.pairwise([*argv, ""]):
        match = OVERRIDE.fullmatch(arg)
        node, walked = config, "config"
        for name in match[1].split(".") if match else ():
            if not isinstance(node, ConfigDict) or name not in node:
                if new := new_name(match[1]):
                    return f"config.{match[1]}: this is config.{new} now"
                known = sorted(node) if isinstance(node, ConfigDict) else []
                close = difflib.get_close_matches(name, known, n=1)
                hint = f" (did you mean {close[0]}?)" if close else ""
                return (
                    f"{walked}.{name}: no such key{hint}; {walked} has {', '.join(known) or 'none'}"
                )
            owner, node, walked = node, node[name], f"{walked}.{name}"
        if match and (message := _explain_value(owner.get_type(name), arg, following)):
            return f"{walked}: {message}"
    return None


# How a value of each type is read (as ml_collections does), and what it has to be.
_VALUES = {
    int: (flags.IntegerParser(), "a whole number"),
    float: (flags.FloatParser(), "a number"),
    bool: (flags.BooleanParser(), "true or false"),
    tuple: (
        tuple_parser.TupleParser(),
        "values separated by commas, without blanks unless the whole is a tuple in Python's notation",
    ),
}


def _explain_value(kind: type, arg: str, following: str) -> str | None:
    """Says what is wrong with the value of a key of some type; None if nothing is, or if it is text."""
    _, equals, value = arg.partition("=")
    if kind not in _VALUES or (
        kind is bool and not equals
    ):  # a flag of its own, as in --noconfig.KEY
        return None
    parser, wanted = _VALUES[kind]
    value = value if equals else following
    try:
        parser.parse(value)
    except (ValueError, TypeError):
        if kind is tuple and "global" in value.split(
            ","
        ):  # a keyword, so Python's parser stops at it
            return f"{value!r}: write scene for the level global, whose name is a Python keyword"
        return f"{value!r} is not {wanted}"
    return None


def listed(values: Iterable[str]) -> list[str]:
    """The names in a config's tuple, each once; on the command line one entry may hold several, as `a,b`."""
    names = [name.strip() for value in values for name in str(value).split(",")]
    return list(dict.fromkeys(name for name in names if name))


@contextlib.contextmanager
def naming(prefix: str):
    """Turns a constructor's errors about its arguments into a ConfigError that names the config's key."""
    try:
        yield
    except ConfigError:
        raise
    except (TypeError, ValueError, ZeroDivisionError, FileNotFoundError, FileExistsError) as error:
        # A message that already names the key only needs it placed below `config`.
        text = str(error).removeprefix("config.")
        named = text.startswith(prefix.split(".")[0])
        raise ConfigError(f"config.{text}" if named else f"config.{prefix}: {text}") from error
