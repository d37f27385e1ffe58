"""Lists of (regex, value) pairs: the one way to select parameters here.

Sharding, freezing, weight decay and learning-rate scale are all such lists. The first regex that matches the
whole path decides; a path that no regex matches is an error, so that a renamed parameter can't slip through
with a default.
"""

import re
from collections.abc import Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")
Rules = Sequence[tuple[str, T]]


def match(rules: Rules, paths: Iterable[str], *, name: str) -> dict[str, T]:
    """Returns the value that `rules` give to each path.

    Args:
      rules: (regex, value) pairs in order of priority.
      paths: Parameter paths such as `vision/trunk/object/stack/blocks/qkv/kernel`.
      name: What the rules are for; used in the error.

    Raises:
      ValueError: No rule matches a path, a regex doesn't compile, or `rules` isn't a list of pairs.
    """
    # An easy mistake on a command line is to omit the comma that makes one pair a tuple of pairs.
    if not all(
        isinstance(r, tuple | list) and len(r) == 2 and isinstance(r[0], str) for r in rules
    ):
        raise ValueError(
            f"rules for {name}: {rules!r} are not (regex, value) pairs; write \"(('REGEX', VALUE),)\", with a "
            "comma after each pair"
        )
    try:
        compiled = [(re.compile(pattern), value) for pattern, value in rules]
    except re.error as error:
        raise ValueError(f"rules for {name}: {error.pattern!r} is not a regex: {error}") from None
    values, unmatched = {}, []
    for path in paths:
        for pattern, value in compiled:
            if pattern.fullmatch(path):
                values[path] = value
                break
        else:
            unmatched.append(path)
    if unmatched:
        raise ValueError(
            f"rules for {name}: no rule matches {', '.join(unmatched[:5])}"
            f"{f' and {len(unmatched) - 5} more' if len(unmatched) > 5 else ''}; "
            "add one, or end the list with ('.*', default)"
        )
    return values
