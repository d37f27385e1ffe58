"""Eight simulated devices, a compilation cache for this run of the suite, and a small data set."""

import os

# Before JAX is imported anywhere: it counts its devices once.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory):
    """Runs of `main` within the suite compile the same programs; each is compiled once."""
    folder = tmp_path_factory.mktemp("xla")
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    return folder


@pytest.fixture(scope="session")
def small_data(tmp_path_factory):
    """150 embedded scenes of 64 pixels, built to shards."""
    from scenarioclip_jax.data.build import ensure_embedded

    return ensure_embedded(tmp_path_factory.mktemp("data"), 150, seed=1, size=64, progress=False)
