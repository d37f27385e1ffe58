"""A run small enough for tests: the demo preset with tiny towers."""

import runpy
from pathlib import Path

CONFIG = Path(__file__).parents[2] / "configs" / "pretrain.py"


SIZES = {
    # Compiles in half of scenario_clip_1's time, and has a moving average to keep too.
    "arch": "pyramid_clip",
    "log_every": 1,
    "compilation_cache": "",
    "model.embed_dim": 16,
    "model.unroll": 1,
    "model.vision.width": 16,
    "model.vision.depth": 2,
    "model.vision.heads": 2,
    "model.vision.mlp_dim": 32,
    "model.vision.image_size": 32,
    "model.text.width": 16,
    "model.text.depth": 1,
    "model.text.heads": 2,
    "model.text.mlp_dim": 32,
    "data.batch_size": 16,
    "data.canvas_size": 40,
    "data.num_threads": 1,
    "validation.every": 3,
    "validation.scenes": 8,
    "checkpoint.every": 3,
    "report.scenes": 16,
    "report.queries": 1,
}


def flags(data_dir, *, steps: int, **changes) -> list[str]:
    """The same for the command line; `changes` have their dots."""
    values = SIZES | {"data.dir": str(data_dir), "steps": steps} | changes
    return [f"--config.{key}={value}" for key, value in values.items()]


def config(data_dir, *, steps=6, **changes):
    """The demo's config with one pair of tiny towers; `changes` are dotted keys with `__` for the dots."""
    config = runpy.run_path(str(CONFIG))["get_config"]("demo")
    values = SIZES | {"data.dir": str(data_dir), "steps": steps}
    values |= {key.replace("__", "."): value for key, value in changes.items()}
    return with_values(config, values)


def with_values(config, values):
    """Sets values by dotted keys and returns the config."""
    for key, value in values.items():
        *parents, leaf = key.split(".")
        node = config
        for name in parents:
            node = node[name]
        node[leaf] = value
    return config
