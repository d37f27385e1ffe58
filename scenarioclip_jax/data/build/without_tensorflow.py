"""Lets TFDS write large splits where TensorFlow isn't installed, by changing a module of TFDS for a while."""

import contextlib
import importlib.util
import io
import os
import types
from collections.abc import Iterator

from tensorflow_datasets.core import shuffle

BUCKETS = 128  # temporary files open at once; TFDS's thousand are more than many systems allow


@contextlib.contextmanager
def spill_to_plain_files() -> Iterator[None]:
    """TFDS sorts splits of more than 1 GB inside this context, with TensorFlow or without.

    It keeps 1 GB of a split in memory and puts the rest into temporary files, which it opens through
    tf.io.gfile. They are local, so `open` does the same.
    """
    if importlib.util.find_spec("tensorflow"):
        yield
        return
    gfile = types.SimpleNamespace(GFile=io.open, exists=os.path.exists, remove=os.remove)
    stand_in = types.SimpleNamespace(
        io=types.SimpleNamespace(gfile=gfile),
        errors=types.SimpleNamespace(ResourceExhaustedError=MemoryError),
    )
    usual = shuffle.tf, shuffle.BUCKETS_NUMBER
    shuffle.tf, shuffle.BUCKETS_NUMBER = stand_in, BUCKETS
    try:
        yield
    finally:
        shuffle.tf, shuffle.BUCKETS_NUMBER = usual
