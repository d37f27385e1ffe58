"""Stands before PyTorch on the path of runs in tests: training must not need it.

It saves seconds at every start too: tensorboardX imports PyTorch where it finds it.
"""

raise ImportError("training runs without PyTorch")
