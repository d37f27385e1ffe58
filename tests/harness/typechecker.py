"""The runtime checker of shapes, for jaxtyping's import hook in `tests/conftest.py`.

It checks what a static type checker can't see, the types and shapes of arrays. All other annotations are
left to pyright.
"""

import typing
from collections.abc import Callable

from beartype import beartype
from jaxtyping import AbstractArray


def check(function: Callable) -> Callable:
    """Checks the arguments and the result of a function that are annotated with shapes."""
    shapes = {name: hint for name, hint in function.__annotations__.items() if has_shape(hint)}
    if not shapes:
        return function
    function.__annotations__ = shapes
    return beartype(function)


def has_shape(hint) -> bool:
    """Whether an annotation holds an array's shape, as `dict[str, Float[Array, "N D"]]` does."""
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return True
    return any(has_shape(part) for part in typing.get_args(hint))
