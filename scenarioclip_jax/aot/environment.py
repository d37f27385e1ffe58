"""The environment to compile for TPUs in. Imports no JAX, which has to find it set."""

import os

# Otherwise libtpu asks the cloud for the machine that it believes to run on, and complains at length.
ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    # No chip is opened, so several processes may do this at the same time.
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "JAX_PLATFORMS": "cpu",
}


def prepare_environment() -> None:
    """Sets what JAX reads when it is imported, and libtpu when it is loaded."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
