"""Changes how Orbax writes arrays, for the whole process, when this module is imported.

Only `scenarioclip_jax.checkpoint` and `scenarioclip_jax.train.checkpoints` import it.
"""

import contextlib

import jax
import orbax.checkpoint as ocp
from absl import logging


@contextlib.contextmanager
def quiet():
    """Silences Orbax's warnings about things that it was asked to do."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


# Devices that hold the same array each write a part of it, unless the parts would be small: splitting those
# takes longer than writing them, seconds per checkpoint with a few hundred arrays.
with quiet():
    ocp.type_handlers.register_type_handler(
        jax.Array,
        ocp.type_handlers.ArrayHandler(min_slice_bytes_for_replica_parallel=1 << 20),
        override=True,
    )
