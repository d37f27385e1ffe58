"""Imports tensorboardX in a way that touches `sys.modules`."""

import sys
from types import ModuleType


def import_tensorboard_x() -> ModuleType:
    """The library, imported without PyTorch: where that is installed it would cost every start seconds."""
    absent = "torch" not in sys.modules
    if absent:
        # Importing it fails now, for which tensorboardX is prepared. (typeshed allows no None here.)
        sys.modules["torch"] = None  # pyright: ignore[reportArgumentType]
    try:
        import tensorboardX
    finally:
        if absent:
            del sys.modules["torch"]
    return tensorboardX
