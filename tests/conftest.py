"""Eight simulated devices, and a small data set."""

import gc
import os
import sys
import tempfile
from pathlib import Path

import hypothesis
import pytest
from jaxtyping import install_import_hook

import tests.harness.typechecker  # noqa: F401  (named below)
from tests.harness.structures import remember

# Before JAX is imported anywhere: it counts its devices once. The suite's programs run for milliseconds; what
# counts is how long they take to compile. (Without its fusion emitters XLA compiles faster still, but that of
# JAX 0.10 then computes something else.)
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=8",
        "--xla_backend_optimization_level=0",
    ]
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Compiled programs are kept: tests, the processes that they start, and later runs of the suite share them. Also
# the smallest, of which there are tens of thousands: to compile one takes 30 ms, to read it a few. They lie
# among the system's temporary files, to be removed with those.
CACHE = Path(tempfile.gettempdir()) / f"scenarioclip_jax-tests-of-{os.getuid()}"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE / "xla"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ["XDG_CACHE_HOME"] = str(CACHE)  # nor is anything else written beside the user's own

# Shapes in annotations are checked at every call, before anything of the package is imported.
install_import_hook("scenarioclip_jax", "tests.harness.typechecker.check")

pytest_plugins = ["tests.harness.plugin"]

# Tracing makes hundreds of thousands of objects, and Python would look through all of them, and those of every
# module, again and again: a train step takes 3.5 s to trace with its own settings and 2.5 s with these.
gc.set_threshold(100_000, 50, 1000)

# Properties: a few examples, the same ones in every run; HYPOTHESIS_PROFILE=long tries many others.
hypothesis.settings.register_profile(
    "short", derandomize=True, max_examples=25, deadline=None, database=None
)
hypothesis.settings.register_profile("long", max_examples=2000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))

LONGEST = ("tests/train/", "tests/storage/", "tests/parallel/", "tests/interop/")


def pytest_collection_modifyitems(items):
    """Files with long tests come first, so that the processes of a parallel run end together."""

    def place(item):
        return next((i for i, part in enumerate(LONGEST) if part in item.nodeid), len(LONGEST))

    items.sort(key=place)  # stable: otherwise in the usual order


# JAX keeps every compiled program, and on CPU each takes hundreds of memory mappings, a train step thousands. A
# process may have 65,530 of them on Linux (vm.max_map_count); the whole suite needs more, and the compiler then
# crashes. Files share programs until so many are in use; a single file adds less than the rest.
MAPPINGS = 10_000


@pytest.fixture(autouse=True)
def _forget_threads_left_behind():
    """A program with a thread that still waits for input ends by `os._exit`, which would end the worker.

    Tests of input that stalls leave such threads; a later test that calls `main` in this process isn't theirs.
    """
    yield
    if stall := sys.modules.get("scenarioclip_jax.data.stall"):
        stall._left_behind.clear()


@pytest.fixture(scope="module", autouse=True)
def _remember_structures():
    params = sys.modules.get("scenarioclip_jax.models.params")
    if params and not hasattr(params.abstract, "real"):
        params.abstract = remember(params.abstract)


@pytest.fixture(scope="module", autouse=True)
def _forget_compiled_programs():
    yield
    forget_compiled_programs()


def forget_compiled_programs():
    """Frees what was compiled, if that is much."""
    try:
        with open("/proc/self/maps", "rb") as mappings:
            if sum(1 for _ in mappings) < MAPPINGS:
                return
    except OSError:
        pass  # another system than Linux
    import jax

    if programs := sys.modules.get("tests.parallel.programs"):
        programs.forget()
    jax.clear_caches()
    gc.collect()


@pytest.fixture(scope="session")
def small_data(tmp_path_factory):
    """150 embedded scenes of 64 pixels, built to shards."""
    from scenarioclip_jax.data.build.dataset import ensure_embedded

    return ensure_embedded(tmp_path_factory.mktemp("data"), 150, seed=1, size=64, progress=False)
