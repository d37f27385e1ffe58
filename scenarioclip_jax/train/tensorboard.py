"""Imports tensorboardX in a way that touches `sys.modules`."""

import sys


def import_tensorboard_x():
    """The library, imported without PyTorch: where that is installed it would cost every start seconds."""
    absent = "torch" not in sys.modules
    if absent:
        sys.modules["torch"] = None  # importing it fails now, for which tensorboardX is prepared
    try:
        import tensorboardX
    finally:
        if absent:
            del sys.modules["torch"]
    return tensorboardX
