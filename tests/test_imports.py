"""What a fresh process loads: a heavy import at the top of a module would cost every start seconds."""

import subprocess
import sys

import pytest

# Grain imports JAX and Orbax itself, so a reading worker has them whatever we do.
WORKER = (
    "flax",
    "gcsfs",
    "matplotlib",
    "optax",
    "s3fs",
    "tensorboardX",
    "tensorflow_datasets",
    "torch",
    "transformers",
)
CASES = {
    "scenarioclip_jax": ("numpy", "jax", *WORKER),
    "scenarioclip_jax.main": ("grain", "jax", *WORKER),
    "scenarioclip_jax.data.stored.shards": ("grain", "jax", *WORKER),
    "scenarioclip_jax.data.packing.choose": ("grain", "jax", *WORKER),
    "scenarioclip_jax.data.pipeline": WORKER,
    "scenarioclip_jax.train.loop": (
        "gcsfs",
        "s3fs",
        "tensorflow_datasets",
        "torch",
        "transformers",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("module", CASES)
def test_what_a_module_brings(module):
    code = f"import sys, {module}; print(*sorted({{n.split('.')[0] for n in sys.modules}}))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "scenarioclip_jax" in loaded
    assert not set(loaded) & set(CASES[module])


def test_the_metrics_writer_leaves_pytorch_alone(tmp_path):
    code = f"""
import sys
from pathlib import Path
from scenarioclip_jax.train.metrics import MetricWriter
writer = MetricWriter(Path({str(tmp_path)!r}), 0)
writer.write(1, {{"loss": 2.0}})
writer.close()
print("torch" in sys.modules, "tensorboardX" in sys.modules)
"""
    run = [sys.executable, "-c", code]
    loaded = subprocess.run(run, capture_output=True, text=True, check=True).stdout.split()
    assert loaded == ["False", "True"]
    assert list((tmp_path / "tensorboard").iterdir())
