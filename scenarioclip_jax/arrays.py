"""The arrays that annotations of jitted functions speak of."""

import jax
import numpy as np

# What a function of JAX takes: an array on the device, a tracer, or NumPy's on the host.
Array = jax.Array | np.ndarray
