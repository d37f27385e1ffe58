"""Eight simulated devices, and a small data set."""

import os

# Before JAX is imported anywhere: it counts its devices once.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import pytest


@pytest.fixture(scope="session")
def compilation_cache(tmp_path_factory):
    """For runs of `main` in processes of their own, which compile the same programs.

    The suite's own process doesn't use it: writing the cache there, after hundreds of compilations, once ended
    in a segmentation fault of the CPU compiler's serialisation.
    """
    return tmp_path_factory.mktemp("xla")


@pytest.fixture(scope="session")
def small_data(tmp_path_factory):
    """150 embedded scenes of 64 pixels, built to shards."""
    from scenarioclip_jax.data.build import ensure_embedded

    return ensure_embedded(tmp_path_factory.mktemp("data"), 150, seed=1, size=64, progress=False)
