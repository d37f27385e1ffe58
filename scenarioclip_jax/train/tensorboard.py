"""Imports tensorboardX in a way that touches `sys.modules`."""

import sys
from types import ModuleType


def import_tensorboard_x() -> ModuleType:
    """Imports the library without PyTorch, which would add seconds to every start if it is installed."""
    absent = "torch" not in sys.modules
    if absent:
        # Importing torch now fails, which tensorboardX handles. (typeshed allows no None here.)
        sys.modules["torch"] = None  # pyright: ignore[reportArgumentType]
    try:
        import tensorboardX
    finally:
        if absent:
            del sys.modules["torch"]
    return tensorboardX
