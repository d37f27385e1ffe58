"""Reads settings from YAML, and says what is wrong with them."""

import dataclasses
import difflib
import math
import re
import typing
from pathlib import Path
from typing import Any

import yaml

from scenarioclip_jax.annotate.line_files import WorkError
from scenarioclip_jax.annotate.settings import STATEMENTS, Settings

_WANTED = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
_EXPONENT = re.compile(r"[+-]?\d+[eE][+-]?\d+")


def read_settings(path: Path) -> Settings:
    """Reads a file such as

        caption:
          endpoints: [http://localhost:8000/v1]
          model: Qwen/Qwen3-VL-8B-Instruct
        detect:
          threshold: 0.3

    Raises:
      WorkError: It isn't YAML, or names what there isn't.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WorkError(f"--config={path}: can't be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise WorkError(f"--config={path}: isn't YAML: {' '.join(str(error).split())}") from error
    return settings_of({} if values is None else values, f"--config={path}")


def settings_of(values: Any, where: str) -> Settings:
    """Makes settings of nested dictionaries; raises WorkError that begins with `where`."""
    settings = _made(Settings, values, where, "")
    for name, stage in dataclasses.asdict(settings).items():
        if not isinstance(stage, dict):
            _check_range(f"{where}: {name}", name, stage)
            continue
        for field, value in stage.items():
            _check_range(f"{where}: {name}.{field}", field, value)
    least, most = settings.validate.min_area, settings.validate.max_area
    if least > most:
        raise WorkError(
            f"{where}: validate.min_area is {least} and validate.max_area {most}, so every object would be "
            "left out; the first must not be larger"
        )
    _check_verify(settings, f"{where}: verify")
    return settings


def _check_verify(settings: Settings, where: str) -> None:
    """Refuses settings of the stage `verify` that would say nothing."""
    own = settings.verify
    if own.prompt and STATEMENTS not in own.prompt:
        raise WorkError(
            f"{where}.prompt: doesn't say where the statements belong; write {STATEMENTS} there"
        )
    for name in ("revision", "endpoints", "key_variable", "price_read", "price_written"):
        if getattr(own, name) and not own.model:
            raise WorkError(
                f"{where}.{name}: belongs to a model of its own; name it in verify.model, or leave this out to "
                "use that of caption"
            )


def _check_range(where: str, field: str, value: Any) -> None:
    """Refuses numbers that make no sense."""
    shares = (
        *("threshold", "overlap", "score", "nearness"),
        *("missed", "merged", "wrong", "unnamed", "misjudged", "unsure"),
    )
    is_share = isinstance(value, float) and field.endswith((*shares, "_area"))
    if is_share and not 0 <= value <= 1:
        raise WorkError(f"{where}: {value} isn't between 0 and 1")
    if field in (
        "batch",
        "concurrent",
        "attempts",
        "max_tokens",
        "max_side",
        "max_boxes",
        "statements",
    ):
        if value < 1:
            raise WorkError(f"{where}: {value} should be 1 or more")
    elif field in ("timeout", "max_aspect"):
        if value <= 0:
            raise WorkError(f"{where}: {value} should be above 0")
    elif isinstance(value, int | float) and value < 0:
        raise WorkError(f"{where}: {value} should be 0 or more")
    if field == "duplicates" and value not in ("group", "drop", "keep"):
        raise WorkError(f"{where}: {value!r} is neither group, drop nor keep")
    if field == "unsure" and isinstance(value, str) and value not in ("drop", "keep"):
        raise WorkError(f"{where}: {value!r} is neither drop nor keep")
    if field == "endpoints" and isinstance(value, tuple):
        for address in value:
            if not address.startswith(("http://", "https://")):
                raise WorkError(
                    f"{where}: {address!r} isn't an address such as http://localhost:8000/v1"
                )
    if field == "distance" and isinstance(value, int) and value > 64:
        raise WorkError(
            f"{where}: {value} of 256 bits would take most photos for the same; 64 at most"
        )
    if field == "method" and value not in ("checked", "published"):
        raise WorkError(f"{where}: {value!r} is neither checked nor published")


def _made(kind: type, values: Any, where: str, name: str) -> Any:
    if not isinstance(values, dict):
        place = name or "the file"
        raise WorkError(f"{where}: {place} should hold settings by name, got {values!r}")
    fields = typing.get_type_hints(kind)
    arguments = {}
    for key, value in values.items():
        path = f"{name}.{key}" if name else str(key)
        if key not in fields:
            close = difflib.get_close_matches(str(key), fields, n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise WorkError(
                f"{where}: {path}: there is no such setting{hint}; known are {', '.join(fields)}"
            )
        if dataclasses.is_dataclass(fields[key]):
            arguments[key] = _made(fields[key], {} if value is None else value, where, path)
        else:
            arguments[key] = _value(fields[key], value, f"{where}: {path}")
    return kind(**arguments)


def _value(kind: Any, value: Any, where: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if typing.get_origin(kind) is tuple:
        given = [value] if isinstance(value, str) else value
        if not (isinstance(given, list | tuple) and all(isinstance(text, str) for text in given)):
            raise WorkError(f"{where}: should be a list of texts, got {value!r}")
        return tuple(given)
    if kind is float and isinstance(value, str) and _EXPONENT.fullmatch(value):
        raise WorkError(
            f"{where}: YAML takes {value!r} for a text; write it with a point, as 1.0e-3"
        )
    if type(value) is not kind or (isinstance(value, float) and not math.isfinite(value)):
        raise WorkError(f"{where}: should be {_WANTED[kind]}, got {value!r}")
    return value
