"""What a value that was read from JSON is."""

from typing import Any, TypeGuard

_LIMIT = 1e9  # more than any coordinate, size or score of a photo


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether a photo's annotations can have this number: no boolean or NaN, and between -1e9 and 1e9."""
    # The comparison is False for NaN and accepts integers of any length.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LIMIT
