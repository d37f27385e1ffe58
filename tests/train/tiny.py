"""A run small enough for tests: the demo preset with tiny towers."""

import runpy
from pathlib import Path

CONFIG = Path(__file__).parents[2] / "configs" / "pretrain.py"


def config(data_dir, *, steps=6, **changes):
    """The demo's config with tiny towers; `changes` are dotted keys with `__` for the dots."""
    config = runpy.run_path(str(CONFIG))["get_config"]("demo")
    config.steps, config.log_every = steps, 1
    config.compilation_cache = ""  # the suite sets its own
    config.model.embed_dim = 16
    config.model.unroll = 1
    config.model.vision.update(width=16, depth=2, heads=2, mlp_dim=32, image_size=32, patch_size=16)
    config.model.text.update(width=16, depth=1, heads=2, mlp_dim=32)
    config.data.update(dir=str(data_dir), batch_size=16, groups=8, canvas_size=40, num_threads=1)
    config.validation.update(every=3, scenes=8)
    config.checkpoint.every = 3
    config.report.update(scenes=16, retrievals=1)
    for key, value in changes.items():
        *parents, leaf = key.split("__")
        node = config
        for name in parents:
            node = node[name]
        node[leaf] = value
    return config
