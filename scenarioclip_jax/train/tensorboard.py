"""Imports tensorboardX in a way that touches `sys.modules`."""

import sys


def import_tensorboard_x():
    """Imports the library without PyTorch, which would add seconds to every start if it is installed."""
    absent = "torch" not in sys.modules
    if absent:
        sys.modules["torch"] = None  # importing torch now fails, which tensorboardX handles
    try:
        import tensorboardX
    finally:
        if absent:
            del sys.modules["torch"]
    return tensorboardX
