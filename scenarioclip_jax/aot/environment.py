"""The environment for compiling for TPUs. It must be set before JAX is imported, so this imports no JAX."""

import os

# Otherwise libtpu asks the cloud about the machine that it believes it runs on, and complains at length.
ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    # No chip is opened, so several processes may load it at the same time.
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "JAX_PLATFORMS": "cpu",
}


def prepare_environment() -> None:
    """Sets the variables that JAX reads on import and libtpu on loading."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
