"""The array type in the annotations of jitted functions."""

import jax
import numpy as np

# What a JAX function accepts: an array on the device, a tracer, or a NumPy array on the host.
Array = jax.Array | np.ndarray
