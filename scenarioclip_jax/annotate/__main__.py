"""`python -m scenarioclip_jax.annotate`."""

import importlib.util
import sys

from scenarioclip_jax.console import say

# Of the extra `annotate`; models and the review page import more when they are used.
_NEEDED = ("imagehash", "rapidfuzz")


def _run() -> int:
    if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
        say(
            f"error: {', '.join(missing)} isn't installed; annotation needs an extra: "
            "pip install 'scenarioclip_jax[annotate]'",
            error=True,
        )
        return 1
    from scenarioclip_jax.annotate.command import main

    return main()


if __name__ == "__main__":
    sys.exit(_run())
